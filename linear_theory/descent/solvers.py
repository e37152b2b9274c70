"""The solvers that one may name: gradient descent with and without momentum, conjugate and stochastic gradients.

η is the step size, m the momentum, and the eigenvalues λ of ∇²L go from μ, the smallest positive one, to λ_max.
With a constant step size and momentum a solver is linear in the error, so that any step of it is known exactly.
"""

from __future__ import annotations

import math
from dataclasses import KW_ONLY, dataclass
from typing import Any, NamedTuple

import jax
import numpy as np

from ..arrays import Array, bounded, integer, namespace, quotient
from ..covariance import Dense
from ..errors import InvalidValueError
from ..propagator.apply import propagate
from ..propagator.momentum import Response, apply_response
from ..propagator.powers import GeometricSum, split_steps
from ..trees import construct_unchecked, pytree
from .objective import Objective, root

__all__ = ["ConjugateGradient", "GradientDescent", "HeavyBall", "Linear", "Nesterov", "StochasticGradient"]


def _check_settings(solver: Any) -> None:
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
        if value is not None or name == "tolerance":
            checked = bounded(namespace(value), name, value, accept, remedy)
            object.__setattr__(solver, name, checked)


class Linear:
    """v ← m v − η∇L(δ + l v),  δ ← δ + v, from v = 0: step size η, momentum m, lookahead l."""

    def __post_init__(self) -> None:
        _check_settings(self)

    def constants(self, objective: Objective) -> tuple[Array, Array, Array]:
        """η, m and l for this problem."""
        raise NotImplementedError

    def reached(self, objective: Objective, hessian: Array, moment: Array, steps: tuple[int, ...]) -> Array:
        """δ (k, d) after so many steps from 0 on δᵀHδ/2 − ⟨h, δ⟩, in JAX: with derivatives of the first order."""
        rate, momentum, lookahead = self.constants(objective)
        return apply_response(Response((momentum, lookahead), steps), rate * hessian, rate * moment)

    def init(self, objective: Objective, displacement: Array) -> tuple[Array, ...]:
        """η, m, l and v."""
        return *self.constants(objective), objective.space.xp.zeros_like(displacement)

    def step(
        self, objective: Objective, displacement: Array, state: tuple[Array, ...]
    ) -> tuple[Array, tuple[Array, ...]]:
        """The next δ, and v."""
        rate, momentum, lookahead, velocity = state
        velocity = momentum * velocity - rate * objective.gradient(displacement + lookahead * velocity)
        return displacement + velocity, (rate, momentum, lookahead, velocity)


def _positive_curvature(xp: Any, value: Array) -> Array:
    """λ_max, or 1 where there is no curvature at all and any step stays at the start."""
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
    _: KW_ONLY
    tolerance: Array | float = 0.0

    def constants(self, objective: Objective) -> tuple[Array, Array, Array]:
        """η, and no momentum."""
        space = objective.space
        if self.learning_rate is None:
            rate = 1 / _positive_curvature(space.xp, objective.limit.largest)
        else:
            rate = objective.units.rate(self.learning_rate)
        return rate, space.array(0.0), space.array(0.0)

    def reached(self, objective: Objective, hessian: Array, moment: Array, steps: tuple[int, ...]) -> Array:
        """δ after so many steps, with derivatives of every order: ψ_K(ηH) ηh is a function of one matrix."""
        rate, _, _ = self.constants(objective)
        kernel = GeometricSum(split_steps(objective.space, steps))
        return propagate(kernel, rate, Dense(hessian), rate * moment)


@pytree
class HeavyBall(Linear):
    """δ_{k+1} = δ_k − η∇L(δ_k) + m(δ_k − δ_{k−1}) (Polyak); ``tolerance`` is that of GradientDescent.

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
    _: KW_ONLY
    momentum: Array | float | None = None
    tolerance: Array | float = 0.0

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
            momentum = xp.where(momentum < 1, momentum, 0.0)  # At such an η it diverges with any momentum.
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
    _: KW_ONLY
    momentum: Array | float | None = None
    tolerance: Array | float = 0.0

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


class ConjugateState(NamedTuple):
    """r − Xδ (n,), the next direction (d,), ‖XᵀW(r − Xδ)‖², and the running estimate of the smallest curvature.

    ``inverse_norm`` estimates ‖R⁻¹‖², where R is the bidiagonal factor of the Lanczos matrix RᵀR = T; ``last_entry``
    is the last entry of xᵀ = zᵀR⁻¹ for the best unit z so far; ``off_diagonal`` is R's next entry off the diagonal.
    """

    residual: Array
    direction: Array
    gradient_square: Array
    inverse_norm: Array
    last_entry: Array
    off_diagonal: Array


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

    _: KW_ONLY
    tolerance: Array | float = 0.0

    by_rows = True

    def __post_init__(self) -> None:
        _check_settings(self)

    def init(self, objective: Objective, displacement: Array) -> ConjugateState:
        """The residual and the gradient at δ, usually 0."""
        residual = objective.residual - objective.X @ displacement
        gradient = (objective.weights * residual) @ objective.X
        zero = objective.space.xp.zeros_like(gradient[0])
        return ConjugateState(residual, gradient, gradient @ gradient, zero, zero, zero)

    def step(
        self, objective: Objective, displacement: Array, state: ConjugateState
    ) -> tuple[Array, ConjugateState]:
        """The next δ, the best along the direction, and the direction after it."""
        space, weights = objective.space, objective.weights  # Not √w, which has no derivative at 0.
        image = objective.X @ state.direction
        # A direction below the rounding of ‖XᵀW(r − Xδ)‖ says nothing, and following it leads away again.
        rounding = (space.eps * objective.size) ** 2 * ((weights * state.residual) @ state.residual)
        step_size = quotient(space, state.gradient_square, (weights * image) @ image, 0.0)
        step_size = space.xp.where(state.gradient_square > rounding, step_size, 0.0)
        residual = state.residual - step_size * image
        gradient = (weights * residual) @ objective.X
        gradient_square = gradient @ gradient
        conjugation = quotient(space, gradient_square, state.gradient_square, 0.0)
        following = ConjugateState(
            residual,
            gradient + conjugation * state.direction,
            gradient_square,
            *_extend(space.xp, state, step_size),
            root(space.xp, quotient(space, conjugation, step_size, 0.0)),
        )
        return displacement + step_size * state.direction, following

    def smallest_curvature(self, objective: Objective, state: ConjugateState) -> Array:
        """An estimate, from above, of the smallest eigenvalue of ∇²L that the path has met."""
        return quotient(objective.space, objective.space.array(2 / objective.count), state.inverse_norm, 0.0)


def _extend(xp: Any, state: ConjugateState, step_size: Array) -> tuple[Array, Array]:
    """‖R⁻¹‖² with one more column (off_diagonal, 1/√η): the best z in the plane of the last one and the new axis.

    [s z; c] gives s²‖x‖² + (c − s ξ)²·η, ξ = off_diagonal·last_entry: the top eigenvector of a 2 × 2 matrix.
    """
    xi = state.off_diagonal * state.last_entry
    first, second, product = state.inverse_norm + step_size * xi**2, step_size, -step_size * xi
    angle = xp.arctan2(2 * product, first - second) / 2
    inverse_norm = (first + second) / 2 + xp.hypot((first - second) / 2, product)
    last_entry = (xp.sin(angle) - xp.cos(angle) * xi) * root(xp, step_size)
    moved = step_size > 0
    return xp.where(moved, inverse_norm, state.inverse_norm), xp.where(moved, last_entry, state.last_entry)


@dataclass(frozen=True, eq=False)
class StochasticGradient:
    """δ ← δ − (2η/b) Σ_{i ∈ B} wᵢ(⟨xᵢ, δ⟩ − rᵢ)xᵢ, B of ``batch_size`` b row numbers drawn with replacement.

    The expected step is gradient descent's. ``learning_rate=None`` is 1/((1 − 1/b)λ_max(∇²L) + (1/b) max 2wᵢ‖xᵢ‖²):
    E[Ĥ²] ⪯ that curvature times ∇²L for the batch's Hessian Ĥ, so that where every row can be fitted no
    direction's mean square grows, for any η below twice the default. (λ_max is replaced by the trace of ∇²L
    where the smaller side of X is above 512.) Where the rows cannot all be fitted, a constant step does not
    converge: it ends at a distance ∝ √η of the minimiser, and ``tolerance`` stops it only if it comes so near.

    The same ``seed`` (≥ 0) gives the same path: NumPy's PCG64 for NumPy arrays, ``jax.random`` for JAX.
    Distances on the path are those of this very run, not expectations.

    Examples
    --------
    >>> import numpy as np
    >>> import linear_theory as lt
    >>> X, y = np.tile(np.eye(2), (50, 1)), np.tile([1.0, 2.0], 50)
    >>> solver = lt.descent.StochasticGradient(batch_size=8, seed=0)
    >>> path = lt.descend(X, y, np.zeros(2), solver=solver, steps=400)
    >>> print(path.theta[-1].round(4))  # every row can be fitted, so that a constant step converges
    [1. 2.]
    """

    batch_size: int = 1
    _: KW_ONLY
    seed: int = 0
    learning_rate: Array | float | None = None
    tolerance: Array | float = 0.0

    by_rows = True

    def __post_init__(self) -> None:
        for name, least in (("batch_size", 1), ("seed", 0)):
            value, remedy = getattr(self, name), f"must be an integer ≥ {least}"
            number = integer(name, value, remedy)
            if not least <= number < 2**31:
                raise InvalidValueError(name, value, f"{remedy} and < 2³¹")
            object.__setattr__(self, name, number)
        _check_settings(self)

    def init(self, objective: Objective, displacement: Array) -> tuple[Array, Any]:
        """The step size, and the source of row numbers."""
        in_numpy = objective.space.xp is np
        generator = np.random.default_rng(self.seed) if in_numpy else jax.random.key(self.seed)
        return self._rate(objective), generator

    def _rate(self, objective: Objective) -> Array:
        """η as given, or the default for these rows."""
        xp = objective.space.xp
        if self.learning_rate is not None:
            return objective.units.rate(self.learning_rate)
        rows = objective.row_curvatures
        mean = objective.limit.largest if objective.affordable else rows.mean()
        curvature = (1 - 1 / self.batch_size) * mean + rows.max() / self.batch_size
        return 1 / _positive_curvature(xp, curvature)

    def step(self, objective: Objective, displacement: Array, state: Any) -> tuple[Array, Any]:
        """The next δ, and the source of the row numbers after these."""
        rate, generator = state
        if isinstance(generator, np.random.Generator):
            batch = generator.integers(objective.count, size=self.batch_size)
        else:
            generator, key = jax.random.split(generator)
            batch = jax.random.randint(key, (self.batch_size,), 0, objective.count)
        rows = objective.X[batch]
        minus_residual = objective.weights[batch] * (rows @ displacement - objective.residual[batch])
        return displacement - 2 * rate / self.batch_size * (minus_residual @ rows), (rate, generator)


def _unflatten(fixed: tuple[int, int], leaves: Any) -> StochasticGradient:
    """The solver of these fields, which JAX rebuilds without its checks."""
    (batch_size, seed), (learning_rate, tolerance) = fixed, leaves
    fields = {"learning_rate": learning_rate, "tolerance": tolerance}
    return construct_unchecked(StochasticGradient, batch_size=batch_size, seed=seed, **fields)


# The batch size and the seed are static, for shapes depend on the first.
jax.tree_util.register_pytree_node(
    StochasticGradient,
    lambda solver: ((solver.learning_rate, solver.tolerance), (solver.batch_size, solver.seed)),
    _unflatten,
)
