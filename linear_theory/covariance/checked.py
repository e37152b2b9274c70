"""A covariance as its user gives it: a matrix, the identity plus a low rank, or an operator."""

from __future__ import annotations

from typing import Any

from ..arrays import Array, Namespace, finite, require, shaped
from ..errors import reject
from ..reading import read
from ..trees import is_concrete
from .dense import Dense
from .low_rank import IdentityPlusLowRank
from .operator import Operator, numpy_only
from .spectrum import rank_cutoff
from .subspace import Covariance

__all__ = ["as_covariance", "checked_covariance", "total"]

KINDS = (IdentityPlusLowRank, Operator)


def as_covariance(value: Any) -> Covariance:
    """A checked covariance with its operations: a bare matrix becomes :class:`Dense`.

    Examples
    --------
    >>> import numpy as np
    >>> import linear_theory as lt
    >>> type(lt.covariance.as_covariance(np.eye(2))).__name__
    'Dense'
    """
    return value if isinstance(value, (Dense, *KINDS)) else Dense(read("covariance", value))


def checked_covariance(space: Namespace, name: str, value: Any, dim: int) -> Any:
    """``value`` as a covariance of ``dim`` parameters: itself where it is structured, else a (dim, dim) matrix.

    A SciPy ``LinearOperator`` or sparse matrix becomes an :class:`Operator`. In a matrix, asymmetry or a
    negative eigenvalue of the size of rounding (16·d·eps beside the largest entry) passes as it is; anything
    beyond is an error, never repaired.

    Examples
    --------
    >>> import linear_theory as lt
    >>> from linear_theory.arrays import namespace
    >>> try:
    ...     lt.covariance.checked_covariance(namespace(), "C", [[1, 2], [2, 1]], dim=2)
    ... except lt.InvalidValueError as error:
    ...     print(error.remedy)
    is not positive semi-definite (smallest eigenvalue -1)
    """
    if isinstance(value, KINDS):
        if value.dim != dim:
            reject(name, value, f"has {value.dim} dimensions, must have {dim}: one a parameter")
        if isinstance(value, Operator):
            numpy_only(space, name, value)
        return value
    if hasattr(value, "matvec") or type(value).__module__.startswith("scipy.sparse"):
        numpy_only(space, name, value)
        if value.shape != (dim, dim):
            reject(name, value, f"has shape {value.shape}, must have {(dim, dim)}: one row a parameter")
        return Operator(lambda v: value @ v, dim)
    return _checked_matrix(space, name, value, dim)


def _checked_matrix(space: Namespace, name: str, value: object, dim: int) -> Array:
    xp = space.xp
    matrix = shaped(name, finite(space, name, value, ndim=2), (dim, dim), "one row and column a parameter")
    if dim == 0:
        return matrix
    held = space.constant(matrix)
    slack = 16 * rank_cutoff(space, held)
    gap = xp.max(xp.abs(held - held.T))
    if is_concrete(gap) and gap > slack:
        reject(name, value, f"is not symmetric (largest difference {gap:.3g}); pass (C + C.T)/2 if meant")
    smallest = xp.linalg.eigvalsh(held)[0]
    remedy = "is not positive semi-definite"
    if is_concrete(smallest):
        remedy = f"{remedy} (smallest eigenvalue {smallest:.3g})"
    return require(space, name, matrix, (gap <= slack) & (smallest >= -slack), remedy)


def total(one: Covariance, other: Covariance) -> Covariance:
    """The sum of two covariances, as structured as both allow.

    Examples
    --------
    >>> import numpy as np
    >>> import linear_theory as lt
    >>> low_rank = lt.covariance.IdentityPlusLowRank(np.eye(2, 1), np.array([[3.0]]))
    >>> lt.covariance.total(low_rank, lt.covariance.Dense(np.eye(2))).dense().tolist()
    [[5.0, 0.0], [0.0, 2.0]]
    """
    if isinstance(one, IdentityPlusLowRank) and isinstance(other, IdentityPlusLowRank):
        return one.plus(other.factor, other.core, other.scale)
    if isinstance(one, Operator):
        return one.plus(other.apply)
    if isinstance(other, Operator):
        return other.plus(one.apply)
    return Dense(one.dense() + other.dense())
