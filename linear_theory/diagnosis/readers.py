"""Rows from .csv, .parquet and .npz files; FLOW's weights into files."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..arrays import Array
from .columns import weight_like
from .files import FileError, as_finite, as_number, as_real, csv_lines, is_number, kind_of, npz_arrays, quoted
from .prior import scaled

__all__ = ["ROWS", "WEIGHTS", "Table", "read_old_rows", "read_rows", "write_weights"]

ROWS = (".csv", ".parquet", ".npz")
WEIGHTS = (".npy", ".csv", ".parquet")
PANDAS_INDEX = "__index_level_"
"""Row labels that pandas writes beside the columns of a Parquet file: no features, unless asked for."""


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

    ``features`` default to every column but the target and the prior weights (and pandas' row labels), in the order
    of the file; a column named like weights must then be one of these two. An .npz holds a matrix X, its columns then
    called x0, x1, …, and the target (vectors beside them only by ``features``); or one vector a column.

    Raises
    ------
    FileError
        Naming the line and column, the column or the array that is at fault.
    """
    taken = {"target": target} | ({} if sample_weight is None else {"sample weight": sample_weight})
    choose = lambda names, own=None: _chosen(path, names, taken, features, own)
    names, (y, *rest) = _columns(path, choose)
    weights = None if sample_weight is None else np.asarray(rest.pop(0), dtype=float)
    return Table(np.column_stack(rest), tuple(names[len(taken) :]), np.asarray(y, dtype=float), weights)


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
    others = [name for name in own or names if name not in special and not name.startswith(PANDAS_INDEX)]
    wanted = [*special, *(others if features is None else features)]
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


def _csv_columns(path: Path, choose: Any) -> tuple[list[str], list[Array]]:
    """By pyarrow; where that finds anything but numbers, line by line to say where."""
    from pyarrow import ArrowException, float64
    from pyarrow import csv as arrow

    lines = csv_lines(path)
    line, header = next(lines, (0, []))
    _refuse_separator(path, header)
    if header and all(is_number(cell) for cell in header):
        raise FileError(path, f"line {line} holds numbers; the first line must name the columns")
    names = [name.strip() for name in header]
    wanted = choose(names)
    lines.close()
    reading = arrow.ReadOptions(column_names=names, skip_rows=line)
    convert = arrow.ConvertOptions(
        include_columns=wanted, column_types=dict.fromkeys(wanted, float64()), null_values=[]
    )
    try:
        table = arrow.read_csv(path, read_options=reading, convert_options=convert)
    except (ArrowException, UnicodeError):
        return wanted, _by_line(path, names, wanted)
    columns = [np.asarray(table.column(name), dtype=float) for name in wanted]
    if not all(np.isfinite(column).all() for column in columns):
        return wanted, _by_line(path, names, wanted)
    return wanted, columns


def _refuse_separator(path: Path, header: Sequence[str]) -> None:
    for mark, name in ((";", "semicolons"), ("\t", "tabs")):
        if len(header) == 1 and mark in header[0]:
            raise FileError(path, f"line 1: its columns are separated by {name}, must be by commas")


def _by_line(path: Path, names: Sequence[str], wanted: Sequence[str]) -> list[Array]:
    """Python's reading, which is slow but takes +1 and " 1 " too; raises for the first line with too few or
    many cells, or with a cell that is no finite number.
    """
    places = [names.index(name) for name in wanted]
    lines, rows = csv_lines(path), []
    next(lines)
    for line, cells in lines:
        if len(cells) != len(names):
            raise FileError(path, f"line {line} has {len(cells)} cells, the header names {len(names)}")
        rows.append([as_number(path, f"line {line}, column {names[k]!r}", cells[k]) for k in places])
    return list(np.array(rows, dtype=float).reshape(len(rows), len(wanted)).T)


# -------------------------------------------------------------------------------------------------- Parquet


def _parquet_columns(path: Path, choose: Any) -> tuple[list[str], list[Array]]:
    from pyarrow import ArrowException, parquet, types

    try:
        file = parquet.ParquetFile(path)
        wanted = choose(file.schema_arrow.names)
        for name in wanted:
            kind = file.schema_arrow.field(name).type
            if not (types.is_integer(kind) or types.is_floating(kind) or types.is_decimal(kind)):
                raise FileError(path, f"column {name!r} holds {kind}, not numbers; choose with --features")
        table = file.read(columns=wanted)
    except (ArrowException, OSError) as error:
        raise FileError(path, f"is damaged, or no Parquet file: {' '.join(str(error).split())}") from None
    columns = []
    for name in wanted:
        column = table.column(name)
        if column.null_count:
            row = column.is_null().to_numpy().argmax()
            raise FileError(
                path,
                f"column {name!r} has {column.null_count} empty cells, the first in row {row} of 0, 1, …",
            )
        columns.append(as_finite(path, f"column {name!r}", np.asarray(column).astype(float)))
    return wanted, columns


# ---------------------------------------------------------------------------------------------------- NumPy


def _npz_columns(path: Path, choose: Any) -> tuple[list[str], list[Array]]:
    arrays, own, rows = npz_arrays(path), None, None
    if "X" in arrays and arrays["X"].ndim == 2:
        X = arrays.pop("X")
        rows, own = X.shape[0], [f"x{k}" for k in range(X.shape[1])]
        arrays = {name: X[:, k] for k, name in enumerate(own)} | arrays
    wanted = choose(list(arrays), own)
    for name in wanted:
        array = arrays[name]
        rows = array.shape[0] if rows is None and array.ndim else rows
        if array.ndim != 1 or array.shape[0] != rows:
            rest = "one vector a column, all of one length, or a matrix X and the target"
            raise FileError(path, f"array {name!r} has shape {array.shape}, must have ({rows},): {rest}")
    return wanted, [as_finite(path, f"array {name!r}", as_real(path, name, arrays[name])) for name in wanted]


# -------------------------------------------------------------------------------------------------- weights


def write_weights(path: Path, weights: Array) -> None:
    """One weight a row, in the order of the rows: .npy, or a column ``weight`` in .csv or .parquet."""
    kind = path.suffix.lower()
    if kind == ".npy":
        with path.open("wb") as file:
            np.save(file, weights)
    elif kind == ".csv":
        path.write_text("weight\n" + "".join(f"{w!r}\n" for w in weights.tolist()), encoding="utf-8")
    else:
        import pyarrow
        from pyarrow import parquet

        with path.open("wb") as file:
            parquet.write_table(pyarrow.table({"weight": weights}), file)
