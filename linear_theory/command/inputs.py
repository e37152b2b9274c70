"""What the command is given in files: rows, a start, a pre-training covariance; and FLOW's weights into one."""

from __future__ import annotations

import difflib
import io
import itertools
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from ..arrays import Array
from ..diagnosis.diagnose import weight_like
from ..diagnosis.measured import scaled
from ..errors import LinearTheoryError
from ..files import without_advice
from ..streaming.sources import column_names, features_of, numbers
from .files import (
    READING_ERRORS,
    FileError,
    as_finite,
    as_number,
    as_real,
    check_size,
    count_lines,
    csv_bytes,
    csv_records,
    is_number,
    kind_of,
    npz_arrays,
    quoted,
)

__all__ = [
    "ROWS",
    "WEIGHTS",
    "Table",
    "read_covariance",
    "read_old_rows",
    "read_rows",
    "read_start",
    "write_weights",
]

ROWS = (".csv", ".parquet", ".npz")
PARAMETERS = (".npy", ".npz", ".csv")
WEIGHTS = (".npy", ".csv", ".parquet")
BATCH = 65_536
"""Rows of a Parquet file that are read at once."""


@dataclass(frozen=True)
class Table:
    """Features X (n, d), their names, the target y (n,), and the prior weights (n,) if there are any."""

    X: Array
    names: tuple[str, ...]
    y: Array
    sample_weight: Array | None


# ------------------------------------------------------------------------------------------------- the rows


def read_rows(
    path: Path, target: str, features: Sequence[str] | None = None, sample_weight: str | None = None
) -> Table:
    """Rows from a .csv, .parquet or .npz file.

    A .csv is UTF-8 text as in RFC 4180, with commas and a line of names; its numbers are of the digits 0 to 9,
    with a point. An .npz holds a matrix X, its columns then called x0, x1, …, and the target (vectors beside
    them only by ``features``); or one vector a column. ``features`` default to every column but the target and the
    prior weights (and the row labels that pandas marks), in the order of the file; a column named like weights must
    then be one of these two.

    Raises
    ------
    FileError
        Naming the line and column, the column or the array that is at fault.
    """
    taken = {"target": target} | ({} if sample_weight is None else {"sample weight": sample_weight})
    choose = lambda names, own=None: _chosen(path, names, taken, features, own)
    names, (y, *columns) = _columns(path, choose)
    weights = None if sample_weight is None else np.asarray(columns.pop(0), dtype=float)
    return Table(np.column_stack(columns), tuple(names[len(taken) :]), np.asarray(y, dtype=float), weights)


def read_old_rows(path: Path, features: Sequence[str], sample_weight: str | None = None) -> Array:
    """The features of old rows, each by its name, (m, d); where they have the column of prior weights, by the square
    root of these over their mean, so that the second moments are weighted. All other columns are left alone.
    """

    def choose(names: Sequence[str], own: Sequence[str] | None = None) -> list[str]:
        taken = (
            {} if sample_weight is None or sample_weight not in names else {"sample weight": sample_weight}
        )
        undecided = [name for name in weight_like(names) if name not in {*features, sample_weight}]
        if undecided:
            raise FileError(
                path, f"has a column {undecided[0]!r}; drop it, or give --sample-weight for both files"
            )
        return _chosen(path, names, taken, features, own)

    names, columns = _columns(path, choose)
    if len(names) == len(features):
        return np.column_stack(columns)
    weights, *columns = columns
    if not (weights >= 0).all() or not 0 < weights.sum() < np.inf:
        raise FileError(path, f"column {sample_weight!r} must hold weights ≥ 0, not all 0")
    return scaled(weights / weights.mean(), np.column_stack(columns))


def _columns(path: Path, choose: Any) -> tuple[list[str], list[Array]]:
    """The columns that ``choose`` picks of the names in a file with rows."""
    reader = {".csv": _csv_columns, ".parquet": _parquet_columns, ".npz": _npz_columns}[kind_of(path, ROWS)]
    names, columns = reader(path, choose)
    if not len(columns[0]):
        raise FileError(path, "holds no rows")
    return names, columns


def _chosen(
    path: Path,
    names: Sequence[str],
    taken: dict[str, str],
    features: Sequence[str] | None,
    own: Sequence[str] | None,
) -> list[str]:
    """What is taken for target and weights, then the features (by default ``own``, or all), each a column, once."""
    doubled = sorted({name for name in names if names.count(name) > 1})
    if doubled:
        raise FileError(path, f"has more than one column named {quoted(doubled)}")
    special = list(taken.values())
    undecided = [name for name in weight_like(names) if features is None and name not in special]
    if undecided:
        remedy = (
            f"a weight of rows? Give --sample-weight {undecided[0]}; else name the features by --features"
        )
        raise FileError(path, f"has a column {undecided[0]!r}: {remedy}")
    if features is None:
        with _named_by_file(path):
            features = features_of(names if own is None else own, special)
    wanted = [*special, *features]
    for k, name in enumerate(wanted):
        if name not in names:
            kind = [*taken, *["feature"] * len(wanted)][k]
            near = difflib.get_close_matches(name, names, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"its columns are {quoted(names)}"
            raise FileError(path, f"has no column {name!r} ({kind}); {hint}")
        if name in wanted[:k]:
            raise FileError(path, f"{name!r} is asked for twice, as {', '.join(taken)} or feature")
    if len(wanted) == len(special):
        beside = " and the ".join(f"{kind} {name!r}" for kind, name in taken.items())
        raise FileError(path, f"has no column beside the {beside}; it needs at least one feature")
    return wanted


# ------------------------------------------------------------------------------------------------------ CSV


WELL_QUOTED = re.compile(rb'(?:[^"]++|(?<![^,\r\n])"(?:[^"]++|"")*+"(?![^,\r\n]))*+')
"""Text in which every quote opens or closes a whole cell. Of any other pyarrow makes what it likes: "3"4 is 34."""


def _csv_columns(path: Path, choose: Any) -> tuple[list[str], list[Array]]:
    """By pyarrow; where that finds anything but numbers, cell by cell to say where."""
    data = csv_bytes(path)
    records = csv_records(path, data)
    line, header = next(records, (0, []))
    _refuse_separator(path, header)
    if header and all(is_number(cell) for cell in header):
        raise FileError(path, f"line {line} holds numbers; the first line must name the columns")
    names = [name.strip() for name in header]
    wanted = choose(names)
    places = [names.index(name) for name in wanted]
    first = list(itertools.islice(records, 1))
    # Of no rows at all pyarrow makes an error, and a thread that may abort the process as it ends.
    plain = any(cell.strip() for _, cells in first for cell in cells) and WELL_QUOTED.fullmatch(data)
    lines = line + sum(count_lines(cell.encode()) for cell in header)
    columns = _by_arrow(data, lines, len(names), places) if plain else None
    return wanted, columns or _by_cell(path, itertools.chain(first, records), names, places)


def _by_arrow(data: bytes, skipped: int, width: int, places: Sequence[int]) -> list[Array] | None:
    """Those columns of ``width`` below the ``skipped`` lines; None where a cell of theirs is no finite number."""
    import pyarrow
    from pyarrow import csv

    names = list(map(str, range(width)))
    wanted = [names[k] for k in places]
    try:
        table = csv.read_csv(
            pyarrow.BufferReader(data),
            csv.ReadOptions(column_names=names, skip_rows=skipped),
            csv.ParseOptions(newlines_in_values=b'"' in data),
            csv.ConvertOptions(
                include_columns=wanted, column_types=dict.fromkeys(wanted, pyarrow.float64()), null_values=[]
            ),
        )
    except (pyarrow.ArrowException, UnicodeError):
        return None
    columns = [np.asarray(table.column(name), dtype=float) for name in wanted]
    return columns if all(np.isfinite(column).all() for column in columns) else None


def _refuse_separator(path: Path, header: Sequence[str]) -> None:
    for mark, name in ((";", "semicolons"), ("\t", "tabs")):
        if len(header) == 1 and mark in header[0]:
            raise FileError(path, f"line 1: its columns are separated by {name}, must be by commas")


CELL_REMEDY = "fill it in, drop the row, or choose other columns with --features"


def _by_cell(
    path: Path, records: Iterable[tuple[int, list[str]]], names: Sequence[str], places: Sequence[int]
) -> list[Array]:
    """Slowly; raises for the first cell or line that is at fault."""
    rows = []
    for line, cells in records:
        if len(cells) != len(names):
            raise FileError(path, f"line {line} has {len(cells)} cells, the header names {len(names)}")
        where = f"line {line}, column"
        rows.append([as_number(path, f"{where} {names[k]!r}", cells[k], CELL_REMEDY) for k in places])
    return list(np.array(rows, dtype=float).reshape(len(rows), len(places)).T)


# -------------------------------------------------------------------------------------------------- Parquet


def _parquet_columns(path: Path, choose: Any) -> tuple[list[str], list[Array]]:
    from pyarrow import parquet

    with _named_by_file(path):
        wanted = choose(*column_names(path))
        about = parquet.read_metadata(path)
        groups = [about.row_group(k) for k in range(about.num_row_groups)]
        rows, packed = sum(group.num_rows for group in groups), sum(group.total_byte_size for group in groups)
        check_size(path, max(packed, 8 * rows * len(wanted)))
        batches = list(numbers(path, wanted, BATCH))
    columns = map(np.concatenate, zip(*batches, strict=True)) if batches else [np.empty(0) for _ in wanted]
    return wanted, [
        as_finite(path, f"column {name!r}", column) for name, column in zip(wanted, columns, strict=True)
    ]


@contextmanager
def _named_by_file(path: Path) -> Iterator[None]:
    """What is said of a column or of the file, in one sentence that begins with the file."""
    try:
        yield
    except LinearTheoryError as error:
        about = "" if error.argument == "path" else f"{error.argument} {error.value!r} "
        raise FileError(path, about + error.remedy) from None


# ---------------------------------------------------------------------------------------------------- NumPy


def _npz_columns(path: Path, choose: Any) -> tuple[list[str], list[Array]]:
    arrays, own, rows = npz_arrays(path), None, None
    if "X" in arrays and arrays["X"].ndim == 2:
        X = arrays.pop("X")
        rows, own = X.shape[0], [f"x{k}" for k in range(X.shape[1])]
        for k, name in enumerate(own):
            if name in arrays:
                raise FileError(
                    path, f"has an array {name!r}, as column {k} of its X is called; rename that array"
                )
        arrays = {name: X[:, k] for k, name in enumerate(own)} | arrays
    wanted = choose(list(arrays), own)
    for name in wanted:
        array = arrays[name]
        rows = array.shape[0] if rows is None and array.ndim else rows
        if array.ndim != 1 or array.shape[0] != rows:
            layout = "one vector a column, all of one length, or a matrix X and the target"
            raise FileError(path, f"array {name!r} has shape {array.shape}, must have ({rows},): {layout}")
    return wanted, [as_finite(path, f"array {name!r}", as_real(path, name, arrays[name])) for name in wanted]


# -------------------------------------------------------------------------------- start and covariance

NAME = re.compile(r"\s*(?!(?:nan|inf|infinity)\s*$)[^\W\d]", re.IGNORECASE)
"""What a header may begin with, and a number that is misspelt does not."""


def read_start(path: Path, names: Sequence[str]) -> Array:
    """One number a feature: a vector in .npy or .npz, or a .csv of numbers in order, or of name,value."""
    kind = kind_of(path, PARAMETERS)
    values = _start_csv(path, names) if kind == ".csv" else _single(path, kind)
    if values.shape == (1, len(names)) or values.shape == (len(names), 1):
        values = values.ravel()
    if values.shape != (len(names),):
        wanted = f"must have ({len(names)},), one number a feature ({quoted(list(names))})"
        raise FileError(path, f"has shape {values.shape}, {wanted}")
    return values


def _single(path: Path, kind: str) -> Array:
    """The array of an .npy, or the only one of an .npz."""
    if kind == ".npz":
        arrays = npz_arrays(path)
        if len(arrays) > 1:
            raise FileError(path, f"holds {len(arrays)} arrays ({quoted(list(arrays))}), must hold one")
        ((name, array),) = arrays.items()
    else:
        try:
            name, array = path.name, np.load(path, allow_pickle=False)
        except READING_ERRORS as error:
            raise FileError(path, f"is damaged, or no .npy file: {without_advice(error)}") from None
    return as_finite(path, f"array {name!r}", as_real(path, name, array))


def _start_csv(path: Path, names: Sequence[str]) -> Array:
    lines = list(csv_records(path, csv_bytes(path)))
    first = lines[0][1] if lines else []
    if first and (NAME.match(first[-1]) or (len(first) == 2 and not first[0].strip())):
        lines = lines[1:]  # a header; above row labels pandas writes an empty cell and 0
    widths = {len(cells) for _, cells in lines}
    if widths == {1}:
        return np.array([as_number(path, f"line {line}", cells[0]) for line, cells in lines])
    named: dict[str, float] = {}
    for line, cells in lines:
        if len(cells) != 2:
            raise FileError(
                path, f"line {line} has {len(cells)} cells, must have name,value or a value alone"
            )
        name = cells[0].strip()
        if name in named:
            raise FileError(path, f"line {line}: {name!r} is there twice")
        if name not in names:
            raise FileError(
                path, f"line {line}: {name!r} is no feature; the features are {quoted(list(names))}"
            )
        named[name] = as_number(path, f"line {line}, {name!r}", cells[1])
    missing = [name for name in names if name not in named]
    if missing:
        raise FileError(path, f"has no value for {quoted(missing)}")
    return np.array([named[name] for name in names])


def read_covariance(path: Path, names: Sequence[str]) -> Array:
    """The pre-training covariance (d, d): .npy, .npz, or .csv with the features' names as header or without."""
    kind, order = kind_of(path, PARAMETERS), list(range(len(names)))
    if kind == ".csv":
        lines = list(csv_records(path, csv_bytes(path)))
        header = [cell.strip() for cell in lines[0][1]] if lines else []
        # Names may be numbers: those of the features in a line more than there are features are a header, too.
        named = len(lines) > len(names) and sorted(header) == sorted(names)
        if named or not all(map(is_number, header)):
            del lines[0]
            if sorted(header) != sorted(names):
                raise FileError(
                    path, f"line 1 names {quoted(header)}, the features are {quoted(list(names))}"
                )
            order = [header.index(name) for name in names]
        for line, cells in lines:
            if len(cells) != len(names):
                raise FileError(
                    path, f"line {line} has {len(cells)} cells, must have {len(names)}: one a feature"
                )
        table = [[as_number(path, f"line {line}", cell) for cell in cells] for line, cells in lines]
        values = np.array(table, dtype=float).reshape(len(table), len(names))
    else:
        values = _single(path, kind)
    if values.shape != (len(names), len(names)):
        raise FileError(path, f"has shape {values.shape}, must have {(len(names),) * 2}: one row a feature")
    return values[np.ix_(order, order)]


# -------------------------------------------------------------------------------------------------- weights


def write_weights(file: BinaryIO, kind: str, weights: Array) -> None:
    """One weight a row, in the order of the rows: .npy, or a column ``weight`` in .csv or .parquet."""
    if kind == ".npy":
        content = io.BytesIO()  # of a file that fails NumPy keeps the reason to itself
        np.save(content, weights)
        file.write(content.getbuffer())
    elif kind == ".csv":
        file.write(("weight\n" + "".join(f"{w!r}\n" for w in weights.tolist())).encode())
    else:
        import pyarrow
        from pyarrow import parquet

        parquet.write_table(pyarrow.table({"weight": weights}), file)
