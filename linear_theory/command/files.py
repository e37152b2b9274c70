"""What every reader of files needs: what is wrong is named by line and column, by column, or by array."""

from __future__ import annotations

import csv
import io
import math
import os
import re
import sys
import tokenize
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from ..arrays import Array
from ..files import Unreadable, first_bytes, why, without_advice

__all__ = [
    "READING_ERRORS",
    "FileError",
    "as_finite",
    "as_number",
    "as_real",
    "check_size",
    "count_lines",
    "csv_bytes",
    "csv_records",
    "is_number",
    "kind_of",
    "npz_arrays",
    "quoted",
]

FIRST_BYTES = {".parquet": b"PAR1", ".npz": b"PK", ".npy": b"\x93NUMPY"}
COMPRESSED_FIRST_BYTES = {
    b"\x1f\x8b": "gzip",
    b"\xfd7zXZ": "xz",
    b"(\xb5/\xfd": "zstd",
    b"PK\x03\x04": "zip or .xlsx",
}
COMPRESSED_SUFFIXES = (".gz", ".bz2", ".xz", ".zst", ".zip")
BYTE_ORDER_MARK = b"\xef\xbb\xbf"

READING_ERRORS = (
    *(zipfile.BadZipFile, zlib.error, tokenize.TokenError, EOFError, KeyError, MemoryError),
    *(NotImplementedError, OSError, RuntimeError, SyntaxError, ValueError),
)
"""What NumPy raises on bytes that it cannot read."""


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
    if str(path) == "-":
        raise FileError(path, f"is no file, and standard input is not read; name one in {', '.join(kinds)}")
    try:
        head = first_bytes(path)
    except Unreadable as error:
        raise FileError(path, str(error)) from None
    if suffix in COMPRESSED_SUFFIXES:
        raise FileError(path, f"is compressed; unpack it first, to {', '.join(kinds)}")
    if suffix not in kinds:
        raise FileError(path, f"must end in {', '.join(kinds)}, by which its format is known")
    if not head:
        raise FileError(path, "is empty")
    beginning = FIRST_BYTES.get(suffix)
    if beginning and not head.startswith(beginning):
        raise FileError(path, f"is named {suffix} but does not begin like one; it begins {head!r}")
    packed = [
        kind for mark, kind in COMPRESSED_FIRST_BYTES.items() if beginning is None and head.startswith(mark)
    ]
    if packed:
        raise FileError(path, f"is named {suffix} but is a {packed[0]} file; unpack it, or save it as text")
    return suffix


# ------------------------------------------------------------------------------------------------------ CSV

END_OF_LINE = re.compile(rb"\r\n?|\n")
NUMBER = re.compile(r"[ \t]*[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?[ \t]*")
NOT_FINITE = re.compile(r"[ \t]*[+-]?(?:nan|inf|infinity)[ \t]*", re.IGNORECASE)


def csv_bytes(path: Path) -> bytes:
    """All of a text file, at once, so that nobody changes it half-way: UTF-8, without its byte order mark."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise FileError(path, why(error)) from None
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise FileError(path, "is UTF-16 text, not UTF-8 text; save it as UTF-8")
    data = data.removeprefix(BYTE_ORDER_MARK)
    bad = data.find(b"\0")
    if bad >= 0:
        raise FileError(
            path, f"line {count_lines(data[:bad]) + 1} holds a NUL byte, so it is no text; save it as UTF-8"
        )
    try:
        data.decode()
    except UnicodeDecodeError as error:
        line, byte = count_lines(data[: error.start]) + 1, data[error.start]
        raise FileError(path, f"line {line}: not UTF-8 text (byte {byte:#04x}); save it as UTF-8") from None
    return data


def count_lines(data: bytes) -> int:
    """How many line ends are in it."""
    return sum(1 for _ in END_OF_LINE.finditer(data))


def csv_records(path: Path, data: bytes) -> Iterator[tuple[int, list[str]]]:
    """Each record that is not blank, with the number of the line on which it begins."""
    lines = io.TextIOWrapper(io.BytesIO(data), "utf-8", newline="")
    line, reader = 1, csv.reader(lines, strict=True)
    try:
        for cells in reader:
            if cells:
                yield line, cells
            line = 1 + reader.line_num
    except csv.Error as error:
        remedy = "quote a cell as a whole, and double the quotes inside"
        raise FileError(path, f"line {line} breaks the rules of quotes ({error}); {remedy}") from None


def is_number(cell: str) -> bool:
    """Digits with a point, a sign and a power of ten, or a word for what is not finite; blanks around it."""
    return bool(NUMBER.fullmatch(cell) or NOT_FINITE.fullmatch(cell))


def as_number(path: Path, where: str, cell: str, remedy: str = "") -> float:
    """The number in a cell; what is none is refused, with what may be done instead."""
    if NUMBER.fullmatch(cell) and math.isfinite(value := float(cell)):
        return value
    if not cell.strip():
        wrong = "the cell is empty"
    elif is_number(cell):
        wrong = f"{cell.strip()!r} is not finite"
    elif re.fullmatch(r"\s*[-+]?[0-9][0-9.' ]*[,'][0-9.,' ]*", cell):
        wrong, remedy = f"{cell[:40]!r} is not a number", "write 1234.5 for it, without a comma"
    else:
        wrong = f"{cell[:40]!r} is not a number"
    raise FileError(path, f"{where}: {wrong}" + (f"; {remedy}" if remedy else ""))


# ---------------------------------------------------------------------------------------------------- NumPy


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


def memory() -> int:
    """Bytes that this machine has; where it does not say, as many as no machine has."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        return sys.maxsize


def check_size(path: Path, size: int) -> None:
    """Refuse, before it is unpacked, what does not fit into memory twice: as it is, and as columns of numbers."""
    if 2 * size > memory():
        raise FileError(path, f"holds {size} bytes once unpacked, more than half of this machine's memory")


def npz_arrays(path: Path) -> dict[str, Array]:
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            check_size(path, sum(member.file_size for member in archive.zip.infolist()))
            names, arrays = archive.files, {}
            for name in names:
                try:
                    arrays[name] = archive[name]
                except READING_ERRORS as error:
                    raise FileError(path, f"array {name!r} cannot be read: {without_advice(error)}") from None
                if not isinstance(arrays[name], np.ndarray):
                    raise FileError(path, f"holds {name!r}, which is no array")
    except READING_ERRORS as error:
        raise FileError(path, f"is damaged, or no .npz file: {without_advice(error)}") from None
    if not arrays:
        raise FileError(path, "holds no arrays")
    return arrays
