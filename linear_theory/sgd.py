"""One-pass SGD on the population: the second moment of its error, exactly (docs/theorems/one-pass-sgd.md)."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import numpy as np

from .arrays import Array, Namespace, binary_unit, namespace, positive
from .covariance import Operator
from .covariance.spectrum import eigenbasis
from .covariance.subspace import accept_any
from .errors import InvalidTypeError, InvalidValueError
from .problem import FineTuningProblem, checked_problem
from .propagator.matrix_functions import differentiable_once
from .propagator.powers import count_steps
from .tilting import sample_moments, squared
from .trees import is_traced
from .weights import KLDRO, Flow, Uniform, WeightRule, as_rule

__all__ = ["sgd_error", "sgd_stability_limit"]


def sgd_error(
    problem: FineTuningProblem,
    steps: int | Array,
    learning_rate: float | Array,
    temperature: float | Array | WeightRule = math.inf,
) -> Array:
    """E err₂ after K steps of one-pass SGD, exactly: fresh samples, batch size 1.

    Derived in docs/theorems/one-pass-sgd.md (T9). With z = (x, ξ), u = (θ − θ̃*, −1) and M = E[u uᵀ], Isserlis'
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
    rule = as_rule(temperature)
    space = namespace(problem, rule, learning_rate, steps)
    problem = checked_problem(space, problem)
    learning_rate = positive(space, "learning_rate", learning_rate)
    if is_traced(steps):
        raise InvalidTypeError("steps", steps, "must be known when sgd_error is traced; pass it as static")
    counts = count_steps(namespace(), steps).count
    if counts.max(initial=0) >= 2**31:
        raise InvalidValueError("steps", steps, "is too large: the SGD recursion is run step by step")
    _refuse_unsuited(problem, rule)
    path = _errors(space, problem, rule, learning_rate, int(counts.max(initial=0)))
    return path[counts.astype(int)]


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
    matrix, shift, unit, beyond_dim, beyond = _reduced_problem(space, problem)
    m = shift.shape[0]
    (mass1, first), (mass2, second) = _both_moments(space, problem, rule, matrix, shift)
    first, second = first[:m, :m], second[:m, :m]

    def drift(state: Moments) -> Moments:
        moment, outside = state
        return Moments(first @ moment + moment @ first, 2 * beyond * outside)

    def noise_operator(state: Moments) -> Moments:
        moment, outside = state
        trace = (moment * second).sum() + beyond_dim * beyond * outside
        return Moments(
            2 * second @ moment @ second + trace * second,
            2 * beyond * beyond * outside + trace * beyond,
        )

    def product(one: Moments, other: Moments) -> Array:
        return (one.moment * other.moment).sum() + beyond_dim * one.outside * other.outside

    held = first if xp is np else jax.lax.stop_gradient(first)
    values, vectors = eigenbasis(space, held)
    eigenvalue_sums = values[:, None] + values[None, :]
    inverse = xp.where(eigenvalue_sums > 0, 1 / xp.where(eigenvalue_sums > 0, eigenvalue_sums, 1.0), 0.0)
    inverse_outside = xp.where(beyond > 0, 0.5 / xp.where(beyond > 0, beyond, 1.0), 0.0)

    def inverse_drift(state: Moments) -> Moments:
        inside = inverse * (vectors.T @ state.moment @ vectors)
        return Moments(vectors @ inside @ vectors.T, inverse_outside * state.outside)

    def step(state: Moments) -> Moments:
        moment, outside = inverse_drift(noise_operator(state))
        size = xp.maximum(xp.max(abs(moment), initial=0.0), abs(outside))
        size = xp.where(size > 0, size, 1.0)
        return Moments(moment / size, outside / size)

    state = Moments(xp.eye(m, dtype=space.dtype), space.array(1.0))
    if xp is np:
        for _ in range(POWER_ITERATIONS):
            state = step(state)
    else:
        state = jax.lax.stop_gradient(jax.lax.fori_loop(0, POWER_ITERATIONS, lambda _, s: step(s), state))
    drift_form, noise_form = product(state, drift(state)), product(state, noise_operator(state))
    nothing = noise_form == 0
    limit = drift_form / xp.where(nothing, 1.0, noise_form) / 2 / unit / unit * (mass1 / mass2)
    if xp is not np:
        limit = limit * differentiable_once(limit, "the stability limit of SGD")
    return xp.where(nothing, math.inf, limit)[()]


POWER_ITERATIONS = 64
"""Of the power method: the second eigenvalue is at most 2/3 of the largest, because tr(SΣSΣ) ≤ tr(SΣ)² for S ⪰ 0,
and the quotient errs by the square of that."""


def _refuse_unsuited(problem: FineTuningProblem, rule: WeightRule) -> None:
    """Refuse what has no closed second moment."""
    if isinstance(problem.target_operator, Operator):
        remedy = "is an operator; the noise of SGD enters every direction, which needs its whole spectrum"
        raise InvalidTypeError("target_covariance", problem.target_covariance, remedy)
    if not isinstance(rule, Flow | KLDRO | Uniform):
        remedy = "must be a number, Flow, KLDRO or Uniform: only these keep the tilted samples Gaussian"
        raise InvalidTypeError("temperature", rule, remedy)


def _reduced_problem(
    space: Namespace, problem: FineTuningProblem
) -> tuple[Array, Array, Array, float, Array]:
    """Σ̃ and e in the reach of (Σ̃, e), in units of x in which Σ̃ is about 1 and every square of the size of an error;
    the unit; how many directions lie outside, and Σ̃'s one eigenvalue there.
    """
    reach = problem.target_operator.reach(problem.shift, accept_any)
    matrix = reach.covariance.dense()
    beyond_dim, beyond = 0.0, space.array(0.0)
    if reach.rest is not None:
        beyond_dim, beyond = float(problem.dim - len(matrix)), reach.rest
    largest = binary_unit(space, space.xp.concatenate([matrix.ravel(), beyond[None]]))
    unit = binary_unit(space, space.xp.sqrt(largest))
    return matrix / unit / unit, reach.coordinates * unit, unit, beyond_dim, beyond / unit / unit


def _both_moments(
    space: Namespace, problem: FineTuningProblem, rule: WeightRule, matrix: Array, shift: Array
) -> list[tuple[Array, Array]]:
    """(μ₁, C₁) and (μ₂, C₂): mass and covariance of z under w and under w²."""
    rules = rule, squared(rule, problem.residual_variance, space)
    return [sample_moments(space, problem, each, matrix, shift) for each in rules]


class Moments(NamedTuple):
    """E[u uᵀ] in the reach of (Σ̃, e) and u's last entry, (m+1, m+1); its one eigenvalue in all other directions."""

    moment: Array
    outside: Array


def _errors(
    space: Namespace, problem: FineTuningProblem, rule: WeightRule, learning_rate: Array, length: int
) -> Array:
    """E err₂ after 0, …, length steps, in the reach of (Σ̃, e); outside of it Σ̃ and M are one eigenvalue each."""
    xp = space.xp
    matrix, shift, unit, beyond_dim, beyond = _reduced_problem(space, problem)
    with np.errstate(over="ignore"):  # a step so long that the error does, too
        eta = learning_rate * unit * unit
    m = shift.shape[0]
    (mass1, first), (mass2, second) = _both_moments(space, problem, rule, matrix, shift)
    free = xp.asarray(np.eye(m + 1)[:, :m], dtype=space.dtype)  # of z = (x, ξ), x; Π is free freeᵀ

    def step(state: Moments) -> Moments:
        moment, outside = state
        trace = (moment * second).sum() + beyond_dim * beyond * outside
        # Both products, not one and its transpose: then the asymmetry of rounding decays with the rest.
        drift = free @ (first[:m] @ moment) + (moment @ first[:, :m]) @ free.T
        noise_operator = 2 * second[:m] @ moment @ second[:, :m] + trace * second[:m, :m]
        return Moments(
            moment - 2 * eta * mass1 * drift + 4 * eta * (eta * mass2) * (free @ noise_operator @ free.T),
            outside
            - 4 * eta * mass1 * beyond * outside
            + 4 * eta * (eta * mass2) * beyond * (2 * beyond * outside + trace),
        )

    def error(state: Moments) -> Array:
        return (state.moment[:m, :m] * matrix).sum() + beyond_dim * beyond * state.outside

    u = xp.concatenate([shift, space.array([-1.0])])
    path = _recorded(space, step, error, Moments(u[:, None] * u[None, :], space.array(0.0)), length)
    overflowed = xp.isnan(path) & xp.isfinite(learning_rate * mass1)  # ∞ − ∞
    return xp.where(overflowed, math.inf, path)


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
