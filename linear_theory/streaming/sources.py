"""Where rows come from: chunks (X, y) or (X, y, weights) that can be gone through again and again."""

from __future__ import annotations

import operator
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from ..arrays import Array, InvalidTypeError, reject
from ..reading import read
from ..tables import same_rows

__all__ = ["Chunks", "from_arrays", "from_npy", "from_parquet"]

ENTRIES = 4_000_000
"""Numbers in a chunk, unless told: 32 MB."""


READ = 65_536
"""Bytes that are read at once of each column of a Parquet file."""


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

    def __init__(self, make: Callable[[], Iterable[Sequence[Any]]]) -> None:
        self._make = make

    def __iter__(self) -> Iterator[Sequence[Any]]:
        found = self._make()
        if not isinstance(found, Iterable):
            raise InvalidTypeError(
                "source()", found, "must be an iterable of chunks (X, y) or (X, y, weights)"
            )
        return iter(found)


def as_path(name: str, value: object) -> Path:
    """``value`` as a path; not a number, which ``open`` would take for a file that is open already."""
    if not isinstance(value, str | os.PathLike):
        raise InvalidTypeError(name, value, "must be the path of a file")
    return Path(os.fspath(value))


def from_arrays(X: Array, y: Array, weights: Array | None = None, rows: int | None = None) -> Chunks:
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
    given = {"X": X, "y": y} | ({} if weights is None else {"weights": weights})
    same_rows(**given)
    given = {name: np.asarray(read(name, value)) for name, value in given.items()}
    bounds = _bounds({name: array.shape for name, array in given.items()}, rows)
    return Chunks(lambda: (tuple(array[part] for array in given.values()) for part in bounds))


def from_npy(
    X: str | Path, y: str | Path, weights: str | Path | None = None, rows: int | None = None
) -> Chunks:
    """The same from ``.npy`` files of these shapes, mapped slice by slice: never more than ``rows`` rows at once.

    Raises
    ------
    InvalidValueError, InvalidTypeError
        Where a file cannot be read as one array, and as in :func:`from_arrays`.

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
    given = {"X": X, "y": y} | ({} if weights is None else {"weights": weights})
    paths = {name: as_path(name, path) for name, path in given.items()}
    bounds = _bounds({name: _mapped(name, path).shape for name, path in paths.items()}, rows)
    # Mapped anew for every slice: the pages of the last one are let go.
    slices = lambda part: tuple(_mapped(name, path)[part] for name, path in paths.items())
    return Chunks(lambda: (slices(part) for part in bounds))


def _mapped(name: str, path: Path) -> Array:
    try:
        found = np.load(path, mmap_mode="r")
    except OSError as error:
        reject(name, str(path), f"cannot be read: {error.strerror or error}")
    except (ValueError, EOFError) as error:
        reject(name, str(path), f"is no .npy file of numbers: {error}")
    if not isinstance(found, np.ndarray):
        found.close()
        reject(name, str(path), "holds several arrays; save each as an .npy file of its own")
    return found


def _bounds(shapes: dict[str, tuple[int, ...]], rows: int | None) -> list[slice]:
    """The slices of ``rows`` rows, for arrays of these shapes, checked."""
    shape = shapes.pop("X")
    if len(shape) != 2:
        reject("X", shape, f"must have two axes, rows and columns, not shape {shape}")
    for name, other in shapes.items():
        if other != shape[:1]:
            reject(name, other, f"has shape {other}, must have {shape[:1]}: one entry a row of X")
    step = _chunk_rows(rows, shape[1])
    return [slice(low, low + step) for low in range(0, shape[0], step)]


def _chunk_rows(rows: int | None, width: int) -> int:
    if rows is None:
        return max(1, ENTRIES // max(1, width))
    try:
        count = operator.index(rows)
    except TypeError:
        raise InvalidTypeError("rows", rows, "must be an integer ≥ 1: how many rows a chunk has") from None
    if count < 1:
        reject("rows", rows, "must be ≥ 1: how many rows a chunk has")
    return count


def from_parquet(
    path: str | Path,
    target: str,
    features: Sequence[str] | None = None,
    weights: str | None = None,
    rows: int | None = None,
) -> Chunks:
    """From columns of a Parquet file, read a batch at a time (pyarrow; extra ``[cli]``).

    ``target`` names y and ``weights``, if given, the weights; ``features`` the columns of X in their order,
    ``None`` for all others in the order of the file. Memory: a batch, and of every column a page and 64 kB,
    however large the file and its row groups.

    Raises
    ------
    InvalidValueError, InvalidTypeError
        Naming the column that is missing, there twice, not of numbers, or holds a null (with its row); or the
        file that is damaged, if need be in the middle of a pass.

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
    import pyarrow.parquet as parquet
    from pyarrow import ArrowException

    path = as_path("path", path)

    @contextmanager
    def opened() -> Iterator[parquet.ParquetFile]:
        try:
            # As it comes pyarrow reads ahead, and keeps what it has read: at the end the whole file.
            with parquet.ParquetFile(path, pre_buffer=False, buffer_size=READ) as file:
                yield file
        except OSError as error:  # also of pages that do not decompress
            reject("path", str(path), f"cannot be read: {error.strerror or error}")
        except ArrowException as error:
            reject("path", str(path), f"is no Parquet file: {error}")

    with opened() as file:
        schema = file.schema_arrow
    labels = [target] if weights is None else [target, weights]
    if features is None:
        features = [name for name in schema.names if name not in labels]
    elif isinstance(features, str):
        raise InvalidTypeError("features", features, "must be a list of column names")
    features = list(features)
    columns = [*features, *labels]
    _check_columns(schema, columns)
    step = _chunk_rows(rows, len(features))

    def chunks() -> Iterator[tuple[Array, ...]]:
        first = 0
        with opened() as file:
            for batch in file.iter_batches(step, columns=columns):
                yield _numbers(batch, features, labels, first)
                first += batch.num_rows

    return Chunks(chunks)


def _check_columns(schema: Any, columns: list[str]) -> None:
    from pyarrow import types

    for name in columns:
        if not isinstance(name, str):
            raise InvalidTypeError("column", name, "must be the name of a column")
    if len(columns) == 1 or len(set(columns)) < len(columns):
        reject("features", columns, "must be at least one column, each named once, target and weights apart")
    for name in columns:
        found = schema.get_all_field_indices(name)
        if len(found) != 1:
            many = "is there more than once" if found else f"is not among its columns: {schema.names}"
            reject("column", name, f"{many}; name another, or rename it")
        kind = schema.field(name).type
        if not (types.is_integer(kind) or types.is_floating(kind)):
            remedy = f"holds {kind}, not integers or floats; cast it, or leave it out of features"
            raise InvalidTypeError("column", name, remedy)


def _numbers(batch: Any, features: list[str], labels: list[str], first: int) -> tuple[Array, ...]:
    def column(name: str) -> Array:
        found = batch.column(name)
        if found.null_count:
            row = first + int(np.argmax(found.is_null().to_numpy(zero_copy_only=False)))
            reject("column", name, f"holds a null in row {row} (from 0); fill it, or drop the row")
        return found.to_numpy(zero_copy_only=False)

    X = np.empty((batch.num_rows, len(features)))
    for j, name in enumerate(features):
        X[:, j] = column(name)
    return X, *(column(name).astype(float) for name in labels)
