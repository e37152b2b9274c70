"""Losses of streamed rows under the pre-trained model, and their exact median in bounded memory."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, NamedTuple

import numpy as np

from ..arrays import Array
from ..errors import reject
from ..least_squares.blocks import blocks, over_strips
from ..threads import shared_thread_pool
from .sources import as_path
from .stream import Part, Source, Stream

__all__ = ["MedianLoss", "losses", "median_loss"]

MAX_PRODUCT_COLUMNS = 8192
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
    values = np.empty(len(y))

    def fill(strip: slice, block: int) -> None:
        for rows in blocks(strip, block):
            # One inner product a row, each on its own: a matrix product would round by a row's neighbours.
            residual, block_rows = y[rows], np.ascontiguousarray(X[rows])
            for low in range(0, len(start), MAX_PRODUCT_COLUMNS):
                columns = slice(low, low + MAX_PRODUCT_COLUMNS)
                residual = residual - np.vecdot(block_rows[:, columns], start[columns])
            np.square(residual, out=values[rows])

    with np.errstate(over="ignore", invalid="ignore"):  # Overflow is looked for in the losses.
        for _ in over_strips(fill, *X.shape, work=6.0 * X.size):
            pass
    if not np.isfinite(values).all():
        part.refuse_infinite()
        row = int(np.argmin(np.isfinite(values)))
        reject("loss", values[row], f"overflows at {part.place(row)}; rescale y, or start nearer")
    return values


class MedianLoss(NamedTuple):
    """The median of ``rows`` losses, in the units of the loss, and how many passes over the source it took.

    Examples
    --------
    >>> import linear_theory as lt
    >>> chunks = [([[1.0], [1.0]], [1.0, 2.0]), ([[1.0]], [3.0])]
    >>> lt.streaming.median_loss(chunks, [0.0])
    MedianLoss(value=4.0, rows=3, passes=1)
    """

    value: float
    rows: int
    passes: int


def median_loss(source: Source, start: Array, *, column: str | Path | None = None) -> MedianLoss:
    """The exact median of (yᵢ − ⟨xᵢ, start⟩)², the paper's default temperature (section 4), in flat memory.

    ``numpy.median`` of all :func:`losses`, to the last bit (for an even number the mean of the middle two), in one
    pass, also over what can be gone through only once. Weights in the source play no part.

    Parameters
    ----------
    source : chunks, as everywhere in this module
        The losses go to a temporary file, 8 bytes a row (in the directory that ``TMPDIR`` names), which is then
        partitioned in place.
    start : (d,) array
    column : path of a new file, optional
        The losses in the order of the rows as a ``.npy`` file, 8 bytes a row, left for you.

    Raises
    ------
    InvalidValueError, InvalidTypeError
        For bad rows (named), a column that exists already, or a median of 0: then no weight can be scaled by it.

    Examples
    --------
    >>> import numpy as np
    >>> import linear_theory as lt
    >>> chunks = lt.streaming.from_arrays(np.ones((4, 1)), np.array([1.0, 2.0, 3.0, 6.0]), rows=2)
    >>> print(lt.streaming.median_loss(chunks, np.zeros(1)).value, np.median([1.0, 4.0, 9.0, 36.0]))
    6.5 6.5
    """
    stream = Stream(source, start)
    with shared_thread_pool(), TemporaryFile() as file:
        parts = map(part_losses, stream)
        if column is None:
            _write(file, parts)
        else:
            with _new_file(as_path("column", column)) as column_file:
                _write_column(column_file, file, parts)
        value = _median(file, stream.rows)
    if value == 0:
        remedy = "the pre-trained model already fits half of the samples exactly; pass a temperature > 0 of your own"
        reject("median of losses", value, f"{remedy}, for instance the mean loss")
    return MedianLoss(value, stream.rows, stream.passes)


def _median(file: IO[bytes], rows: int) -> float:
    """The median of the numbers in a file, which are partitioned there: memory holds what the system has room for."""
    values, middle = np.memmap(file, dtype=float, mode="r+", shape=(rows,)), rows // 2
    values.partition(middle)
    upper = float(values[middle])
    lower = upper if rows % 2 else float(values[:middle].max())
    mean = (lower + upper) / 2
    return mean if mean < math.inf else lower / 2 + upper / 2


def _write(file: IO[bytes], arrays: Iterable[Array]) -> None:
    """The numbers one after another, and nothing else."""
    for values in arrays:
        file.write(values.tobytes())
    file.flush()


@contextmanager
def _new_file(path: Path) -> Iterator[IO[bytes]]:
    """A file that was not there; gone again if its writing fails."""
    try:
        file = open(path, "xb")  # noqa: SIM115
    except (OSError, ValueError) as error:  # ValueError: its name holds a NUL.
        reason = getattr(error, "strerror", None) or error
        reject("column", str(path), f"cannot be written: {reason}; name a new file")
    try:
        with file:
            yield file
    except BaseException:
        path.unlink(missing_ok=True)
        raise


def _write_column(column: IO[bytes], file: IO[bytes], arrays: Iterable[Array]) -> None:
    """A .npy vector of unknown length, for which NumPy leaves room in the header, and a file of its numbers alone."""
    rows = 0
    header = lambda n: {"descr": "<f8", "fortran_order": False, "shape": (n,)}
    np.lib.format.write_array_header_1_0(column, header(0))
    for values in arrays:
        column.write(values.astype("<f8", copy=False).tobytes())
        file.write(values.tobytes())
        rows += len(values)
    column.seek(0)
    np.lib.format.write_array_header_1_0(column, header(rows))
    file.flush()
