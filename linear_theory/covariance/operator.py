"""A covariance known by its products A v alone, and the Krylov space in which a path through it stays."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass

import jax
import numpy as np

from ..arrays import ANY_NDIM, Array, Namespace, integer, namespace, numeric
from ..errors import InvalidTypeError, reject
from ..trees import construct_unchecked, is_traced
from .dense import Dense
from .subspace import InvariantSubspace, StoppingTest

__all__ = ["Operator", "checked_dim", "numpy_only"]

FIRST_CHECK = 16
"""Products before it is first asked whether the space is large enough; then at every doubling."""

LARGEST_DIM = sys.maxsize // 8
"""Numbers in the longest vector that there can be."""

MAX_PRODUCTS = 2048
"""Products after which a space that has not settled is given up."""


@jax.tree_util.register_static
@dataclass(frozen=True, eq=False)
class Operator:
    """A symmetric positive semi-definite (d, d) matrix A given as the function v → A v, in NumPy.

    Whatever the package computes of it lies in the Krylov space of (A, e), which grows (Lanczos, every vector
    kept orthogonal to all before) until the answer has settled to 64 ε: m products and m vectors. No
    derivatives, and nothing that needs the whole spectrum.

    Parameters
    ----------
    product : callable
        (d,) array → (d,) array.
    dim : int
        d ≥ 1.

    Raises
    ------
    InvalidValueError
        Where a product has the wrong shape or is not finite; where A is found not to be symmetric (two random
        vectors are tried: ``|⟨u, Av⟩ − ⟨Au, v⟩|`` beyond rounding) or, on the way, not positive semi-definite;
        where the space has not settled after 2048 products.

    Examples
    --------
    >>> import numpy as np
    >>> import linear_theory as lt
    >>> decay = np.linspace(0.9, 0.5, 1000)
    >>> target_covariance = lt.covariance.Operator(lambda v: decay * v, 1000)
    >>> problem = lt.FineTuningProblem(np.ones(1000), np.zeros(1000), target_covariance)
    >>> print(lt.iterate(problem, 2)[[0, -1]].round(4))  # (1 − 2η·decay)², η = ½
    [0.01 0.25]
    """

    product: Callable[[Array], Array]
    dim: int

    def __post_init__(self) -> None:
        if not callable(self.product):
            raise InvalidTypeError("product", self.product, "must be a function v → A v")
        object.__setattr__(self, "dim", checked_dim(self.dim))
        u, v = np.random.default_rng(0).standard_normal((2, self.dim))
        left, right = self._times(u), self._times(v)
        gap, size = abs(u @ right - left @ v), np.abs(u) @ np.abs(right) + np.abs(left) @ np.abs(v)
        if gap > 16 * self.dim * np.finfo(float).eps * size:
            reject("product", self.product, f"is not symmetric: ⟨u, Av⟩ − ⟨Au, v⟩ = {gap:.3g}")

    def _times(self, vector: Array) -> Array:
        """A v of one vector, if it is of v's shape and finite."""
        if is_traced(vector):  # of which NumPy can make nothing
            numpy_only(namespace(vector), "covariance", self)
        image = numeric(namespace(), "product", self.product(vector), ndim=ANY_NDIM)
        if image.shape != vector.shape:
            reject("product", self.product, f"gave shape {image.shape} for a vector of shape {vector.shape}")
        if not np.isfinite(image).all():
            reject("product", self.product, "gave NaN or infinity")
        return image

    def apply(self, vector: Array) -> Array:
        """A v for each of the vectors (…, d)."""
        flat = np.reshape(vector, (-1, self.dim))
        return np.reshape([self._times(row) for row in flat], np.shape(vector))

    def quadratic(self, vector: Array) -> Array:
        """vᵀA v for each of the vectors (…, d)."""
        return (vector * self.apply(vector)).sum(axis=-1)

    def dense(self) -> Array:
        """The (d, d) matrix, by d products: for small d."""
        matrix = self.apply(np.eye(self.dim))
        return (matrix + matrix.T) / 2

    @property
    def ceiling(self) -> Array:
        """∞: no bound is known without looking at the spectrum."""
        return np.array(np.inf)

    def plus(self, other: Callable[[Array], Array]) -> Operator:
        """The operator v → A v + other(v). Not checked."""
        return unchecked(lambda v: self._times(v) + other(v), self.dim)

    def reach(self, vector: Array, stop: StoppingTest) -> InvariantSubspace:
        """The Krylov space span(v, Av, A²v, …), grown until ``stop`` or until A no longer leaves it.

        A JAX vector is refused: JAX has no loop that may end when the answer has settled.
        """
        numpy_only(namespace(vector), "covariance", self)
        size = _length(vector)
        # The path of a zero vector is zero, in whatever space: one direction of any kind will do.
        start = vector / size if size > 0 else np.eye(1, self.dim)[0]
        rows, diagonal, off_diagonal = [start], [], []
        largest_size = min(self.dim, MAX_PRODUCTS)
        while True:
            image = self._times(rows[-1])
            diagonal.append(rows[-1] @ image)
            image = _orthogonalised(image, rows)
            norm = _length(image)
            steepest = max(map(abs, (*diagonal, *off_diagonal)))
            invariant = norm <= 16 * self.dim * np.finfo(float).eps * steepest
            if invariant or len(rows) in _check_sizes(largest_size):
                basis = np.array(rows)
                subspace = InvariantSubspace(
                    self._tridiagonal(diagonal, off_diagonal), size * np.eye(1, len(rows))[0], basis
                )
                if invariant or len(rows) == self.dim or stop(subspace):
                    return subspace
                if len(rows) == largest_size:
                    remedy = (
                        f"its Krylov space has not settled after {largest_size} products; ask for fewer steps"
                    )
                    reject("product", self.product, remedy)
            off_diagonal.append(norm)
            rows.append(image / norm)

    def _tridiagonal(self, diagonal: list[float], off_diagonal: list[float]) -> Dense:
        """A in the Krylov space; refused where it has a negative eigenvalue there."""
        matrix = np.diag(diagonal) + np.diag(off_diagonal, 1) + np.diag(off_diagonal, -1)
        cutoff = 16 * self.dim * np.finfo(float).eps * np.abs(matrix).max()
        smallest = np.linalg.eigvalsh(matrix)[0]
        if smallest < -cutoff:
            reject(
                "product", self.product, f"is not positive semi-definite (eigenvalue {smallest:.3g} or less)"
            )
        return Dense(matrix, np.array(cutoff))


def numpy_only(space: Namespace, name: str, value: object) -> None:
    """Refuse an operator beside JAX arrays."""
    if space.xp is not np:
        remedy = "is an operator, which works in NumPy; pass no JAX arrays beside it, or give its matrix"
        raise InvalidTypeError(name, value, remedy)


def _check_sizes(most: int) -> set[int]:
    """When to ask: 16, 32, 64, … and at the end."""
    return {FIRST_CHECK * 2**k for k in range(most.bit_length()) if FIRST_CHECK * 2**k < most} | {most}


def _length(vector: Array) -> float:
    """‖v‖, also where its square is no float."""
    size = float(np.abs(vector).max(initial=0.0))
    return size * float(np.linalg.norm(vector / size)) if size > 0 else 0.0


def checked_dim(dim: object) -> int:
    """``dim``, a number of parameters of which a vector can be."""
    number = integer("dim", dim, "must be an integer ≥ 1")
    if number < 1:
        reject("dim", dim, "must be an integer ≥ 1")
    if number > LARGEST_DIM:
        reject("dim", dim, f"is more than memory can address, {LARGEST_DIM}")
    return number


def _orthogonalised(vector: Array, rows: list[Array]) -> Array:
    """``vector`` without its parts along the rows, twice, for once leaves rounding."""
    for _ in range(2):
        for row in rows:
            vector = vector - (row @ vector) * row
    return vector


def unchecked(product: Callable[[Array], Array], dim: int) -> Operator:
    """Built of operators already known to be good."""
    return construct_unchecked(Operator, product=product, dim=dim)
