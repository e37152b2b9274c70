"""What the rest of the package asks of a covariance, and the small space in which a path from θ* stays."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np

from ..arrays import Array
from ..trees import pytree

__all__ = ["Covariance", "InvariantSubspace", "StoppingTest", "accept_any", "converged"]


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

    # ``stop`` is asked of each space that has grown so far whether it is large enough; exact spaces never ask.
    def reach(self, vector: Array, stop: StoppingTest) -> InvariantSubspace: ...


@pytree
class InvariantSubspace:
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
    >>> reach = problem.target_operator.reach(problem.shift, lambda subspace: True)
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


StoppingTest = Callable[[InvariantSubspace], bool]
"""Whether a space that still grows, a Krylov space, is large enough for what is asked of it."""


def accept_any(subspace: InvariantSubspace) -> bool:
    """The stopping test that the first space passes."""
    return True


def converged(result: Callable[[InvariantSubspace], tuple[Array, Array | float]]) -> StoppingTest:
    """The stopping test that a space passes where the ``result`` no longer changes when the space grows.

    ``result`` of a space is an array, (…, m) in the basis of the space, and the size that its rounding errors are on,
    one for all or one a row (…): every row has to settle for itself.

    Examples
    --------
    >>> import numpy as np
    >>> import linear_theory as lt
    >>> from linear_theory.covariance.subspace import accept_any, converged
    >>> A = lt.covariance.Operator(lambda v: np.linspace(1.0, 2.0, v.size) * v, 1000)
    >>> A.reach(np.ones(1000), accept_any).covariance.dim  # the first that is looked at
    16
    >>> image = lambda subspace: (subspace.covariance.apply(subspace.coordinates), 2.0)
    >>> A.reach(np.ones(1000), converged(image)).covariance.dim  # the second shows no change
    32
    """
    last: list[Array] = []

    def stop(subspace: InvariantSubspace) -> bool:
        now, scale = result(subspace)
        before = last.pop() if last else None
        last.append(now)
        if before is None:
            return False
        gap = np.array(now)
        gap[..., : before.shape[-1]] -= before
        rounding = np.finfo(float).eps * scale
        change, size = np.linalg.norm(gap, axis=-1), np.linalg.norm(now, axis=-1)
        return bool(np.all(change <= CONVERGED_RTOL * size + 4 * rounding))

    return stop


CONVERGED_RTOL = 2.0**-46
"""64 ε: relative change beside which a growing space has converged."""
