"""One-pass SGD on the population: the second moment of its errors, exactly (docs/beyond/one-pass-sgd.md)."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple, NoReturn

import jax
import jax.numpy as jnp
import numpy as np

from .arrays import Array, Namespace, binary_unit, in_units, namespace, positive
from .covariance import IdentityPlusLowRank, Operator
from .covariance.spectrum import eigenbasis
from .covariance.subspace import accept_any
from .errors import InvalidTypeError, InvalidValueError
from .problem import FineTuningProblem, checked_problem
from .propagator.matrix_functions import differentiable_once
from .propagator.powers import count_steps
from .tilting import gaussian_tilt, sample_moments, squared
from .trees import is_traced
from .weights import KLDRO, Flow, Uniform, WeightRule, as_rule

__all__ = ["sgd_error", "sgd_errors", "sgd_stability_limit"]


def sgd_error(
    problem: FineTuningProblem,
    steps: int | Array,
    learning_rate: float | Array,
    temperature: float | Array | WeightRule = math.inf,
) -> Array:
    """E err₂ after K steps of one-pass SGD, exactly: fresh samples, batch size 1.

    Derived in docs/beyond/one-pass-sgd.md (T9). With z = (x, ξ), u = (θ − θ̃*, −1) and M = E[u uᵀ], Isserlis'
    theorem closes the second moment:
    M ← M − 2ημ₁(ΠC₁M + MC₁Π) + 4η²μ₂ Π(2C₂MC₂ + tr(MC₂)C₂)Π, where (μ₁, C₁) and (μ₂, C₂) are mass and
    covariance of z under w and w². The weights stay fixed at θ*. Unlike :func:`iterate` this loops over K.

    Parameters
    ----------
    problem : FineTuningProblem
    steps : int or (m,) array of ints
        K ≥ 0; not traceable, the loop's length must be known.
    learning_rate : float
        η > 0, of the step θ ← θ + 2η w (y − ⟨θ, x⟩) x.
    temperature : float or exponential rule
        τ, ``Flow``, ``KLDRO`` (τ > 4s²) or ``Uniform``: only these keep the tilted z Gaussian.

    Returns
    -------
    float, or (m,) array
        Grows without bound, up to ``inf``, where the step is unstable in mean square.

    Raises
    ------
    InvalidValueError, InvalidTypeError
        For K < 0, traced or not below 2³¹, η ≤ 0 or not finite, any other rule, KL-DRO at τ ≤ 4s² (under JAX
        tracing: NaN), or an ``Operator``, whose whole spectrum would be needed.

    Examples
    --------
    >>> import linear_theory as lt
    >>> problem = lt.paper_problem(0.6, noise_variance=0.1)
    >>> print(lt.sgd_error(problem, [0, 10, 100, 1000], learning_rate=0.05).round(4))  # ends in the noise
    [1.     0.1675 0.0132 0.0131]
    >>> print(f"{lt.sgd_error(problem, 1000, learning_rate=0.005):.4f}")  # less noise from smaller steps
    0.0011
    """
    run = _run(problem, steps, learning_rate, temperature)
    return _left_to_learn(run)


def sgd_errors(
    problem: FineTuningProblem,
    steps: int | Array,
    learning_rate: float | Array,
    temperature: float | Array | WeightRule = math.inf,
) -> tuple[Array, Array]:
    """(E err₁, E err₂) after K steps of one-pass SGD, exactly: what it forgets, and what is left to learn.

    E err₂ is :func:`sgd_error`. The recursion (T9) holds around every point: with z = (x, y − ⟨θ*, x⟩) and
    u = (θ − θ*, −1) it starts from M = diag(0, 1), and E err₁ = tr(ΣM_θθ) (T18). In u around θ̃*, as in (T9), the
    same is tr(ΣM_θθ) + 2eᵀΣM_θ,last + eᵀΣe, of which most may cancel.

    Parameters
    ----------
    problem : FineTuningProblem
    steps, learning_rate, temperature
        As in :func:`sgd_error`.

    Returns
    -------
    tuple of two floats, or of two (m,) arrays

    Raises
    ------
    InvalidValueError, InvalidTypeError
        As :func:`sgd_error`; for a Σ that is an ``Operator``, too. In JAX, for a derivative of err₁ in the shift or the
        factor of an ``IdentityPlusLowRank`` of more than 128 dimensions.

    Examples
    --------
    >>> import linear_theory as lt
    >>> problem = lt.paper_problem(0.6, noise_variance=0.1)
    >>> forgotten, left = lt.sgd_errors(problem, [0, 10, 100, 1000], learning_rate=0.05)
    >>> print(forgotten.round(4))  # in the end all of the shift, and the noise on top
    [0.     0.4448 0.996  1.0126]
    >>> print(left.round(4))
    [1.     0.1675 0.0132 0.0131]
    """
    run = _run(problem, steps, learning_rate, temperature)
    _refuse_operator("pretrain_covariance", run.problem.pretrain_covariance)
    return _forgotten(run), _left_to_learn(run)


def sgd_stability_limit(
    problem: FineTuningProblem, temperature: float | Array | WeightRule = math.inf
) -> Array:
    """The supremum of the η with which :func:`sgd_error` stays bounded, a float (T14).

    With (μ₁, Σ₁) and (μ₂, Σ₂) the mass and covariance of x under w and w², it is 1/(2r), r the largest eigenvalue of
    G(S) = r L(S), where L(S) = μ₁(Σ₁S + SΣ₁) and G(S) = μ₂(2Σ₂SΣ₂ + tr(SΣ₂)Σ₂): what drift takes off the second moment
    against what fresh samples kick into it. At Σ̃ = I without weights it is 1/(d + 2), far below the limit 1 of
    :func:`stable_learning_rate`, and a mean that converges above it does so while the variance explodes.

    Parameters
    ----------
    problem : FineTuningProblem
    temperature : float or exponential rule
        As in :func:`sgd_error`.

    Returns
    -------
    float
        ``inf`` where Σ̃ is 0. In JAX it has first derivatives; asking for a second is an error.

    Raises
    ------
    InvalidValueError, InvalidTypeError
        As :func:`sgd_error`.

    Examples
    --------
    >>> import linear_theory as lt
    >>> for dim in (1, 10, 10**6):
    ...     print(f"{lt.sgd_stability_limit(lt.paper_problem(0.0, dim=dim)):.4g}")
    0.3333
    0.08333
    1e-06
    """
    rule = as_rule(temperature)
    space = namespace(problem, rule)
    xp, problem = space.xp, checked_problem(space, problem)
    _refuse_unsuited(problem, rule)
    recursion = _recursion(space, problem, rule)
    of_x = recursion.of_x()
    values, vectors = eigenbasis(space, space.constant(of_x.first.covariance))
    eigenvalue_sums = values[:, None] + values[None, :]
    inverse = xp.where(eigenvalue_sums > 0, 1 / xp.where(eigenvalue_sums > 0, eigenvalue_sums, 1.0), 0.0)
    outside = of_x.first.outside
    inverse_outside = xp.where(outside > 0, 0.5 / xp.where(outside > 0, outside, 1.0), 0.0)

    def inverse_drift(state: Moments) -> Moments:
        inside = inverse * (vectors.T @ state.moment @ vectors)
        return Moments(vectors @ inside @ vectors.T, inverse_outside * state.outside)

    def power_step(state: Moments) -> Moments:
        moment, outside = inverse_drift(of_x.noise(state))
        size = xp.maximum(xp.max(abs(moment), initial=0.0), abs(outside))
        size = xp.where(size > 0, size, 1.0)
        return Moments(moment / size, outside / size)

    state = Moments(xp.eye(of_x.reached, dtype=space.dtype), space.array(1.0))
    if xp is np:
        for _ in range(POWER_ITERATIONS):
            state = power_step(state)
    else:
        loop = jax.lax.fori_loop(0, POWER_ITERATIONS, lambda _, state: power_step(state), state)
        state = jax.lax.stop_gradient(loop)
    drift, noise = of_x.product(state, of_x.drift(state)), of_x.product(state, of_x.noise(state))
    no_noise = noise == 0
    first, second, of_errors = of_x.first, of_x.second, 1 / recursion.unit / recursion.unit
    mass_ratio = first.mass / second.mass
    limit = drift / xp.where(no_noise, 1.0, noise) / 2 * mass_ratio
    limit = in_units(space, limit * (first.unit / second.unit), 1 / second.unit, of_errors)
    if xp is not np:
        limit = limit * differentiable_once(limit, "the stability limit of SGD")
    return xp.where(no_noise, math.inf, limit)[()]


POWER_ITERATIONS = 64
"""Of the power method: the second eigenvalue is at most 2/3 of the largest, because tr(SΣSΣ) ≤ tr(SΣ)² for S ⪰ 0,
and the quotient errs by the square of that."""


def _refuse_unsuited(problem: FineTuningProblem, rule: WeightRule) -> None:
    """Refuse what has no closed second moment."""
    _refuse_operator("target_covariance", problem.target_covariance)
    if not isinstance(rule, Flow | KLDRO | Uniform):
        remedy = "must be a number, Flow, KLDRO or Uniform: only these keep the tilted samples Gaussian"
        raise InvalidTypeError("temperature", rule, remedy)


def _refuse_operator(name: str, covariance: object) -> None:
    if isinstance(covariance, Operator):
        remedy = "is an operator; the noise of SGD enters every direction, which needs its whole spectrum"
        raise InvalidTypeError(name, covariance, remedy)


class Moments(NamedTuple):
    """E[u uᵀ] in the reach of (Σ̃, e), with or without u's last entry; its one eigenvalue in all other directions."""

    moment: Array
    outside: Array


class Weighted(NamedTuple):
    """Mass and covariance of z under a weight: unit · ``covariance`` in the reach, unit · ``outside`` outside.

    In the unit entries are about 1, and their squares are floats.
    """

    mass: Array
    unit: Array
    covariance: Array
    outside: Array

    @property
    def moments(self) -> Moments:
        """The covariance as second moments, in its unit."""
        return Moments(self.covariance, self.outside)


class Recursion(NamedTuple):
    """What the second moment of the error changes by, in the reach of (Σ̃, e), where z = (x, ξ) or x alone.

    ``target`` Σ̃ and ``shift`` e (m,) there, in ``unit``s of x in which Σ̃ is about 1 and every square of the size of an
    error; ``first`` μ₁ and C₁, ``second`` μ₂ and C₂, mass and covariance of z under w and w². Outside lie
    ``outside_dim`` directions.
    """

    target: Moments
    shift: Array
    unit: Array
    first: Weighted
    second: Weighted
    outside_dim: float

    @property
    def reached(self) -> int:
        """m, of how many directions x is in the reach."""
        return self.shift.shape[0]

    def of_x(self) -> Recursion:
        """The same without ξ."""
        m = self.reached
        first, second = (
            each._replace(covariance=each.covariance[:m, :m]) for each in (self.first, self.second)
        )
        return self._replace(first=first, second=second)

    @property
    def free(self) -> Array:
        """The part x of z, which the step moves: Π is free·freeᵀ."""
        first = self.first.covariance
        return namespace(first).xp.eye(len(first), self.reached, dtype=first.dtype)

    def drift(self, state: Moments) -> Moments:
        """ΠC₁M + MC₁Π, in C₁'s unit."""
        m, free, moment, first = self.reached, self.free, state.moment, self.first.covariance
        # Both products, not one and its transpose: then the asymmetry of rounding decays with the rest.
        inside = free @ (first[:m] @ moment) + (moment @ first[:, :m]) @ free.T
        return Moments(inside, 2 * self.first.outside * state.outside)

    def noise(self, state: Moments) -> Moments:
        """Π(2C₂MC₂ + tr(MC₂)C₂)Π, in the square of C₂'s unit."""
        m, free, (second, outside) = self.reached, self.free, self.second.moments
        trace = self.product(state, self.second.moments)
        inside = 2 * second[:m] @ state.moment @ second[:, :m] + trace * second[:m, :m]
        return Moments(free @ inside @ free.T, outside * (2 * outside * state.outside + trace))

    def product(self, one: Moments, other: Moments) -> Array:
        """tr(M₁M₂) of symmetric ones."""
        return (one.moment * other.moment).sum() + self.outside_dim * one.outside * other.outside


def _recursion(space: Namespace, problem: FineTuningProblem, rule: WeightRule) -> Recursion:
    reach = problem.target_operator.reach(problem.shift, accept_any)
    matrix, outside, outside_dim = reach.covariance.dense(), space.array(0.0), 0.0
    if reach.rest is not None:
        outside, outside_dim = reach.rest, float(problem.dim - len(matrix))
    largest = binary_unit(space, space.xp.concatenate([matrix.ravel(), outside[None]]))
    unit = binary_unit(space, space.xp.sqrt(largest))
    matrix, shift, outside = matrix / unit / unit, reach.coordinates * unit, outside / unit / unit

    def weighted(rule: WeightRule) -> Weighted:
        mass, covariance = sample_moments(space, problem, rule, matrix, shift)
        of_x = covariance[:-1, :-1]  # in which cold weights may leave no direction as it was
        size = binary_unit(space, space.xp.concatenate([of_x.ravel(), outside[None]]))
        return Weighted(mass, size, covariance / size, outside / size)

    first, second = weighted(rule), weighted(squared(rule, problem.residual_variance, space))
    return Recursion(Moments(matrix, outside), shift, unit, first, second, outside_dim)


class _Run(NamedTuple):
    """What was asked for, checked."""

    space: Namespace
    problem: FineTuningProblem
    rule: WeightRule
    learning_rate: Array
    counts: np.ndarray


def _run(
    problem: FineTuningProblem,
    steps: int | Array,
    learning_rate: float | Array,
    temperature: float | Array | WeightRule,
) -> _Run:
    rule = as_rule(temperature)
    space = namespace(problem, rule, learning_rate, steps)
    problem = checked_problem(space, problem)
    learning_rate = positive(space, "learning_rate", learning_rate)
    if is_traced(steps):
        raise InvalidTypeError("steps", steps, "must be known when SGD's error is traced; pass it as static")
    counts = count_steps(namespace(), steps).count
    if counts.max(initial=0) >= 2**31:
        raise InvalidValueError("steps", steps, "is too large: the SGD recursion is run step by step")
    _refuse_unsuited(problem, rule)
    return _Run(space, problem, rule, learning_rate, counts.astype(int))


def _left_to_learn(run: _Run) -> Array:
    """E err₂: tr(Σ̃M_θθ) of u = (θ − θ̃*, −1)."""
    recursion = _recursion(*run[:3])
    start = run.space.xp.concatenate([recursion.shift, run.space.array([-1.0])])
    return _expected(run, recursion, start, recursion.target)


def _forgotten(run: _Run) -> Array:
    """E err₁: tr(ΣM_θθ) of u = (θ − θ*, −1), with which goes z = (x, r), r = y − ⟨θ*, x⟩ the residual at θ*."""
    space, problem, rule = run[:3]
    xp, recursion = space.xp, _recursion(space, problem, rule)
    variance, image = problem.residual_variance, recursion.target.moment @ recursion.shift

    def around_start(rule: WeightRule, weighted: Weighted) -> Weighted:
        """E[w x r] = −μ h Σ̃e and E[w r²] = μ h s² in the place of those with ξ."""
        ratio = gaussian_tilt(rule, variance, space).ratio / weighted.unit
        cross, last = -ratio * image[:, None], (ratio * variance)[None, None]
        rows = [weighted.covariance[:-1, :-1], cross], [cross.T, last]
        return weighted._replace(covariance=xp.concatenate([xp.concatenate(row, axis=1) for row in rows]))

    squares = squared(rule, variance, space)
    first, second = around_start(rule, recursion.first), around_start(squares, recursion.second)
    recursion = recursion._replace(first=first, second=second)
    start = xp.concatenate([0.0 * recursion.shift, space.array([-1.0])])
    return _expected(run, recursion, start, _pretrain_in_reach(space, problem, recursion))


def _pretrain_in_reach(space: Namespace, problem: FineTuningProblem, recursion: Recursion) -> Moments:
    """Σ in the reach of (Σ̃, e), and its mean over the directions outside, in which M is a multiple of the identity."""
    xp, covariance, unit = space.xp, problem.pretrain_operator, recursion.unit
    target: Any = problem.target_operator
    reach = target.reach(problem.shift, accept_any)
    m = recursion.reached
    basis = reach.embed(xp.eye(m, dtype=space.dtype))
    inside = covariance.apply(basis) @ basis.T
    if reach.basis is None:
        return Moments(inside / unit / unit, space.array(0.0))
    held = (basis * basis).sum(axis=1)  # 1, or 0 for a row that stands for a direction outside
    if isinstance(covariance, IdentityPlusLowRank):
        rest = reach.outside(covariance.factor.T)
        spread = ((covariance.core @ rest) * rest).sum()
        mean = covariance.scale + spread / (problem.dim - held.sum())
    else:
        mean = (xp.trace(covariance.dense()) - xp.trace(inside)) / (problem.dim - held.sum())
    if xp is not np:
        # The basis is held fixed, so that what tilts it out of its span would be missed.
        mean = mean * _without_derivative(target.factor.sum() + problem.shift.sum())
    return Moments((inside + mean * xp.diag(1 - held)) / unit / unit, mean / unit / unit)


def _expected(run: _Run, recursion: Recursion, start: Array, size: Moments) -> Array:
    """E[⟨uuᵀ, size⟩] after the steps asked for, of the part θ of u."""
    xp, m, first, second = run.space.xp, recursion.reached, recursion.first, recursion.second
    with np.errstate(over="ignore"):  # A step may be so long that the error overflows.
        eta = run.learning_rate * recursion.unit * recursion.unit
        of_first, of_second = eta * first.unit, eta * second.unit
        shrink, grow = 2 * of_first * first.mass, 4 * of_second * (of_second * second.mass)

    def step(state: Moments) -> Moments:
        drift, noise = recursion.drift(state), recursion.noise(state)
        return Moments(
            state.moment - shrink * drift.moment + grow * noise.moment,
            state.outside - shrink * drift.outside + grow * noise.outside,
        )

    def error(state: Moments) -> Array:
        return recursion.product(Moments(state.moment[:m, :m], state.outside), size)

    moment = Moments(start[:, None] * start[None, :], run.space.array(0.0))
    path = _recorded(run.space, step, error, moment, int(run.counts.max(initial=0)))
    overflowed = xp.isnan(path) & xp.isfinite(run.learning_rate * first.mass)  # ∞ − ∞
    return xp.where(overflowed, math.inf, path)[run.counts]


@jax.custom_jvp
def _without_derivative(number: Array) -> Array:
    """1, of which no derivative can be taken."""
    return jnp.ones_like(number)


@_without_derivative.defjvp
def _(primals: Any, tangents: Any) -> NoReturn:
    remedy = "cannot be taken of SGD's err₁ in e or a low rank; where d is small, give Σ̃ as its matrix"
    raise InvalidValueError("derivative", "the first", remedy)


def _recorded(
    space: Namespace,
    step: Callable[[Moments], Moments],
    error: Callable[[Moments], Array],
    start: Moments,
    length: int,
) -> Array:
    """error(M₀), …, error(M_length) along M ← step(M)."""
    if space.xp is not np:
        last, errors = jax.lax.scan(lambda state, _: (step(state), error(state)), start, length=length)
        return space.xp.concatenate([errors, error(last)[None]])
    state, errors = start, np.empty(length + 1)
    with np.errstate(over="ignore", invalid="ignore"):
        for k in range(length):
            errors[k] = error(state)
            state = step(state)
    errors[length] = error(state)
    return errors
