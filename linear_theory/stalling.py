"""The direction that a weighted population learns last, and how fast, for any covariance, noise and weight rule.

A weight by the residual adds to the precision of a Gaussian. On what the path from θ* reaches, M = Σ'/μ has the inverse

    M⁻¹ = Σ̃⁻¹ + c e eᵀ,        c = (1/R − 1)/v,        R = eᵀMe/v,

for FLOW c = 2/(τ + 2σ²). So the largest eigenvalue of M⁻¹, 1/rate, lies between the quadratic form at ē and the sum of
the two largest eigenvalues (Weyl), and its vector u turns away from ē only as far as Σ̃⁻¹ē does: with a unit vector
q ⊥ ē, u ∝ ē + t q, the equation M⁻¹u = u/rate along q is qᵀΣ̃⁻¹ē + t qᵀΣ̃⁻¹q = t/rate.
"""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .arrays import Array, Namespace, namespace
from .covariance.spectrum import Spectrum, separated
from .covariance.subspace import InvariantSubspace, converged
from .errors import reject
from .problem import FineTuningProblem
from .propagator.apply import Indicator, propagate
from .tilting import WeightedMoments, weighted_moments
from .trees import pytree
from .weights import WeightRule

__all__ = ["Stall", "stall"]


@pytree
class Stall:
    """The stalled mode of a weighted population, and bounds of it from Σ̃ alone (T12).

    ``rate``, the smallest eigenvalue of M = Σ'/μ along which the path from θ* moves; ``direction`` (d,), its unit
    vector u, on the side of the shift; ``overlap`` ⟨u, ē⟩; ``half_life`` ln 2/(2·rate), the time × μ in which gradient
    flow halves what is left along u. Bounds, to rounding: ``lower`` ≤ rate ≤ ``upper``; ``tangent_bound`` of the
    tangent of the angle between u and ē, infinite where the weights are too even to say. In all of them ē is the
    direction of that part of the shift which fine-tuning can see, in the range of Σ̃.

    Examples
    --------
    >>> import linear_theory as lt
    >>> found = lt.stall(lt.paper_problem(0.6), lt.stall_temperature(0.5, 0.6))
    >>> print(f"{found.lower:.4f} ≤ {found.rate:.4f} ≤ {found.upper:.4f}")
    0.1871 ≤ 0.2133 ≤ 0.2270
    """

    rate: Array
    direction: Array
    overlap: Array
    half_life: Array
    lower: Array
    upper: Array
    tangent_bound: Array


def stall(problem: FineTuningProblem, temperature: float | Array | WeightRule) -> Stall:
    """The direction that the weights stall, and how slow it is: the smallest eigenvalue of Σ'/μ on the path (T12).

    For the paper's covariance without noise this is Lemma F.3: the rate is 1 − λ₁ and the direction ē − βρē⊥. For every
    Σ̃, with T = τ + 2σ²,

        1/(2‖e‖²/T + 1/λ_min(Σ̃))  ≤  rate  ≤  1/(2‖e‖²/T + ēᵀΣ̃⁻¹ē),
        tan ∠(u, ē)  ≤  ‖P⊥Σ̃⁻¹ē‖/(2‖e‖²/T + ēᵀΣ̃⁻¹ē − 1/λ_min(Σ̃)),

    so as τ → 0 without noise every covariance stalls along its shift. Noise stops that: T stays above 2σ².

    Parameters
    ----------
    problem : FineTuningProblem
    temperature : float or weight rule
        τ > 0 in the units of y² (``inf``: unweighted), or a rule from ``linear_theory.weights``.

    Returns
    -------
    Stall
        Scalars, and a vector (d,). In JAX all but the bounds have derivatives; those of the bounds are NaN.

    Raises
    ------
    InvalidValueError, InvalidTypeError
        As :func:`weight_mass`; and where there is nothing to stall, the shift being in the null space of Σ̃ (NaN under
        JAX tracing).

    Examples
    --------
    >>> import numpy as np
    >>> import linear_theory as lt
    >>> problem = lt.FineTuningProblem([3.0, 1.0, 0.0], np.zeros(3), np.diag([1.0, 2.0, 5.0]))
    >>> for temperature in (10.0, 0.1):  # the colder, the slower, and the nearer to the shift
    ...     found = lt.stall(problem, temperature)
    ...     print(f"half-life {found.half_life:.2f}, overlap {found.overlap:.4f}")
    half-life 1.03, overlap 0.9981
    half-life 69.64, overlap 1.0000
    """
    moments = weighted_moments(problem, temperature)
    space = namespace(problem, moments)
    problem, moments = space.tree((problem, moments))
    reach = moments.covariance.reach(moments.covariance.direction, converged(_slowest_towards_shift))
    weighted = reach.covariance
    # A repeated eigenvalue counts once, or rounding would turn Σ̃⁻¹ē away from ē within its space.
    base = separated(space, weighted.base.dense(), weighted.base.spectrum(weighted.direction))
    in_range = base.reached & (base.values > 0)
    xp, undefined = space.xp, ~in_range.any()
    if xp is np and undefined:
        reject(
            "problem",
            problem,
            "has a shift that no sample sees (Σ̃e = 0), so that nothing is learnt or stalled",
        )
    rate, direction = _differentiable(space, moments, reach)
    # The projector on the range, through which no derivative passes: a null space stays one.
    basis = space.constant(base.vectors)
    shift = basis @ xp.where(in_range, reach.coordinates @ basis, 0.0)
    length = xp.sqrt(xp.where(undefined, 1.0, shift @ shift))
    with np.errstate(over="ignore", divide="ignore"):  # A stall longer than the largest float has bounds 0.
        lower, upper, tangent = _bounds(space, weighted.ratio, base, in_range)
        half_life = math.log(2) / 2 / xp.where(undefined, 1.0, rate)
    overlap = direction @ reach.embed(shift / length)
    sign = xp.where(overlap < 0, -1.0, 1.0)
    nan_if_undefined = xp.where(undefined | ~xp.isfinite(rate), math.nan, 1.0)
    return Stall(
        rate=nan_if_undefined * rate,
        direction=nan_if_undefined * sign * direction,
        overlap=nan_if_undefined * sign * overlap,
        half_life=nan_if_undefined * half_life,
        lower=nan_if_undefined * lower,
        upper=nan_if_undefined * upper,
        tangent_bound=nan_if_undefined * tangent,
    )


def _slowest(reach: InvariantSubspace) -> tuple[Array, Array]:
    """The smallest eigenvalue along which the path from e moves, and its vector, in the basis of the reach."""
    weighted, space = reach.covariance, namespace(reach)
    xp, found = space.xp, weighted.spectrum(reach.coordinates)
    # Where the weights change nothing, eigenvalues may repeat: e lies in one direction of each eigenspace.
    even = abs(1 - weighted.ratio) < space.eps
    if xp is not np or even:
        alone = separated(space, weighted.base.dense(), weighted.base.spectrum(weighted.direction))
        found = Spectrum(*(xp.where(even, one, other) for one, other in zip(alone, found, strict=True)))
    values = xp.where(found.reached & (found.values > 0), found.values, math.inf)
    return values.min(), found.vectors[:, values.argmin()]


def _slowest_towards_shift(reach: InvariantSubspace) -> tuple[Array, float]:
    """The vector, on the side of e: where that has settled, so has its eigenvalue."""
    _, vector = _slowest(reach)
    return np.where(vector @ reach.coordinates < 0, -1.0, 1.0) * vector, 1.0


def _differentiable(
    space: Namespace, moments: WeightedMoments, reach: InvariantSubspace
) -> tuple[Array, Array]:
    """The rate and its unit vector (d,), in JAX with their derivatives."""
    if space.xp is np:
        rate, vector = _slowest(reach)
        return rate, reach.embed(vector)
    rate, vector = jax.lax.stop_gradient(_slowest(reach))
    known = jnp.isfinite(rate)
    at = Indicator(jnp.where(known, rate, 1.0))
    # The projector onto the eigenvector moves as it does; the quadratic form there is the eigenvalue.
    projected = propagate(at, jnp.ones_like(rate), moments.covariance, reach.embed(vector))
    direction = projected / jnp.sqrt(jnp.where(known, projected @ projected, 1.0))
    form = moments.covariance.quadratic(direction)
    return rate + (form - jax.lax.stop_gradient(form)), direction


def _bounds(space: Namespace, ratio: Array, base: Any, in_range: Array) -> tuple[Array, Array, Array]:
    """Of the rate from below and above, and of the tangent, from Σ̃'s spectrum and how much the weights take away."""
    xp = space.xp
    unit = xp.where(in_range.any(), xp.max(xp.where(in_range, base.values, 0.0)), 1.0)
    values, c = xp.where(in_range, base.values / unit, 1.0), xp.where(in_range, base.coordinates, 0.0)
    c = c / xp.where(in_range.any(), xp.max(abs(c)), 1.0)
    c = c / xp.where(in_range.any(), xp.sqrt(c @ c), 1.0)
    variance = xp.where(in_range.any(), values @ c**2, 1.0)
    precision_gain = (1 / ratio - 1) / variance  # c‖e‖² above
    inverse, largest = c**2 @ (1 / values), xp.max(xp.where(in_range, 1 / values, 0.0))
    perpendicular = xp.sqrt((((1 / values - inverse) * c) ** 2).sum())
    gap = precision_gain + inverse - largest
    unbounded = xp.where(perpendicular == 0, 0.0, math.inf)
    tangent = xp.where(gap > 0, perpendicular / xp.where(gap > 0, gap, 1.0), unbounded)
    bounds = unit / (xp.maximum(precision_gain, 0.0) + largest), unit / (precision_gain + inverse), tangent
    if xp is np:
        return bounds
    return tuple(_nan_derivative(bound) for bound in bounds)


@jax.custom_jvp
def _nan_derivative(bound: Array) -> Array:
    """λ_min(Σ̃) and ēᵀΣ̃⁻¹ē over what is reached only: their derivatives are not derived here, so they are NaN."""
    return bound


@_nan_derivative.defjvp
def _(primals: Any, tangents: Any) -> tuple[Array, Array]:
    return primals[0], math.nan * tangents[0]
