"""A solution corrected by what it leaves of the equations: when that is worth it, and when it can be relied on.

Each entry gets its own digits, however small it is beside the others.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..arrays import Array, Namespace

EPS = float(np.finfo(float).eps)

MAX_PASSES = 60
"""Every one regains some 2^50, of the floats' 2^2100."""

MAX_CONTRACTION = 1e-3
"""Refinement is relied on while d·κ²·ε, about what a step leaves of the error, is below this."""

FAR_START_RATIO = 8.0
"""How many times as long as θ the start is, in units of the columns, where its rounding costs a digit."""


def unrefined_error(condition: float, dim: int) -> float:
    """About d·κ²·ε: what Cholesky on normal equations loses, and what a step of refinement leaves of an error."""
    return dim * condition**2 * EPS


def far_from(space: Namespace, start: Array, end: Array, columns: Array) -> Array:
    """Whether the start is so much longer than θ, in units of the columns, that digits of θ were lost on the way."""
    length = lambda theta: space.xp.max(space.xp.abs((theta.T * columns).T), initial=0.0)
    with np.errstate(invalid="ignore", over="ignore"):  # a column that is no float says nothing
        return length(start) > FAR_START_RATIO * length(end)


def remainder(matrix: Array, right: Array, solution: Array, sizes: Array | None = None) -> Array:
    """right − matrix·solution, 0 where it is no more than rounding of an equation's terms; ``sizes`` is |matrix|."""
    missing = right - matrix @ solution
    sizes = np.abs(matrix) if sizes is None else sizes
    rounding = EPS * matrix.shape[1] * (np.abs(right) + sizes @ np.abs(solution))
    return np.where(np.abs(missing) > rounding, missing, 0.0)


def refined(
    matrix: Array, right: Array, inverse: Callable[[Array], Array], passes: int = MAX_PASSES
) -> tuple[Array, int]:
    """z (k, m) of matrix·z = right (r, m), r equations that can all be met, and how many corrections it took.

    ``inverse`` solves them to a rounding beside the largest entry of z. After a first correction, what is left of an
    equation counts only if it is more than the rounding of its own terms: so an entry that none but small terms tell
    gets its digits too.
    """
    solution, sizes = inverse(right), np.abs(matrix)
    missing, before = right - matrix @ solution, np.full(right.shape, np.inf)
    for count in range(passes):
        shrinks = (missing != 0) & (np.abs(missing) < before / 2)
        if not shrinks.any():  # nothing is missing, or what rounding does not let go
            return solution, count
        solution, before = solution + inverse(missing), np.abs(missing)
        missing = remainder(matrix, right, solution, sizes)
    return solution, passes
