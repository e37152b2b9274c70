"""Where rows come from: chunks (X, y) or (X, y, weights) that can be gone through again and again."""

from __future__ import annotations

import operator
import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..arrays import Array
from ..errors import InvalidTypeError, reject
from ..files import Unreadable, mapped, stamp
from ..reading import read, same_rows

__all__ = ["Chunks", "from_arrays", "from_npy"]

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
    given = {"X": X, "y": y} | ({} if weights is None else {"weights": weights})
    paths = {name: as_path(name, path) for name, path in given.items()}
    check_unchanged = unchanged(**paths)
    bounds = _bounds({name: _mapped(name, path).shape for name, path in paths.items()}, rows)

    def slices(part: slice) -> tuple[Array, ...]:
        check_unchanged()
        # Mapped anew for every slice: the pages of the last one are let go.
        return tuple(_mapped(name, path)[part] for name, path in paths.items())

    return Chunks(lambda: (slices(part) for part in bounds))


def _mapped(name: str, path: Path) -> Array:
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


def _bounds(shapes: dict[str, tuple[int, ...]], rows: int | None) -> list[slice]:
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
    if rows is None:
        return max(1, CHUNK_ENTRIES // max(1, width))
    try:
        count = operator.index(rows)
    except TypeError:
        raise InvalidTypeError("rows", rows, "must be an integer ≥ 1: how many rows a chunk has") from None
    if count < 1:
        reject("rows", rows, "must be ≥ 1: how many rows a chunk has")
    return count


def features_of(names: Sequence[str], labels: Sequence[str]) -> list[str]:
    """All the names but the labels. One without a name is refused: mostly it numbers the rows."""
    others = [name for name in names if name not in labels]
    for name in others:
        if UNNAMED_COLUMN.fullmatch(name):
            reject(
                "column",
                name,
                "has no name of its own, as row numbers have none; name it, or choose the features",
            )
    return others
