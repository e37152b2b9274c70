"""What the rest of the package asks of a covariance, and the small space in which a path from θ* stays."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np

from ..arrays import Array
from ..trees import pytree

__all__ = ["Covariance", "Enough", "Reach", "anything", "settles"]


class Covariance(Protocol):
    """A symmetric positive semi-definite matrix A, touched only through these operations.

    Examples
    --------
    >>> import numpy as np
    >>> import linear_theory as lt
    >>> A = lt.covariance.as_covariance(np.diag([1.0, 3.0]))
    >>> print(A.dim, A.ceiling, A.quadratic(np.ones(2)), A.apply(np.ones(2)))
    2 3.0 4.0 [1. 3.]
    """

    @property
    def dim(self) -> int: ...

    @property
    def ceiling(self) -> Array: ...  # a cheap upper bound of the largest eigenvalue

    def apply(self, vector: Array) -> Array: ...
    def quadratic(self, vector: Array) -> Array: ...
    def dense(self) -> Array: ...
    def reach(self, vector: Array, enough: Enough) -> Reach: ...


@pytree
class Reach:
    """A vector v in an orthonormal basis B of a space that holds v and that A maps into itself.

    Whatever is made of A and v, φ(A)v for every φ, is made of BᵀA B and Bᵀv. A row of zeros in ``basis``
    stands for a direction orthogonal to A's factor and to v, which nothing ever enters.

    ``covariance``: BᵀA B, of m dimensions; ``coordinates``: Bᵀv; ``basis``: B's columns as rows (m, d),
    ``None`` where B is the identity; ``rest``: A's one eigenvalue on the complement, ``None`` where there is
    none or it is not known.

    Examples
    --------
    >>> import numpy as np
    >>> import linear_theory as lt
    >>> problem = lt.paper_problem(0.6, dim=10**6)
    >>> reach = problem.target_operator.reach(problem.shift, lt.covariance.anything)
    >>> print(reach.covariance.dim, reach.rest, reach.embed(reach.coordinates)[:3])
    2 1.0 [1. 0. 0.]
    """

    covariance: Any
    coordinates: Array
    basis: Array | None = None
    rest: Array | None = None

    def embed(self, inside: Array) -> Array:
        """B x for each x (…, m)."""
        return inside if self.basis is None else inside @ self.basis

    def outside(self, vector: Array) -> Array:
        """(I − BBᵀ)v for each v (…, d)."""
        return 0.0 * vector if self.basis is None else vector - (vector @ self.basis.T) @ self.basis


Enough = Callable[[Reach], bool]
"""Whether a space that still grows, a Krylov space, is large enough for what is wanted of it."""


def anything(reach: Reach) -> bool:
    """The first space will do.

    Examples
    --------
    >>> import numpy as np
    >>> import linear_theory as lt
    >>> A = lt.covariance.Operator(lambda v: np.linspace(1.0, 2.0, v.size) * v, 1000)
    >>> A.reach(np.ones(1000), lt.covariance.anything).covariance.dim  # the first that is looked at
    16
    """
    return True


def settles(wanted: Callable[[Reach], tuple[Array, Array | float]]) -> Enough:
    """Enough where what is ``wanted`` of the space no longer changes when the space grows.

    ``wanted`` gives an array, (…, m) in the basis of the space, and the size that its rounding errors are on.

    Examples
    --------
    >>> import numpy as np
    >>> import linear_theory as lt
    >>> A = lt.covariance.Operator(lambda v: np.linspace(1.0, 2.0, v.size) * v, 1000)
    >>> image = lambda reach: (reach.covariance.apply(reach.coordinates), 2.0)
    >>> A.reach(np.ones(1000), lt.covariance.settles(image)).covariance.dim  # the second shows no change
    32
    """
    last: list[Array] = []

    def enough(reach: Reach) -> bool:
        now, scale = wanted(reach)
        before = last.pop() if last else None
        last.append(now)
        if before is None:
            return False
        gap = np.array(now)
        gap[..., : before.shape[-1]] -= before
        rounding = np.finfo(float).eps * scale
        return bool(np.linalg.norm(gap) <= SETTLED * np.linalg.norm(now) + 4 * rounding)

    return enough


SETTLED = 2.0**-46
"""64 roundings: relative change beside which a growing space has settled."""
