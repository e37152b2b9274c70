"""One-pass SGD on the population: the second moment of its error, exactly (THEORY 7)."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import numpy as np

from .arrays import (
    Array,
    InvalidTypeError,
    InvalidValueError,
    Namespace,
    is_traced,
    namespace,
    positive,
    require,
)
from .covariance import Operator, Reach, anything
from .powers import count_steps
from .problem import FineTuningProblem, checked_problem
from .weights import KLDRO, Flow, Uniform, WeightRule, as_rule

__all__ = ["sgd_error"]


def sgd_error(
    problem: FineTuningProblem,
    steps: int | Array,
    learning_rate: float | Array,
    temperature: float | Array | WeightRule = math.inf,
) -> Array:
    """E err₂ after K steps of one-pass SGD, exactly (THEORY 7): fresh samples, batch size 1.

    With z = (x, ξ), u = (θ − θ̃*, −1) and M = E[u uᵀ], Isserlis' theorem closes the second moment:
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
    xp, problem = space.xp, checked_problem(space, problem)
    eta = positive(space, "learning_rate", learning_rate)
    if is_traced(steps):
        raise InvalidTypeError("steps", steps, "must be known when sgd_error is traced; pass it as static")
    counts = count_steps(namespace(), np.asarray(steps) if isinstance(steps, jax.Array) else steps).count
    if counts.max(initial=0) >= 2**31:
        raise InvalidValueError("steps", steps, "is too large: the SGD recursion is run step by step")
    if isinstance(problem.target_operator, Operator):
        remedy = "is an operator; the noise of SGD enters every direction, which needs its whole spectrum"
        raise InvalidTypeError("target_covariance", problem.target_covariance, remedy)
    reach = problem.target_operator.reach(problem.shift, anything)
    m, matrix = reach.coordinates.shape[0], reach.covariance.dense()
    others, rest = (0.0, 0.0) if reach.rest is None else (float(problem.dim - m), reach.rest)
    (mass1, first), (mass2, second) = _exponential_tilts(space, problem, reach, rule)
    inner = xp.asarray(np.arange(m + 1) < m)
    keep = xp.where(inner[:, None] & inner[None, :], space.array(1.0), space.array(0.0))
    rows = xp.where(inner[:, None], space.array(1.0), space.array(0.0))

    def step(state: Moments) -> Moments:
        moment, beside = state
        trace = (moment * second).sum() + others * rest * beside
        # Both products, not one and its transpose: then the asymmetry of rounding decays with the rest.
        drift = rows * (first @ moment) + (moment @ first) * rows.T
        kick = 2 * second @ moment @ second + trace * second
        return Moments(
            moment - 2 * eta * mass1 * drift + 4 * eta**2 * mass2 * keep * kick,
            beside
            - 4 * eta * mass1 * rest * beside
            + 4 * eta**2 * mass2 * rest * (2 * rest * beside + trace),
        )

    def error(state: Moments) -> Array:
        return (state.moment[:m, :m] * matrix).sum() + others * rest * state.beside

    start = xp.concatenate([reach.coordinates, space.array([-1.0])])
    start = Moments(start[:, None] * start[None, :], space.array(0.0))
    path = _recorded(space, step, error, start, int(counts.max(initial=0)))
    overflowed = xp.isnan(path) & xp.isfinite(eta * mass1)  # ∞ − ∞
    return xp.where(overflowed, math.inf, path)[counts.astype(int)]


class Moments(NamedTuple):
    """E[u uᵀ] in the reach of (Σ̃, e) and u's last entry, (m+1, m+1); its one eigenvalue in all directions beside."""

    moment: Array
    beside: Array


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


def _exponential_tilts(
    space: Namespace, problem: FineTuningProblem, reach: Reach, rule: WeightRule
) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
    """(mass, covariance of z = (x, ξ), x in the reach) under w and under w² = the same tilt at τ/2."""
    xp, m = space.xp, reach.coordinates.shape[0]
    variance = problem.residual_variance
    if isinstance(rule, Uniform):
        temperature = space.array(math.inf)
    elif isinstance(rule, Flow | KLDRO):
        temperature = space.array(rule.temperature)
    else:
        remedy = "must be a number, Flow, KLDRO or Uniform: only these keep the tilted samples Gaussian"
        raise InvalidTypeError("temperature", rule, remedy)
    if isinstance(rule, KLDRO):
        remedy = "is too low for KL-DRO under SGD: E[w²] is infinite; needs τ > 4s²"
        temperature = -require(space, "temperature", temperature, temperature > 4 * variance, remedy)
    noise = space.array(problem.noise_variance)
    block = xp.concatenate([reach.covariance.dense(), xp.zeros((m, 1), dtype=space.dtype)], axis=1)
    last = xp.where(xp.arange(m + 1) == m, noise, 0.0)
    covariance = xp.concatenate([block, last[None, :]])
    image = covariance @ xp.concatenate([reach.coordinates, space.array([-1.0])])

    def tilt(power: int) -> tuple[Array, Array]:
        with np.errstate(over="ignore"):
            mass = (1 + 2 * power * variance / temperature) ** -0.5
        share = 2 * power / (temperature + 2 * power * variance)
        return mass, covariance - share * image[:, None] * image[None, :]

    return tilt(1), tilt(2)
