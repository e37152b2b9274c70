"""Exact population iterates: gradient descent, gradient flow, their limit, and one-pass SGD.

The loss carries no ½, so a step is θ ← θ − 2ηΣ'(θ − θ_∞). In every case the path is
θ̃* + (1 − κ)e + κ φ(Σ')e, with κ = 1 where the labels carry no noise (Theorem 7.2).
"""

from __future__ import annotations

import math

import jax
import numpy as np

from .arrays import (
    Array,
    DivergenceError,
    InvalidTypeError,
    InvalidValueError,
    Namespace,
    bounded,
    is_concrete,
    is_traced,
    namespace,
    require,
)
from .problem import FineTuningProblem, checked_problem
from .propagator import Decay, Power, count_steps, propagate, reached
from .tilting import WeightedMoments, weighted_moments
from .weights import KLDRO, Flow, Uniform, WeightRule, as_rule

__all__ = ["fixed_point", "gradient_flow", "iterate", "sgd_error", "stable_learning_rate"]


def _path(problem: FineTuningProblem, moments: WeightedMoments, kernel: Power | Decay) -> Array:
    remaining = propagate(kernel, moments.covariance, moments.covariance.direction)
    return problem.target + moments.stays * problem.shift + moments.moved * remaining


def iterate(
    problem: FineTuningProblem,
    steps: int | Array,
    learning_rate: float | Array | None = None,
    temperature: float | Array | WeightRule = math.inf,
) -> Array:
    """θ_K of gradient descent on the population loss, exactly (eqs. (6), (8), (11), (12)).

    θ_K = θ̃* + (1 − κ)e + κ(I − 2ηΣ')^K e, without a loop over K.

    Parameters
    ----------
    problem : FineTuningProblem
    steps : int or (m,) integer array
        K ≥ 0: a Python int of any size (under ``jit`` beyond int32/int64, pass it as a static constant).
    learning_rate : float, optional
        η > 0; any finite value is evaluated, also a divergent one. ``None`` is 1/(2μ), the step of (11),
        which for unweighted descent is ½.
    temperature : float or weight rule
        τ > 0 in the units of y²; ``inf`` is standard fine-tuning.

    Returns
    -------
    (d,) array, or (m, d) for an array of steps.

    Raises
    ------
    DivergenceError
        If the *default* step would not converge for this covariance (under JAX tracing: NaN), or a
        divergent one has carried θ_K beyond the largest float (infinity or NaN). Pass a learning rate below
        :func:`stable_learning_rate`.
    InvalidValueError, InvalidTypeError
        For K < 0 or not an integer, η ≤ 0 or not finite, τ ≤ 0 or NaN.
    """
    moments = weighted_moments(problem, temperature)
    space = namespace(problem, moments, learning_rate, steps if isinstance(steps, jax.Array) else None)
    problem, moments = space.tree((problem, moments))
    if learning_rate is None:
        rate = _unit_rate(space, moments)
    else:
        rate = 2 * _positive(space, "learning_rate", learning_rate) * moments.mass
    with np.errstate(over="ignore", invalid="ignore"):
        theta = _path(problem, moments, Power(rate, count_steps(space, steps)))
    if is_concrete(theta) and not bool(space.xp.isfinite(theta).all()):
        limit = float(stable_learning_rate(problem, temperature))
        remedy = f"the iterate is beyond the largest float; it converges below {limit:.6g}"
        raise DivergenceError("learning_rate", learning_rate, remedy)
    return theta


def _positive(space: Namespace, name: str, value: object) -> Array:
    return bounded(space, name, value, lambda v: (v > 0) & (v < math.inf), "must be finite and > 0")


def _unit_rate(space: Namespace, moments: WeightedMoments) -> Array:
    """2ημ = 1 at η = 1/(2μ), refused where a reachable eigenvalue of Σ'/μ is 2 or more."""
    one, matrix = space.array(1.0), moments.covariance.base.matrix
    if (
        is_concrete(moments)
        and float(abs(matrix).sum(axis=-1).max()) < 2
        and float(moments.covariance.ratio) <= 1
    ):
        return one  # λ_max(Σ'/μ) ≤ λ_max(Σ̃) ≤ the largest row sum: no spectrum needed
    largest = _largest_reached(space, moments)
    if is_concrete(largest) and float(largest) >= 2:
        mass = float(moments.mass)
        raise DivergenceError(
            "learning_rate",
            None,
            f"the default 1/(2μ) = {1 / (2 * mass):.6g} diverges for this covariance; "
            f"pass a learning rate below stable_learning_rate = {1 / (mass * float(largest)):.6g}",
        )
    return space.xp.where(largest < 2, one, space.xp.nan)


def _largest_reached(space: Namespace, moments: WeightedMoments) -> Array:
    """The largest eigenvalue of Σ'/μ whose direction the path from θ* ever enters."""
    values, vectors = moments.covariance.eigh()
    coordinates = moments.covariance.direction @ vectors
    return space.xp.max(space.xp.where(reached(coordinates), values, 0.0))


def stable_learning_rate(
    problem: FineTuningProblem, temperature: float | Array | WeightRule = math.inf
) -> Array:
    """The supremum of the η for which :func:`iterate` converges, a float: 1/λ_max(Σ') where the path goes.

    The path from θ* stays in the Krylov space of (Σ̃, e), so only eigenvectors with a component of the shift
    (beyond rounding) count, which makes it jump where eigenvalues coincide; ``inf`` where there is nothing
    to learn. At η equal to it the iterates oscillate for ever.
    Arguments and errors as in :func:`iterate`.
    """
    moments = weighted_moments(problem, temperature)
    space = namespace(problem, moments)
    curvature = moments.mass * _largest_reached(space, moments)
    zero = curvature == 0
    return space.xp.where(zero, space.xp.inf, 1 / space.xp.where(zero, 1.0, curvature))[()]


def gradient_flow(
    problem: FineTuningProblem, time: float | Array, temperature: float | Array | WeightRule = math.inf
) -> Array:
    """θ(t) of dθ/dt = −∇L: θ̃* + (1 − κ)e + κ exp(−2tΣ')e; ``time = inf`` is the limit.

    Parameters
    ----------
    problem : FineTuningProblem
    time : float or (m,) array
        t ≥ 0. The loss has no ½, so the rate is 2Σ', and K steps of size η approximate t = Kη.
    temperature : float or weight rule
        As in :func:`iterate`.

    Returns
    -------
    (d,) array, or (m, d) for an array of times. In the null space of Σ̃ it stays at θ*.

    Raises
    ------
    InvalidValueError, InvalidTypeError
        For t < 0 or NaN, or a bad temperature.
    """
    moments = weighted_moments(problem, temperature)
    space = namespace(problem, moments, time)
    problem, moments = space.tree((problem, moments))
    time = bounded(space, "time", time, lambda v: v >= 0, "must be ≥ 0 (inf is the limit)", ndim=(0, 1))
    limit = space.xp.isinf(time)  # whatever the mass, and without a derivative
    with np.errstate(over="ignore"):
        rate = space.xp.where(limit, math.inf, 2 * space.xp.where(limit, 1.0, time) * moments.mass)
    return _path(problem, moments, Decay(rate))


def fixed_point(problem: FineTuningProblem, temperature: float | Array | WeightRule) -> Array:
    """θ_∞ = θ* − κe, where training on the weighted samples ends under label noise; shape (d,).

    For FLOW κ = τ/(τ + 2σ²): training to convergence is model averaging with ω = 1 − κ. Where Σ̃ is
    singular the null components stay at θ*. Arguments and errors as in :func:`iterate`.
    """
    return gradient_flow(problem, math.inf, temperature)


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
    float, or (m,) array; grows without bound, up to ``inf``, where the step is unstable in mean square.
    """
    rule = as_rule(temperature)
    space = namespace(problem, rule, learning_rate)
    xp, problem = space.xp, checked_problem(space, problem)
    eta = _positive(space, "learning_rate", learning_rate)
    if is_traced(steps):
        raise InvalidTypeError("steps", steps, "must be known when sgd_error is traced; pass it as static")
    counts = count_steps(namespace(), np.asarray(steps) if isinstance(steps, jax.Array) else steps).count
    if counts.max(initial=0) >= 2**31:
        raise InvalidValueError("steps", steps, "is too large: the SGD recursion is run step by step")
    (mass1, first), (mass2, second) = _exponential_tilts(space, problem, rule)
    d = problem.dim
    inner = xp.asarray(np.arange(d + 1) < d)
    keep = xp.where(inner[:, None] & inner[None, :], space.array(1.0), space.array(0.0))
    rows = xp.where(inner[:, None], space.array(1.0), space.array(0.0))

    def step(moment: Array) -> Array:
        # Both products, not one and its transpose: then the asymmetry of rounding decays with the rest.
        drift = rows * (first @ moment) + (moment @ first) * rows.T
        kick = 2 * second @ moment @ second + (moment * second).sum() * second
        return moment - 2 * eta * mass1 * drift + 4 * eta**2 * mass2 * keep * kick

    def error(moment: Array) -> Array:
        return (moment[:d, :d] * space.array(problem.target_covariance)).sum()

    start = xp.concatenate([space.array(problem.shift), space.array([-1.0])])
    path = _recorded(space, step, error, start[:, None] * start[None, :], int(counts.max(initial=0)))
    overflowed = xp.isnan(path) & xp.isfinite(eta * mass1)  # ∞ − ∞
    return xp.where(overflowed, math.inf, path)[counts.astype(int)]


def _recorded(space: Namespace, step, error, start: Array, length: int) -> Array:
    """error(M₀), …, error(M_length) along M ← step(M)."""
    if space.xp is not np:
        last, errors = jax.lax.scan(lambda moment, _: (step(moment), error(moment)), start, length=length)
        return space.xp.concatenate([errors, error(last)[None]])
    moment, errors = start, np.empty(length + 1)
    with np.errstate(over="ignore", invalid="ignore"):
        for k in range(length):
            errors[k] = error(moment)
            moment = step(moment)
    errors[length] = error(moment)
    return errors


def _exponential_tilts(
    space: Namespace, problem: FineTuningProblem, rule: WeightRule
) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
    """(mass, covariance of z = (x, ξ)) under w and under w² = the same tilt at τ/2."""
    xp, d = space.xp, problem.dim
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
    covariance = xp.zeros((d + 1, d + 1), dtype=space.dtype)
    block = xp.concatenate(
        [space.array(problem.target_covariance), xp.zeros((d, 1), dtype=space.dtype)], axis=1
    )
    last = xp.where(xp.arange(d + 1) == d, noise, covariance[0])
    covariance = xp.concatenate([block, last[None, :]])
    image = covariance @ xp.concatenate([space.array(problem.shift), space.array([-1.0])])

    def tilt(power: int) -> tuple[Array, Array]:
        with np.errstate(over="ignore"):
            mass = (1 + 2 * power * variance / temperature) ** -0.5
        share = 2 * power / (temperature + 2 * power * variance)
        return mass, covariance - share * image[:, None] * image[None, :]

    return tilt(1), tilt(2)
