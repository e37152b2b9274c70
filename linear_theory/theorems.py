"""The paper's statements by number, in the plane of eq. (3): β, Lemma F.3, (14), (15), Remarks 7.4-7.6.

Everything here is a function of ρ and of β, the re-parametrisation **of μ²**

    μ² = β(1−ρ²) / ((1+β)(1−βρ²)),      τ = 2β(1−ρ²)‖e‖² / (1−β²ρ²),      0 < β ≤ 1/ρ,

and is written in b = 1/β, in which vanilla fine-tuning (τ = ∞) is the ordinary point b = ρ. No noise
(σ = 0) and the step η = 1/(2μ), with which θ_K − θ̃* = Q^K e, Q = I − Σ'/μ.
"""

from __future__ import annotations

import math

from .arrays import Array, Namespace, bounded, broadcast, namespace, numeric, quotient, require, short
from .problem import checked_rho
from .propagator import count_steps, one_minus_power, power

__all__ = [
    "closed_form",
    "half_life",
    "model_average_weight",
    "squared_mass",
    "stall_approximation",
    "stall_direction",
    "stall_parameter",
    "stall_spectrum",
    "stall_temperature",
]

_ANY = tuple(range(33))


def _inverse_beta(beta: object, rho: object, *others: object) -> tuple[Namespace, Array, Array]:
    """The namespace, b = 1/β and ρ, checked: 0 < β ≤ 1/ρ."""
    space = namespace(beta, rho, *others)
    rho = checked_rho(rho, beta, *others)
    array = numeric(space, "beta", beta, _ANY)
    limit = quotient(space, space.array(1.0), rho, math.inf)
    broadcast(beta=array, rho=rho)
    inside = (array > 0) & (array <= limit)
    array = require(space, "beta", array, inside, f"must be in (0, 1/rho] for rho = {short(rho)}")
    return space, space.xp.maximum(1 / array, rho), rho


def _complement(rho: Array) -> Array:
    return (1 - rho) * (1 + rho)  # 1 − ρ² without cancellation


def stall_parameter(temperature: float | Array, rho: float | Array, shift_norm: float | Array = 1.0) -> Array:
    """β(τ) in (0, 1/ρ]: the positive root of τρ²β² + 2(1−ρ²)‖e‖²β − τ = 0 (section 7.2; B beyond β ≤ 1).

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
    """
    space = namespace(temperature, rho, shift_norm)
    rho = checked_rho(rho, temperature, shift_norm)
    temperature = bounded(space, "temperature", temperature, lambda v: v > 0, "must be > 0", ndim=_ANY)
    norm = _norm(space, shift_norm)
    broadcast(temperature=temperature, rho=rho, shift_norm=norm)
    slope = _complement(rho) * norm * norm / temperature
    xp, vanilla = space.xp, (slope == 0) & (rho == 0)  # both 0: hypot has no derivative there
    denominator = xp.where(vanilla, 0.0, slope + xp.hypot(xp.where(vanilla, 1.0, slope), rho))
    return quotient(space, space.xp.ones_like(denominator), denominator, math.inf)[()]


def _norm(space: Namespace, shift_norm: object) -> Array:
    return bounded(
        space,
        "shift_norm",
        shift_norm,
        lambda v: (v > 0) & (v < math.inf),
        "must be finite and > 0",
        ndim=_ANY,
    )


def stall_temperature(beta: float | Array, rho: float | Array, shift_norm: float | Array = 1.0) -> Array:
    """τ(β) = 2β(1−ρ²)‖e‖²/(1−β²ρ²), the inverse of :func:`stall_parameter`; β = 1/ρ gives ``inf``."""
    space, b, rho = _inverse_beta(beta, rho, shift_norm)
    norm = _norm(space, shift_norm)
    broadcast(beta=1 / b, shift_norm=norm)
    return quotient(space, 2 * b * _complement(rho) * norm * norm, (b - rho) * (b + rho), math.inf)[()]


def squared_mass(beta: float | Array, rho: float | Array) -> Array:
    """μ²(β) = β(1−ρ²)/((1+β)(1−βρ²)): the re-parametrisation is of μ², not of μ (Lemma F.3)."""
    space, b, rho = _inverse_beta(beta, rho)
    return quotient(space, b * _complement(rho), (1 + b) * (b - rho**2), 1.0)[()]


def _eigenvalues(space: Namespace, b: Array, rho: Array) -> tuple[Array, Array, Array, Array]:
    """1 − λ₁, λ₂, λ₁ − λ₂ and λ₁ + λ₂, none of them by subtraction of nearly equal numbers."""
    c = _complement(rho)
    slow_gap = c / (1 + b)
    pole = (1 + b) * (b - rho**2)
    lambda2 = quotient(space, rho**2 * (b - 1), b - rho**2, 0.0)
    difference = quotient(space, c * (b**2 + rho**2), pole, 0.0)
    total = quotient(space, (1 + rho**2) * (b - rho) * (b + rho), pole, 0.0)
    return slow_gap, lambda2, difference, total


def stall_spectrum(beta: float | Array, rho: float | Array) -> tuple[Array, Array]:
    """(λ₁, λ₂), the eigenvalues of Q = I − Σ'/μ in the plane (Lemma F.3).

    λ₁ = (1+βρ²)/(1+β) belongs to the stalled direction ē − βρē⊥, λ₂ = ρ²(1−β)/(1−βρ²) to βρē + ē⊥;
    λ₂ < ρ²λ₁ for every β < 1/ρ when ρ > 0. At β = 1/ρ they are ±ρ, vanilla fine-tuning. Broadcasts.

    Raises
    ------
    InvalidValueError, InvalidTypeError
        For ρ outside [0, 1) or β outside (0, 1/ρ].
    """
    space, b, rho = _inverse_beta(beta, rho)
    _, lambda2, _, _ = _eigenvalues(space, b, rho)
    return ((b + rho**2) / (1 + b))[()], (lambda2 + 0.0 * b)[()]


def _angle(space: Namespace, b: Array, rho: Array) -> tuple[Array, Array]:
    """cos² and cos·sin of the angle arctan(βρ) between the stalled direction and ē."""
    t = quotient(space, rho, b, 0.0)  # βρ ≤ 1
    return 1 / (1 + t**2), t / (1 + t**2)


def closed_form(beta: float | Array, rho: float | Array, steps: int | Array) -> tuple[Array, Array]:
    """θ_K − θ̃* in units of the shift: its components along e and along ‖e‖ē⊥, eq. (14).

    along e  =  (λ₁^K + β²ρ²λ₂^K)/(1+β²ρ²),    along ē⊥  =  −βρ(λ₁^K − λ₂^K)/(1+β²ρ²)

    Parameters
    ----------
    beta, rho : float or array
        0 < β ≤ 1/ρ, 0 ≤ ρ < 1.
    steps : int or integer array
        K ≥ 0; Python ints of any size. The three broadcast against each other.

    The difference λ₁^K − λ₂^K is λ₁^K(1 − (λ₂/λ₁)^K), with λ₂/λ₁ taken from the closed forms of λ₁ ± λ₂:
    each component keeps its digits also for large τ, where λ₂ → −λ₁.
    """
    space, b, rho = _inverse_beta(beta, rho, *([steps] if namespace(steps).xp.__name__ != "numpy" else []))
    xp = space.xp
    count = count_steps(space, steps, ndim=_ANY)
    broadcast(beta=1 / b, steps=count.count)
    slow_gap, lambda2, difference, total = _eigenvalues(space, b, rho)
    lambda1 = (b + rho**2) / (1 + b)
    slow = power(slow_gap, count)
    closeness = quotient(space, xp.where(lambda2 < 0, total, difference), lambda1, 1.0)  # 1 − |λ₂|/λ₁
    flips = (lambda2 < 0) & count.odd
    relative = power(closeness, count)
    relative = xp.where(flips, -relative, relative)
    lag = xp.where(flips, 1 - relative, one_minus_power(closeness, count))
    cos2, cossin = _angle(space, b, rho)
    return (slow * (cos2 + (1 - cos2) * relative))[()], (-cossin * slow * lag)[()]


def stall_approximation(beta: float | Array, rho: float | Array, steps: int | Array) -> tuple[Array, Array]:
    """(15): θ_K − θ̃* ≈ γ(e − βρ‖e‖ē⊥), γ = λ₁^K/(1+β²ρ²); the same units and arguments as (14)."""
    space, b, rho = _inverse_beta(beta, rho)
    count = count_steps(space, steps, ndim=_ANY)
    broadcast(beta=1 / b, steps=count.count)
    slow = power(_complement(rho) / (1 + b), count)
    cos2, cossin = _angle(space, b, rho)
    return (slow * cos2)[()], (-slow * cossin)[()]


def stall_direction(beta: float | Array, rho: float | Array) -> tuple[Array, Array]:
    """The unit vector along ē − βρē⊥, Q's slow eigenvector, as its components (ē, ē⊥) (Remark 7.4)."""
    space, b, rho = _inverse_beta(beta, rho)
    t = quotient(space, rho, b, 0.0)
    scale = (1 + t**2) ** -0.5
    return scale[()], (-t * scale)[()]


def half_life(beta: float | Array, rho: float | Array) -> Array:
    """ln 2/(−ln λ₁): the steps in which the error along the stalled direction halves (B).

    About 2 ln 2·‖e‖²/τ for τ ≪ 2(1−ρ²)‖e‖², at the step η = 1/(2μ). 0 where λ₁ = 0.
    """
    space, b, rho = _inverse_beta(beta, rho)
    one = count_steps(space, 1)
    slow = power(_complement(rho) / (1 + b), one)
    gap = _complement(rho) / (1 + b)
    zero = slow == 0
    logarithm = space.xp.log1p(-space.xp.where(zero, 0.5, gap))
    return space.xp.where(zero, 0.0, -math.log(2) / logarithm)[()]


def model_average_weight(beta: float | Array, rho: float | Array, steps: int | Array) -> Array:
    """γ(K, β) = λ₁^K/(1+β²ρ²): the θ_avg(γ) that FLOW's iterate approaches as β → 0 (Remark 7.5)."""
    return stall_approximation(beta, rho, steps)[0]
