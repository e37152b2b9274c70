"""One-pass SGD on the population: the second moment of its error, exactly (docs/theorems/one-pass-sgd.md)."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import numpy as np

from .arrays import Array, Namespace, namespace, positive, require
from .covariance import Operator
from .covariance.subspace import accept_any
from .errors import InvalidTypeError, InvalidValueError
from .problem import FineTuningProblem, checked_problem
from .propagator.powers import count_steps
from .rules import KLDRO, Flow, Uniform, WeightRule, as_rule
from .tilting import sample_moments
from .trees import is_traced
from .units import binary_unit

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
    problem = checked_problem(space, problem)
    learning_rate = positive(space, "learning_rate", learning_rate)
    if is_traced(steps):
        raise InvalidTypeError("steps", steps, "must be known when sgd_error is traced; pass it as static")
    counts = count_steps(namespace(), steps).count
    if counts.max(initial=0) >= 2**31:
        raise InvalidValueError("steps", steps, "is too large: the SGD recursion is run step by step")
    if isinstance(problem.target_operator, Operator):
        remedy = "is an operator; the noise of SGD enters every direction, which needs its whole spectrum"
        raise InvalidTypeError("target_covariance", problem.target_covariance, remedy)
    if not isinstance(rule, Flow | KLDRO | Uniform):
        remedy = "must be a number, Flow, KLDRO or Uniform: only these keep the tilted samples Gaussian"
        raise InvalidTypeError("temperature", rule, remedy)
    if isinstance(rule, KLDRO):  # Under tracing the tilt of w² is NaN there.
        remedy = "is too low for KL-DRO under SGD: E[w²] is infinite; needs τ > 4s²"
        variance, temperature = problem.residual_variance, space.array(rule.temperature)
        require(space, "temperature", variance, temperature > 4 * variance, remedy, rule.temperature)
    path = _errors(space, problem, rule, learning_rate, int(counts.max(initial=0)))
    return path[counts.astype(int)]


class Moments(NamedTuple):
    """E[u uᵀ] in the reach of (Σ̃, e) and u's last entry, (m+1, m+1); its one eigenvalue in all other directions."""

    moment: Array
    outside: Array


def _errors(
    space: Namespace, problem: FineTuningProblem, rule: WeightRule, learning_rate: Array, length: int
) -> Array:
    """E err₂ after 0, …, length steps, in the reach of (Σ̃, e); outside of it Σ̃ and M are one eigenvalue each."""
    xp = space.xp
    reach = problem.target_operator.reach(problem.shift, accept_any)
    m, matrix = reach.coordinates.shape[0], reach.covariance.dense()
    others, rest = (0.0, space.array(0.0)) if reach.rest is None else (float(problem.dim - m), reach.rest)
    # Units of x in which Σ̃ is about 1: in them every square below is of the size of an error.
    root = binary_unit(space, xp.sqrt(binary_unit(space, xp.concatenate([matrix.ravel(), rest[None]]))))
    with np.errstate(over="ignore"):  # a step so long that the error does, too
        eta = learning_rate * root * root
    matrix, rest, shift = matrix / root / root, rest / root / root, reach.coordinates * root
    mass1, first = sample_moments(space, problem, rule, matrix, shift)
    mass2, second = sample_moments(space, problem, rule, matrix, shift, power=2)
    free = xp.asarray(np.eye(m + 1)[:, :m], dtype=space.dtype)  # of z = (x, ξ), x; Π is free freeᵀ

    def step(state: Moments) -> Moments:
        moment, outside = state
        trace = (moment * second).sum() + others * rest * outside
        # Both products, not one and its transpose: then the asymmetry of rounding decays with the rest.
        drift = free @ (first[:m] @ moment) + (moment @ first[:, :m]) @ free.T
        kick = 2 * second[:m] @ moment @ second[:, :m] + trace * second[:m, :m]
        return Moments(
            moment - 2 * eta * mass1 * drift + 4 * eta * (eta * mass2) * (free @ kick @ free.T),
            outside
            - 4 * eta * mass1 * rest * outside
            + 4 * eta * (eta * mass2) * rest * (2 * rest * outside + trace),
        )

    def error(state: Moments) -> Array:
        return (state.moment[:m, :m] * matrix).sum() + others * rest * state.outside

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
