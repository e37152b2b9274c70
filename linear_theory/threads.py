"""Threads of this process: a pool over parts of the rows, and how many of them BLAS may take beside it."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from functools import cache
from typing import Any

__all__ = ["cores", "limit_blas_threads", "shared_thread_pool", "single_threaded_blas", "thread_map"]

MIN_THREADED_FLOPS = 20_000_000
"""Multiplications below which starting threads costs more than it saves."""

SERIAL_FLOPS = 30_000
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
    """BLAS on one thread while anybody in this process is inside; what was set before comes back last.

    Limits of threadpoolctl that overlap, one in each of two threads, do not do that: the second takes for the original
    what the first has set.
    """

    def __init__(self) -> None:
        self.lock, self.inside, self.limit = threading.Lock(), 0, None

    def __enter__(self) -> None:
        with self.lock:
            controller = _blas()
            if self.inside == 0 and controller is not None:
                self.limit = controller.limit(limits=1, user_api="blas")
            self.inside += 1

    def __exit__(self, *exception: object) -> None:
        with self.lock:
            self.inside -= 1
            if self.inside == 0 and self.limit is not None:
                _release_blas()
                self.limit.restore_original_limits()
                _release_blas()
                self.limit = None


def _release_blas() -> None:
    """Let any thread set how many BLAS may take: from threadpoolctl 3.8 on that is the first one's alone, and others
    are ignored. Who leaves last need not be who came first.
    """
    for library in getattr(_blas(), "lib_controllers", ()):
        if hasattr(library, "clear_controlling_thread"):
            library.clear_controlling_thread(force=True)


single_threaded_blas = _SingleThreadedBlas()


def limit_blas_threads(work: float, largest: float) -> Any:
    """One thread for BLAS where the largest product or factorisation, of so many multiplications, is not worth more.

    Threads that have had a little to do stay awake after, and then cost more than they save. Where all the work is
    too little for BLAS to take a second one, there is nothing to set.
    """
    return single_threaded_blas if work > SERIAL_FLOPS and largest < MIN_THREADED_FLOPS else nullcontext()


@contextmanager
def thread_map(work: float, parts: int) -> Iterator[Callable[..., Iterator[Any]]]:
    """A ``map`` over the parts: on threads where the work is worth it, one core's BLAS threads otherwise."""
    count = min(cores(), parts)
    if work < MIN_THREADED_FLOPS or count == 1 or _blas() is None:
        yield map
        return
    pool = getattr(_shared, "pool", None)
    with single_threaded_blas, nullcontext(pool) if pool else ThreadPoolExecutor(count) as pool:
        yield pool.map


_shared = threading.local()


@contextmanager
def shared_thread_pool() -> Iterator[None]:
    """Inside, this thread's sums over rows share one pool of threads: for many calls with few rows each."""
    outer = getattr(_shared, "pool", None)
    with ThreadPoolExecutor(cores()) as _shared.pool:
        try:
            yield
        finally:
            _shared.pool = outer
