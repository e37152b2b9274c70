"""The re-parametrisation of the plane of eq. (3) by β: β(τ), τ(β) and μ²(β), each as a function of ρ.

Everything is written in homogeneous coordinates, β = p/q with max(p, q) = 1: vanilla fine-tuning (τ = ∞, q = ρp) and
β → 0 are ordinary points. All raise InvalidValueError or InvalidTypeError for ρ outside [0, 1) or β outside
(0, 1/ρ] (NaN under JAX tracing).
"""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np

from .arrays import Array, Namespace, bounded, broadcast, namespace, numeric, quotient, require
from .errors import short
from .problem import checked_rho

__all__ = [
    "ANY",
    "complement",
    "coordinates",
    "poles",
    "squared_mass",
    "stall_parameter",
    "stall_temperature",
]

ANY = tuple(range(33))


def coordinates(
    beta: object, rho: object, *others: object, **shapes: Array
) -> tuple[Namespace, Array, Array, Array]:
    """The namespace, β = p/q with max(p, q) = 1, and ρ, checked: 0 < β ≤ 1/ρ; ``shapes`` must broadcast with them."""
    space = namespace(beta, rho, *others)
    xp = space.xp
    rho = checked_rho(rho, beta, *others)
    array = numeric(space, "beta", beta, ANY)
    broadcast(beta=array, rho=rho, **shapes)
    limit = quotient(space, space.array(1.0), rho, math.inf)
    inside = (array > 0) & (array <= limit)
    array = require(space, "beta", array, inside, f"must be in (0, 1/rho] for rho = {short(rho)}")
    low = array <= 1
    inverse = 1 / xp.where(low, 1.0, array)
    below = xp.maximum(rho - inverse, 0.0)  # by rounding, at β = 1/ρ
    inverse = inverse + (below if xp is np else jax.lax.stop_gradient(below))
    return space, xp.where(low, array, 1.0), inverse, rho


def complement(rho: Array) -> Array:
    return (1 - rho) * (1 + rho)  # 1 − ρ² without cancellation


def poles(p: Array, q: Array, rho: Array) -> tuple[Array, Array]:
    """q − pρ and q − pρ², as sums of terms ≥ 0: near ρ = 1 and β = 1 a product rounded first would leave no digits."""
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
    temperature = bounded(space, "temperature", temperature, lambda v: v > 0, "must be > 0", ndim=ANY)
    norm = _norm(space, shift_norm)
    broadcast(temperature=temperature, rho=rho, shift_norm=norm)
    xp, scale = space.xp, complement(rho)
    with np.errstate(over="ignore"):
        units = temperature / norm / norm  # of ‖e‖², whose square alone need not be a float
    whole = (units >= _smallest(space)) | ((units > 0) & (temperature < _smallest(space)))
    fits = whole & (xp.isfinite(units) | xp.isinf(temperature))
    remedy = "is so small or so large beside shift_norm² that their ratio is no float, nor is β"
    units = require(space, "temperature", units, fits, remedy, temperature)
    cold = units < scale  # divide by the larger of the two: neither τ → 0 nor τ = ∞ is special
    warmth = xp.where(cold, units, 0.0) / xp.where(cold, scale, 1.0)
    slope = xp.where(cold, 1.0, scale) / xp.where(cold, 1.0, units)
    vanilla = (slope == 0) & (rho == 0)  # both 0: hypot has no derivative there
    root = xp.where(vanilla, 0.0, slope + xp.hypot(xp.where(vanilla, 1.0, slope), rho))
    hot = quotient(space, xp.ones_like(root), root, math.inf)
    return xp.where(cold, warmth / (1 + xp.hypot(xp.ones_like(warmth), rho * warmth)), hot)[()]


def _smallest(space: Namespace) -> float:
    """The smallest number with all its digits; below it only what was given as such a number is looked at."""
    return float(jnp.finfo(space.dtype).tiny)


def _norm(space: Namespace, shift_norm: object) -> Array:
    accept = lambda v: (v > 0) & (v < math.inf)
    return bounded(space, "shift_norm", shift_norm, accept, "must be finite and > 0", ndim=ANY)


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
        found = p * norm * quotient(space, 2 * above * complement(rho), below, math.inf) * norm
    remedy = "is so large or so small that τ is beyond the floats; leave it out for τ in units of ‖e‖²"
    whole = (found >= _smallest(space)) | ((found > 0) & (p < _smallest(space)))
    fits = (below == 0) | (space.xp.isfinite(found) & whole)
    return require(space, "shift_norm", found, fits, remedy, norm)[()]


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
