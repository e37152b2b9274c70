"""The paper's statements by number, in the plane of eq. (3): Lemma F.3, (14), (15), Remarks 7.4-7.6.

Everything here is a function of ρ and of β, the re-parametrisation **of μ²**

    μ² = β(1−ρ²) / ((1+β)(1−βρ²)),      τ = 2β(1−ρ²)‖e‖² / (1−β²ρ²),      0 < β ≤ 1/ρ,

and is written in homogeneous coordinates, β = p/q with max(p, q) = 1: standard fine-tuning (τ = ∞, q = ρp) and
β → 0 are ordinary points. No noise (σ = 0) and η = 1/(2μ), with which θ_K − θ̃* = Q^K e, Q = I − Σ'/μ. All raise
InvalidValueError or InvalidTypeError for ρ outside [0, 1) or β outside (0, 1/ρ] (NaN under JAX tracing).
"""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np

from .arrays import (
    ANY_NDIM,
    Array,
    Namespace,
    blockwise,
    bounded,
    broadcast,
    namespace,
    numeric,
    quotient,
    require,
)
from .errors import short
from .problem import checked_rho
from .propagator.powers import Steps, count_steps, one_minus_power, power, steps_to_halve

__all__ = [
    "closed_form",
    "complement",
    "coordinates",
    "half_life",
    "model_average_weight",
    "poles",
    "squared_mass",
    "stall_approximation",
    "stall_direction",
    "stall_parameter",
    "stall_spectrum",
    "stall_temperature",
]


def coordinates(
    beta: object, rho: object, *others: object, **shapes: Array
) -> tuple[Namespace, Array, Array, Array]:
    """The namespace, β = p/q with max(p, q) = 1, and ρ, checked: 0 < β ≤ 1/ρ; ``shapes`` must broadcast with them."""
    space = namespace(beta, rho, *others)
    xp = space.xp
    rho = checked_rho(rho, beta, *others)
    array = numeric(space, "beta", beta, ANY_NDIM)
    broadcast(beta=array, rho=rho, **shapes)
    limit = quotient(space, space.array(1.0), rho, math.inf)
    inside = (array > 0) & (array <= limit)
    array = require(space, "beta", array, inside, f"must be in (0, 1/rho] for rho = {short(rho)}")
    low = array <= 1
    inverse = 1 / xp.where(low, 1.0, array)
    rounding = xp.where(array == limit, rho - inverse, 0.0)  # 1/(1/ρ) need not be ρ
    inverse = inverse + space.constant(rounding)
    return space, xp.where(low, array, 1.0), inverse, rho


def complement(rho: Array) -> Array:
    """1 − ρ² without cancellation."""
    return (1 - rho) * (1 + rho)


def poles(p: Array, q: Array, rho: Array) -> tuple[Array, Array]:
    """(q − pρ, q − pρ²), as sums of terms ≥ 0: near ρ = 1 and β = 1 a product rounded first would leave no digits."""
    xp = namespace(p, q, rho).xp
    first = xp.where(p <= q, (q - p) + p * (1 - rho), q - p * rho)  # where p > q, p is 1
    return first, first + p * rho * (1 - rho)


def stall_parameter(temperature: float | Array, rho: float | Array, shift_norm: float | Array = 1.0) -> Array:
    """β(τ) in (0, 1/ρ]: the positive root of τρ²β² + 2(1−ρ²)‖e‖²β − τ = 0 (section 7.2; beyond the paper for β > 1).

    Parameters
    ----------
    temperature : float or array
        τ > 0, in the units of ‖e‖²; ``inf`` gives 1/ρ (``inf`` at ρ = 0).
    rho : float or array in [0, 1)
    shift_norm : float or array
        ‖e‖ > 0. The three broadcast against each other.

    Raises
    ------
    InvalidValueError, InvalidTypeError
        For values outside these ranges; under JAX tracing the result is NaN there.

    Examples
    --------
    >>> import linear_theory as lt
    >>> print(lt.stall_parameter([0.5, 2.0, float("inf")], 0.6).round(4))
    [0.3712 1.     1.6667]
    """
    space = namespace(temperature, rho, shift_norm)
    rho = checked_rho(rho, temperature, shift_norm)
    temperature = bounded(space, "temperature", temperature, lambda v: v > 0, "must be > 0", ndim=ANY_NDIM)
    norm = _norm(space, shift_norm)
    broadcast(temperature=temperature, rho=rho, shift_norm=norm)
    xp, scale = space.xp, complement(rho)
    with np.errstate(over="ignore"):
        units = temperature / norm / norm  # of ‖e‖², whose square alone need not be a float
    has_digits = (units >= _smallest(space)) | ((units > 0) & (temperature < _smallest(space)))
    representable = has_digits & (xp.isfinite(units) | xp.isinf(temperature))
    remedy = "is so small or so large beside shift_norm² that their ratio is no float, nor is β"
    units = require(space, "temperature", units, representable, remedy, temperature)
    small = units < scale  # divide by the larger of the two: neither τ → 0 nor τ = ∞ is special
    ratio = xp.where(small, units, 0.0) / xp.where(small, scale, 1.0)
    inverse_ratio = xp.where(small, 1.0, scale) / xp.where(small, 1.0, units)
    both_zero = (inverse_ratio == 0) & (rho == 0)  # where hypot has no derivative
    root = xp.where(both_zero, 0.0, inverse_ratio + xp.hypot(xp.where(both_zero, 1.0, inverse_ratio), rho))
    at_large = quotient(space, xp.ones_like(root), root, math.inf)
    at_small = ratio / (1 + xp.hypot(xp.ones_like(ratio), rho * ratio))
    return xp.where(small, at_small, at_large)[()]


def _smallest(space: Namespace) -> float:
    """The smallest number with all its digits: a smaller one is accepted only where the argument itself was smaller."""
    return float(jnp.finfo(space.dtype).tiny)


def _norm(space: Namespace, shift_norm: object) -> Array:
    accept = lambda v: (v > 0) & (v < math.inf)
    return bounded(space, "shift_norm", shift_norm, accept, "must be finite and > 0", ndim=ANY_NDIM)


def stall_temperature(beta: float | Array, rho: float | Array, shift_norm: float | Array = 1.0) -> Array:
    """τ(β) = 2β(1−ρ²)‖e‖²/(1−β²ρ²), the inverse of :func:`stall_parameter`, ``inf`` at β = 1/ρ. Broadcasts.

    Lemma F.3, and beyond the paper for β > 1.

    Examples
    --------
    >>> import linear_theory as lt
    >>> print(f"{lt.stall_temperature(lt.stall_parameter(0.5, 0.6), 0.6):.4f}")
    0.5000
    """
    norm = _norm(namespace(beta, rho, shift_norm), shift_norm)
    space, p, q, rho = coordinates(beta, rho, shift_norm, shift_norm=norm)
    below, _ = poles(p, q, rho)
    above = quotient(space, q, q + p * rho, 1.0)  # no square of q, which at ρ = 0 is 1/β
    with np.errstate(over="ignore"):
        temperature = p * norm * quotient(space, 2 * above * complement(rho), below, math.inf) * norm
    remedy = "is so large or so small that τ is beyond the floats; leave it out for τ in units of ‖e‖²"
    has_digits = (temperature >= _smallest(space)) | ((temperature > 0) & (p < _smallest(space)))
    representable = (below == 0) | (space.xp.isfinite(temperature) & has_digits)
    return require(space, "shift_norm", temperature, representable, remedy, norm)[()]


def squared_mass(beta: float | Array, rho: float | Array) -> Array:
    """μ²(β) = β(1−ρ²)/((1+β)(1−βρ²)): the re-parametrisation is of μ², not of μ (Lemma F.3). Broadcasts.

    Examples
    --------
    >>> import linear_theory as lt
    >>> print(f"{lt.squared_mass(lt.stall_parameter(0.5, 0.6), 0.6):.4f}")  # μ² = τ/(τ + 2‖e‖²)
    0.2000
    """
    space, p, q, rho = coordinates(beta, rho)
    return quotient(space, p * q * complement(rho), (p + q) * poles(p, q, rho)[1], 1.0)[()]


def _slow(p: Array, q: Array, rho: Array) -> tuple[Array, Array]:
    """λ₁ and 1 − λ₁."""
    return (q + p * rho**2) / (p + q), p * complement(rho) / (p + q)


def _slow_power(space: Namespace, p: Array, q: Array, rho: Array, count: Steps) -> Array:
    """λ₁^K, from 1 − λ₁ near 1 and from λ₁ itself near 0: each keeps its digits there."""
    lambda1, gap = _slow(p, q, rho)
    near_one = gap < 0.5
    small = space.xp.where(near_one, 1.0, lambda1) ** count.count
    return space.xp.where(near_one, power(space.xp.where(near_one, gap, 0.0), count), small)


def _fast(space: Namespace, p: Array, q: Array, rho: Array) -> tuple[Array, Array, Array]:
    """λ₂, λ₁ − λ₂ and λ₁ + λ₂, none of them by subtraction of nearly equal numbers."""
    first, pole = poles(p, q, rho)
    lambda2 = rho * quotient(space, rho * (q - p), pole, 0.0)  # no square of a small ρ
    one, other = quotient(space, q, pole, 0.0), quotient(space, p * rho, pole, 0.0)  # no square of a small q
    difference = complement(rho) * (q * one + p * rho * other) / (p + q)
    total = (1 + rho**2) * first * (one + other) / (p + q)
    return lambda2, difference, total


def stall_spectrum(beta: float | Array, rho: float | Array) -> tuple[Array, Array]:
    """(λ₁, λ₂), the eigenvalues of Q = I − Σ'/μ in the plane (Lemma F.3).

    λ₁ = (1+βρ²)/(1+β) belongs to the stalled direction ē − βρē⊥, λ₂ = ρ²(1−β)/(1−βρ²) to βρē + ē⊥;
    λ₂ < ρ²λ₁ for every β < 1/ρ when ρ > 0. At β = 1/ρ they are ±ρ, standard fine-tuning. Broadcasts.

    Raises
    ------
    InvalidValueError, InvalidTypeError
        For ρ outside [0, 1) or β outside (0, 1/ρ].

    Examples
    --------
    >>> import linear_theory as lt
    >>> print("{:.4f} {:.4f}".format(*lt.stall_spectrum(0.01, 0.6)))  # one direction stalls
    0.9937 0.3577
    """
    space, p, q, rho = coordinates(beta, rho)
    return _slow(p, q, rho)[0][()], _fast(space, p, q, rho)[0][()]


def _tangent(space: Namespace, p: Array, q: Array, rho: Array) -> Array:
    """βρ ≤ 1, the tangent of the angle between the stalled direction and ē."""
    return quotient(space, p * rho, q, 0.0)


def _angle(tangent: Array) -> tuple[Array, Array]:
    """cos² and cos·sin of the angle with this tangent."""
    return 1 / (1 + tangent**2), tangent / (1 + tangent**2)


def _with_steps(beta: object, rho: object, steps: object) -> tuple[Namespace, Array, Array, Array, Steps]:
    traced = steps if isinstance(steps, jax.Array) else None
    count = count_steps(namespace(beta, rho, traced), steps, ndim=ANY_NDIM)
    space, p, q, rho = coordinates(beta, rho, traced, steps=count.count)
    return space, p, q, rho, count


def closed_form(beta: float | Array, rho: float | Array, steps: int | Array) -> tuple[Array, Array]:
    """θ_K − θ̃* in units of the shift: its components along e and along ‖e‖ē⊥, eq. (14).

    along e  =  (λ₁^K + β²ρ²λ₂^K)/(1+β²ρ²),    along ē⊥  =  −βρ(λ₁^K − λ₂^K)/(1+β²ρ²)

    The difference λ₁^K − λ₂^K is λ₁^K(1 − (λ₂/λ₁)^K), with λ₂/λ₁ taken from the closed forms of λ₁ ± λ₂:
    each component keeps its digits also for large τ, where λ₂ → −λ₁. Errors as in :func:`stall_spectrum`, and
    for K < 0 or not an integer.

    Parameters
    ----------
    beta, rho : float or array
        0 < β ≤ 1/ρ, 0 ≤ ρ < 1.
    steps : int or integer array
        K ≥ 0; Python ints of any size. The three broadcast against each other.

    Examples
    --------
    >>> import linear_theory as lt
    >>> print("{:.4f} {:.4f}".format(*lt.closed_form(0.1, 0.6, 5)))
    0.7384 -0.0440
    >>> print(lt.iterate(lt.paper_problem(0.6), 5, temperature=lt.stall_temperature(0.1, 0.6)).round(4))
    [ 0.7384 -0.044 ]
    """
    space, p, q, rho, count = _with_steps(beta, rho, steps)
    parts = lambda p, q, rho, number, odd: _closed_form(space, p, q, rho, Steps(number, odd))
    along, across = blockwise(parts, 2, p, q, rho, count.count, count.odd)
    return along[()], across[()]


def _closed_form(space: Namespace, p: Array, q: Array, rho: Array, count: Steps) -> tuple[Array, Array]:
    xp = space.xp
    lambda1, _ = _slow(p, q, rho)
    lambda2, difference, total = _fast(space, p, q, rho)
    slow = _slow_power(space, p, q, rho, count)
    closeness = quotient(space, xp.where(lambda2 < 0, total, difference), lambda1, 1.0)  # 1 − |λ₂|/λ₁
    flips = (lambda2 < 0) & count.odd
    relative = power(closeness, count)
    relative = xp.where(flips, -relative, relative)
    lag = xp.where(flips, 1 - relative, one_minus_power(closeness, count))
    cos2, cossin = _angle(_tangent(space, p, q, rho))
    return slow * (cos2 + (1 - cos2) * relative), -cossin * slow * lag


def stall_approximation(beta: float | Array, rho: float | Array, steps: int | Array) -> tuple[Array, Array]:
    """(15): θ_K − θ̃* ≈ γ(e − βρ‖e‖ē⊥), γ = λ₁^K/(1+β²ρ²); units, arguments and broadcasting of (14).

    Examples
    --------
    >>> import linear_theory as lt
    >>> for components in (lt.closed_form(0.1, 0.6, 5), lt.stall_approximation(0.1, 0.6, 5)):
    ...     print("{:.4f} {:.4f}".format(*components))
    0.7384 -0.0440
    0.7384 -0.0443
    """
    space, p, q, rho, count = _with_steps(beta, rho, steps)
    slow = _slow_power(space, p, q, rho, count)
    cos2, cossin = _angle(_tangent(space, p, q, rho))
    return (slow * cos2)[()], (-slow * cossin)[()]


def stall_direction(beta: float | Array, rho: float | Array) -> tuple[Array, Array]:
    """The unit vector along ē − βρē⊥, Q's slow eigenvector, as components (ē, ē⊥) (Remark 7.4). Broadcasts.

    Examples
    --------
    >>> import linear_theory as lt
    >>> print("{:.4f} {:.4f}".format(*lt.stall_direction(0.1, 0.6)))  # nearly the shift itself
    0.9982 -0.0599
    """
    space, p, q, rho = coordinates(beta, rho)
    tangent = _tangent(space, p, q, rho)
    cosine = (1 + tangent**2) ** -0.5
    return cosine[()], (-tangent * cosine)[()]


def half_life(beta: float | Array, rho: float | Array) -> Array:
    """ln 2/(−ln λ₁): the steps in which the error along the stalled direction halves (T5). Broadcasts.

    About 2 ln 2·‖e‖²/τ for τ ≪ 2(1−ρ²)‖e‖², at the step η = 1/(2μ). 0 where λ₁ = 0.

    Examples
    --------
    >>> import linear_theory as lt
    >>> print(lt.half_life(lt.stall_parameter([0.1, 0.01, 0.001], 0.6), 0.6).round(1))
    [  14.6  139.4 1387. ]
    """
    _, p, q, rho = coordinates(beta, rho)
    lambda1, gap = _slow(p, q, rho)
    return steps_to_halve(gap, lambda1)[()]


def model_average_weight(beta: float | Array, rho: float | Array, steps: int | Array) -> Array:
    """γ(K, β) = λ₁^K/(1+β²ρ²): the θ_avg(γ) that FLOW's iterate approaches as β → 0 (Remark 7.5). Broadcasts.

    Examples
    --------
    >>> import linear_theory as lt
    >>> print(f"{lt.model_average_weight(0.01, 0.6, 100):.4f}")  # of the way is left
    0.5296
    """
    return stall_approximation(beta, rho, steps)[0]
