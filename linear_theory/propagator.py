"""(I − 2ηA)^K v and exp(−2tA) v, exactly, without a loop over K, and differentiable everywhere.

Both are functions φ of one symmetric matrix applied to one vector: V φ(Λ) Vᵀ v. ``jax.grad`` through
``eigh`` divides by differences of eigenvalues and gives NaN where two coincide (they do from d = 4 in the
paper's covariance). Here the derivative is the Daleckii-Krein formula, with each divided difference
φ[λᵢ, λⱼ] written so that it neither cancels nor divides by zero.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple, Protocol

import jax
import numpy as np

from .arrays import Array, namespace, pytree, quotient
from .covariance import Covariance, Reach, settles
from .powers import Steps, power, signed_power

__all__ = ["Decay", "Inverse", "Power", "propagate", "reach_of", "reached"]


class Kernel(Protocol):
    """A scalar function φ and its divided difference (φ(a) − φ(b))/(a − b), φ'(a) where a = b."""

    @property
    def rate(self) -> Array: ...
    def value(self, rate: Array, a: Array) -> Array: ...
    def divided_difference(self, a: Array, b: Array) -> Array: ...


@pytree
class Power:
    """φ(a) = (1 − rate·a)^K: K steps of gradient descent, rate = 2η."""

    rate: Array
    steps: Steps

    def value(self, rate: Array, a: Array) -> Array:
        return power(rate * a, self.steps.per_row())

    def divided_difference(self, a: Array, b: Array) -> Array:
        x, y, steps = self.rate * a, self.rate * b, self.steps.per_row().per_row()
        xp = namespace(x, y, steps.count).xp
        far, gap = xp.maximum(abs(1 - x), abs(1 - y)), abs(x - y)
        # Same side of 1: with L = log(near/far), far^(K−1) · expm1(K L)/expm1(L), which tends to K.
        distinct = gap > 0
        with np.errstate(divide="ignore"):
            logs = xp.log1p(-xp.where(distinct, xp.minimum(gap / xp.where(far > 0, far, 1.0), 1.0), 0.5))
        growth = xp.expm1(steps.count * xp.where(steps.count == 0, -1.0, logs)) / xp.expm1(logs)
        leading = signed_power(1 - far, steps.before) * xp.where(distinct, growth, steps.count)
        both_above = (xp.maximum(x, y) > 1) & ~steps.odd  # one of them may be exactly 1
        same = xp.where(steps.count == 0, 0.0, xp.where(both_above, leading, -leading))
        across = (signed_power(x, steps) - signed_power(y, steps)) / xp.where(distinct, x - y, 1.0)
        return self.rate * xp.where((x - 1) * (y - 1) < 0, across, same)


@pytree
class Decay:
    """φ(a) = exp(−rate·a): gradient flow for the time t, rate = 2t; rate = ∞ is the limit."""

    rate: Array

    def value(self, rate: Array, a: Array) -> Array:
        xp = namespace(rate, a).xp
        rate = rate[..., None]
        idle = a == 0
        return xp.where(idle, 1.0, xp.exp(-rate * xp.where(idle, 1.0, a)))

    def divided_difference(self, a: Array, b: Array) -> Array:
        xp = namespace(self.rate, a, b).xp
        rate, low, gap = self.rate[..., None, None], xp.minimum(a, b), abs(a - b)
        start = xp.where(low == 0, 1.0, xp.exp(-rate * xp.where(low == 0, 1.0, low)))
        apart = -xp.expm1(-rate * xp.where(gap > 0, gap, 1.0)) / xp.where(gap > 0, gap, 1.0)
        # Twice the same eigenvalue in the limit: 0, also at eigenvalue 0 (a null space stays one).
        together = xp.where(xp.isinf(rate), 0.0, rate)
        return -start * xp.where(gap > 0, apart, together)


@pytree
class Inverse:
    """φ(a) = rate/a, a > 0."""

    rate: Array

    def value(self, rate: Array, a: Array) -> Array:
        return quotient(namespace(rate, a), rate * namespace(rate, a).xp.ones_like(a), a, math.nan)

    def divided_difference(self, a: Array, b: Array) -> Array:
        return -self.value(self.rate, a) / b


def reached(coordinates: Array) -> Array:
    """Which of a vector's coordinates in an eigenbasis are more than rounding (d · eps · its length)."""
    space = namespace(coordinates)
    length = space.xp.sqrt(coordinates @ coordinates)
    return space.xp.abs(coordinates) > coordinates.shape[0] * space.eps * length


class Spread(NamedTuple):
    """A vector in the eigenbasis of its reach: eigenvalues, eigenvectors, coordinates, and φ of each eigenvalue."""

    reach: Reach
    values: Array
    vectors: Array
    coordinates: Array
    factors: Array

    @property
    def result(self) -> Array:
        """φ(A)v, in the coordinates of the reach."""
        return (self.factors * self.coordinates) @ self.vectors.T


def _spread(kernel: Kernel, reach: Reach) -> Spread:
    """φ is 0 where it would only blow up rounding."""
    values, vectors = reach.covariance.eigh()
    coordinates = reach.coordinates @ vectors
    factors = kernel.value(kernel.rate, values)
    kept = reached(coordinates) | (abs(factors) <= 1)
    return Spread(reach, values, vectors, coordinates, namespace(factors).xp.where(kept, factors, 0.0))


def reach_of(kernel: Kernel, covariance: Covariance, vector: Array) -> Reach:
    """The reach of A from v, large enough for φ(A)v."""

    def wanted(reach: Reach) -> tuple[Array, Array]:
        """φ(A)v, and what rounding the eigenvalues, by ε of the largest, does to it."""
        spread = _spread(kernel, reach)
        values, factors = spread.values, spread.factors
        slopes = kernel.divided_difference(values[:, None], values[:, None])[..., 0]
        slopes = np.where(factors == 0, 0.0, slopes)
        moved = abs(factors).max() + values.max() * abs(slopes).max()
        return spread.result, math.sqrt(factors.size) * moved * abs(vector).max()

    return covariance.reach(vector, settles(wanted))


def _propagate(kernel: Kernel, covariance: Covariance, vector: Array) -> Array:
    reach = reach_of(kernel, covariance, vector)
    return reach.embed(_spread(kernel, reach).result)


_propagate_jax = jax.custom_jvp(_propagate)


@_propagate_jax.defjvp
def _(primals: Any, tangents: Any) -> tuple[Array, Array]:
    """Σᵢⱼ φ[λᵢ, λⱼ] Pᵢ dA Pⱼ v + φ(A) dv + dφ(A) v; outside the reach A is one eigenvalue, ``rest``."""
    (kernel, covariance, vector), (d_kernel, d_covariance, d_vector) = primals, tangents
    reach = reach_of(kernel, covariance, vector)
    _, values, vectors, coordinates, factors = spread = _spread(kernel, reach)
    _, d_factors = jax.jvp(lambda rate: kernel.value(rate, values), (kernel.rate,), (d_kernel.rate,))
    basis = reach.embed(vectors.T)
    _, images = jax.jvp(lambda c: c.apply(basis), (covariance,), (d_covariance,))
    differences = kernel.divided_difference(values[:, None], values[None, :])
    turned = (differences * (basis @ images.T)) @ coordinates
    moved = factors * (basis @ d_vector) + d_factors * coordinates + turned
    change = reach.embed(moved @ vectors.T)
    if reach.rest is not None:
        rest = reach.rest[None]
        leaving = kernel.divided_difference(values[:, None], rest[None])[..., 0] * coordinates
        change = change + reach.outside(leaving @ images + kernel.value(kernel.rate, rest) * d_vector)
    return reach.embed(spread.result), change


def propagate(kernel: Kernel, covariance: Covariance, vector: Array) -> Array:
    """φ(A) v, shape (d,), or (len, d) where the kernel holds several numbers of steps or times.

    Computed in the reach of A from v: all of R^d for a matrix, a few dimensions for the identity plus a low
    rank, a Krylov space for an operator.
    """
    numpy_only = namespace(kernel, covariance, vector).xp is np
    return (_propagate if numpy_only else _propagate_jax)(kernel, covariance, vector)
