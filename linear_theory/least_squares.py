"""Weighted least squares from a start: the minimiser closest to where training began.

L(θ) = (1/n) Σ wᵢ (yᵢ − ⟨xᵢ,θ⟩)² + ridge·‖θ − start‖²: a mean over n, not over Σw, as in the paper.
Everything is solved for the displacement δ = θ − start.
"""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp

from .arrays import (
    Array,
    Namespace,
    bounded,
    finite,
    is_concrete,
    namespace,
    pytree,
    reject,
    shaped,
)

__all__ = ["NormalEquations", "Rows", "Solution", "checked_rows", "solve"]


@pytree
class Rows:
    """Checked rows: X (n, d), the residuals y − X·start (n,), the weights (n,) and the start (d,)."""

    X: Array
    residual: Array
    weights: Array
    start: Array


def checked_rows(
    X: object, y: object, start: object, weights: object | None, *others: object
) -> tuple[Namespace, Rows]:
    """The engine of all the arguments, and the rows in it, checked; ``weights=None`` is all ones."""
    space = namespace(X, y, start, weights, *others)
    matrix = finite(space, "X", X, ndim=2)
    n, d = matrix.shape
    if n == 0 or d == 0:
        reject("X", X, f"has shape {matrix.shape}; needs at least one row and one column")
    labels = shaped("y", finite(space, "y", y, ndim=1), (n,), "one entry a row of X")
    origin = shaped("start", finite(space, "start", start, ndim=1), (d,), "one entry a column of X")
    mass = space.xp.ones(n, dtype=space.dtype)
    if weights is not None:
        accept = lambda w: (w >= 0) & (w < math.inf)
        mass = bounded(space, "weights", weights, accept, "must be finite and ≥ 0", ndim=1)
    return space, Rows(
        matrix, labels - matrix @ origin, shaped("weights", mass, (n,), "one a row of X"), origin
    )


@pytree
class NormalEquations:
    """Gram, moment and energy of weighted rows seen from a start: a sum, so that parts merge with ``+``.

    ``gram`` Σ wᵢxᵢxᵢᵀ (d, d), ``moment`` Σ wᵢxᵢrᵢ (d,), ``energy`` Σ wᵢrᵢ² with rᵢ = yᵢ − ⟨xᵢ, start⟩, and ``count`` n.
    Sums, not means, so that addition is exact in meaning; the loss divides by ``count``.
    """

    gram: Array
    moment: Array
    energy: Array
    count: Array
    start: Array

    @classmethod
    def of(cls, X: Array, y: Array, start: Array, weights: Array | None = None) -> NormalEquations:
        """From rows X (n, d), y (n,), a start (d,) and weights (n,) ≥ 0 (``None``: ones)."""
        space, rows = checked_rows(X, y, start, weights)
        weighted = rows.X * rows.weights[:, None]
        return cls(
            gram=weighted.T @ rows.X,
            moment=weighted.T @ rows.residual,
            energy=(rows.weights * rows.residual**2).sum(),
            count=space.array(float(rows.X.shape[0])),
            start=rows.start,
        )

    @classmethod
    def empty(cls, start: Array) -> NormalEquations:
        """No rows yet: the identity of ``+`` for this start."""
        space = namespace(start)
        start = finite(space, "start", start, ndim=1)
        zero = space.xp.zeros((start.shape[0], start.shape[0]), dtype=space.dtype)
        return cls(zero, zero[0], space.array(0.0), space.array(0.0), start)

    def __add__(self, other: NormalEquations) -> NormalEquations:
        if not isinstance(other, NormalEquations):
            return NotImplemented
        if self.start.shape != other.start.shape:
            reject(
                "other", other.start, f"has {other.start.shape[0]} columns, this has {self.start.shape[0]}"
            )
        if is_concrete(self.start, other.start) and not bool((self.start == other.start).all()):
            reject("other", other.start, "was taken from another start; take both from the same")
        names = ("gram", "moment", "energy", "count")
        return NormalEquations(*(getattr(self, n) + getattr(other, n) for n in names), start=self.start)

    def gradient(self, displacement: Array) -> Array:
        """∇L at start + δ: (2/n)(Gδ − g); no ½ in the loss, hence the 2."""
        return 2 / self.count * (displacement @ self.gram - self.moment)

    def loss(self, displacement: Array) -> Array:
        """L at start + δ, for δ (…, d): (1/n)(energy − 2⟨g, δ⟩ + δᵀGδ)."""
        curved = (displacement * (displacement @ self.gram)).sum(axis=-1)
        return (self.energy - 2 * displacement @ self.moment + curved) / self.count


@pytree
class Solution:
    """A minimiser and how it was found.

    ``theta`` (d,); ``rank`` of the weighted X (of X and ridge together if ridge > 0: d); ``condition`` of
    the column-equilibrated weighted X over its range; ``residual`` the weighted sum of squares at theta;
    ``method`` what was done, in words.
    """

    theta: Array
    rank: Array
    condition: Array
    residual: Array

    @property
    def method(self) -> str:
        return "equilibrated SVD"


def solve(
    X: Array, y: Array, start: Array, weights: Array | None = None, ridge: float | Array = 0.0
) -> Solution:
    """The minimiser of (1/n) Σ wᵢ(yᵢ − ⟨xᵢ,θ⟩)² + ridge·‖θ − start‖² that is closest to ``start``.

    That is the limit of gradient descent from ``start``, for every shape and rank: where X is wide,
    rank-deficient or weights are 0, the components the rows do not determine stay at the start.

    Parameters
    ----------
    X : (n, d) array
    y : (n,) array
    start : (d,) array
    weights : (n,) array, optional
        ≥ 0; ``None`` is all ones. With ``ridge = 0``: weight 0 = row removed, weight 2 = row twice, all
        weights × c = the same θ.
    ridge : float
        ≥ 0, on the scale of the *mean* loss; scikit-learn's ``alpha`` is n·ridge.

    Returns
    -------
    Solution

    Raises
    ------
    InvalidValueError, InvalidTypeError
        For wrong shapes, empty data, NaN or infinity, negative weights or ridge.

    Notes
    -----
    The rank is decided after equilibrating the columns; "closest" is in the coordinates given. In JAX the
    derivative is the implicit function theorem's, never through the factorisation: exact in y, start and
    weights, and in X and ridge wherever the (ridged) rows have full column rank.
    """
    space, rows = checked_rows(X, y, start, weights, ridge)
    ridge = bounded(space, "ridge", ridge, lambda v: (v >= 0) & (v < math.inf), "must be finite and ≥ 0")
    xp, (n, d) = space.xp, rows.X.shape
    root = xp.sqrt(_stopped(space, rows.weights))
    pull = xp.sqrt(n * _stopped(space, ridge))
    tall = xp.concatenate([root[:, None] * _stopped(space, rows.X), pull * xp.eye(d, dtype=space.dtype)])
    aim = xp.concatenate([root * _stopped(space, rows.residual), xp.zeros(d, dtype=space.dtype)])
    displacement, rank, condition, inverse = _closest(space, tall, aim)
    if space.xp is jnp:  # one Newton step: leaves the value, carries the derivative
        weighted = rows.X * rows.weights[:, None]
        remaining = weighted.T @ (rows.residual - rows.X @ displacement) - n * ridge * displacement
        displacement = displacement + inverse @ (inverse.T @ remaining)
    left = rows.residual - rows.X @ displacement
    return Solution(rows.start + displacement, rank, condition, (rows.weights * left**2).sum())


def _stopped(space: Namespace, value: Array) -> Array:
    return jax.lax.stop_gradient(value) if space.xp is jnp else value


def _closest(space: Namespace, tall: Array, aim: Array) -> tuple[Array, Array, Array, Array]:
    """The shortest least-squares solution of tall·δ = aim; its rank, condition and a root of (tallᵀtall)⁺."""
    xp = space.xp
    scale = xp.sqrt((tall**2).sum(axis=0))
    scale = xp.where(scale > 0, scale, 1.0)
    left, sizes, right = xp.linalg.svd(tall / scale, full_matrices=False)
    kept = sizes > max(tall.shape) * space.eps * sizes[0]
    inverse = xp.where(kept, 1 / xp.where(kept, sizes, 1.0), 0.0)
    # Directions the rows do not see, in the coordinates given; the solution drops its part along them.
    null = xp.where(kept, 0.0, right.T) / scale[:, None]
    lengths = xp.sqrt((null**2).sum(axis=0))
    null = null / xp.where(lengths > 0, lengths, 1.0)
    unseen = null @ xp.linalg.pinv(null, rtol=max(tall.shape) * space.eps)
    seen = xp.eye(tall.shape[1], dtype=space.dtype) - unseen
    root = seen @ (right.T * inverse / scale[:, None])
    smallest = xp.min(xp.where(kept, sizes, xp.inf))
    condition = xp.where(kept.any(), sizes[0] / smallest, 1.0)
    return root @ (left.T @ aim), kept.sum(), condition, root
