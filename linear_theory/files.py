"""Files: which of them can be read more than once, and how one is written whole or not at all."""

from __future__ import annotations

import os
import secrets
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np

from .arrays import Array

__all__ = [
    "Unreadable",
    "first_bytes",
    "mapped",
    "not_regular",
    "stamp",
    "why",
    "without_advice",
    "written_whole",
]

NPY, ZIP = b"\x93NUMPY", b"PK"
KINDS = (
    (stat.S_ISDIR, "is a directory, not a file"),
    (stat.S_ISFIFO, "is a pipe, not a file"),
    (stat.S_ISSOCK, "is a socket, not a file"),
    (stat.S_ISCHR, "is a device, not a file"),
    (stat.S_ISBLK, "is a device, not a file"),
)


class Unreadable(Exception):
    """Why a file cannot be used, in words that go on from its name."""


def not_regular(path: Path) -> str | None:
    """What stands at ``path`` where it is no regular file; None where it is one, or nothing is there.

    Raises
    ------
    OSError
        Where that cannot be told: a loop of links, a folder not to be entered, a name too long.
    """
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return None
    return next((words for is_kind, words in KINDS if is_kind(mode)), None)


def why(error: OSError | ValueError) -> str:
    """Why a file cannot be read (ValueError: its name holds a NUL), without its name."""
    if isinstance(error, FileNotFoundError):
        return "there is no such file"
    return f"cannot be read: {getattr(error, 'strerror', None) or error}"


def first_bytes(path: Path, count: int = 8) -> bytes:
    """How the file begins. A pipe is not opened: that would wait for somebody to write into it."""
    try:
        wrong = not_regular(path)
        if wrong:
            once = ", and can be read only once; save what comes out of it as a file"
            raise Unreadable(wrong + once * path.is_fifo())
        with path.open("rb") as file:
            return file.read(count)
    except (OSError, ValueError) as error:
        raise Unreadable(why(error)) from None


def stamp(path: Path) -> tuple[int, ...]:
    """What changes when somebody writes to the file, or puts another one in its place."""
    try:
        found = path.stat()
    except (OSError, ValueError) as error:
        raise Unreadable(why(error)) from None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


def mapped(path: Path) -> Array:
    """The one array of numbers in an ``.npy`` file, of which only what is used is read."""
    head = first_bytes(path)
    if head.startswith(ZIP):
        raise Unreadable("holds several arrays; save each as an .npy file of its own")
    if not head.startswith(NPY):
        raise Unreadable(f"is no .npy file; it begins {head!r}. Save the array with numpy.save")
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError, SyntaxError, TypeError, OverflowError) as error:
        raise Unreadable(f"is no .npy file of numbers: {without_advice(error)}") from None


def without_advice(error: BaseException) -> str:
    """NumPy's words, but for its advice to allow pickles, which run what the file says."""
    if "pickle" in str(error) or "Object arrays" in str(error):
        return "it holds Python objects, or a header too long to trust; save plain numbers"
    return " ".join(str(error).split())


@contextmanager
def written_whole(path: Path) -> Iterator[BinaryIO]:
    """A file to write, which takes the place of what was at ``path`` once all of it is on the disk.

    Until then, and where anything fails, what was there stays as it was. A link is followed, as by ``open``.
    """
    target = path.resolve()
    draft = target.with_name(f".{secrets.token_hex(8)}.tmp")
    try:
        with draft.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())  # a full disk is often said only now
        if target.exists():
            shutil.copymode(target, draft)
        draft.replace(target)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
