"""Where rows come from: chunks of arrays, .npy and Parquet files that can be gone through again and again."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..arrays import Array, integer
from ..errors import InvalidTypeError, reject
from ..files import Unreadable, first_bytes, mapped, stamp
from ..reading import read, same_rows

__all__ = ["Chunks", "column_names", "from_arrays", "from_npy", "from_parquet", "numbers"]

CHUNK_ENTRIES = 4_000_000
"""Numbers in a chunk, unless ``rows`` says how many: 32 MB."""

UNNAMED_COLUMN = re.compile(r"\s*|Unnamed: \d+")
"""What pandas and R call the column of row numbers that they leave in a file."""


class Chunks:
    """Chunks of rows, made afresh by ``make()`` for every pass.

    A chunk is a pair (X, y) or a triple (X, y, weights) of arrays (b, d), (b,), (b,); b may differ.

    Examples
    --------
    >>> import numpy as np
    >>> import linear_theory as lt
    >>> source = lt.streaming.Chunks(lambda: ((np.full((2, 1), k), np.full(2, k)) for k in (1.0, 2.0)))
    >>> print(len(list(source)), len(list(source)))  # a generator would be empty the second time
    2 2
    """

    labelled: Any = None
    """What names the columns of X where the chunks do not: a data frame with these columns, perhaps without rows."""

    def __init__(self, make: Callable[[], Iterable[Sequence[Any]]]) -> None:
        self._make = make

    def __iter__(self) -> Iterator[Sequence[Any]]:
        chunks = self._make()
        if not isinstance(chunks, Iterable):
            raise InvalidTypeError(
                "source()", chunks, "must be an iterable of chunks (X, y) or (X, y, weights)"
            )
        return iter(chunks)


def as_path(name: str, value: object) -> Path:
    """``value`` as a path; not a number, which ``open`` would take for a file that is open already."""
    if not isinstance(value, str | os.PathLike):
        raise InvalidTypeError(name, value, "must be the path of a file")
    return Path(os.fspath(value))


def from_arrays(X: Array, y: Array, weights: Array | None = None, *, rows: int | None = None) -> Chunks:
    """Slices of ``rows`` rows of X (n, d), y (n,) and weights (n,): views, nothing is copied.

    Raises
    ------
    InvalidValueError, InvalidTypeError
        Where they do not have the same number of rows, or ``rows`` is no integer ≥ 1.

    Examples
    --------
    >>> import numpy as np
    >>> import linear_theory as lt
    >>> [len(y) for X, y in lt.streaming.from_arrays(np.ones((5, 1)), np.ones(5), rows=2)]
    [2, 2, 1]
    """
    arguments = {"X": X, "y": y} | ({} if weights is None else {"weights": weights})
    same_rows(**arguments)
    arrays = {name: np.asarray(read(name, value)) for name, value in arguments.items()}
    slices = _slices({name: array.shape for name, array in arrays.items()}, rows)
    chunks = Chunks(lambda: (tuple(array[part] for array in arrays.values()) for part in slices))
    chunks.labelled = X
    return chunks


def from_npy(
    X: str | Path, y: str | Path, weights: str | Path | None = None, *, rows: int | None = None
) -> Chunks:
    """The same from ``.npy`` files of these shapes, mapped slice by slice: never more than ``rows`` rows at once.

    Raises
    ------
    InvalidValueError, InvalidTypeError
        Where a file cannot be read as one array or changes afterwards, and as in :func:`from_arrays`.

    Examples
    --------
    >>> import numpy as np
    >>> import linear_theory as lt
    >>> np.save("X.npy", np.ones((5, 1)))
    >>> np.save("y.npy", np.arange(5.0))
    >>> source = lt.streaming.from_npy("X.npy", "y.npy", rows=2)
    >>> print(lt.streaming.solve(source, np.zeros(1)).theta.round(4))
    [2.]
    """
    arguments = {"X": X, "y": y} | ({} if weights is None else {"weights": weights})
    paths = {name: as_path(name, path) for name, path in arguments.items()}
    check_unchanged = unchanged(**paths)
    slices = _slices({name: _mapped(name, path).shape for name, path in paths.items()}, rows)

    def chunks() -> Iterator[tuple[Array, ...]]:
        for part in slices:
            check_unchanged()
            # Every slice is mapped anew, which lets go the pages of the one before.
            yield tuple(_mapped(name, path)[part] for name, path in paths.items())
        check_unchanged()

    return Chunks(chunks)


def _mapped(name: str, path: Path) -> Array:
    """The array in a .npy file, mapped; an error names the argument."""
    try:
        return mapped(path)
    except Unreadable as error:
        reject(name, str(path), str(error))


def unchanged(**paths: Path) -> Callable[[], None]:
    """A check that raises once a file is another than it is now: passes over other rows would mix two problems."""

    def stamps() -> dict[str, tuple[int, ...]]:
        stamped = {}
        for name, path in paths.items():
            try:
                stamped[name] = stamp(path)
            except Unreadable as error:
                reject(name, str(path), str(error))
        return stamped

    before = stamps()

    def check() -> None:
        for name, now in stamps().items():
            if now != before[name]:
                remedy = (
                    "has been written to since this source was made; make it anew once the file is complete"
                )
                reject(name, str(paths[name]), remedy)

    return check


def _slices(shapes: dict[str, tuple[int, ...]], rows: int | None) -> list[slice]:
    """The slices of ``rows`` rows, for arrays of these shapes, checked."""
    shape = shapes.pop("X")
    if len(shape) != 2:
        reject("X", shape, f"must have two axes, rows and columns, not shape {shape}")
    for name, other in shapes.items():
        if other != shape[:1]:
            reject(name, other, f"has shape {other}, must have {shape[:1]}: one entry a row of X")
    step = chunk_rows(rows, shape[1])
    return [slice(low, low + step) for low in range(0, shape[0], step)]


def chunk_rows(rows: int | None, width: int) -> int:
    """How many rows a chunk has: as many as asked for, or what makes a chunk of a handy size."""
    if rows is None:
        return max(1, CHUNK_ENTRIES // max(1, width))
    count = integer("rows", rows, "must be an integer ≥ 1: how many rows a chunk has")
    if count < 1:
        reject("rows", rows, "must be ≥ 1: how many rows a chunk has")
    return count


def features_of(names: Sequence[str], labels: Sequence[str]) -> list[str]:
    """All the names but the labels. A column without a name is refused, for mostly it numbers the rows."""
    features = [name for name in names if name not in labels]
    for name in features:
        if UNNAMED_COLUMN.fullmatch(name):
            remedy = "has no name of its own, as row numbers have none; name it, or choose the features"
            reject("column", name, remedy)
    return features


if TYPE_CHECKING:
    from pyarrow import Schema


READ_BYTES = 65_536
"""Bytes that are read at once of each column."""

ROW_LABELS = re.compile(r"__index_level_\d+__")


def from_parquet(
    path: str | Path,
    target: str,
    *,
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
    names, unlabelled = column_names(path)
    labels = [target] if weights is None else [target, weights]
    if features is None:
        features = features_of(unlabelled, labels)
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
        schema = file.schema_arrow
        _check_kinds(schema, columns)

    def chunks() -> Iterator[tuple[Array, ...]]:
        check_unchanged()
        for batch in numbers(path, columns, step):
            X = np.empty((len(batch[0]), len(features)))
            for j, column in enumerate(batch[: len(features)]):
                X[:, j] = column
            yield X, *batch[len(features) :]
        check_unchanged()

    source = Chunks(chunks)
    source.labelled = schema.empty_table().select(features)
    return source


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
