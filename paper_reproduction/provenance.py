"""Where a result comes from: versions, commit, and fingerprints of the sources that decide it.

The fingerprint is what ``--resume`` trusts: same seed, same mode, same sources, hence the same arrays.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import importlib.metadata
import platform
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
_HERE = "paper_reproduction"
_SOURCES = ("linear_theory", "figures", _HERE)


@functools.cache
def versions() -> dict[str, str]:
    """The versions that can change a digit."""
    found = {"python": platform.python_version()}
    for package in ("numpy", "scipy", "jax", "xarray"):
        found[package] = importlib.metadata.version(package)
    found["linear_theory"] = _own_version()
    return found


def _own_version() -> str:
    try:
        return importlib.metadata.version("linear-theory")
    except importlib.metadata.PackageNotFoundError:
        import linear_theory

        return str(getattr(linear_theory, "__version__", "unknown"))


@functools.cache
def commit() -> tuple[str, bool]:
    """This checkout's commit and whether its sources differ from it; ("unknown", False) outside one."""
    try:
        top, head = _git("rev-parse", "--show-toplevel"), _git("rev-parse", "HEAD")
        if Path(top).resolve() != ROOT:  # unpacked inside somebody else's repository
            return "unknown", False
        return head, bool(_git("status", "--porcelain", "--", *_SOURCES))
    except (OSError, subprocess.SubprocessError):
        return "unknown", False


def _git(*arguments: str) -> str:
    command = ["git", "-C", str(ROOT), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=20).stdout.strip()


def claim_fingerprint(module: Path) -> str:
    """Hash of what decides a claim's arrays: the mathematics, ``claim.py``, the claim and its helpers."""
    own = {ROOT / _HERE / "claim.py", *_with_helpers(module.resolve())}
    return _digest([*mathematics(), *own])


def figure_fingerprint(module: Path) -> str:
    """Hash of what decides a picture: the figure, its helpers (underscore modules) and the house style."""
    house = ROOT / "figures"
    helpers = [*house.glob("_*.py"), house / "style.py", house / "house.mplstyle"]
    return _digest({module.resolve(), *helpers})


def mathematics() -> list[Path]:
    """The sources of linear_theory."""
    return list((ROOT / "linear_theory").rglob("*.py"))


def _digest(paths: Iterable[Path]) -> str:
    digest = hashlib.sha256()
    for path in sorted(paths):
        name = path.relative_to(ROOT).as_posix() if path.is_relative_to(ROOT) else path.name
        digest.update(name.encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:16]


def _with_helpers(module: Path) -> set[Path]:
    """The module and the modules of this package that it imports, at any distance."""
    found: set[Path] = set()
    ahead = [module]
    while ahead:
        path = ahead.pop()
        if path not in found:
            found.add(path)
            ahead.extend(_imports(path))
    return found


def _imports(path: Path) -> Iterator[Path]:
    for node in ast.walk(ast.parse(path.read_bytes())):
        for name in _imported_names(node):
            stem = ROOT.joinpath(*name.split("."))
            yield from (file for file in (stem.with_suffix(".py"), stem / "__init__.py") if file.is_file())


def _imported_names(node: ast.AST) -> Iterator[str]:
    """Dotted names inside this package that an import statement may load (nothing here is relative)."""
    names: list[str] = []
    if isinstance(node, ast.Import):
        names = [alias.name for alias in node.names]
    elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
        names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    yield from (name for name in names if name.split(".")[0] == _HERE)
