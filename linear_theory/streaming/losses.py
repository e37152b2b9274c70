"""Losses of streamed rows under the pre-trained model, and their exact median in bounded memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np

from ..arrays import Array
from ..errors import reject
from ..least_squares.blocks import blocks, over_strips
from ..threads import shared_thread_pool
from .sources import as_path
from .stream import Part, Source, Stream, bits_of

__all__ = ["MedianLoss", "losses", "median_loss"]

DIGIT = 16
"""Bits of a loss that one pass finds: counts of 2¹⁶ values take half a megabyte."""

ROOM = 1_000_000
"""Losses (8 MB) that are kept and sorted, once no more are left to choose from."""

WIDTH = 8192
"""Columns of one inner product: from 10 000 on BLAS would divide it among threads, if it has any at hand."""


def losses(source: Source, start: Array) -> Iterator[Array]:
    """(yᵢ − ⟨xᵢ, start⟩)², a vector for every chunk (small ones are gathered): section 4's fᵢ(θ*), one pass.

    To the last bit the same however the rows are cut into chunks.

    Raises
    ------
    InvalidValueError, InvalidTypeError
        For a bad chunk, row or start (named), no rows, or a loss that overflows.

    Examples
    --------
    >>> import numpy as np
    >>> import linear_theory as lt
    >>> chunks = lt.streaming.from_arrays(np.ones((4, 1)), np.array([1.0, 2.0, 3.0, 6.0]), rows=2)
    >>> print(np.concatenate(list(lt.streaming.losses(chunks, np.ones(1)))))
    [ 0.  1.  4. 25.]
    """
    for part in Stream(source, start):
        yield part_losses(part)


def part_losses(part: Part) -> Array:
    """The losses (b,) of checked rows; raises where they are not finite."""
    X, y, start = part.sample.X, part.sample.y, part.sample.start
    found = np.empty(len(y))

    def fill(strip: slice, block: int) -> None:
        for rows in blocks(strip, block):
            # One inner product a row, each on its own: a matrix product would round by a row's neighbours.
            residual, block_rows = y[rows], np.ascontiguousarray(X[rows])
            for low in range(0, len(start), WIDTH):
                columns = slice(low, low + WIDTH)
                residual = residual - np.vecdot(block_rows[:, columns], start[columns])
            np.square(residual, out=found[rows])

    with np.errstate(over="ignore", invalid="ignore"):  # looked for below
        for _ in over_strips(fill, *X.shape, work=6.0 * X.size):
            pass
    if not np.isfinite(found).all():
        part.refuse_infinite()
        row = int(np.argmin(np.isfinite(found)))
        reject("loss", found[row], f"overflows at {part.place(row)}; rescale y, or start nearer")
    return found


class MedianLoss(NamedTuple):
    """The median of ``rows`` losses, in the units of the loss, and how many passes over the source it took.

    Examples
    --------
    >>> import linear_theory as lt
    >>> chunks = [([[1.0], [1.0]], [1.0, 2.0]), ([[1.0]], [3.0])]
    >>> lt.streaming.median_loss(chunks, [0.0])
    MedianLoss(value=4.0, rows=3, passes=2)
    """

    value: float
    rows: int
    passes: int


def median_loss(source: Source, start: Array, column: str | Path | None = None) -> MedianLoss:
    """The exact median of (yᵢ − ⟨xᵢ, start⟩)², the paper's default temperature (section 4), in flat memory.

    ``numpy.median`` of all :func:`losses`, to the last bit (for an even number the mean of the middle two).
    Weights in the source play no part.

    Parameters
    ----------
    source : chunks, as everywhere in this module
        Gone through up to 4 times: a loss ≥ 0 is ordered as its 64 bits are, and each pass finds 16 of them
        by counting, until the million nearest (or fewer) can be sorted.
    start : (d,) array
    column : path of a new file, optional
        One pass then, also over what can be gone through only once: the losses are written to this
        ``.npy`` file, 8 bytes a row, and chosen from there. It is left for you.

    Raises
    ------
    InvalidValueError, InvalidTypeError
        For bad rows (named), a source without the passes it takes, one that changes between them, a column
        that exists already, or a median of 0: then no weight can be scaled by it.

    Examples
    --------
    >>> import numpy as np
    >>> import linear_theory as lt
    >>> chunks = lt.streaming.from_arrays(np.ones((4, 1)), np.array([1.0, 2.0, 3.0, 6.0]), rows=2)
    >>> print(lt.streaming.median_loss(chunks, np.zeros(1)).value, np.median([1.0, 4.0, 9.0, 36.0]))
    6.5 6.5
    """
    stream = Stream(source, start)
    with shared_thread_pool():
        if column is None:
            stream.need_passes("a median without a column on disk takes up to 4 passes")
            value = _median(lambda: map(part_losses, stream), lambda: stream.rows, source)
        else:
            column = as_path("column", column)
            with _new_file(column) as file:
                _write_column(file, map(part_losses, stream))
            rows = stream.rows
            # Mapped anew for every slice: the pages of the last one are let go.
            slices = lambda low: np.load(column, mmap_mode="r")[low : low + ROOM]
            value = _median(lambda: map(slices, range(0, rows, ROOM)), lambda: rows, column)
    if value == 0:
        remedy = "the pre-trained model already fits half of the samples exactly; pass a temperature > 0 of your own"
        reject("median of losses", value, f"{remedy}, for instance the mean loss")
    return MedianLoss(value, stream.rows, stream.passes)


def _median(make: Callable[[], Iterable[Array]], rows: Callable[[], int], source: object) -> float:
    """Of the values ≥ 0 in the arrays that ``make()`` gives, the same each time; ``rows()`` after the first."""
    make = _unchanged(make, source)
    counts = _counts(make(), {0: 64})
    n = rows()
    wanted = [_Rank(0, 64, (n - 1) // 2), _Rank(0, 64, n // 2)]
    while True:
        wanted = [rank.within(counts[rank.prefix]) for rank in wanted]
        open_bits = wanted[0].bits
        if open_bits == 0:
            low, high = (np.uint64(rank.prefix).view(np.float64) for rank in wanted)
            break
        left = {rank.prefix: rank.candidates for rank in wanted}
        if sum(left.values()) <= ROOM:
            kept = {prefix: np.sort(values) for prefix, values in _kept(make(), left, open_bits).items()}
            low, high = (kept[rank.prefix][rank.rank] for rank in wanted)
            break
        counts = _counts(make(), dict.fromkeys(left, open_bits))
    with np.errstate(over="ignore"):
        middle = (low + high) / 2
    return float(middle if np.isfinite(middle) else low / 2 + high / 2)


def _unchanged(make: Callable[[], Iterable[Array]], source: object) -> Callable[[], Iterator[Array]]:
    """``make``, raising at the end of a pass whose losses, in whatever order, are not those of the first."""
    seen: set[int] = set()

    def arrays() -> Iterator[Array]:
        total = 0
        for values in make():
            total += bits_of(values)
            yield values
        seen.add(total % 2**64)
        if len(seen) > 1:
            remedy = (
                "gave other losses than in the pass before; it must give the same again, from a fixed seed"
            )
            reject("source", source, remedy)

    return arrays


class _Rank(NamedTuple):
    """The ``rank``-th smallest (from 0) of the ``candidates`` values whose leading bits are ``prefix``; ``bits``
    are open.
    """

    prefix: int
    bits: int
    rank: int
    candidates: int = 0

    def within(self, counts: Array) -> _Rank:
        """One digit further, from how often each value of it occurs."""
        up_to = np.cumsum(counts)
        digit = int(np.searchsorted(up_to, self.rank, side="right"))
        below = int(up_to[digit] - counts[digit])
        return _Rank((self.prefix << DIGIT) | digit, self.bits - DIGIT, self.rank - below, int(counts[digit]))


def _of_prefix(values: Array, prefix: int, bits: int) -> Array:
    """The bits of those values whose leading 64 − ``bits`` are ``prefix``."""
    whole = values.view(np.uint64)
    return whole if bits == 64 else whole[whole >> np.uint64(bits) == np.uint64(prefix)]


def _counts(arrays: Iterable[Array], prefixes: dict[int, int]) -> dict[int, Array]:
    """For each prefix how often each value of its next digit occurs."""
    counts = {prefix: np.zeros(1 << DIGIT, dtype=np.int64) for prefix in prefixes}
    for values in arrays:
        for prefix, bits in prefixes.items():
            digits = (_of_prefix(values, prefix, bits) >> np.uint64(bits - DIGIT)) & np.uint64(
                (1 << DIGIT) - 1
            )
            counts[prefix] += np.bincount(digits.astype(np.int64), minlength=1 << DIGIT)
    return counts


def _kept(arrays: Iterable[Array], prefixes: Iterable[int], bits: int) -> dict[int, Array]:
    """The values of each prefix."""
    parts: dict[int, list[Array]] = {prefix: [] for prefix in prefixes}
    for values in arrays:
        for prefix, found in parts.items():
            found.append(_of_prefix(values, prefix, bits).view(np.float64))
    return {prefix: np.concatenate(found) for prefix, found in parts.items()}


@contextmanager
def _new_file(path: Path) -> Iterator[BinaryIO]:
    """A file that was not there; gone again if its writing fails."""
    try:
        file = open(path, "xb")  # noqa: SIM115
    except OSError as error:
        reject("column", str(path), f"cannot be written: {error.strerror or error}; name a new file")
    try:
        with file:
            yield file
    except BaseException:
        path.unlink(missing_ok=True)
        raise


def _write_column(file: BinaryIO, arrays: Iterable[Array]) -> None:
    """A .npy vector of unknown length: NumPy leaves room for it in the header."""
    rows = 0
    header = lambda n: {"descr": "<f8", "fortran_order": False, "shape": (n,)}
    np.lib.format.write_array_header_1_0(file, header(0))
    for values in arrays:
        file.write(values.astype("<f8", copy=False).tobytes())
        rows += len(values)
    file.seek(0)
    np.lib.format.write_array_header_1_0(file, header(rows))
