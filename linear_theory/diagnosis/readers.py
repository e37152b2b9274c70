"""Rows from .csv, .parquet and .npz files; FLOW's weights into files."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..arrays import Array
from .files import FileError, as_finite, as_number, as_real, csv_lines, is_number, kind_of, npz_arrays, quoted

__all__ = ["ROWS", "WEIGHTS", "Table", "read_rows", "write_weights"]

ROWS = (".csv", ".parquet", ".npz")
WEIGHTS = (".npy", ".csv", ".parquet")
PANDAS_INDEX = "__index_level_"
"""Row labels that pandas writes beside the columns of a Parquet file: no features, unless asked for."""


@dataclass(frozen=True)
class Table:
    """Features X (n, d), their names, and the target y (n,)."""

    X: Array
    names: tuple[str, ...]
    y: Array


# ------------------------------------------------------------------------------------------------- the rows


def read_rows(path: Path, target: str, features: Sequence[str] | None = None) -> Table:
    """Rows from a .csv, .parquet or .npz file.

    ``features`` default to every column but the target (and pandas' row labels), in the order of the file. An
    .npz holds a matrix X, its columns then called x0, x1, …, and the target; or one vector a column.

    Raises
    ------
    FileError
        Naming the line and column, the column or the array that is at fault.
    """
    reader = {".csv": _csv_columns, ".parquet": _parquet_columns, ".npz": _npz_columns}[kind_of(path, ROWS)]
    names, columns = reader(path, lambda names: _chosen(path, names, target, features))
    y, *rest = columns
    if not len(y):
        raise FileError(path, "holds no rows")
    return Table(np.column_stack(rest), tuple(names[1:]), np.asarray(y, dtype=float))


def _chosen(path: Path, names: Sequence[str], target: str, features: Sequence[str] | None) -> list[str]:
    """The target, then the features, each of them a column of the file, once."""
    doubled = sorted({name for name in names if names.count(name) > 1})
    if doubled:
        raise FileError(path, f"has more than one column named {quoted(doubled)}")
    others = [name for name in names if name != target and not name.startswith(PANDAS_INDEX)]
    wanted = [target, *(others if features is None else features)]
    for k, name in enumerate(wanted):
        if name not in names:
            kind = "target" if k == 0 else "feature"
            near = difflib.get_close_matches(name, names, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"its columns are {quoted(names)}"
            raise FileError(path, f"has no column {name!r} ({kind}); {hint}")
        if name in wanted[:k]:
            raise FileError(path, f"{name!r} is asked for twice, as target or feature")
    if len(wanted) == 1:
        raise FileError(path, f"has no column beside the target {target!r}; it needs at least one feature")
    return wanted


# ------------------------------------------------------------------------------------------------------ CSV


def _csv_columns(path: Path, choose: Any) -> tuple[list[str], list[Array]]:
    """By pyarrow; where that finds anything but numbers, line by line to say where."""
    from pyarrow import ArrowInvalid, types
    from pyarrow import csv as arrow

    lines = csv_lines(path)
    line, header = next(lines, (0, []))
    if header and all(is_number(cell) for cell in header):
        raise FileError(path, f"line {line} holds numbers; the first line must name the columns")
    names = [name.strip() for name in header]
    wanted = choose(names)
    lines.close()
    reading = arrow.ReadOptions(column_names=names, skip_rows=line)
    convert = arrow.ConvertOptions(include_columns=wanted, null_values=[], strings_can_be_null=False)
    try:
        table = arrow.read_csv(path, read_options=reading, convert_options=convert)
    except (ArrowInvalid, UnicodeError) as error:
        _find_bad_line(path, names, wanted)
        raise FileError(path, " ".join(str(error).split())) from None
    plain = all(types.is_integer(kind) or types.is_floating(kind) for kind in table.schema.types)
    columns = [np.asarray(table.column(name), dtype=float) for name in wanted] if plain else []
    if not plain or not all(np.isfinite(column).all() for column in columns):
        _find_bad_line(path, names, wanted)
        # Numbers that Python reads and pyarrow does not, 1_000 say, are none for us either.
        raise FileError(path, f"a column of {quoted(wanted)} holds something other than plain numbers")
    return wanted, columns


def _find_bad_line(path: Path, names: Sequence[str], wanted: Sequence[str]) -> None:
    """Raise for the first line with too few or many cells, or with a cell that is no finite number."""
    places = [names.index(name) for name in wanted]
    lines = csv_lines(path)
    next(lines)
    for line, cells in lines:
        if len(cells) != len(names):
            raise FileError(path, f"line {line} has {len(cells)} cells, the header names {len(names)}")
        for place in places:
            as_number(path, f"line {line}, column {names[place]!r}", cells[place])


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
            raise FileError(path, f"column {name!r} has {column.null_count} nulls, the first in row {row}")
        columns.append(as_finite(path, f"column {name!r}", np.asarray(column).astype(float)))
    return wanted, columns


# ---------------------------------------------------------------------------------------------------- NumPy


def _npz_columns(path: Path, choose: Any) -> tuple[list[str], list[Array]]:
    arrays = npz_arrays(path)
    if "X" in arrays and arrays["X"].ndim == 2:
        X = arrays.pop("X")
        columns = {f"x{k}": X[:, k] for k in range(X.shape[1])}
        arrays = columns | {name: array for name, array in arrays.items() if array.ndim == 1}
        rows = X.shape[0]
    else:
        rows = None
    wanted = choose(list(arrays))
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
    if path.suffix == ".npy":
        np.save(path, weights)
    elif path.suffix == ".csv":
        path.write_text("weight\n" + "".join(f"{w!r}\n" for w in weights.tolist()), encoding="utf-8")
    else:
        import pyarrow
        from pyarrow import parquet

        parquet.write_table(pyarrow.table({"weight": weights}), path)
