"""A covariance, touched only through a few operations.

``apply`` (A v), ``quadratic`` (vᵀA v), ``dense`` (the matrix) and ``eigh`` (eigenvalues and eigenvectors,
in which an eigenvalue that is zero to rounding *is* zero). ``Dense`` holds a matrix; ``Downdated`` is what
a weight makes of another covariance. Low-rank and operator covariances belong here, beside them.
"""

from __future__ import annotations

from typing import Protocol

import jax
import numpy as np

from .arrays import Array, Namespace, finite, is_concrete, namespace, pytree, quotient, reject, shaped

__all__ = ["Covariance", "Dense", "Downdated", "checked_covariance"]


class Covariance(Protocol):
    """What the rest of the package asks of a covariance."""

    def apply(self, vector: Array) -> Array: ...
    def quadratic(self, vector: Array) -> Array: ...
    def dense(self) -> Array: ...
    def eigh(self) -> tuple[Array, Array]: ...


@pytree
class Dense:
    """A covariance held as its (d, d) matrix."""

    matrix: Array

    def apply(self, vector: Array) -> Array:
        """A v for each of the vectors (…, d)."""
        return vector @ self.matrix

    def quadratic(self, vector: Array) -> Array:
        """vᵀA v for each of the vectors (…, d)."""
        return (vector * self.apply(vector)).sum(axis=-1)

    def dense(self) -> Array:
        return self.matrix

    def eigh(self) -> tuple[Array, Array]:
        """Ascending eigenvalues (d,) and eigenvectors (d, d) in columns."""
        space = namespace(self.matrix)
        values, vectors = space.xp.linalg.eigh(self.matrix)
        return space.xp.where(values <= rank_cutoff(space, values), 0.0, values), vectors


@pytree
class Downdated:
    """The covariance A − (1 − ratio) A e eᵀA / (eᵀA e), for 0 < ratio (above 1 it is an update).

    Every vector splits as v = α e + r with eᵀA r = 0, and in that split nothing cancels:
    vᵀ(·)v = rᵀA r + ratio·α² eᵀA e. So a quadratic form that the weight has made 10⁶ times smaller
    still has all its digits, which forming A − … would have lost.
    """

    base: Dense
    direction: Array
    ratio: Array

    def _split(self, vector: Array) -> tuple[Array, Array]:
        space = namespace(vector, self.direction)
        along = self.base.apply(self.direction)
        alpha = quotient(space, vector @ along, self.direction @ along, 0.0)
        return alpha, vector - alpha[..., None] * self.direction

    def apply(self, vector: Array) -> Array:
        """The covariance applied to each of the vectors (…, d)."""
        alpha, rest = self._split(vector)
        return self.base.apply(rest) + (self.ratio * alpha)[..., None] * self.base.apply(self.direction)

    def quadratic(self, vector: Array) -> Array:
        """The quadratic form at each of the vectors (…, d)."""
        alpha, rest = self._split(vector)
        return self.base.quadratic(rest) + self.ratio * alpha**2 * self.base.quadratic(self.direction)

    def dense(self) -> Array:
        space = namespace(self.base.matrix, self.direction, self.ratio)
        alpha, rest = self._split(space.xp.eye(self.direction.shape[0], dtype=space.dtype))
        along = self.ratio * self.base.quadratic(self.direction)
        matrix = self.base.apply(rest) @ rest.T + along * alpha[:, None] * alpha[None, :]
        return (matrix + matrix.T) / 2

    def eigh(self) -> tuple[Array, Array]:
        """Eigenvalues and eigenvectors in columns; each eigenvalue is the Rayleigh quotient of its vector.

        ``eigh`` alone knows the smallest eigenvalue only to eps·‖A‖. The error of the Rayleigh quotient is
        quadratic in the vector's, and ``quadratic`` does not cancel: relative accuracy is back. The null
        space is that of A; it is lifted out of the way, or a nearly vanished eigenvalue would mix with it.
        In JAX the derivative of an eigenvalue is vᵀ(dA)v, the vectors held fixed: exact, never 0/0.
        """
        space = namespace(self.base.matrix, self.direction, self.ratio)
        xp = space.xp
        held = (lambda array: array) if xp is np else jax.lax.stop_gradient
        values, basis = map(held, self.base.eigh())
        null = values == 0
        unseen = xp.where(null, basis, 0.0) @ basis.T
        direction = xp.where(null.any(), self.direction - unseen @ self.direction, self.direction)
        inner = Downdated(self.base, direction, self.ratio)
        lift = 2 * xp.maximum(self.ratio, 1.0) * xp.max(values)
        _, vectors = xp.linalg.eigh(held(inner.dense() + lift * unseen))
        lifted = ((unseen @ vectors) ** 2).sum(axis=0) > 0.5
        return xp.where(lifted, 0.0, xp.maximum(inner.quadratic(vectors.T), 0.0)), vectors


def rank_cutoff(space: Namespace, scale: Array) -> Array:
    """What counts as zero beside ``scale`` (eigenvalues, or a matrix): d · eps · the largest entry."""
    return scale.shape[0] * space.eps * space.xp.max(space.xp.abs(scale), initial=0.0)


def checked_covariance(space: Namespace, name: str, value: object, dim: int) -> Array:
    """``value`` as a symmetric positive semi-definite (dim, dim) matrix.

    Asymmetry or a negative eigenvalue of the size of rounding (16·d·eps beside the largest entry) passes
    as it is; anything beyond is an error, never repaired.
    """
    xp = space.xp
    matrix = shaped(name, finite(space, name, value, ndim=2), (dim, dim), "one row and column a parameter")
    if is_concrete(matrix) and dim:
        slack = 16 * rank_cutoff(space, matrix)
        gap = float(xp.max(xp.abs(matrix - matrix.T)))
        if gap > slack:
            reject(name, value, f"is not symmetric (largest difference {gap:.3g}); pass (C + C.T)/2 if meant")
        smallest = float(xp.linalg.eigvalsh(matrix)[0])
        if smallest < -slack:
            reject(name, value, f"is not positive semi-definite (smallest eigenvalue {smallest:.3g})")
    return matrix
