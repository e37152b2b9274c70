"""When to stop standard fine-tuning (T13)."""

from __future__ import annotations

import math

import numpy as np

from ..arrays import Array, Namespace, namespace
from ..covariance.subspace import InvariantSubspace, accept_any, converged
from ..problem import FineTuningProblem, checked_problem
from ..risk import total_error
from ..trajectories import gradient_flow
from ..trees import pytree
from .root import differentiable_root

__all__ = ["EarlyStop", "best_early_stop"]

GRID_TIMES = 512
"""Times, evenly in logarithm, between which a minimum is looked for."""

BISECTIONS = 64
"""Of such an interval, after which its ends are neighbours."""


@pytree
class EarlyStop:
    """Standard fine-tuning stopped at its least total error: ``time``, ``theta`` (d,) and ``total_error`` (T13).

    Examples
    --------
    >>> import linear_theory as lt
    >>> stop = lt.best_early_stop(lt.paper_problem(0.6))
    >>> print(stop.theta.round(4))
    [ 0.5722 -0.2058]
    """

    time: Array
    theta: Array
    total_error: Array


def best_early_stop(problem: FineTuningProblem) -> EarlyStop:
    """The time t at which unweighted gradient flow has the least total error (4), and θ(t) (T13).

    Along the flow z = θ − θ̃* obeys z' = −2Σ̃z, so the best time solves ⟨Σ̃z, Σ(z − e) + Σ̃z⟩ = 0; at the start that
    is ‖Σ̃e‖² > 0, so some training always helps. There may be several minima: all intervals of a grid of 512 times are
    searched, from long before Σ can matter to when nothing moves any more, and the limit t = ∞ is a candidate too.

    Parameters
    ----------
    problem : FineTuningProblem

    Returns
    -------
    EarlyStop
        Times as in :func:`gradient_flow`: K steps of size η are about t = Kη. ∞ where training should never stop,
        0 where nothing moves. In JAX derivatives of every order are right; where the time is 0 or ∞ it is a constant.

    Raises
    ------
    InvalidValueError, InvalidTypeError
        As :func:`total_error`.

    Examples
    --------
    >>> import numpy as np
    >>> import linear_theory as lt
    >>> stop = lt.best_early_stop(lt.paper_problem(0.8, pretrain_covariance=np.array([[1.5, -0.4], [-0.4, 1.5]])))
    >>> print(f"t = {stop.time:.4f}, err_tot = {stop.total_error:.4f}")
    t = 0.2684, err_tot = 0.4319
    """
    space = namespace(problem)
    problem = checked_problem(space, problem)
    covariance, shift = problem.target_operator, problem.shift
    if space.xp is not np:
        fixed = space.constant(problem)
        time = _best_time(space, fixed, fixed.target_operator.reach(fixed.shift, accept_any))

        time = differentiable_root(_pull_along_the_path, time[None], problem)[0]
    else:

        def remaining_shift(reach: InvariantSubspace) -> tuple[Array, Array]:
            found = reach.covariance.spectrum(reach.coordinates)
            time = _best_time(space, problem, reach)
            with np.errstate(invalid="ignore"):  # ∞ · 0, where an eigenvalue is 0
                remaining = np.where(found.values > 0, np.exp(-2 * found.values * time), 1.0)
            return (remaining * found.coordinates) @ found.vectors.T, abs(shift).max()

        time = _best_time(space, problem, covariance.reach(shift, converged(remaining_shift)))
    theta = gradient_flow(problem, time)
    return EarlyStop(time[()], theta, total_error(problem, theta))


def _pull_along_the_path(time: Array, problem: FineTuningProblem) -> Array:
    """⟨Σ̃z, Σ(z − e) + Σ̃z⟩ at times (1,), a quarter of what the total error falls by."""
    theta = gradient_flow(problem, time[0])
    image = problem.target_operator.apply(theta - problem.target)
    return (image @ (problem.pretrain_operator.apply(theta - problem.pretrained) + image))[None]


def _best_time(space: Namespace, problem: FineTuningProblem, reach: InvariantSubspace) -> Array:
    """The best time in the reach of (Σ̃, e): with z = Σ fᵢpᵢ, fᵢ = exp(−2λᵢt), all is made of λ and PᵀΣP."""
    xp, found = space.xp, reach.covariance.spectrum(reach.coordinates)
    c = xp.where(found.values > 0, found.coordinates, 0.0)
    size, fastest = xp.max(abs(c)), xp.max(xp.where(c != 0, found.values, 0.0))
    stationary = fastest == 0
    # In units of the largest component of e and of the largest eigenvalue that it meets.
    unit = xp.where(stationary, 1.0, fastest)
    values, c = found.values / unit, c / xp.where(size > 0, size, 1.0)
    modes = reach.embed((found.vectors * c).T)
    gram = modes @ (problem.pretrain_operator.apply(modes) / unit).T
    slowest = xp.min(xp.where((c != 0) & (values > 0), values, math.inf))

    def slope(time: Array) -> Array:
        """−⟨Σ̃z, Σ(z − e) + Σ̃z⟩, a quarter of the total error's derivative in time."""
        exponent = -2 * values * time[:, None]
        left = xp.exp(exponent)
        speed = values * left
        return -((speed @ gram) * xp.expm1(exponent)).sum(axis=1) - ((speed * c) ** 2).sum(axis=1)

    def error(moved: Array, left: Array) -> Array:
        return ((moved @ gram) * moved).sum(axis=-1) + (values * (left * c) ** 2).sum(axis=-1)

    image = values * c
    # θ moves along Σ̃e first; Σ turns the error where 2t is about ‖Σ̃e‖² over the curvature there.
    moved_first = reach.embed(image @ found.vectors.T)
    curvature = image @ image + moved_first @ (problem.pretrain_operator.apply(moved_first) / unit)
    first = xp.where(stationary, 1.0, (image @ image) / xp.where(stationary, 1.0, curvature))
    last = xp.where(stationary, 2.0, 32.0 / xp.where(stationary, 1.0, slowest))
    times = 1e-3 * first * (1e3 * last / first) ** (space.array(np.arange(GRID_TIMES)) / (GRID_TIMES - 1))
    # A slope of 0 is still falling: in single precision that is also what underflows, never to rise.
    decreasing = slope(times) <= 0
    low, high, brackets = times[:-1], times[1:], decreasing[:-1] & ~decreasing[1:]
    for _ in range(BISECTIONS):
        middle = low + (high - low) / 2
        falling = slope(middle) <= 0
        low, high = xp.where(falling, middle, low), xp.where(falling, high, middle)
    exponent = -2 * values * low[:, None]
    errors = xp.where(brackets, error(xp.expm1(exponent), xp.exp(exponent)), math.inf)
    in_range = xp.where(values > 0, 1.0, 0.0)
    error_at_infinity = xp.where(decreasing[-1] | ~brackets.any(), error(-in_range, 1.0 - in_range), math.inf)
    best = xp.argmin(errors)
    time = xp.where(errors[best] <= error_at_infinity, low[best], math.inf)
    with np.errstate(over="ignore", under="ignore"):
        return xp.where(stationary, 0.0, time / unit)
