"""What to type where a package is missing."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path

__all__ = ["missing_package", "python"]


def python() -> str:
    """The interpreter as it was called, so that a line can be typed again from the same place."""
    return sys.orig_argv[0] if sys.orig_argv and sys.orig_argv[0] else sys.executable


def missing_package(error: ImportError, extra: str) -> str:
    """One sentence: what is not installed, and the command that installs it with all else that is needed."""
    package = (error.name or str(error)).partition(".")[0]
    return f"{package} is not installed; the command needs: {install_command(extra)}"


def install_command(extra: str) -> str:
    """How this Python gets the package with an extra: from the clone it runs in, else from the index."""
    clone = Path(__file__).resolve().parents[2]
    words = [python(), "-m", "pip", "install"]
    if not (clone / "pyproject.toml").is_file():
        return shlex.join([*words, f"linear-theory[{extra}]"])
    here = clone == Path.cwd()
    held = clone / "constraints.txt"
    if held.is_file():
        words += ["-c", held.name if here else os.fspath(held)]
    return shlex.join([*words, "-e", f"{'.' if here else clone}[{extra}]"])
