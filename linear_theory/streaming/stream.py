"""Passes over chunks of rows: every chunk is checked once a pass, and an error names the row that is at fault."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np

from ..arrays import Array, Namespace, finite, namespace, numeric, shaped
from ..errors import InvalidTypeError, InvalidValueError, reject
from ..least_squares.rows import Sample, checked_scale, largest_entries, mostly_rounding, without_rounding
from ..reading import same_labels, same_rows
from .sources import Chunks

Source = Iterable[Sequence[Any]] | Callable[[], Iterable[Sequence[Any]]]

GATHERED_ENTRIES = 1_000_000
"""Numbers (8 MB) up to which smaller chunks are gathered, so that each sum over rows is worth its overhead."""


CHECKED = {"X": "rows of X", "y": "labels", "weights": "weights"}
"""What every pass must give again, in words."""


def checksum(values: Array | None) -> int:
    """The sum of the bits of floats modulo 2⁶⁴, which tells other numbers and does not see their order."""
    return 0 if values is None else int(values.view(np.uint64).sum())


class Part(NamedTuple):
    """Checked rows of one chunk or of several small ones, the number of the first, and of each chunk its first row.

    All are counted from 0.
    """

    sample: Sample
    first: int
    chunks: list[tuple[int, int]]

    def without_rounding(self, columns: Columns) -> Part:
        """The same rows, in which columns that are only rounding are zero."""
        X, noise = columns.without_rounding(self.sample.X)
        rows = self.sample
        return self._replace(sample=Sample(X, rows.y, rows.start, rows.weights, noise))

    def refuse_infinite(self) -> None:
        """Raise for the first row of X that is not finite, if there is one."""
        _refuse("X", np.isfinite(self.sample.X), self.sample.X, self.place, "must be finite")

    def place(self, row: int) -> str:
        """Where the row of this part is, in words."""
        at = self.first + row
        number, start = next(chunk for chunk in reversed(self.chunks) if chunk[1] <= at)
        return f"row {at} (row {at - start} of chunk {number}, all from 0)"


def _refuse(name: str, valid: Array, values: Array, place: Callable[[int], str], remedy: str) -> None:
    """Raise for the first entry that is not valid, if there is one, and say where it is."""
    if not valid.all():
        row, *column = (int(index) for index in np.argwhere(~valid)[0])
        where = f"{place(row)}, column {column[0]}" if column else place(row)
        reject(name, values[(row, *column)], f"{remedy}: {where}")


class Columns(NamedTuple):
    """The magnitude that each column was made from (d,), and its largest entry in n rows: which are only rounding."""

    scale: Array
    largest: Array
    n: int

    def without_rounding(self, X: Array) -> tuple[Array, Array]:
        """Some of the rows, columns that are only rounding set to zero, and the noise of the others."""
        return without_rounding(_NUMPY, X, self.scale, self.largest, self.n)

    @property
    def noise(self) -> Array:
        """The scale of the columns that are more than rounding, 0 for the others."""
        return self.without_rounding(self.largest[None])[1]

    @property
    def visible(self) -> bool:
        """Whether sums can show every column: none is zeros, and none so small that combinations may be rounding."""
        largest, noise = self.without_rounding(self.largest[None])
        return bool(largest.all()) and not mostly_rounding(noise, self.largest)


class Stream:
    """A source seen from a start (d,), as often as it can be gone through; counts its passes and rows.

    With a ``column_scale`` (d,) a pass of its own comes first, for the columns' largest entries.
    """

    def __init__(self, source: Source, start: Array, column_scale: Array | None = None) -> None:
        self.columns: Columns | None = None
        self.labelled = {"start": (start, 0), "column_scale": (column_scale, 0)}
        self.check_labels(source.labelled if isinstance(source, Chunks) else None)
        # Contiguous: an inner product with every other number of an array rounds otherwise.
        self.start = np.ascontiguousarray(finite(_NUMPY, "start", start, ndim=1))
        if self.start.size == 0:
            reject("start", start, "must have at least one entry, one a column of X")
        if not isinstance(source, Iterable):
            if not callable(source):
                remedy = (
                    "must be an iterable of chunks (X, y) or (X, y, weights), or a function that returns one"
                )
                raise InvalidTypeError("source", source, remedy)
            source = Chunks(source)
        self.source = source
        self.once = isinstance(source, Iterator)
        self.passes, self.rows = 0, 0
        self.checksums = dict.fromkeys(CHECKED, 0)
        if column_scale is not None:
            scale = checked_scale(_NUMPY, column_scale, len(self.start))
            self.need_passes("column_scale takes a pass of its own")
            largest = [largest_entries(_NUMPY, part.sample.X) for part in self]
            self.columns = Columns(scale, np.max(largest, axis=0), self.rows)

    def check_labels(self, X: Any) -> None:
        """Refuse a start or a ``column_scale`` under other labels than the columns of X, if these have any."""
        same_labels("parameters", **self.labelled, X=(X, 1))

    def need_passes(self, purpose: str) -> None:
        """Raise for a source that can be gone through only once, before anything of it is lost."""
        if self.once:
            remedy = (
                f"can be gone through only once, and {purpose}; pass a function that returns a fresh iterator"
            )
            raise InvalidTypeError("source", self.source, remedy)

    def __iter__(self) -> Iterator[Part]:
        rows, checksums = 0, dict.fromkeys(CHECKED, 0)
        for part in _gathered(self._checked()):
            rows += len(part.sample.X)
            for name in () if self.once else CHECKED:
                checksums[name] = (checksums[name] + checksum(getattr(part.sample, name))) % 2**64
            yield part if self.columns is None else part.without_rounding(self.columns)
        if rows == 0:
            remedy = "was empty the second time; return a fresh iterator" if self.passes else "has no rows"
            reject("source", self.source, remedy)
        if self.passes and rows != self.rows:
            remedy = (
                f"gave {rows} rows in pass {self.passes + 1}, {self.rows} before; it must give the same again"
            )
            reject("source", self.source, remedy)
        changed = [words for name, words in CHECKED.items() if checksums[name] != self.checksums[name]]
        if self.passes and changed:
            remedy = "than in the pass before; it must give the same again, from a fixed seed"
            reject("source", self.source, f"gave other {changed[0]} {remedy}")
        self.passes, self.rows, self.checksums = self.passes + 1, rows, checksums

    def _checked(self) -> Iterator[Part]:
        """The chunks with rows, each checked."""
        first, weighted = 0, None
        for number, chunk in enumerate(self.source):
            X, y, weights = self._arrays(chunk, number)
            with _errors_name_chunk(number, first):
                sample = self._sample(X, y, weights)
            if weighted not in (None, weights is not None):
                reject(
                    "weights",
                    weights,
                    f"chunk {number} and the ones before differ: weights in all, or in none",
                )
            weighted = weights is not None
            part = Part(sample, first, [(number, first)])
            _refuse("y", np.isfinite(sample.y), sample.y, part.place, "must be finite")
            if sample.weights is not None:
                valid = (sample.weights >= 0) & (sample.weights < np.inf)
                _refuse("weights", valid, sample.weights, part.place, "must be finite and ≥ 0")
            first += len(sample.y)
            if len(sample.y):
                yield part

    @staticmethod
    def _arrays(chunk: Any, number: int) -> tuple[Any, Any, Any]:
        """X, y, and weights or None, as they are in the chunk."""
        remedy = f"chunk {number} must be a tuple (X, y) or (X, y, weights)"
        if not isinstance(chunk, tuple | list):
            raise InvalidTypeError("source", chunk, remedy)
        if len(chunk) not in (2, 3):
            reject("source", chunk, f"{remedy}, not {len(chunk)} things")
        X, y, weights = (*chunk, None)[:3]
        return X, y, weights

    def _sample(self, X: Any, y: Any, weights: Any) -> Sample:
        """The chunk with its shapes checked, in NumPy; its values are looked at later."""
        space, d = _NUMPY, len(self.start)
        same_rows(X=X, y=y, weights=weights)
        self.check_labels(X)
        matrix = numeric(space, "X", X, ndim=2)
        if matrix.shape[1] != d:
            reject("X", matrix, f"has {matrix.shape[1]} columns, start has {d} entries")
        size = matrix.shape[:1]
        labels = shaped("y", numeric(space, "y", y, ndim=1), size, "one entry a row of X")
        if weights is not None:
            weights = shaped("weights", numeric(space, "weights", weights, ndim=1), size, "one a row of X")
        return Sample(matrix, labels, self.start, weights)


_NUMPY: Namespace = namespace()


@contextmanager
def _errors_name_chunk(number: int, first: int) -> Iterator[None]:
    """Errors inside name the chunk too."""
    try:
        yield
    except (InvalidValueError, InvalidTypeError) as error:
        remedy = f"{error.remedy} (chunk {number}, from row {first})"
        raise type(error)(error.argument, error.value, remedy) from None


def _gathered(parts: Iterator[Part]) -> Iterator[Part]:
    """The same rows in their order, small chunks copied together and large ones as they are.

    A part must not be used once the next is asked for: sources may fill the same memory again.
    """
    buffers: tuple[Array, ...] = ()
    chunks: list[tuple[int, int]] = []
    size = 0

    def gathered() -> Part:
        X, y, *weights = (buffer[:size] for buffer in buffers)
        return Part(Sample(X, y, start, weights[0] if weights else None), chunks[0][1], chunks)

    for part in parts:
        X, y, weights, start = part.sample.X, part.sample.y, part.sample.weights, part.sample.start
        most = GATHERED_ENTRIES // len(start)
        large = 2 * len(X) > most
        if size and (large or size + len(X) > most):
            yield gathered()
            chunks, size = [], 0
        if large:
            yield part
            continue
        columns = (X, y) if weights is None else (X, y, weights)
        buffers = buffers or tuple(np.empty((most, *column.shape[1:])) for column in columns)
        for buffer, column in zip(buffers, columns, strict=True):
            buffer[size : size + len(X)] = column
        chunks.extend(part.chunks)
        size += len(X)
    if size:
        yield gathered()
