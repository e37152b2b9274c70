"""Prior weights, by which a row counts as v rows like it: sums, means and medians of rows that do."""

from __future__ import annotations

import math

import numpy as np

from ..arrays import Array, Namespace, bounded, namespace, shaped
from ..errors import reject
from ..least_squares import NormalEquations
from ..trees import is_concrete
from ..weights import median_temperature

__all__ = ["checked_counts", "gram", "mean", "median", "median_loss", "scaled"]


def checked_counts(space: Namespace, name: str, counts: object, n: int) -> Array:
    """Weights (n,) finite and ≥ 0, not all 0; ``None`` is ones."""
    if counts is None:
        return space.xp.ones(n, dtype=space.dtype)
    accept = lambda v: (v >= 0) & (v < math.inf)
    checked = bounded(space, name, counts, accept, "must be finite and ≥ 0", ndim=1)
    checked = shaped(name, checked, (n,), "one a row of X")
    if is_concrete(checked):
        with np.errstate(over="ignore"):
            total = float(checked.sum())
        if not 0 < total < math.inf:
            reject(name, counts, "must have a sum that is above 0 and finite")
    return checked


def gram(A: Array, weights: Array | None = None) -> Array:
    """AᵀWA (d, d) of the rows of A (n, d)."""
    xp = namespace(A).xp
    zeros = xp.zeros_like(A[:, 0]), xp.zeros_like(A[0])
    return NormalEquations.of(A, *zeros, weights).gram


def mean(counts: Array, values: Array) -> Array:
    """(1/Σv) Σ v·values, over the first axis."""
    return (counts / counts.sum()) @ values


def scaled(counts: Array, A: Array) -> Array:
    """The rows of A (n, …) by √v, so that sums of squares and products count each row v times."""
    return A if np.all(counts == 1) else A * np.sqrt(counts).reshape(-1, *[1] * (A.ndim - 1))


def median_loss(space: Namespace, losses: Array, counts: Array | None) -> Array:
    """The default temperature; an error where it is 0, as of :func:`median_temperature`."""
    return median_temperature(losses if counts is None else median(space, losses, counts)[None])


def median(space: Namespace, values: Array, counts: Array) -> Array:
    """The median of values (n,) counted as often as their weights say: half of the weight on each side.

    Where exactly half lies below one and half above the next, as far as rounding in the sums tells, their mean.
    """
    xp = space.xp
    order = xp.argsort(xp.where(counts > 0, values, math.inf))  # rows that do not count come last
    below = xp.cumsum(counts[order]) / counts.sum()
    slack, last = values.shape[0] * space.eps, values.shape[0] - 1
    lower, upper = (
        values[order][xp.minimum(xp.searchsorted(below, half), last)] for half in (0.5 - slack, 0.5 + slack)
    )
    return (lower + upper) / 2
