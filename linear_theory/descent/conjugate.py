"""Conjugate gradients on the weighted rows."""

from __future__ import annotations

from typing import NamedTuple

from ..arrays import Array, quotient
from ..trees import pytree
from .linear import check_settings
from .objective import Objective, root

__all__ = ["ConjugateGradient"]


class Residuals(NamedTuple):
    """r − Xδ (n,), the direction (d,), ‖Aᵀresidual‖², and the running estimate of the smallest curvature.

    ``inverse`` estimates ‖R⁻¹‖², R the bidiagonal factor of the Lanczos matrix RᵀR = T; ``last`` is the last
    entry of xᵀ = zᵀR⁻¹ for the unit z found so far; ``link`` R's next entry off the diagonal.
    """

    residual: Array
    direction: Array
    slope: Array
    inverse: Array
    last: Array
    link: Array


@pytree
class ConjugateGradient:
    """CGLS (Hestenes and Stiefel): conjugate gradients on min ‖√w(r − Xδ)‖ through Xv and Xᵀu alone, arrays of n and d.

    A step costs two passes over the rows and no d × d matrix, which makes it the solver for wide or huge X,
    and it does not square the condition number: residuals are carried, not gradients. From δ = 0 it stays in
    the range of Xᵀ, so it ends at the minimiser closest to the start, after at most rank steps in exact
    arithmetic. ``tolerance`` as in GradientDescent.

    Where the smaller side of X is above 512, no lower bound of the smallest curvature is known: it is
    estimated from the Lanczos matrix of the steps taken, from above, and ``Path.status`` says so.

    Examples
    --------
    >>> import numpy as np
    >>> import linear_theory as lt
    >>> X, y = np.array([[1.0, 0.0, 0.0], [0.0, 3.0, 0.0]]), np.array([1.0, 3.0])
    >>> path = lt.descend(X, y, np.full(3, 2.0), solver=lt.descent.ConjugateGradient(), steps=2)
    >>> print(path.theta[-1].round(4))  # after rank steps; what no row reaches stays at the start
    [1. 1. 2.]
    """

    tolerance: Array | float = 0.0

    by_rows = True

    def __post_init__(self) -> None:
        check_settings(self)

    def init(self, objective: Objective, displacement: Array) -> Residuals:
        """At δ, usually 0."""
        xp = objective.space.xp
        residual = objective.residual - objective.X @ displacement
        direction = (objective.weights * residual) @ objective.X
        zero = xp.zeros_like(direction[0])
        return Residuals(residual, direction, direction @ direction, zero, zero, zero)

    def step(self, objective: Objective, displacement: Array, state: Residuals) -> tuple[Array, Residuals]:
        space, weights = objective.space, objective.weights  # Not √w, which has no derivative at 0.
        image = objective.X @ state.direction
        # Below the rounding of ‖Aᵀresidual‖ a direction is noise, and following it leads away again.
        noise = (space.eps * objective.size) ** 2 * ((weights * state.residual) @ state.residual)
        length = space.xp.where(
            state.slope > noise, quotient(space, state.slope, (weights * image) @ image, 0.0), 0.0
        )
        residual = state.residual - length * image
        gradient = (weights * residual) @ objective.X
        slope = gradient @ gradient
        share = quotient(space, slope, state.slope, 0.0)  # of the old direction in the new
        inverse, last = _extend(objective, state, length)
        link = root(space.xp, quotient(space, share, length, 0.0))
        moved = displacement + length * state.direction
        return moved, Residuals(residual, gradient + share * state.direction, slope, inverse, last, link)

    def smallest_curvature(self, objective: Objective, state: Residuals) -> Array:
        """An estimate, from above, of the smallest eigenvalue of ∇²L that the path has met."""
        return quotient(objective.space, objective.space.array(2 / objective.count), state.inverse, 0.0)


def _extend(objective: Objective, state: Residuals, length: Array) -> tuple[Array, Array]:
    """‖R⁻¹‖² with one more column (link, 1/√length): the best z in the plane of the last one and the new axis.

    [s z; c] gives s²‖x‖² + (c − s ξ)²·length, ξ = link·last: the top eigenvector of a 2 × 2 matrix.
    """
    xp = objective.space.xp
    shift = state.link * state.last
    along, across, new = state.inverse + length * shift**2, -length * shift, length
    half = xp.arctan2(2 * across, along - new) / 2
    inverse = (along + new) / 2 + xp.hypot((along - new) / 2, across)
    last = (xp.sin(half) - xp.cos(half) * shift) * root(xp, length)
    taken = length > 0
    return xp.where(taken, inverse, state.inverse), xp.where(taken, last, state.last)
