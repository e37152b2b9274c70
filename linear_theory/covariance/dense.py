"""A covariance held as its matrix, what a weight makes of a covariance, and what counts as zero in one."""

from __future__ import annotations

from typing import Any

from ..arrays import Array, namespace, quotient
from ..reading import read
from ..trees import is_concrete, pytree
from .spectrum import Spectrum, downdated_spectrum, eigenbasis, spectrum
from .subspace import InvariantSubspace, StoppingTest

__all__ = ["Dense", "RankOneDowndate", "with_one_more_dimension"]


@pytree
class Dense:
    """A covariance held as its (d, d) matrix; eigenvalues up to ``cutoff`` are zero, by default rounding.

    Examples
    --------
    >>> import numpy as np
    >>> import linear_theory as lt
    >>> A = lt.covariance.Dense(np.array([[2.0, 1.0], [1.0, 2.0]]))
    >>> print(A.apply(np.array([1.0, 0.0])), A.quadratic(np.ones(2)), A.eigh()[0].round(4))
    [2. 1.] 6.0 [1. 3.]
    """

    matrix: Array
    cutoff: Array | None = None

    def __post_init__(self) -> None:
        matrix = read("matrix", self.matrix)
        namespace(matrix).refuse_half("matrix", matrix)
        object.__setattr__(self, "matrix", matrix)

    @property
    def dim(self) -> int:
        return self.matrix.shape[-1]

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
        return eigenbasis(namespace(self), self.matrix, self.cutoff)

    def spectrum(self, vector: Array) -> Spectrum:
        """The eigenbasis, and the vector's coordinates in it."""
        return spectrum(namespace(self, vector), self.matrix, vector, self.cutoff)

    @property
    def ceiling(self) -> Array:
        """The largest row sum, which no eigenvalue exceeds."""
        return abs(self.matrix).sum(axis=-1).max()

    def reach(self, vector: Array, stop: StoppingTest) -> InvariantSubspace:
        """All of R^d: with the matrix in hand there is nothing to save."""
        return InvariantSubspace(self, vector)


@pytree
class RankOneDowndate:
    """The covariance A − (1 − ratio) A e eᵀA / (eᵀA e), for 0 < ratio (above 1 it is an update).

    Every vector splits as v = α e + r with eᵀA r = 0, and in that split nothing cancels:
    vᵀ(·)v = rᵀA r + ratio·α² eᵀA e. So a quadratic form that the weight has made 10⁶ times smaller
    still has all its digits, which forming A − … would have lost.

    Examples
    --------
    >>> import numpy as np
    >>> import linear_theory as lt
    >>> A = lt.covariance.Dense(np.diag([1.0, 4.0]))
    >>> weighted = lt.covariance.RankOneDowndate(A, np.array([1.0, 0.0]), np.array(1e-30))
    >>> print(weighted.quadratic(np.eye(2)))  # A − … would have lost the first to rounding
    [1.e-30 4.e+00]
    """

    base: Any  # a Covariance; for ``spectrum`` one that has it
    direction: Array
    ratio: Array

    @property
    def dim(self) -> int:
        return self.direction.shape[-1]

    def _split(self, vector: Array) -> tuple[Array, Array]:
        """α and r of v = α e + r with eᵀA r = 0, for each of the vectors (…, d)."""
        space = namespace(vector, self.direction)
        along = self.base.apply(self.direction)
        # Where nothing is changed no split is needed, and e, perhaps in the null space of A, has none.
        form = space.xp.where(self.ratio == 1, 0.0, self.direction @ along)
        alpha = quotient(space, vector @ along, form, 0.0)
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
        space = namespace(self.base, self.direction, self.ratio)
        alpha, rest = self._split(space.xp.eye(self.dim, dtype=space.dtype))
        along = self.ratio * self.base.quadratic(self.direction)
        matrix = self.base.apply(rest) @ rest.T + along * alpha[:, None] * alpha[None, :]
        return (matrix + matrix.T) / 2

    def eigh(self) -> tuple[Array, Array]:
        """Eigenvalues (d,) and eigenvectors (d, d) in columns."""
        found = self.spectrum(self.direction)
        return found.values, found.vectors

    def spectrum(self, vector: Array) -> Spectrum:
        """The eigenbasis, and the coordinates in it of ``vector``: where that equals e, with all their digits."""
        space = namespace(self, vector)
        of_direction = downdated_spectrum(
            space, self.base.dense(), self.base.spectrum(self.direction), self.ratio
        )
        is_direction = (vector == self.direction).all()
        if is_concrete(is_direction):
            return of_direction if is_direction else of_direction.of(space, vector)
        pairs = zip(of_direction, of_direction.of(space, vector), strict=True)
        return Spectrum(*(space.xp.where(is_direction, along_e, other) for along_e, other in pairs))

    @property
    def ceiling(self) -> Array:
        """λ_max of a downdate is at most that of A; an update multiplies one direction by ``ratio``."""
        space = namespace(self.ratio)
        return self.base.ceiling * space.xp.maximum(self.ratio, 1.0)

    def reach(self, vector: Array, stop: StoppingTest) -> InvariantSubspace:
        """The reach of A from e, which the downdate does not leave, nor any ``vector`` in it."""
        inner = self.base.reach(self.direction, lambda inner: stop(self._within(inner, vector)))
        return self._within(inner, vector)

    def _within(self, inner: InvariantSubspace, vector: Array) -> InvariantSubspace:
        small = RankOneDowndate(inner.covariance, inner.coordinates, self.ratio)
        known = vector is self.direction and is_concrete(vector)
        is_direction = known or (vector == self.direction).all()
        if is_concrete(is_direction) and is_direction:
            # A Krylov space knows the coordinates without rounding.
            inside = inner.coordinates
        else:
            inside = vector if inner.basis is None else inner.basis @ vector
        return InvariantSubspace(small, inside, inner.basis, inner.rest)


def with_one_more_dimension(covariance: Any, value: Array) -> Any:
    """A with one more dimension, orthogonal to all others, in which it is ``value``."""
    space = namespace(covariance, value)
    m = covariance.dim
    if isinstance(covariance, RankOneDowndate):
        direction = space.xp.concatenate([covariance.direction, space.xp.zeros(1, dtype=space.dtype)])
        return RankOneDowndate(with_one_more_dimension(covariance.base, value), direction, covariance.ratio)
    edge = space.xp.eye(m + 1, dtype=space.dtype)[m]
    padded = space.xp.pad(covariance.matrix, ((0, 1), (0, 1)))
    return Dense(padded + value * edge[:, None] * edge, covariance.cutoff)
