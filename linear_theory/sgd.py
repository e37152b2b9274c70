"""One-pass SGD on the population: the second moment of its error, exactly (docs/theorems/one-pass-sgd.md)."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import numpy as np

from .arrays import Array, Namespace, namespace, positive, quotient, require
from .covariance import Operator, anything
from .errors import InvalidTypeError, InvalidValueError
from .problem import FineTuningProblem, checked_problem
from .propagator.powers import count_steps
from .rules import KLDRO, Flow, Uniform, WeightRule, as_rule
from .tilting import residual_tilt
from .trees import is_traced
from .units import binary_unit, share

__all__ = ["sgd_error"]


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
    xp, problem = space.xp, checked_problem(space, problem)
    learning_rate = positive(space, "learning_rate", learning_rate)
    if is_traced(steps):
        raise InvalidTypeError("steps", steps, "must be known when sgd_error is traced; pass it as static")
    counts = count_steps(namespace(), steps).count
    if counts.max(initial=0) >= 2**31:
        raise InvalidValueError("steps", steps, "is too large: the SGD recursion is run step by step")
    if isinstance(problem.target_operator, Operator):
        remedy = "is an operator; the noise of SGD enters every direction, which needs its whole spectrum"
        raise InvalidTypeError("target_covariance", problem.target_covariance, remedy)
    reach = problem.target_operator.reach(problem.shift, anything)
    m, matrix = reach.coordinates.shape[0], reach.covariance.dense()
    others, rest = (0.0, space.array(0.0)) if reach.rest is None else (float(problem.dim - m), reach.rest)
    # Units of x in which Σ̃ is about 1: in them every square below is of the size of an error.
    root = binary_unit(space, xp.sqrt(binary_unit(space, xp.concatenate([matrix.ravel(), rest[None]]))))
    with np.errstate(over="ignore"):  # a step so long that the error does, too
        eta = learning_rate * root * root
    matrix, rest = matrix / root / root, rest / root / root
    start = xp.concatenate([reach.coordinates * root, space.array([-1.0])])
    (mass1, first), (mass2, second) = _exponential_tilts(space, problem, matrix, start, rule)
    free = xp.asarray(np.eye(m + 1)[:, :m], dtype=space.dtype)  # of z = (x, ξ), x; Π is free freeᵀ

    def step(state: Moments) -> Moments:
        moment, beside = state
        trace = (moment * second).sum() + others * rest * beside
        # Both products, not one and its transpose: then the asymmetry of rounding decays with the rest.
        drift = free @ (first[:m] @ moment) + (moment @ first[:, :m]) @ free.T
        kick = 2 * second[:m] @ moment @ second[:, :m] + trace * second[:m, :m]
        return Moments(
            moment - 2 * eta * mass1 * drift + 4 * eta * (eta * mass2) * (free @ kick @ free.T),
            beside
            - 4 * eta * mass1 * rest * beside
            + 4 * eta * (eta * mass2) * rest * (2 * rest * beside + trace),
        )

    def error(state: Moments) -> Array:
        return (state.moment[:m, :m] * matrix).sum() + others * rest * state.beside

    start = Moments(start[:, None] * start[None, :], space.array(0.0))
    path = _recorded(space, step, error, start, int(counts.max(initial=0)))
    overflowed = xp.isnan(path) & xp.isfinite(learning_rate * mass1)  # ∞ − ∞
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
    space: Namespace, problem: FineTuningProblem, matrix: Array, u: Array, rule: WeightRule
) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
    """(mass, covariance of z = (x, ξ), x in the reach) under w and under w², which is w with twice the s² beside τ.

    Cov z is C = diag(Σ̃, σ²), the residual −⟨z, u⟩, and the tilt C − (1 − h) C u uᵀC/s². Its last entry
    σ² − (1 − h)σ⁴/s² is written σ²(h + (1 − h)v/s²): where σ² ≫ v, the terms of the difference are nearly equal.
    """
    xp, m, variance = space.xp, matrix.shape[0], problem.residual_variance
    if not isinstance(rule, Flow | KLDRO | Uniform):
        remedy = "must be a number, Flow, KLDRO or Uniform: only these keep the tilted samples Gaussian"
        raise InvalidTypeError("temperature", rule, remedy)
    if isinstance(rule, KLDRO):
        remedy = "is too low for KL-DRO under SGD: E[w²] is infinite; needs τ > 4s²"
        temperature = space.array(rule.temperature)
        variance = require(
            space, "temperature", variance, temperature > 4 * variance, remedy, rule.temperature
        )
    v, noise = problem.shift_variance, space.array(problem.noise_variance)
    signal, own = share(space, v, noise, 0.0), share(space, noise, v, 0.0)
    image = matrix @ u[:m]

    def tilt(power: int) -> tuple[Array, Array]:
        moments = residual_tilt(rule, power * variance, space)
        inner = matrix - (moments.deficit * quotient(space, image, variance, 0.0))[:, None] * image[None, :]
        cross = (moments.deficit * own * image)[:, None]
        last = (noise * (moments.ratio + moments.deficit * signal))[None, None]
        rows = xp.concatenate([inner, cross], axis=1), xp.concatenate([cross.T, last], axis=1)
        return moments.mass, xp.concatenate(rows)

    return tilt(1), tilt(2)
