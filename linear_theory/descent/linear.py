"""Solvers with a constant step size and momentum: linear in the error, so that any step of theirs is exact.

η the step size, m the momentum, λ from μ (the smallest positive) to λ_max the eigenvalues of ∇²L.
"""

from __future__ import annotations

import math
from typing import Any

from ..arrays import Array, bounded, namespace
from ..covariance import Dense
from ..propagator.apply import propagate
from ..propagator.momentum import Response, apply_response
from ..propagator.powers import GeometricSum, count_steps
from ..trees import pytree
from .objective import Objective, root

__all__ = ["GradientDescent", "HeavyBall", "Linear", "Nesterov", "check_settings"]

State = tuple[Array, Array, Array, Array]


def check_settings(solver: Any) -> None:
    """``learning_rate`` > 0 or None, ``momentum`` in [0, 1) or None, ``tolerance`` ≥ 0; set as arrays."""
    rules = {
        "learning_rate": (
            lambda v: (v > 0) & (v < math.inf),
            "must be finite and > 0, or None for a safe one",
        ),
        "momentum": (lambda v: (v >= 0) & (v < 1), "must be in [0, 1), or None for the fastest"),
        "tolerance": (lambda v: (v >= 0) & (v < math.inf), "must be finite and ≥ 0 (0: take every step)"),
    }
    for name, (accept, remedy) in rules.items():
        value = getattr(solver, name, None)
        if value is not None or (name == "tolerance" and hasattr(solver, name)):
            checked = bounded(namespace(value), name, value, accept, remedy)
            object.__setattr__(solver, name, checked)


class Linear:
    """v ← m v − η∇L(δ + l v),  δ ← δ + v, from v = 0: momentum m, lookahead l, step size η."""

    def constants(self, objective: Objective) -> tuple[Array, Array, Array]:
        """η, m and l for this problem."""
        raise NotImplementedError

    def reached(self, objective: Objective, hessian: Array, moment: Array, steps: tuple[int, ...]) -> Array:
        """δ (k, d) after so many steps from 0 on δᵀHδ/2 − ⟨h, δ⟩, in JAX: with derivatives of the first order."""
        rate, momentum, lookahead = self.constants(objective)
        return apply_response(Response((momentum, lookahead), steps), rate * hessian, rate * moment)

    def init(self, objective: Objective, displacement: Array) -> State:
        """The three constants, and v."""
        return *self.constants(objective), objective.space.xp.zeros_like(displacement)

    def step(self, objective: Objective, displacement: Array, state: State) -> tuple[Array, State]:
        rate, momentum, lookahead, move = state
        move = momentum * move - rate * objective.gradient(displacement + lookahead * move)
        return displacement + move, (rate, momentum, lookahead, move)


def _positive_curvature(xp: Any, value: Array) -> Array:
    """1 where there is no curvature at all: any step stays at the start."""
    return xp.where(value > 0, value, 1.0)


@pytree
class GradientDescent(Linear):
    """δ ← δ − η∇L(δ). ``learning_rate=None`` is 1/λ_max(∇²L), at which nothing can diverge.

    ∇²L = (2/n) Σ wᵢxᵢxᵢᵀ, so that the step which diverges is η ≥ 2/λ_max(∇²L) = 1/λ_max((1/n) Σ wᵢxᵢxᵢᵀ).
    With ``tolerance`` > 0 it stops at the first recorded step where ‖θ − θ_∞‖ ≤ tolerance·‖θ_∞ − start‖ is
    certain. Every solver raises InvalidValueError or InvalidTypeError for η ≤ 0, a momentum outside [0, 1) or a
    tolerance < 0.

    Examples
    --------
    >>> import numpy as np
    >>> import linear_theory as lt
    >>> X, y = np.diag([1.0, 2.0]), np.ones(2)
    >>> for rate in (0.49, 0.51):  # 1/λ_max((1/n) Σ wᵢxᵢxᵢᵀ) is ½
    ...     path = lt.descend(X, y, np.zeros(2), solver=lt.descent.GradientDescent(rate), steps=[10**4])
    ...     print(path.status)
    stationary
    diverged
    """

    learning_rate: Array | float | None = None
    tolerance: Array | float = 0.0

    def __post_init__(self) -> None:
        check_settings(self)

    def constants(self, objective: Objective) -> tuple[Array, Array, Array]:
        """η, and no momentum."""
        space = objective.space
        if self.learning_rate is None:
            rate = 1 / _positive_curvature(space.xp, objective.limit.largest)
        else:
            rate = objective.units.rate(self.learning_rate)
        return rate, space.array(0.0), space.array(0.0)

    def reached(self, objective: Objective, hessian: Array, moment: Array, steps: tuple[int, ...]) -> Array:
        """The same with derivatives of every order: ψ_K(ηH) ηh is a function of one matrix."""
        rate, _, _ = self.constants(objective)
        kernel = GeometricSum(count_steps(objective.space, steps))
        return propagate(kernel, rate, Dense(hessian), rate * moment)


@pytree
class HeavyBall(Linear):
    """δ_{k+1} = δ_k − η∇L(δ_k) + m(δ_k − δ_{k−1}) (Polyak). Arrays in, ``tolerance`` as in GradientDescent.

    Its rate is √m once every direction oscillates: (1 − √(ηλ))² ≤ m. Left out, ``learning_rate`` is
    (1 + √m)²/λ_max, the largest step at which that holds of the steepest direction, and ``momentum`` the
    smallest at which it holds of all, max over μ, λ_max of (1 − √(ηλ))². Both left out give Polyak's
    η = 4/(√λ_max + √μ)², m = ((√λ_max − √μ)/(√λ_max + √μ))², the fastest there is, with √(μ/λ_max) taken to
    be at least 4√ε: rounding would make a faster one diverge. Diverges where ηλ_max ≥ 2(1 + m).

    Examples
    --------
    >>> import numpy as np
    >>> import linear_theory as lt
    >>> X, y = np.diag([1.0, 30.0]), np.ones(2)
    >>> for solver in (lt.descent.GradientDescent(), lt.descent.HeavyBall()):
    ...     path = lt.descend(X, y, np.zeros(2), solver=solver, steps=200)
    ...     print(f"{path.distance[-1]:.1e}")
    8.0e-01
    3.1e-05
    """

    learning_rate: Array | float | None = None
    momentum: Array | float | None = None
    tolerance: Array | float = 0.0

    def __post_init__(self) -> None:
        check_settings(self)

    def constants(self, objective: Objective) -> tuple[Array, Array, Array]:
        """η, m, and no lookahead."""
        space, limit = objective.space, objective.limit
        xp, largest = space.xp, _positive_curvature(space.xp, limit.largest)
        if self.momentum is not None:
            momentum = space.array(self.momentum)
        elif self.learning_rate is None:
            # Rounding splits the steepest direction's double root by about √ε: it must stay inside the circle.
            ratio = xp.maximum(root(xp, limit.smallest / largest), 4 * space.eps**0.5)
            momentum = ((1 - ratio) / (1 + ratio)) ** 2
        else:
            rate = objective.units.rate(self.learning_rate)
            ends = [(1 - root(xp, rate * end)) ** 2 for end in (limit.smallest, largest)]
            momentum = xp.maximum(*ends)
            momentum = xp.where(momentum < 1, momentum, 0.0)  # it diverges with any
        if self.learning_rate is None:
            rate = (1 + root(xp, momentum)) ** 2 / largest
        else:
            rate = objective.units.rate(self.learning_rate)
        return rate, momentum, space.array(0.0)


@pytree
class Nesterov(Linear):
    """δ_{k+1} = z − η∇L(z), z = δ_k + m(δ_k − δ_{k−1}), m constant. ``tolerance`` as in GradientDescent.

    Left out, ``momentum`` is (1 − √(ημ))/(1 + √(ημ)), which makes the slowest direction as fast as it can
    be, 1 − √(ημ) a step, and ``learning_rate`` (1 + 4m/(3(1 + m)²))/λ_max, the largest at which the steepest
    direction is not slower than 2m/(1 + m). Both left out give η = 4/(3λ_max + μ), m = (s − 2)/(s + 2),
    s = √(3λ_max/μ + 1): the fastest there is (Lessard, Recht and Packard 2016), 1 − 2/s a step. Diverges
    where ηλ_max ≥ (2 + 2m)/(1 + 2m).

    Examples
    --------
    >>> import numpy as np
    >>> import linear_theory as lt
    >>> X, y = np.diag([1.0, 30.0]), np.ones(2)
    >>> solver = lt.descent.Nesterov(tolerance=1e-6)
    >>> path = lt.descend(X, y, np.zeros(2), solver=solver, steps=10**4)
    >>> print(path.steps[-1], path.status)
    425 converged
    """

    learning_rate: Array | float | None = None
    momentum: Array | float | None = None
    tolerance: Array | float = 0.0

    def __post_init__(self) -> None:
        check_settings(self)

    def constants(self, objective: Objective) -> tuple[Array, Array, Array]:
        """η, m and the lookahead m."""
        space, limit = objective.space, objective.limit
        xp, largest = space.xp, _positive_curvature(space.xp, limit.largest)
        if self.learning_rate is not None:
            rate = objective.units.rate(self.learning_rate)
        elif self.momentum is None:
            rate = 4 / (3 * largest + limit.smallest)
        else:
            momentum = space.array(self.momentum)
            rate = (1 + 4 * momentum / (3 * (1 + momentum) ** 2)) / largest
        if self.momentum is not None:
            momentum = space.array(self.momentum)
        else:
            slowest = root(xp, rate * limit.smallest)
            momentum = xp.maximum((1 - slowest) / (1 + slowest), 0.0)
        return rate, momentum, momentum
