"""What every reader of files needs: what is wrong is named by line and column, by column, or by array."""

from __future__ import annotations

import csv
import math
import tokenize
import zipfile
import zlib
from collections.abc import Generator, Sequence
from pathlib import Path

import numpy as np

from ..arrays import Array

__all__ = [
    "DAMAGED",
    "FileError",
    "as_finite",
    "as_number",
    "as_real",
    "csv_lines",
    "is_number",
    "kind_of",
    "npz_arrays",
    "quoted",
]

MAGIC = {".parquet": b"PAR1", ".npz": b"PK", ".npy": b"\x93NUMPY"}


DAMAGED = (zipfile.BadZipFile, zlib.error, EOFError, KeyError, MemoryError, NotImplementedError, OSError)
DAMAGED += (
    RuntimeError,
    SyntaxError,
    ValueError,
    tokenize.TokenError,
)  # what NumPy raises on the bytes it cannot read


class FileError(Exception):
    """A file that cannot be used: its path, and what is wrong with it where."""

    def __init__(self, path: Path, wrong: str) -> None:
        self.path = path
        super().__init__(f"{path}: {wrong}")


def quoted(names: Sequence[str]) -> str:
    shown = ", ".join(map(repr, names[:12]))
    return shown + (f" and {len(names) - 12} more" if len(names) > 12 else "")


def kind_of(path: Path, kinds: Sequence[str]) -> str:
    """The suffix, if the file is there, can be read, holds something and is what its suffix says."""
    suffix = {".pq": ".parquet"}.get(path.suffix.lower(), path.suffix.lower())
    try:
        if path.is_dir():
            raise FileError(path, "is a directory, not a file")
        with path.open("rb") as file:
            head = file.read(8)
    except FileNotFoundError:
        raise FileError(path, "there is no such file") from None
    except OSError as error:
        raise FileError(path, f"cannot be read: {error.strerror}") from None
    if suffix not in kinds:
        raise FileError(path, f"must end in {', '.join(kinds)}, by which its format is known")
    if not head:
        raise FileError(path, "is empty")
    magic = MAGIC.get(suffix)
    if magic and not head.startswith(magic):
        raise FileError(path, f"is named {suffix} but does not begin like one; it begins {head!r}")
    return suffix


def csv_lines(path: Path) -> Generator[tuple[int, list[str]]]:
    """Each record that is not blank, with the number of its last line."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(file, strict=True)
        try:
            for cells in reader:
                if cells:
                    yield reader.line_num, cells
        except UnicodeDecodeError:
            raise FileError(path, f"line {reader.line_num + 1} or after it: not UTF-8 text") from None
        except csv.Error as error:
            raise FileError(path, f"line {reader.line_num}: {error}") from None


def is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def as_number(path: Path, where: str, cell: str) -> float:
    if not cell.strip():
        raise FileError(path, f"{where}: the cell is empty; drop the row, fill it in, or choose --features")
    if not is_number(cell) or "_" in cell:
        raise FileError(path, f"{where}: {cell[:40]!r} is not a number; choose the columns with --features")
    if not math.isfinite(float(cell)):
        raise FileError(path, f"{where}: {cell.strip()!r} is not finite; drop the row or fill it in")
    return float(cell)


def as_finite(path: Path, what: str, values: Array) -> Array:
    bad = ~np.isfinite(values)
    if bad.any():
        place = ", ".join(map(str, np.argwhere(bad)[0]))
        many = "1 entry that is" if bad.sum() == 1 else f"{bad.sum()} entries that are"
        raise FileError(path, f"{what} has {many} not finite, the first at index {place} of 0, 1, …")
    return values


def as_real(path: Path, name: str, array: Array) -> Array:
    if not (np.issubdtype(array.dtype, np.integer) or np.issubdtype(array.dtype, np.floating)):
        raise FileError(path, f"array {name!r} of shape {array.shape} holds {array.dtype}, not real numbers")
    return array.astype(float)


def npz_arrays(path: Path) -> dict[str, Array]:
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            names, arrays = archive.files, {}
            for name in names:
                try:
                    arrays[name] = archive[name]
                except DAMAGED as error:
                    raise FileError(path, f"array {name!r} cannot be read: {error}") from None
                if not isinstance(arrays[name], np.ndarray):
                    raise FileError(path, f"holds {name!r}, which is no array")
    except DAMAGED as error:
        raise FileError(path, f"is damaged, or no .npz file: {error}") from None
    if not arrays:
        raise FileError(path, "holds no arrays")
    return arrays
