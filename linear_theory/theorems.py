"""The paper's statements by number, in the plane of eq. (3): Lemma F.3, (14), (15), Remarks 7.4-7.6.

Everything here is a function of ρ and of β, the re-parametrisation **of μ²**

    μ² = β(1−ρ²) / ((1+β)(1−βρ²)),      τ = 2β(1−ρ²)‖e‖² / (1−β²ρ²),      0 < β ≤ 1/ρ,

and is written in homogeneous coordinates, β = p/q with max(p, q) = 1: vanilla fine-tuning (τ = ∞, q = ρp) and
β → 0 are ordinary points. No noise (σ = 0) and η = 1/(2μ), with which θ_K − θ̃* = Q^K e, Q = I − Σ'/μ. All raise
InvalidValueError or InvalidTypeError for ρ outside [0, 1) or β outside (0, 1/ρ] (NaN under JAX tracing).
"""

from __future__ import annotations

import jax

from .arrays import Array, Namespace, blockwise, namespace, quotient
from .propagator.powers import Steps, count_steps, one_minus_power, power, steps_to_halve
from .reparametrization import ANY, complement, coordinates, poles

__all__ = [
    "closed_form",
    "half_life",
    "model_average_weight",
    "stall_approximation",
    "stall_direction",
    "stall_spectrum",
]


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
    λ₂ < ρ²λ₁ for every β < 1/ρ when ρ > 0. At β = 1/ρ they are ±ρ, vanilla fine-tuning. Broadcasts.

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
    count = count_steps(namespace(beta, rho, traced), steps, ndim=ANY)
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
