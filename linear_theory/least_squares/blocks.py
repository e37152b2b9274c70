"""Sums and triangles of rows in blocks that stay in cache, on one thread a core: the one pass over every row.

The rows fall into the same strips and blocks whatever the number of threads, and the strips are added in
their order, so the result does not depend on the machine's cores. Each thread calls BLAS single-threaded
(where threadpoolctl is there to say so): many small products beat one large one, because a block is scaled,
shifted and multiplied while it is in cache.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

import numpy as np

from ..arrays import Array
from ..threads import thread_map

T = TypeVar("T")

BLOCK_ENTRIES = 100_000
"""Numbers in a block: 0.8 MB, what a core's second-level cache holds."""

STRIPS = 16
"""Into how many parts data falls, if they are worth a thread each."""

MIN_STRIP_FLOPS = 5_000_000
"""Multiplications in a strip at least, if there is more than one."""

MAX_STRIP_BLOCKS = 64
"""Blocks in a strip at most: what is added without compensation for rounding."""


def strips(n: int, width: int) -> tuple[list[slice], int]:
    """How n rows of ``width`` numbers are divided: strips of whole blocks, and the rows of a block."""
    block = max(1, min(n, BLOCK_ENTRIES // width))
    worth = -(-MIN_STRIP_FLOPS // (block * width**2))
    length = block * int(min(max(worth, -(-n // (block * STRIPS)), 1), MAX_STRIP_BLOCKS))
    return [slice(low, min(low + length, n)) for low in range(0, n, length)], block


def blocks(strip: slice, block: int) -> Iterator[slice]:
    """The blocks of a strip."""
    return (slice(low, min(low + block, strip.stop)) for low in range(strip.start, strip.stop, block))


def over_strips(task: Callable[[slice, int], T], n: int, width: int, work: float) -> Iterator[T]:
    """``task(strip, block)`` for every strip, in their order, as they come."""
    parts, block = strips(n, width)
    errors = np.geterr()

    def as_the_caller(strip: slice) -> T:
        # A thread of its own would warn of what the caller looks for in the result.
        with np.errstate(**errors):
            return task(strip, block)

    with thread_map(work, len(parts)) as run:
        yield from run(as_the_caller, parts)


Roots = Callable[[slice], tuple[Array | None, ...]]
"""The √w of a block's rows, one (b,) a weighting; None stands for ones."""


def one_root(weights: Array | None) -> Roots:
    """The roots of one weighting (n,), or of none."""
    root = None if weights is None else np.sqrt(weights)
    return lambda rows: (None if root is None else root[rows],)


def weighted_products(
    X: Array, y: Array, start: Array, roots: Roots, count: int = 1
) -> Iterator[list[tuple[Array, Array, Array]]]:
    """For each strip and each of ``count`` weightings: XᵀWX (d, d), XᵀWr and Σwr², r = y − X·start.

    X (n, d), y (n,) or (n, m), start (d,) or (d, m). Every block is read from memory once, whatever the
    number of weightings.
    """
    n, d = X.shape

    def strip_sums(strip: slice, block: int) -> list[tuple[Array, Array, Array]]:
        sums = [(np.zeros((d, d)), np.zeros(start.shape), np.zeros(y.shape[1:])) for _ in range(count)]
        buffer, product = np.empty((block, d)), np.empty((d, d))
        for rows in blocks(strip, block):
            part, scaled = X[rows], buffer[: rows.stop - rows.start]
            residual = y[rows] - part @ start if count > 1 else None  # else from the scaled block: hotter
            for root, (gram, moment, energy) in zip(roots(rows), sums, strict=True):
                _scale_rows(scaled, part, root)
                right = (
                    _by_row(y[rows], root) - scaled @ start if residual is None else _by_row(residual, root)
                )
                gram += np.matmul(scaled.T, scaled, out=product)
                moment += scaled.T @ right
                energy += (right * right).sum(axis=0)
        return sums

    work = float(n) * d * (d + start.size / d) * count
    with np.errstate(over="ignore", invalid="ignore"):  # looked for in the sums, once
        yield from over_strips(strip_sums, n, d, work)


def _by_row(values: Array, scale: Array | None) -> Array:
    """Each row of ``values`` (b,) or (b, m) times its entry of ``scale`` (b,)."""
    return values if scale is None else (values.T * scale).T


def _scale_rows(out: Array, part: Array, scale: Array | None) -> None:
    if scale is None:
        out[...] = part
    else:
        np.multiply(part, scale[:, None], out=out)


def residual_products(
    X: Array, y: Array, theta: tuple[Array, Array], weights: Array | None
) -> Iterator[tuple[Array, Array]]:
    """For each strip: XᵀWr and Σwr², r = (y − Xθ₀) − Xθ₁: what a refinement needs of the rows."""
    n, d = X.shape
    start, displacement = theta

    def strip_sums(strip: slice, block: int) -> tuple[Array, Array]:
        moment, energy = np.zeros(start.shape), np.zeros(y.shape[1:])
        for rows in blocks(strip, block):
            part = X[rows]
            residual = (y[rows] - part @ start) - part @ displacement
            weighted = _by_row(residual, None if weights is None else weights[rows])
            moment += part.T @ weighted
            energy += (residual * weighted).sum(axis=0)
        return moment, energy

    yield from over_strips(strip_sums, n, d, 6.0 * n * start.size)


def added(parts: Iterable[tuple[Array, ...]], *zeros: Array) -> tuple[Array, ...]:
    """The sums of what the parts hold, in their order, from zeros of their shapes."""
    sums = zeros
    for part in parts:
        sums = tuple(total + value for total, value in zip(sums, part, strict=True))
    return sums


def triangle(parts: Iterable[Array]) -> Array:
    """R of the QR factorisation of all the parts' rows (b, k), at most k rows of it.

    Two triangles of one height are joined, as a binary counter carries: a row meets log₂ as many roundings as parts.
    """
    kept: list[tuple[int, Array]] = []
    for rows in parts:
        height, joined = 0, _joined(rows)
        while kept and kept[-1][0] == height:
            joined, height = _joined(kept.pop()[1], joined), height + 1
        kept.append((height, joined))
    _, total = kept.pop()
    for _, larger in reversed(kept):
        total = _joined(larger, total)
    return total


def _joined(*stacked: Array) -> Array:
    """R of the rows; the rows themselves where that would be no fewer, for they have their digits."""
    rows = np.concatenate(stacked)
    return np.linalg.qr(rows, mode="r") if len(rows) > rows.shape[1] else rows


def weighted_rows(X: Array, y: Array, start: Array, weights: Array | None) -> Array:
    """√w (X, r), r = y − X·start."""
    rows = np.column_stack([X, y - X @ start])
    return rows if weights is None else rows * np.sqrt(weights)[:, None]


def weighted_triangles(X: Array, y: Array, start: Array, weights: Array | None) -> Iterator[Array]:
    """R of √w (X, r), r = y − X·start, for each strip of rows: never squared, and stable where sums are not."""

    def reduced(strip: slice, block: int) -> Array:
        scaled = lambda rows: weighted_rows(
            X[rows], y[rows], start, None if weights is None else weights[rows]
        )
        return triangle(map(scaled, blocks(strip, block)))

    return over_strips(reduced, *X.shape, work=4.0 * X.size * X.shape[1])
