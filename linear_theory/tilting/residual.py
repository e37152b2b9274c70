"""What a rule does to a Gaussian residual: two numbers, in closed form (Lemma F.1)."""

from __future__ import annotations

import math
from functools import singledispatch

import jax.numpy as jnp
import numpy as np

from ..arrays import ANY_NDIM, Array, Namespace, bounded, namespace, require, share
from ..errors import InvalidTypeError
from ..trees import pytree
from ..weights import KLDRO, Flow, HardThreshold, Uniform, WeightRule, as_rule
from ..weights.rules import parameter

__all__ = ["ResidualTilt", "gaussian_tilt", "mean_square", "residual_tilt", "squared"]


@pytree
class ResidualTilt:
    """``mass`` m₀ = E[w], ``ratio`` h = E[w r²]/(m₀ s²), ``deficit`` 1 − h without cancellation (T2): arrays.

    Examples
    --------
    >>> import linear_theory as lt
    >>> lt.residual_tilt(2.0, 3.0)
    ResidualTilt(mass=0.5, ratio=0.25, deficit=0.75)
    """

    mass: Array
    ratio: Array
    deficit: Array


def residual_tilt(temperature: float | Array | WeightRule, variance: Array | float) -> ResidualTilt:
    """A rule's moments on a residual r ~ N(0, s²): m₀ = E[w] and h = E[w r²]/(m₀ s²) (Lemma F.1, T2).

    All that a weight by the residual does to a Gaussian. For FLOW h = m₀² = τ/(τ + 2s²). For a rule of your own,
    register its moments: ``@residual_tilt.register`` on a function of (rule, variance, space), where ``space.xp`` is
    NumPy or jax.numpy, that returns a ``ResidualTilt``.

    Parameters
    ----------
    temperature : float or weight rule
        τ > 0 in the units of y², or a rule from ``linear_theory.weights``.
    variance : float or array
        s² ≥ 0, in the units of y².

    Raises
    ------
    InvalidValueError, InvalidTypeError
        For a bad temperature or variance, a rule without moments, KL-DRO at τ ≤ 2s².

    Examples
    --------
    >>> import linear_theory as lt
    >>> tilt = lt.residual_tilt(2.0, 3.0)
    >>> print(f"{tilt.mass:.4f} {tilt.ratio:.4f} {tilt.deficit:.4f}")  # 1/2, 1/4, 3/4
    0.5000 0.2500 0.7500
    """
    rule = as_rule(temperature)
    space = namespace(rule, variance)
    largest = space.range[1]
    remedy = f"must be between 0 and {largest:.1e}"
    accept = lambda s2: (s2 >= 0) & (s2 <= largest)
    variance = bounded(space, "variance", variance, accept, remedy, ndim=ANY_NDIM)
    return gaussian_tilt(rule, variance, space)


@singledispatch
def gaussian_tilt(rule: WeightRule, variance: Array, space: Namespace) -> ResidualTilt:
    """The moments of ``rule`` at residual variance s²."""
    raise InvalidTypeError(
        "temperature", rule, "has no Gaussian moments here; add them with residual_tilt.register(type)"
    )


@gaussian_tilt.register
def _(rule: Uniform, variance: Array, space: Namespace) -> ResidualTilt:
    one = space.xp.ones_like(variance)
    return ResidualTilt(one, one, 0.0 * one)


@gaussian_tilt.register
def _(rule: Flow, variance: Array, space: Namespace) -> ResidualTilt:
    """h = τ/(τ + 2s²) = m₀², by whichever of τ and 2s² is the larger: neither sum nor quotient leaves the floats."""
    xp, temperature, twice = space.xp, parameter(space, "temperature", rule.temperature), 2 * variance
    ratio = share(space, temperature, twice, 1.0)
    deficit = share(space, twice, temperature, 0.0)
    small_temperature = temperature < twice  # there m₀ is a float also where h = m₀² is none any more
    where_small = lambda value: xp.where(small_temperature, value, 1.0)
    root = xp.sqrt(where_small(temperature)) / xp.sqrt(where_small(twice)) * xp.sqrt(where_small(deficit))
    mass = xp.where(small_temperature, root, xp.sqrt(xp.where(small_temperature, 1.0, ratio)))
    return ResidualTilt(_representable_mass(space, "temperature", rule.temperature, mass), ratio, deficit)


@gaussian_tilt.register
def _(rule: KLDRO, variance: Array, space: Namespace) -> ResidualTilt:
    temperature = parameter(space, "temperature", rule.temperature)
    remedy = "is too low for KL-DRO: E[exp(r²/τ)] is infinite; needs τ > 2s², twice the residual variance"
    temperature = require(space, "temperature", temperature, temperature > 2 * variance, remedy)
    negative_deficit = 2 * variance / (temperature - 2 * variance)
    ratio = 1 + negative_deficit
    return ResidualTilt(space.xp.sqrt(ratio), ratio, -negative_deficit)


@gaussian_tilt.register
def _(rule: HardThreshold, variance: Array, space: Namespace) -> ResidualTilt:
    edge = standard_cutoff(space, parameter(space, "cutoff", rule.cutoff), variance) / math.sqrt(2)
    tilt = truncated(space, edge)
    return ResidualTilt(
        _representable_mass(space, "cutoff", rule.cutoff, tilt.mass), tilt.ratio, tilt.deficit
    )


def standard_cutoff(space: Namespace, cutoff: Array, variance: Array) -> Array:
    """c/s, infinite where nothing varies."""
    xp, has_variance = space.xp, variance > 0
    with np.errstate(over="ignore"):
        return xp.where(has_variance, cutoff / xp.sqrt(xp.where(has_variance, variance, 1.0)), math.inf)


def truncated(space: Namespace, edge: Array) -> ResidualTilt:
    """What |z| < √2 t leaves of z ~ N(0, 1): m₀ = erf t, 1 − h = 2t exp(−t²)/(√π erf t), a series for small t."""
    xp, edge = space.xp, space.xp.minimum(edge, ERF_SATURATION)
    near = edge < 1
    small, large = xp.where(near, edge, 0.0), xp.where(near, 1.0, edge)
    excess = _dawson_excess(small**2)  # erf t = 2t exp(−t²)(1 + excess)/√π
    beyond = 2 / math.sqrt(math.pi) * large * xp.exp(-(large**2)) / space.special.erf(large)
    ratio = xp.where(near, excess / (1 + excess), 1 - beyond)
    deficit = xp.where(near, 1 / (1 + excess), beyond)
    return ResidualTilt(space.special.erf(edge), ratio, deficit)


residual_tilt.register = gaussian_tilt.register  # pyright: ignore[reportFunctionMemberAccess]


@singledispatch
def squared(rule: WeightRule, variance: Array, space: Namespace) -> WeightRule:
    """The rule whose weights are the squares of this one's, where their mean at residual variance s² is finite."""
    raise InvalidTypeError(
        "temperature",
        rule,
        "has no second moment here; a number, Flow, KLDRO, HardThreshold and Uniform have",
    )


@squared.register
def _(rule: Uniform | HardThreshold, variance: Array, space: Namespace) -> WeightRule:
    return rule


@squared.register
def _(rule: Flow, variance: Array, space: Namespace) -> WeightRule:
    temperature = parameter(space, "temperature", rule.temperature)
    remedy = "is so small that its half, the temperature of w², is 0; raise it"
    return Flow(require(space, "temperature", temperature, temperature / 2 > 0, remedy) / 2)


@squared.register
def _(rule: KLDRO, variance: Array, space: Namespace) -> WeightRule:
    temperature = parameter(space, "temperature", rule.temperature)
    remedy = "is too low for KL-DRO here: E[w²] is infinite; needs τ > 4s², four times the residual variance"
    return KLDRO(require(space, "temperature", temperature, temperature > 4 * variance, remedy) / 2)


@singledispatch
def mean_square(rule: WeightRule, variance: Array, space: Namespace) -> Array:
    """E[w²]: the mass of the rule whose weights are the squares of this one's."""
    return gaussian_tilt(squared(rule, variance, space), variance, space).mass


ERF_SATURATION = 64.0
"""√2 standard deviations beyond which nothing of a Gaussian is left, in any precision."""


def _dawson_excess(x: Array) -> Array:
    """Σₙ (2x)ⁿ/(2n+1)!! from n = 1 to 24, for 0 ≤ x ≤ 1: what is left out is below 2⁻⁶⁴ of it; no term is negative."""
    total = 0.0 * x
    for n in range(24, 0, -1):
        total = 2 * x / (2 * n + 1) * (1 + total)
    return total


def _representable_mass(space: Namespace, name: str, value: Array | float, mass: Array) -> Array:
    """E[w], where it is not too small for a float."""
    smallest = float(jnp.finfo(space.dtype).tiny)
    remedy = "is so small beside the residual variance that E[w] is below the smallest float; raise it"
    return require(space, name, mass, ~(mass < smallest), remedy, value)  # NaN stays NaN
