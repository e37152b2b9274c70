"""What a weighted population is to gradient descent, from two numbers of its rule (Lemma F.1).

Every rule w = g(r) of the residual r ~ N(0, s²) leaves two numbers, the mass m₀ = E[w] and the ratio
h = E[w r²]/(E[w] s²), and the residual variance s² = v + σ², v = eᵀΣ̃e, does the rest: with ``D = σ² + v h``

    Σ' = E[w x xᵀ] = m₀ (Σ̃ − (1 − D/s²) Σ̃e eᵀΣ̃ / v),      eᵀΣ'e = m₀ v D/s²,
    E[w x y]       = Σ' (θ* − κ e),                          κ = h s²/D,   1 − κ = σ² (1 − h)/D.

For FLOW h = m₀² = 1/(1 + 2s²/τ), so D/s² = (τ + 2σ²)/(τ + 2s²) and κ = τ/(τ + 2σ²).

The derivation: x = Σ̃e·(−r)/s² + z with z independent of r and Cov z = Σ̃ − Σ̃e eᵀΣ̃/s². The weight touches
r alone, so E[w x xᵀ] = m₀ Cov z + E[w r²] Σ̃e eᵀΣ̃/s⁴; and E[w x r] = −E[w r²]/s² Σ̃e = −m₀ h Σ̃e, which
solves to a displacement −κ e because Σ'e = m₀ (D/s²) Σ̃e.
"""

from __future__ import annotations

from typing import Any

from ..arrays import Array, Namespace, namespace, quotient, require, share
from ..covariance import Dense, IdentityPlusLowRank, Operator, RankOneDowndate
from ..covariance.low_rank import WeightedLowRank
from ..problem import FineTuningProblem, checked_problem, shift_in_units
from ..trees import pytree
from ..weights import WeightRule, as_rule
from .residual import ResidualTilt, gaussian_tilt, mean_square

__all__ = [
    "WeightedMoments",
    "displacement",
    "population_effective_sample_size",
    "population_median_temperature",
    "sample_moments",
    "weight_mass",
    "weighted_covariance",
    "weighted_moments",
]


@pytree
class WeightedMoments:
    """The weighted population: everything gradient descent sees of it.

    ``mass`` m₀; ``covariance`` Σ'/m₀, weighted along e/``unit``, the unit a power of two near e's largest entry;
    ``kappa`` κ and ``one_minus_kappa``: where descent ends, θ* − κe.
    """

    mass: Array
    covariance: RankOneDowndate
    unit: Array
    kappa: Array
    one_minus_kappa: Array


def weighted_moments(problem: FineTuningProblem, temperature: float | Array | WeightRule) -> WeightedMoments:
    """Mass, covariance over mass, and the displacement's end under a temperature τ or a weight rule."""
    rule = as_rule(temperature)
    space = namespace(problem, rule)
    problem = checked_problem(space, problem)
    direction, unit, spread = shift_in_units(space, problem)
    v, noise = spread * unit * unit, space.array(problem.noise_variance)
    tilt = gaussian_tilt(rule, v + noise, space)
    noise_share = share(space, noise, v, 0.0)  # σ²/s²
    ratio = _kept_along_shift(space, v, noise, tilt)
    return WeightedMoments(
        mass=tilt.mass,
        covariance=RankOneDowndate(problem.target_operator, direction, ratio),
        unit=unit,
        kappa=quotient(space, tilt.ratio, ratio, 1.0),
        one_minus_kappa=quotient(space, noise_share * tilt.deficit, ratio, 0.0),
    )


def _kept_along_shift(space: Namespace, v: Array, noise: Array, tilt: ResidualTilt) -> Array:
    """D/s² = (σ² + v h)/s², the share of its variance along the shift that x keeps."""
    return share(space, noise, v, 0.0) + share(space, v, noise, 1.0) * tilt.ratio


def sample_moments(
    space: Namespace,
    problem: FineTuningProblem,
    rule: WeightRule,
    matrix: Array,
    shift: Array,
) -> tuple[Array, Array]:
    """Mass and covariance over mass of the whole sample z = (x, ξ) under an exponential rule: Uniform, Flow, KLDRO.

    The noise ξ is one more coordinate of a population without noise: Cov z is C = diag(Σ̃, σ²), u = (e, −1) its shift,
    and the tilt is C − (1 − h) C u uᵀC/s². ``matrix`` (m, m) and ``shift`` (m,) are Σ̃ and e in a basis and unit of x.
    The last entry σ² − (1 − h)σ⁴/s² is written σ²(h + (1 − h)v/s²): where σ² ≫ v, the terms of the difference are
    nearly equal.
    """
    xp, variance = space.xp, problem.residual_variance
    v, noise = problem.shift_variance, space.array(problem.noise_variance)
    signal_share, noise_share = share(space, v, noise, 0.0), share(space, noise, v, 0.0)
    tilt = gaussian_tilt(rule, variance, space)
    image = matrix @ shift
    inner = RankOneDowndate(Dense(matrix), shift, _kept_along_shift(space, v, noise, tilt)).dense()
    cross = (tilt.deficit * noise_share * image)[:, None]
    last = (noise * (tilt.ratio + tilt.deficit * signal_share))[None, None]
    rows = xp.concatenate([inner, cross], axis=1), xp.concatenate([cross.T, last], axis=1)
    return tilt.mass, xp.concatenate(rows)


def weight_mass(problem: FineTuningProblem, temperature: float | Array | WeightRule) -> Array:
    """μ = E[w] at θ*, for FLOW (1 + 2s²/τ)^(−1/2), s² = eᵀΣ̃e + σ² (Lemma F.1).

    Parameters
    ----------
    problem : FineTuningProblem
    temperature : float or weight rule
        τ > 0 in the units of y² (``inf``: unweighted), or a rule from ``linear_theory.weights``.

    Raises
    ------
    InvalidValueError, InvalidTypeError
        For τ ≤ 0 or NaN, or KL-DRO at τ ≤ 2s². Under JAX tracing the result is NaN there.

    Examples
    --------
    >>> import linear_theory as lt
    >>> for noise in (0.0, 3.0):  # at the default temperature μ² is the same, whatever the noise
    ...     problem = lt.paper_problem(0.6, noise_variance=noise)
    ...     tau = lt.population_median_temperature(problem)
    ...     print(f"{tau:.4f} {lt.weight_mass(problem, tau) ** 2:.4f}")
    0.4549 0.1853
    1.8197 0.1853
    """
    return weighted_moments(problem, temperature).mass[()]


def population_effective_sample_size(
    problem: FineTuningProblem, temperature: float | Array | WeightRule
) -> Array:
    """E[w]²/E[w²] (T1), a float: the share of n samples that they are worth, for FLOW √(1 + 4s²/τ)/(1 + 2s²/τ).

    n times this is the limit of :func:`effective_sample_size` of n samples' weights. Arguments and errors as in
    :func:`weight_mass`; KL-DRO needs τ > 4s².

    Examples
    --------
    >>> import linear_theory as lt
    >>> problem = lt.paper_problem(0.6)
    >>> tau = lt.population_median_temperature(problem)
    >>> print(f"{lt.population_effective_sample_size(problem, tau):.4f}")  # at the default, whatever the problem
    0.5799
    """
    rule = as_rule(temperature)
    space = namespace(problem, rule)
    variance = checked_problem(space, problem).residual_variance
    mass = gaussian_tilt(rule, variance, space).mass
    return (mass / mean_square(rule, variance, space) * mass)[()]


def displacement(problem: FineTuningProblem, temperature: float | Array | WeightRule) -> Array:
    """κ, the share of the way from θ* to θ̃* that training to convergence goes: θ_∞ = θ* − κe (T8), a float.

    For FLOW κ = τ/(τ + 2σ²): under label noise training ends in the model average with ω = 1 − κ; without noise κ = 1,
    whatever the temperature. Arguments and errors as in :func:`weight_mass`.

    Examples
    --------
    >>> import linear_theory as lt
    >>> print(f"{lt.displacement(lt.paper_problem(0.6, noise_variance=0.5), 2.0):.4f}")  # 2/(2 + 1)
    0.6667
    """
    return weighted_moments(problem, temperature).kappa[()]


def weighted_covariance(problem: FineTuningProblem, temperature: float | Array | WeightRule) -> Any:
    """Σ' = E[w x xᵀ], shape (d, d) (Lemma F.1, for every Σ̃ and noise variance), of the kind that Σ̃ is.

    For FLOW Σ' = μ(Σ̃ − (2/τ) Σ̃e eᵀΣ̃/(1 + 2s²/τ)): a matrix for a matrix, one rank more for an
    ``IdentityPlusLowRank``, an ``Operator`` for an operator. Not divided by the mass: the gradient of the
    weighted loss is 2Σ'(θ − θ_∞). Arguments and errors as in :func:`weight_mass`.

    Examples
    --------
    >>> import linear_theory as lt
    >>> problem = lt.paper_problem(0.6)
    >>> weighted, mass = lt.weighted_covariance(problem, 0.5), lt.weight_mass(problem, 0.5)
    >>> shrunk = weighted @ problem.shift / (problem.target_covariance @ problem.shift)
    >>> print(shrunk.round(4), f"{mass**3:.4f}")  # Σ'e = μ³ Σ̃e without noise
    [0.0894 0.0894] 0.0894
    """
    moments = weighted_moments(problem, temperature)
    weighted, mass = moments.covariance, moments.mass
    if isinstance(weighted.base, IdentityPlusLowRank):
        return WeightedLowRank.of(weighted, mass)
    if isinstance(weighted.base, Operator):
        return Operator(lambda vector: mass * weighted.apply(vector), weighted.dim)
    return mass * weighted.dense()


def population_median_temperature(problem: FineTuningProblem) -> Array:
    """τ = the population median of the loss r² at θ*, a float: 0.4549… s², the median of s²·χ²₁ (section 4).

    Raises
    ------
    InvalidValueError
        If s² = eᵀΣ̃e + σ² is 0: every loss is 0 and there is no temperature to take.

    Examples
    --------
    >>> import linear_theory as lt
    >>> problem = lt.paper_problem(0.6, noise_variance=1.0)  # s² = 1 + 1
    >>> print(f"{lt.population_median_temperature(problem):.4f}")
    0.9099
    """
    space = namespace(problem)
    variance = checked_problem(space, problem).residual_variance
    variance = require(
        space,
        "residual variance eᵀΣ̃e + noise_variance",
        variance,
        variance > 0,
        "the pre-trained model already fits every sample, so the median loss is 0; pass a temperature > 0",
    )
    median = 2 * space.special.erfinv(space.array(0.5)) ** 2
    return (median * variance)[()]
