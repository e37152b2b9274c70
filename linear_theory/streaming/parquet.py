"""Columns of numbers from Parquet files, a batch at a time: the one reader, of chunks and of whole tables."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..arrays import Array
from ..errors import InvalidTypeError, reject
from ..files import Unreadable, first_bytes
from .sources import Chunks, as_path, chunk_rows, features_of, unchanged

if TYPE_CHECKING:
    from pyarrow import Schema

__all__ = ["column_names", "from_parquet", "numbers"]

READ_BYTES = 65_536
"""Bytes that are read at once of each column."""

ROW_LABELS = re.compile(r"__index_level_\d+__")


def from_parquet(
    path: str | Path,
    target: str,
    features: Sequence[str] | None = None,
    weights: str | None = None,
    rows: int | None = None,
) -> Chunks:
    """From columns of a Parquet file, read a batch at a time (pyarrow; extra ``[cli]``).

    ``target`` names y and ``weights``, if given, the weights; ``features`` the columns of X in their order,
    ``None`` for all others in the order of the file, without the row labels (index) that pandas marks as
    such. Memory: a batch, and of every column a page and 64 kB, however large the file and its row groups.

    Raises
    ------
    InvalidValueError, InvalidTypeError
        Naming the column that is missing, there twice, without a name, not of numbers, or holds a null (with
        its row); or the file that is damaged, if need be in the middle of a pass, or is another than it was.

    Examples
    --------
    >>> import pyarrow
    >>> import pyarrow.parquet
    >>> import linear_theory as lt
    >>> table = pyarrow.table({"dose": [1.0, 2.0, 4.0], "response": [2.0, 4.0, 8.0]})
    >>> pyarrow.parquet.write_table(table, "trial.parquet")
    >>> source = lt.streaming.from_parquet("trial.parquet", target="response")
    >>> print(lt.streaming.solve(source, [0.0]).theta.round(4))
    [2.]
    """
    path = as_path("path", path)
    names, own = column_names(path)
    labels = [target] if weights is None else [target, weights]
    if features is None:
        features = features_of(own, labels)
    elif isinstance(features, str):
        raise InvalidTypeError("features", features, "must be a list of column names")
    features = list(features)
    columns = [*features, *labels]
    for name in columns:
        if not isinstance(name, str):
            raise InvalidTypeError("column", name, "must be the name of a column")
    if len(columns) == len(labels) or len(set(columns)) < len(columns):
        reject("features", columns, "must be at least one column, each named once, target and weights apart")
    for name in columns:
        if names.count(name) != 1:
            many = "is there more than once" if name in names else f"is not among its columns: {names}"
            reject("column", name, f"{many}; name another, or rename it")
    step, check_unchanged = chunk_rows(rows, len(features)), unchanged(path=path)
    with _opened(path) as file:
        _check_kinds(file.schema_arrow, columns)

    def chunks() -> Iterator[tuple[Array, ...]]:
        check_unchanged()
        for batch in numbers(path, columns, step):
            X = np.empty((len(batch[0]), len(features)))
            for j, column in enumerate(batch[: len(features)]):
                X[:, j] = column
            yield X, *batch[len(features) :]
        check_unchanged()

    return Chunks(chunks)


def column_names(path: Path) -> tuple[list[str], list[str]]:
    """The names of all columns, and of those that are no row labels (an index) of pandas'."""
    with _opened(path) as file:
        schema = file.schema_arrow
    labels = _row_labels(schema)
    return schema.names, [n for n in schema.names if n not in labels and not ROW_LABELS.fullmatch(n)]


def _row_labels(schema: Schema) -> list[Any]:
    """The columns that pandas, if it wrote the file, marks as its index."""
    try:
        marked = (schema.pandas_metadata or {})["index_columns"]
    except (KeyError, TypeError, ValueError):  # no index, or a note that is no JSON of pandas'
        return []
    return marked if isinstance(marked, list) else []


def numbers(path: Path, columns: Sequence[str], rows: int) -> Iterator[list[Array]]:
    """Those columns, as float64, of at most so many rows at once."""
    first = 0
    with _opened(path) as file:
        _check_kinds(file.schema_arrow, columns)
        for batch in file.iter_batches(rows, columns=list(columns)):
            yield [_floats(batch.column(name), name, first) for name in columns]
            first += batch.num_rows


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    import pyarrow.parquet as parquet
    from pyarrow import ArrowException

    try:
        first_bytes(path)
        # As it comes pyarrow reads ahead, and keeps what it has read: at the end the whole file.
        with parquet.ParquetFile(path, pre_buffer=False, buffer_size=READ_BYTES) as file:
            yield file
    except Unreadable as error:
        reject("path", str(path), str(error))
    except OSError as error:  # also of pages that do not decompress
        reject("path", str(path), f"cannot be read: {error.strerror or error}")
    except ArrowException as error:
        reject("path", str(path), f"is no Parquet file, or a damaged one: {error}")


def _check_kinds(schema: Schema, columns: Sequence[str]) -> None:
    from pyarrow import types

    for name in columns:
        kind = schema.field(name).type
        if not (types.is_integer(kind) or types.is_floating(kind) or types.is_decimal(kind)):
            raise InvalidTypeError(
                "column", name, f"holds {kind}, not numbers; cast it, or choose other features"
            )


def _floats(column: Any, name: str, first: int) -> Array:
    if column.null_count:
        row = first + int(np.argmax(column.is_null().to_numpy(zero_copy_only=False)))
        reject("column", name, f"holds a null in row {row} (from 0); fill it, or drop the row")
    return column.to_numpy(zero_copy_only=False).astype(float, copy=False)
