"""What a solver hands back, and the pseudo-inverse of a scaled factor in the user's own coordinates."""

from __future__ import annotations

from typing import NamedTuple

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
    return length(start) > FAR * length(end)


def spectral_inverse(space: Namespace, sizes: Array, right: Array, kept: Array, scale: Array) -> Inverse:
    """From the singular values and right vectors (columns) of A/scale, largest first: (AᵀA)⁺, and its null space.

    The pseudo-inverse of A/scale is not that of A: null vectors go back to the coordinates given, and the
    solution drops its part along them.
    """
    xp, d = space.xp, scale.shape[0]
    inverse = xp.where(kept, 1 / xp.where(kept, sizes, 1.0), 0.0)
    null = xp.where(kept, 0.0, right) / scale[:, None]
    lengths = xp.sqrt((null**2).sum(axis=0))
    null = null / xp.where(lengths > 0, lengths, 1.0)
    unseen = null @ xp.linalg.pinv(null, rtol=d * space.eps)
    root = right * inverse / scale[:, None]
    smallest = xp.min(xp.where(kept, sizes, xp.inf))
    condition = xp.where(kept.any(), sizes[0] / smallest, 1.0)
    return Inverse(root - unseen @ root, unseen, kept.sum(), condition)
