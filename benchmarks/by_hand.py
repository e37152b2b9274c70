"""Weighted least squares from a start as one would write it in NumPy, with care, for one machine.

One pass over blocks of rows that stay in a cache. Of each √w x is written into a buffer that is used again, and
BLAS multiplies the buffer by itself: NumPy sees that both factors are one array and asks for half of the product,
which is symmetric. Either BLAS shares a block among the cores, or each core has blocks of its own. Which of the
two, and how many rows a block has, is tried on the rows themselves, outside the clock.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from typing import NamedTuple

import numpy as np
from threadpoolctl import ThreadpoolController

from .packages import Call
from .race import cores, timed
from .works import Array, Rows

BY_HAND = "normal equations by hand in NumPy"
BLOCKS = 256, 512, 1024, 2048, 4096, 8192
"""Rows of a block."""
TRIALS = 3


class Plan(NamedTuple):
    """So many rows a block, by so many threads, each of which calls BLAS with one, or BLAS with all of them."""

    block: int
    threads: int


def by_hand(rows: Rows) -> Call:
    """The quickest of all plans, as a call without arguments that returns θ."""
    plans = [Plan(block, threads) for block in BLOCKS for threads in sorted({1, cores()})]
    calls = {plan: solver(rows, plan) for plan in plans}
    seconds = {plan: min(timed(call)[0] for _ in range(TRIALS)) for plan, call in calls.items()}
    return calls[min(plans, key=seconds.__getitem__)]


def solver(rows: Rows, plan: Plan) -> Call:
    """θ = start + (XᵀWX + n·ridge)⁻¹ XᵀW(y − X·start), a block after the other."""
    X, y, start, weights, ridge = rows
    n, d = X.shape
    starts = range(0, n, plan.block)
    pool, blas = ThreadPoolExecutor(plan.threads), ThreadpoolController()

    def sums(mine: range) -> tuple[Array, Array]:
        gram, moment, buffer = np.zeros((d, d)), np.zeros(d), np.empty((plan.block, d))
        for first in mine:
            cut = slice(first, first + plan.block)
            root = np.sqrt(weights[cut])
            scaled = np.multiply(X[cut], root[:, None], out=buffer[: len(root)])
            gram += scaled.T @ scaled
            moment += (root * (y[cut] - X[cut] @ start)) @ scaled
        return gram, moment

    def call() -> Array:
        shares = [starts[thread :: plan.threads] for thread in range(plan.threads)]
        with blas.limit(limits=1, user_api="blas") if plan.threads > 1 else nullcontext():
            parts = list(pool.map(sums, shares))
        gram, moment = (sum(part) for part in zip(*parts, strict=True))
        return start + np.linalg.solve(gram + n * ridge * np.eye(d), moment)

    return call
