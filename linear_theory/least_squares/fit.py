"""What a solver hands back, and the pseudo-inverse of a scaled factor in the user's own coordinates."""

from __future__ import annotations

from typing import NamedTuple

import jax
import numpy as np

from ..arrays import Array, Namespace

METHODS = (
    "nothing to fit: no row has any weight",
    "Cholesky on the normal equations",
    "Cholesky on the normal equations, refined over the rows",
    "Cholesky on the rows' inner products",
    "Cholesky on the rows' inner products, refined",
    "row-sorted QR with column pivoting",
    "row-sorted QR with column pivoting, closest of the minimisers",
    "equilibrated SVD",
    "eigenvectors of the equilibrated normal equations",
)
IDLE, CHOLESKY, REFINED, DUAL, DUAL_REFINED, QR, QR_CLOSEST, SVD, SPECTRAL = range(len(METHODS))

CONTRACTION = 1e-3
"""Refinement is relied on while d·κ²·ε, about what a step leaves of the error, is below this."""

DIRECT = 8.0
"""Up to this condition number a Cholesky solution loses a digit at most: one refinement, where it is cheap."""

NOISY = 16.0
"""How many times its own size a column's noise may be, in units of ε, before it is asked whether it is a column."""

MIXED, ALIKE, SMALL = 8.0, 1e-3, 16.0
"""So many roundings of a null vector (but no entry above the second) count as none, where a column is so many times
smaller than the largest."""

FAR = 8.0
"""How many times as long as θ the start is, in units of the columns, where its rounding costs a digit."""


class Fit(NamedTuple):
    """A displacement (d,) or (d, m), and how it was found: θ = (start + displacement) + rest.

    ``columns`` (d,): √Σ wᵢxᵢⱼ².
    """

    displacement: Array
    rank: Array | int
    condition: Array | float
    residual: Array
    way: Array | int
    refinements: Array | int
    columns: Array
    rest: Array | float


class Inverse(NamedTuple):
    """Of a symmetric H ⪰ 0: a root of H⁺ (d, k), the projector on its null space (d, d), rank and condition.

    The rank and condition are those of a matrix whose square H is.
    """

    root: Array
    unseen: Array
    rank: Array
    condition: Array


def column_sizes(space: Namespace, squares: Array) -> Array:
    """√ of the columns' sums of squares; a column of zeros takes the unit of the largest, or 1."""
    xp = space.xp
    size = xp.sqrt(squares)
    largest = xp.max(size)
    # Or rounding would be magnified along it.
    return xp.where(size > 0, size, xp.where(largest > 0, largest, 1.0))


def far_from(space: Namespace, start: Array, end: Array, columns: Array) -> Array:
    """Whether the start is so much longer than θ, in units of the columns, that digits of θ were lost on the way."""
    length = lambda theta: space.xp.max(space.xp.abs((theta.T * columns).T), initial=0.0)
    with np.errstate(invalid="ignore", over="ignore"):  # a column that is no float says nothing
        return length(start) > FAR * length(end)


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
    seen = lambda fill: xp.where(kept, sizes, fill)
    condition = xp.where(kept.any(), xp.max(seen(0.0)) / xp.min(seen(xp.inf)), 1.0)
    rounding = xp.minimum(MIXED * d * space.eps * condition**power, ALIKE)
    null = _graded(space, xp.where(kept, 0.0, right), scale, rounding)
    gram, absent = null.T @ null, ~null.any(axis=0)
    # Not by an SVD, which would mix large entries with small ones.
    known = xp.linalg.solve(gram + xp.diag(absent.astype(space.dtype)), null.T)
    unseen = null @ xp.where(idle, 0.0, known) + xp.diag(idle.astype(space.dtype))
    root = right * inverse / scale[:, None]
    return Inverse(root - unseen @ root, unseen, kept.sum(), condition)


def _graded(space: Namespace, null: Array, scale: Array, rounding: Array) -> Array:
    """The span of orthonormal columns (d, d), some of them 0, divided by ``scale`` row by row: as columns with a
    largest entry of 1, each in a row of its own where the later ones have 0.

    One by one, from the longest vectors of the result down: then the short ones are not lost beside them.
    """
    xp, d = space.xp, scale.shape[0]
    magnified = (SMALL * scale < xp.max(scale))[:, None]

    def heights(rows: Array) -> Array:
        lengths = xp.sqrt((rows**2).sum(axis=1))
        return xp.where(lengths > rounding, lengths / scale, 0.0)

    def step(state: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        rows, found, count = state
        top = rows[xp.argmax(heights(rows))]
        unit = top / xp.sqrt((top**2).sum())
        vector = rows @ unit
        found = xp.where(xp.arange(d) == count, vector[:, None], found)
        return rows - xp.outer(vector, unit), found, count + 1

    going = lambda state: heights(state[0]).any() & (state[2] < d)
    state = null, xp.zeros_like(null), xp.asarray(0)
    if xp is np:
        while going(state):
            state = step(state)
    else:
        state = jax.lax.while_loop(going, step, state)
    found = state[1]
    vectors = xp.where((abs(found) <= rounding) & magnified, 0.0, found) / scale[:, None]
    longest = abs(vectors).max(axis=0)
    return vectors / xp.where(longest > 0, longest, 1.0)
