"""How results come to the disk: a file appears whole or not at all, and one run at a time writes what runs share."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows: there the last of two runs that record at the same moment wins
    fcntl = None

_DRAFT = re.compile(r"\..*\.([0-9]+)\.part")
_TRIES = 3


def put(path: Path, data: bytes) -> None:
    """Write a file, whole or not at all; its folder is made, also where somebody takes it away meanwhile.

    Until all of it is on the disk, what was there stays as it was. OSError names the file.
    """
    draft = path.with_name(f".{path.name}.{os.getpid()}.part")
    for left in reversed(range(_TRIES)):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            _write(draft, data)
            os.replace(draft, path)
            return
        except FileNotFoundError as error:  # the folder, or the draft in it
            if not left:
                raise OSError(error.errno, error.strerror or str(error), str(path)) from None
        except OSError as error:
            raise OSError(error.errno, error.strerror or str(error), str(path)) from None
        finally:
            with suppress(OSError):
                draft.unlink(missing_ok=True)


def _write(draft: Path, data: bytes) -> None:
    draft.unlink(missing_ok=True)  # of an earlier process of this number; a link is not followed
    with draft.open("xb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())  # a full disk is often said only now


def drop_drafts(folder: Path) -> None:
    """Take away what processes that have ended left half written."""
    with suppress(OSError):
        for draft in folder.glob(".*.part"):
            found = _DRAFT.fullmatch(draft.name)
            if found and not _runs(int(found.group(1))):
                with suppress(OSError):
                    draft.unlink(missing_ok=True)


def _runs(process: int) -> bool:
    """Whether a process of this number runs on this machine."""
    if sys.platform == "win32":  # where no signal asks this; a file that is being written cannot be deleted
        return False
    try:
        os.kill(max(process, 1), 0)  # 0 would be all of our own group
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:  # it is somebody else's
        pass
    return True


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """While no other process is in here for the same folder. The lock ends with its process, however that ends."""
    lock = None
    if fcntl is not None:
        with suppress(OSError):  # a file system that knows no locks, or a folder that is gone
            lock = os.open(folder, os.O_RDONLY)
            fcntl.flock(lock, fcntl.LOCK_EX)
    try:
        yield
    finally:
        if lock is not None:
            os.close(lock)
