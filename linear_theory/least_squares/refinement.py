"""A solution corrected by what it leaves of the equations: each entry to its own digits, however small."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..arrays import Array

EPS = float(np.finfo(float).eps)

PASSES = 60
"""Every one regains some 2^50, of the floats' 2^2100."""


def left_over(matrix: Array, right: Array, found: Array, sizes: Array | None = None) -> Array:
    """right − matrix·found where it is more than rounding of an equation's own terms, else 0; ``sizes`` is |matrix|."""
    missing = right - matrix @ found
    sizes = np.abs(matrix) if sizes is None else sizes
    rounding = EPS * matrix.shape[1] * (np.abs(right) + sizes @ np.abs(found))
    return np.where(np.abs(missing) > rounding, missing, 0.0)


def refined(
    matrix: Array, right: Array, inverse: Callable[[Array], Array], passes: int = PASSES
) -> tuple[Array, int]:
    """z (k, m) of matrix·z = right (r, m), r equations that can all be met, and how many corrections it took.

    ``inverse`` solves them to a rounding beside the largest entry of z. After a first correction, what is left of an
    equation counts only if it is more than the rounding of its own terms: so an entry that none but small terms tell
    gets its digits too.
    """
    found, sizes = inverse(right), np.abs(matrix)
    left, before = right - matrix @ found, np.full(right.shape, np.inf)
    for count in range(passes):
        shrinks = (left != 0) & (np.abs(left) < before / 2)
        if not shrinks.any():  # nothing is left, or what rounding does not let go
            return found, count
        found, before = found + inverse(left), np.abs(left)
        left = left_over(matrix, right, found, sizes)
    return found, passes
