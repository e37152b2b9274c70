"""Sums over rows in blocks that stay in cache, on one thread a core: the only place that touches every row.

The rows fall into the same strips and blocks whatever the number of threads, and the strips are added in
their order, so the result does not depend on the machine's cores. Each thread calls BLAS single-threaded
(where threadpoolctl is there to say so): many small products beat one large one, because a block is scaled,
shifted and multiplied while it is in cache.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from functools import cache
from typing import Any, TypeVar

import numpy as np

from ..arrays import Array

T = TypeVar("T")

BLOCK_ENTRIES = 100_000
"""Numbers in a block: 0.8 MB, what a core's second-level cache holds."""

STRIPS = 16
"""Into how many parts data falls, if they are worth a thread each."""

SHORTEST = 5_000_000
"""Multiplications in a strip at least, if there is more than one."""

LONGEST = 64
"""Blocks in a strip at most: what is added without compensation for rounding."""

WORTH_THREADS = 20_000_000
"""Multiplications below which starting threads costs more than it saves."""

ALONE = 30_000
"""Multiplications for which BLAS takes one thread by itself."""


def cores() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@cache
def _blas() -> Any | None:
    try:
        from threadpoolctl import ThreadpoolController
    except ImportError:
        return None
    return ThreadpoolController()


class _SingleThreadedBlas:
    """BLAS on one thread while anybody in this process is inside; what was set before comes back last."""

    def __init__(self) -> None:
        self.lock, self.inside, self.limit = threading.Lock(), 0, nullcontext()

    def __enter__(self) -> None:
        with self.lock:
            controller = _blas()
            if self.inside == 0 and controller is not None:
                self.limit = controller.limit(limits=1, user_api="blas")
                self.limit.__enter__()
            self.inside += 1

    def __exit__(self, *exception: object) -> None:
        with self.lock:
            self.inside -= 1
            if self.inside == 0:
                self.limit.__exit__(None, None, None)
                self.limit = nullcontext()


single_threaded_blas = _SingleThreadedBlas()


def calm_blas(work: float, largest: float) -> Any:
    """One thread for BLAS where the largest product or factorisation, of so many multiplications, is not worth more.

    Threads that have had a little to do stay awake after, and then cost more than they save. Where all the work is
    too little for BLAS to take a second one, there is nothing to set.
    """
    return single_threaded_blas if work > ALONE and largest < WORTH_THREADS else nullcontext()


@contextmanager
def _threads(work: float, parts: int) -> Iterator[Callable[..., Iterator[Any]]]:
    """A ``map`` over the parts: on threads where the work is worth it, one core's BLAS threads otherwise."""
    count = min(cores(), parts)
    if work < WORTH_THREADS or count == 1 or _blas() is None:
        yield map
        return
    kept = getattr(_kept, "pool", None)
    with single_threaded_blas, nullcontext(kept) if kept else ThreadPoolExecutor(count) as pool:
        yield pool.map


_kept = threading.local()


@contextmanager
def kept_threads() -> Iterator[None]:
    """Inside, this thread's sums over rows share one pool of threads: for many calls with few rows each."""
    outer = getattr(_kept, "pool", None)
    with ThreadPoolExecutor(cores()) as _kept.pool:
        try:
            yield
        finally:
            _kept.pool = outer


def strips(n: int, width: int) -> tuple[list[slice], int]:
    """How n rows of ``width`` numbers are divided: strips of whole blocks, and the rows of a block."""
    block = max(1, min(n, BLOCK_ENTRIES // width))
    worth = -(-SHORTEST // (block * width**2))
    length = block * int(min(max(worth, -(-n // (block * STRIPS)), 1), LONGEST))
    return [slice(low, min(low + length, n)) for low in range(0, n, length)], block


def blocks(strip: slice, block: int) -> Iterator[slice]:
    """The blocks of a strip."""
    return (slice(low, min(low + block, strip.stop)) for low in range(strip.start, strip.stop, block))


def over_strips(task: Callable[[slice, int], T], n: int, width: int, work: float) -> Iterator[T]:
    """``task(strip, block)`` for every strip, in their order, as they come."""
    parts, block = strips(n, width)
    with _threads(work, len(parts)) as run:
        yield from run(lambda strip: task(strip, block), parts)


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
                aim = _by_row(y[rows], root) - scaled @ start if residual is None else _by_row(residual, root)
                gram += np.matmul(scaled.T, scaled, out=product)
                moment += scaled.T @ aim
                energy += (aim * aim).sum(axis=0)
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
    origin, displacement = theta

    def strip_sums(strip: slice, block: int) -> tuple[Array, Array]:
        moment, energy = np.zeros(origin.shape), np.zeros(y.shape[1:])
        for rows in blocks(strip, block):
            part = X[rows]
            left = (y[rows] - part @ origin) - part @ displacement
            weighted = _by_row(left, None if weights is None else weights[rows])
            moment += part.T @ weighted
            energy += (left * weighted).sum(axis=0)
        return moment, energy

    yield from over_strips(strip_sums, n, d, 6.0 * n * origin.size)
