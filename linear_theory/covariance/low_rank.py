"""The identity plus a low rank: a covariance in a million dimensions that costs k + 1 vectors."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..arrays import Array, Namespace, binary_unit, finite, namespace, quotient, shaped, whole_or_nan
from ..errors import reject
from ..trees import construct_unchecked, is_concrete, pytree
from .dense import Dense
from .spectrum import rank_cutoff
from .subspace import InvariantSubspace, StoppingTest

__all__ = ["IdentityPlusLowRank", "WeightedLowRank"]

MAX_DENSE_DIM = 128
"""Dimensions up to which JAX takes it for a matrix, of which there are derivatives of every order in everything."""


def frozen(array: Array) -> Array:
    """A copy nobody can write to (NumPy): what has been derived from it stays true."""
    if isinstance(array, np.ndarray):
        array = array.copy()
        array.setflags(write=False)
    return array


def is_frozen(*arrays: object) -> bool:
    """Whether nobody can write to any of them."""
    # A number, too: of one, ``pytree`` keeps NumPy's kind.
    return all(isinstance(array, np.ndarray | np.generic) and not array.flags.writeable for array in arrays)


@pytree
class IdentityPlusLowRank:
    """The covariance scale·I + U C Uᵀ, in O(d k) memory and O(d k²) time.

    Parameters
    ----------
    factor : (d, k) array
        U, of any rank; k = 0 is a multiple of the identity.
    core : (k, k) array
        C, symmetric; indefinite where the whole is positive semi-definite, as in eq. (3).
    scale : float
        The eigenvalue on everything orthogonal to U.

    Raises
    ------
    InvalidValueError, InvalidTypeError
        For wrong shapes, NaN or infinity, an asymmetric core, or a negative eigenvalue of the whole.
        Rounding (16·(k+1)·eps beside the largest eigenvalue) passes as it is and counts as zero.

    Examples
    --------
    >>> import numpy as np
    >>> import linear_theory as lt
    >>> A = lt.covariance.IdentityPlusLowRank(factor=np.eye(10**6, 1), core=np.array([[8.0]]))  # a spike
    >>> print(A.quadratic(np.ones(10**6)))
    1000008.0
    """

    factor: Array
    core: Array
    scale: Array | float = 1.0

    def __post_init__(self) -> None:
        space = namespace(self.factor, self.core, self.scale)
        factor = finite(space, "factor", self.factor, ndim=2)
        rank = factor.shape[1]
        if factor.shape[0] == 0:
            reject("factor", self.factor, "has no rows; it must have one a parameter")
        core = finite(space, "core", self.core, ndim=2)
        core = shaped("core", core, (rank, rank), "one row and column for each column of factor")
        parts = {"factor": factor, "core": core, "scale": finite(space, "scale", self.scale)}
        held = space.constant(parts)
        with np.errstate(over="ignore", invalid="ignore"):
            valid = unchecked(**held)._check(space)
        for name, part in whole_or_nan(space, parts, valid).items():
            object.__setattr__(self, name, frozen(part))

    def _check(self, space: Namespace) -> Array:
        """Whether it is symmetric and positive semi-definite; an error where that can be seen not to be."""
        xp, core, scale = space.xp, self.core, self.scale
        gap, slack = xp.max(xp.abs(core - core.T), initial=0.0), 16 * rank_cutoff(space, core)
        symmetric = gap <= slack
        if is_concrete(symmetric) and not symmetric:
            reject(
                "core", core, f"is not symmetric (largest difference {gap:.3g}); pass (C + C.T)/2 if meant"
            )
        matrix = self._within(self._orthonormal()[1])
        is_finite = xp.isfinite(matrix).all()
        if is_concrete(is_finite) and not is_finite:
            reject("factor", self.factor, "makes a U C Uᵀ that is beyond the largest float; rescale x")
        values = xp.linalg.eigvalsh(matrix)
        outside = scale if self.dim > len(values) else space.array(math.inf)
        smallest = xp.minimum(xp.min(values, initial=math.inf), outside)
        semidefinite = smallest >= -self._cutoff(space, matrix)
        if is_concrete(semidefinite) and not semidefinite:
            name = "scale" if smallest == outside else "core"
            remedy = f"scale·I + U C Uᵀ is not positive semi-definite (smallest eigenvalue {smallest:.3g})"
            reject(name, getattr(self, name), remedy)
        return symmetric & semidefinite & is_finite

    @property
    def dim(self) -> int:
        """d, the rows of U."""
        return self.factor.shape[-2]

    def apply(self, vector: Array) -> Array:
        """A v for each of the vectors (…, d)."""
        return self.scale * vector + ((vector @ self.factor) @ self.core) @ self.factor.T

    def quadratic(self, vector: Array) -> Array:
        """vᵀA v for each of the vectors (…, d)."""
        inside = vector @ self.factor
        return (vector * (self.scale * vector)).sum(axis=-1) + (inside * (inside @ self.core)).sum(axis=-1)

    def dense(self) -> Array:
        """The (d, d) matrix: for small d."""
        space = namespace(self)
        matrix = (self.factor @ self.core) @ self.factor.T
        return self.scale * space.xp.eye(self.dim, dtype=space.dtype) + (matrix + matrix.T) / 2

    @property
    def ceiling(self) -> Array:
        """The largest row sum of A in a basis of U's range, or ``scale``: no eigenvalue exceeds it."""
        space = namespace(self)
        inside = abs(self._within(self._orthonormal()[1])).sum(axis=-1)
        return space.xp.maximum(space.xp.max(inside, initial=0.0), self.scale)

    @property
    def absolute_ceiling(self) -> Array:
        """A bound of the terms of vᵀA v, in absolute values, for unit vectors v; infinite where no basis is kept."""
        if not is_frozen(self.factor, self.core, self.scale):
            return np.inf
        # |v|ᵀ|Uⱼ| is at most the column's length, and that the sum of its coordinates, whose squares may be no floats.
        lengths = abs(self._orthonormal()[1]).sum(axis=0)
        with np.errstate(over="ignore"):
            return abs(self.scale) + lengths @ abs(self.core) @ lengths

    def plus(self, factor: Array, core: Array, scale: Array | float = 0.0) -> IdentityPlusLowRank:
        """A + scale·I + factor core factorᵀ: the two factors side by side. Not checked."""
        space = namespace(self, factor, core, scale)
        xp, corner = space.xp, space.xp.zeros((self.core.shape[0], core.shape[0]), dtype=space.dtype)
        above, below = xp.concatenate([self.core, corner], 1), xp.concatenate([corner.T, core], 1)
        factors = xp.concatenate([self.factor, factor], axis=1)
        return unchecked(factors, xp.concatenate([above, below]), self.scale + scale)

    def times(self, number: Array) -> IdentityPlusLowRank:
        """number · A. Not checked."""
        return unchecked(self.factor, number * self.core, number * self.scale)

    def _orthonormal(self) -> tuple[Array, Array]:
        """An orthonormal basis B of U as rows (min(d, k), d), held fixed in JAX, and BᵀU."""
        space = namespace(self)
        xp = space.xp
        known = self.__dict__.get("_known")
        if known is not None:
            return known
        held = space.constant(self.factor)
        basis = (held if _gap(space, held) <= 4 * space.eps else _orthonormal_columns(space, held)).T
        basis = np.ascontiguousarray(basis) if xp is np else basis
        factor_in_basis = _products(space, basis.T, self.factor)
        if is_frozen(self.factor, self.core, self.scale):
            self.__dict__["_known"] = basis, factor_in_basis
        return basis, factor_in_basis

    def _within(self, factor_in_basis: Array) -> Array:
        """BᵀA B from BᵀU."""
        space = namespace(self, factor_in_basis)
        matrix = factor_in_basis @ self.core @ factor_in_basis.T
        return (
            self.scale * space.xp.eye(factor_in_basis.shape[0], dtype=space.dtype) + (matrix + matrix.T) / 2
        )

    def _cutoff(self, space: Namespace, matrix: Array) -> Array:
        """What counts as zero: 16·(k+1)·eps of the largest of what is added up."""
        largest = space.xp.max(space.xp.abs(matrix), initial=0.0)
        return 16 * (self.core.shape[0] + 1) * space.eps * space.xp.maximum(largest, space.xp.abs(self.scale))

    def reach(self, vector: Array, stop: StoppingTest) -> InvariantSubspace:
        """span(U, v): k + 1 dimensions, A being ``scale`` on the rest."""
        space = namespace(self, vector)
        xp, rank = space.xp, self.core.shape[0]
        if self.dim <= (rank + 1 if xp is np else max(rank + 1, MAX_DENSE_DIM)):
            return Dense(self.dense()).reach(vector, stop)
        basis, factor_in_basis = self._orthonormal()
        constant = space.constant(vector)
        unit = binary_unit(space, constant)  # or the squares leave the floats before it does
        constant = constant if is_concrete(unit) and unit == 1 else constant / unit
        # Rounding leaves this much of a vector that lies in span(U).
        negligible = 8 * (rank + 2) * space.eps * xp.sqrt(constant @ constant)
        remainder = _without(constant, basis)
        length = xp.sqrt(remainder @ remainder)
        if not is_concrete(length) or bool(length > negligible):
            remainder = _without(remainder, basis)  # Once more, or a small remainder is not orthogonal.
            length = xp.sqrt(remainder @ remainder)
        has_component = length > negligible
        if rank == 0 or not is_concrete(has_component) or bool(has_component):
            unit = xp.where(has_component, 1.0, 0.0) / xp.where(has_component, length, 1.0) * remainder
            basis = xp.concatenate([basis, unit[None]])
            # The last row is zero, but its derivative is not.
            factor_in_basis = xp.concatenate([factor_in_basis, (unit @ self.factor)[None]])
        matrix = self._within(factor_in_basis)
        small = Dense(matrix, self._cutoff(space, matrix))
        return InvariantSubspace(small, basis @ vector, basis, space.array(self.scale))


@pytree
class WeightedLowRank(IdentityPlusLowRank):
    """mass · (the identity plus a low rank, weighted along e), of one rank more.

    Products and quadratic forms go by the split of :class:`RankOneDowndate`, in which nothing cancels: along e they
    keep the digits that the sum of ``scale`` and the low rank has lost. Made by
    :func:`linear_theory.weighted_covariance`.

    Examples
    --------
    >>> import linear_theory as lt
    >>> problem = lt.paper_problem(0.6, dim=1000)
    >>> weighted = lt.weighted_covariance(problem, 1e-16)
    >>> print(f"{weighted.quadratic(problem.shift):.4e}, {lt.weight_mass(problem, 1e-16) ** 3:.4e}")  # μ³
    3.5355e-25, 3.5355e-25
    """

    weighted: Any = None
    mass: Array | float = 1.0

    @classmethod
    def of(cls, weighted: Any, mass: Array) -> WeightedLowRank:
        """mass · ``weighted``, a :class:`RankOneDowndate` of an :class:`IdentityPlusLowRank`. Not checked."""
        space = namespace(weighted, mass)
        image = weighted.base.apply(weighted.direction)
        core_change = quotient(space, weighted.ratio - 1, weighted.direction @ image, 0.0)
        product = weighted.base.plus(image[:, None], core_change[None, None]).times(mass)
        parts = {
            "factor": product.factor,
            "core": product.core,
            "scale": product.scale,
            "weighted": weighted,
            "mass": mass,
        }
        return construct_unchecked(cls, **parts)

    def apply(self, vector: Array) -> Array:
        """A v for each of the vectors (…, d)."""
        return self.mass * self.weighted.apply(vector)

    def quadratic(self, vector: Array) -> Array:
        """vᵀA v for each of the vectors (…, d)."""
        return self.mass * self.weighted.quadratic(vector)


BLOCK = 128
"""Rows whose products are added up one after the other."""


def _products(space: Namespace, left: Array, right: Array) -> Array:
    """leftᵀright (k, m) of (d, k) and (d, m): in NumPy the blocks' sums are added in pairs, so that rounding grows with
    log d. BLAS adds up to d terms one after the other, and XLA does not.
    """
    if space.xp is not np or len(left) <= BLOCK:
        return left.T @ right
    count = len(left) // BLOCK
    whole = count * BLOCK
    in_blocks = lambda rows: rows[:whole].reshape(count, BLOCK, rows.shape[1])
    parts = np.matmul(in_blocks(left).swapaxes(1, 2), in_blocks(right))
    parts = np.concatenate([parts, (left[whole:].T @ right[whole:])[None]])
    while len(parts) > 1:
        half = len(parts) // 2
        parts = np.concatenate([parts[:half] + parts[half : 2 * half], parts[2 * half :]])
    return parts[0]


def _gap(space: Namespace, columns: Array) -> float:
    """How far BᵀB is from I, infinite where that is not known: up to 4ε columns are orthonormal, as in eq. (3)."""
    if not is_concrete(columns):
        return math.inf
    with np.errstate(over="ignore", invalid="ignore"):
        gap = abs(_products(space, columns, columns) - space.xp.eye(columns.shape[1], dtype=space.dtype))
    return float(space.xp.max(gap, initial=0.0))


def _orthonormal_columns(space: Namespace, columns: Array) -> Array:
    """Q of the QR factorisation, whose columns' lengths err by d roundings in LAPACK, and here by a few."""
    basis = space.xp.linalg.qr(columns)[0]
    if space.xp is np and _gap(space, basis) > 4 * space.eps:
        basis = basis - basis @ (_products(space, basis, basis) - np.eye(basis.shape[1])) / 2
    return basis


def _without(vector: Array, basis: Array) -> Array:
    """``vector`` minus its parts along the orthonormal rows of ``basis``; itself where it has none."""
    inside = basis @ vector
    if is_concrete(inside) and not bool(inside.any()):
        return vector
    return vector - inside @ basis


def unchecked(factor: Array, core: Array, scale: Array) -> IdentityPlusLowRank:
    """Built from parts already known to be good, without the check and without a copy."""
    return construct_unchecked(IdentityPlusLowRank, factor=factor, core=core, scale=scale)
