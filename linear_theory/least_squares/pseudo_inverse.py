"""The pseudo-inverse of a symmetric matrix from a scaled factor, in the coordinates given."""

from __future__ import annotations

from typing import NamedTuple

import jax
import numpy as np

from ..arrays import Array, Namespace

NULL_ROUNDINGS, MAX_NULL_ROUNDING = 8.0, 1e-3
"""An entry of a null vector counts as 0 up to so many roundings, and never above the second."""

SMALL_COLUMN_RATIO = 16.0
"""How many times smaller than the largest a column is where what rounding makes of a 0 would be magnified."""


class Inverse(NamedTuple):
    """Of a symmetric H ⪰ 0: a root of H⁺ (d, k), the projector on its null space (d, d), rank and condition.

    The rank and condition are those of a matrix whose square H is.
    """

    root: Array
    projector: Array
    rank: Array
    condition: Array


def column_sizes(space: Namespace, squares: Array) -> Array:
    """√ of the columns' sums of squares; a column of zeros takes the unit of the largest, or 1."""
    xp = space.xp
    size = xp.sqrt(squares)
    largest = xp.max(size)
    # Or rounding would be magnified along it.
    return xp.where(size > 0, size, xp.where(largest > 0, largest, 1.0))


def spectral_inverse(
    space: Namespace, sizes: Array, right: Array, kept: Array, scale: Array, idle: Array, power: int
) -> Inverse:
    """From the singular values and right vectors (columns) of A/scale: (AᵀA)⁺, and its null space.

    The pseudo-inverse of A/scale is not that of A: null vectors go back to the coordinates given, and the
    solution drops its part along them. What rounding, d·ε·κ to the ``power``, makes of a 0 in them would there be
    magnified where a column is small, so it is dropped. ``idle`` are columns of zeros: null vectors of their own,
    and 0 in ``right``.
    """
    xp, d = space.xp, scale.shape[0]
    inverse = xp.where(kept, 1 / xp.where(kept, sizes, 1.0), 0.0)
    kept_or = lambda fill: xp.where(kept, sizes, fill)
    condition = xp.where(kept.any(), xp.max(kept_or(0.0)) / xp.min(kept_or(xp.inf)), 1.0)
    rounding = xp.minimum(NULL_ROUNDINGS * d * space.eps * condition**power, MAX_NULL_ROUNDING)
    null = _independent(space, xp.where(kept, 0.0, right), scale, rounding)
    gram, absent = null.T @ null, ~null.any(axis=0)
    # Not by an SVD, which would mix large entries with small ones.
    dual = xp.linalg.solve(gram + xp.diag(absent.astype(space.dtype)), null.T)
    projector = null @ xp.where(idle, 0.0, dual) + xp.diag(idle.astype(space.dtype))
    root = right * inverse / scale[:, None]
    return Inverse(root - projector @ root, projector, kept.sum(), condition)


def _independent(space: Namespace, null: Array, scale: Array, rounding: Array) -> Array:
    """The span of orthonormal columns (d, d), some of them 0, divided by ``scale`` row by row: as columns with a
    largest entry of 1, each in a row of its own where the later ones have 0.

    One by one, from the longest vectors of the result down: then the short ones are not lost beside them.
    """
    xp, d = space.xp, scale.shape[0]
    magnified = (SMALL_COLUMN_RATIO * scale < xp.max(scale))[:, None]

    def heights(rows: Array) -> Array:
        lengths = xp.sqrt((rows**2).sum(axis=1))
        return xp.where(lengths > rounding, lengths / scale, 0.0)

    def step(state: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        rows, vectors, count = state
        top = rows[xp.argmax(heights(rows))]
        unit = top / xp.sqrt((top**2).sum())
        vector = rows @ unit
        vectors = xp.where(xp.arange(d) == count, vector[:, None], vectors)
        return rows - xp.outer(vector, unit), vectors, count + 1

    going = lambda state: heights(state[0]).any() & (state[2] < d)
    state = null, xp.zeros_like(null), xp.asarray(0)
    if xp is np:
        while going(state):
            state = step(state)
    else:
        state = jax.lax.while_loop(going, step, state)
    vectors = state[1]
    vectors = xp.where((abs(vectors) <= rounding) & magnified, 0.0, vectors) / scale[:, None]
    longest = abs(vectors).max(axis=0)
    return vectors / xp.where(longest > 0, longest, 1.0)
