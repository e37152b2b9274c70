"""Gaussian moments of the rules of ``weights.robust`` (T22), the deficit 1 − h never as a difference.

For z ~ N(0, 1) and w = g(z), Stein's lemma gives E[w] − E[w z²] = −E[z g'(z)], an integrand of one sign wherever w is
monotone in |z|. So mass, ratio and deficit are integrals without cancellation: by error functions where a rule has them
in all digits, elsewhere by the trapezoidal rule over the logarithm of z (Tukey's: of z/√(a² − z²)). Its error falls
exponentially in the number of nodes: the integrands are analytic for |arg z| < π/4 and vanish at both ends.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np

from ..arrays import Array, Namespace, require, share
from ..weights import Cauchy, Clipped, Focal, HardSamples, Huber, Power, Tukey
from ..weights.rules import parameter
from .residual import (
    ERF_SATURATION,
    ResidualTilt,
    gaussian_tilt,
    mean_square,
    standard_cutoff,
    truncated,
)

__all__: list[str] = []

NODES = 4096
"""At a cutoff of 1e−100 standard deviations the logarithm has 270 units, and each needs 8 nodes for 16 digits."""
FARTHEST = 40.0
"""Standard deviations beyond which nothing is left of a Gaussian, times any weight here."""
E_FOLDS = 37.0
"""exp(−37) is below the rounding error of 1."""
TUKEY_E_FOLDS = 10.0
"""What follows of Tukey's integrands, which fall as exp(−4 of these) at least, is below the rounding error of 1."""
HALF_NORMAL = math.sqrt(2 / math.pi)
"""The density of |z| at 0."""


Tilt = Callable[[Any, int, Array, Namespace], ResidualTilt]
"""The moments of a rule's weights to a power, 1 or 2."""


def _moments_of(*rules: type) -> Callable[[Tilt], Tilt]:
    """Register a tilt as the moments of w, and its mass at the power 2 as E[w²]."""

    def register(tilt: Tilt) -> Tilt:
        for rule in rules:
            gaussian_tilt.register(rule, lambda rule, variance, space: tilt(rule, 1, variance, space))
            mean_square.register(rule, lambda rule, variance, space: tilt(rule, 2, variance, space).mass)
        return tilt

    return register


def _not_tiny(space: Namespace, rule: Any, relative: Array) -> Array:
    smallest = 1e-100 if jnp.finfo(space.dtype).bits == 64 else 1e-15
    remedy = (
        f"is so small that its moments are lost: below {smallest:g} residual standard deviations; raise it"
    )
    return require(space, _name(rule), relative, ~(relative < smallest), remedy, getattr(rule, _name(rule)))


def _of_sums(space: Namespace, rule: Any, mass: Array, square: Array, fall: Array) -> ResidualTilt:
    """Of m₀, m₂ and −E[z g'], each without cancellation, what a tilt holds."""
    name = _name(rule)
    remedy = "leaves no weight beside this residual variance: E[w] is below the smallest float"
    valid = ~(mass < space.range[0])
    mass = mass / space.constant(space.xp.maximum(mass, 1.0))  # min(m₀, 1) would halve the derivative at 1
    mass = require(space, name, mass, valid, remedy, getattr(rule, name))
    return ResidualTilt(mass, square / mass, fall / mass)


def _name(rule: Any) -> str:
    return "cutoff" if hasattr(rule, "cutoff") else "temperature"


def _relative_variance(space: Namespace, cutoff: Array, variance: Array, unit: Array) -> Array:
    """s²/c² for c in units, 0 where nothing varies: there it has the derivatives that c/s, infinite, has not."""
    tiny = float(jnp.finfo(space.dtype).tiny)
    share = unit / space.xp.maximum(cutoff, unit * tiny)  # a cutoff below tiny beside no variance
    return variance * share * share


def _logarithmic(space: Namespace, low: Array, high: Array | float) -> tuple[Array, Array]:
    """Nodes t (…, NODES) from exp(low) to exp(high), and dt: the trapezoidal rule over log t."""
    low, step = space.constant(low)[..., None], space.constant(high - low)[..., None] / (NODES - 1)
    t = space.xp.exp(low + step * space.array(np.arange(NODES)))
    return t, step * t


def _half_line(space: Namespace, scale: Array) -> tuple[Array, Array, Array]:
    """Nodes z and weights of E[f(|z|)], for an f that changes where z is near ``scale`` and is flat below it.

    Third a unit of z without derivatives, in which no square of z, and none of ``scale``, leaves the floats.
    """
    unit = space.constant(space.xp.minimum(scale, 1.0))
    z, dz = _logarithmic(space, space.xp.log(unit) - E_FOLDS, math.log(FARTHEST))
    return z, HALF_NORMAL * dz * space.xp.exp(-(z**2) / 2), unit


@_moments_of(Cauchy, Power)
def _power(rule: Cauchy | Power, power: int, variance: Array, space: Namespace) -> ResidualTilt:
    """w = (1 + q)^(−p) and −z w' = 2p w q/(1 + q), q = z²/a²."""
    xp = space.xp
    exponent = parameter(space, "exponent", getattr(rule, "exponent", 1.0)) * power
    cutoff = parameter(space, "cutoff", rule.cutoff)
    scale = standard_cutoff(space, cutoff, variance) / xp.sqrt(xp.maximum(exponent, 1.0))
    z, quadrature, unit = _half_line(space, _not_tiny(space, rule, scale))
    square = (z / unit[..., None]) ** 2 * _relative_variance(space, cutoff, variance, unit)[..., None]
    weighted = quadrature * xp.exp(-exponent * xp.log1p(square))
    fall = 2 * exponent * square / (1 + square)
    return _of_sums(space, rule, weighted.sum(-1), (weighted * z**2).sum(-1), (weighted * fall).sum(-1))


@_moments_of(Focal)
def _focal(rule: Focal, power: int, variance: Array, space: Namespace) -> ResidualTilt:
    """w = (1 − exp(−q))^Γ and z w' = 2Γ w q/(exp q − 1), q = r²/τ: the deficit is below 0."""
    xp, exponent = space.xp, parameter(space, "exponent", rule.exponent) * power
    root = xp.sqrt(parameter(space, "temperature", rule.temperature))
    cutoff = _not_tiny(space, rule, standard_cutoff(space, root, variance))
    z, quadrature, _ = _half_line(space, cutoff)
    edge = xp.minimum(z / cutoff[..., None], 9.0)  # √q: exp(−q) is 0 beyond 80, and q itself may be no float
    square = xp.where(edge**2 > float(jnp.finfo(space.dtype).tiny), edge**2, 0.0)
    some = square > 0  # q = 0 has no quotient
    share = xp.where(some, -xp.expm1(-square) / xp.where(some, square, 1.0), 1.0)
    weighted = quadrature * (edge * xp.sqrt(share)) ** (2 * exponent)
    rise = 2 * exponent * xp.exp(-square) / share
    return _of_sums(space, rule, weighted.sum(-1), (weighted * z**2).sum(-1), -(weighted * rise).sum(-1))


@_moments_of(HardSamples)
def _hard_samples(rule: HardSamples, power: int, variance: Array, space: Namespace) -> ResidualTilt:
    """m₀ = erfc t and h − 1 = 2t/(√π erfcx t), t = a/√2, erfcx t = exp(t²) erfc t."""
    edge = standard_cutoff(space, parameter(space, "cutoff", rule.cutoff), variance) / math.sqrt(2)
    edge = space.xp.minimum(edge, ERF_SATURATION)
    mass = space.special.erfc(edge)
    excess = 2 / math.sqrt(math.pi) * edge / space.special.erfcx(edge)
    return _of_sums(space, rule, mass, mass * (1 + excess), -mass * excess)


@_moments_of(Huber)
def _huber(rule: Huber, power: int, variance: Array, space: Namespace) -> ResidualTilt:
    """m₂ = erf(a/√2), and a/|z| beyond a has the mean a E₁(a²/2)/√(2π), its square 2aφ(a) − a²P(|z| > a)."""
    cutoff = standard_cutoff(space, parameter(space, "cutoff", rule.cutoff), variance)
    cutoff = space.xp.minimum(_not_tiny(space, rule, cutoff), ERF_SATURATION)
    edge = cutoff / math.sqrt(2)
    within = space.special.erf(edge)
    if power == 1:
        beyond = cutoff * _exponential_integral(space, edge**2) / math.sqrt(2 * math.pi)
        return _of_sums(space, rule, within + beyond, within, beyond)
    outside = space.special.erfc(edge)
    beyond = _two_edges(space.xp, edge) - cutoff**2 * outside
    square = truncated(space, edge)
    return _of_sums(space, rule, within + beyond, within * square.ratio + cutoff**2 * outside, 2 * beyond)


def _exponential_integral(space: Namespace, x: Array) -> Array:
    """E₁(x) = exp(−x) ∫ exp(−xt)/(1 + t) dt over t > 0, which JAX's own does not trace."""
    xp = space.xp
    t, dt = _logarithmic(space, -xp.log(xp.maximum(x, 1.0)) - E_FOLDS, math.log(FARTHEST) - xp.log(x))
    return xp.exp(-x) * (dt / (1 + t) * xp.exp(-x[..., None] * t)).sum(-1)


@_moments_of(Clipped)
def _clipped(rule: Clipped, power: int, variance: Array, space: Namespace) -> ResidualTilt:
    """FLOW up to A = a√ln(1/floor), there a Gaussian of variance h = τ/(τ + 2s²); the floor beyond."""
    xp = space.xp
    temperature = parameter(space, "temperature", rule.temperature) / power
    floor = parameter(space, "floor", rule.floor)
    width = xp.sqrt(power / 2 * -xp.log(floor))
    edge = width * xp.minimum(standard_cutoff(space, xp.sqrt(temperature), variance), space.range[1])
    floor, flow = floor**power, share(space, temperature, 2 * variance, 1.0)
    within = truncated(space, xp.hypot(edge, math.sqrt(2) * width))
    edge = xp.minimum(edge, ERF_SATURATION)
    inside = xp.sqrt(flow) * within.mass
    outside = floor * space.special.erfc(edge)
    square = flow * inside * within.ratio + outside + floor * _two_edges(xp, edge)
    fall = share(space, 2 * variance, temperature, 0.0) * inside * within.ratio
    return _of_sums(space, rule, inside + outside, square, fall)


def _two_edges(xp: Any, edge: Array) -> Array:
    """2aφ(a) at a = √2 t: what z² has more than 1 has in the tails."""
    return 2 / math.sqrt(math.pi) * edge * xp.exp(-(edge**2))


@_moments_of(Tukey)
def _tukey(rule: Tukey, power: int, variance: Array, space: Namespace) -> ResidualTilt:
    """w = (1 − q)^n up to a and −z w' = 2n q(1 − q)^(n−1), q = z²/a², n twice the power."""
    degree, xp = 2 * power, space.xp
    cutoff = parameter(space, "cutoff", rule.cutoff)
    scale = space.constant(standard_cutoff(space, cutoff, variance))
    unit = xp.minimum(scale, 1.0)
    high = xp.log(xp.minimum(scale, 2 * FARTHEST) / unit) + TUKEY_E_FOLDS
    t, dt = _logarithmic(space, xp.zeros_like(unit) - E_FOLDS, high)
    # z = unit t/√(1 + k) goes up to a, and 1 − q = 1/(1 + k): without a square root of k, which may be 0.
    k = _relative_variance(space, cutoff, variance, unit)[..., None] * t**2
    square = (unit[..., None] * t) ** 2 / (1 + k)
    quadrature = HALF_NORMAL * unit[..., None] * dt * (1 + k) ** -1.5 * xp.exp(-square / 2)
    weighted = quadrature * (1 + k) ** -float(degree)
    fall = 2 * degree * k * weighted
    sums = weighted.sum(-1), (weighted * square).sum(-1), fall.sum(-1)
    unweighted = xp.isinf(cutoff)
    exact = (xp.where(unweighted, value, total) for value, total in zip((1.0, 1.0, 0.0), sums, strict=True))
    return _of_sums(space, rule, *exact)
