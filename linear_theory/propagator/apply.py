"""(I − 2ηA)^K v and exp(−2tA) v, exactly, without a loop over K, and differentiable to any order.

Both are functions φ of one symmetric matrix X applied to one vector: V φ(Λ) Vᵀ v. ``jax.grad`` through ``eigh`` divides
by differences of eigenvalues and gives NaN where two coincide (they do from d = 4 in the paper's covariance). Here the
derivatives are those of φ itself, :mod:`.matrix_functions`.
"""

from __future__ import annotations

import math
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from scipy.special import factorial

from ..arrays import Array, namespace
from ..covariance import Covariance, RankOneDowndate
from ..covariance.dense import with_one_more_dimension
from ..covariance.spectrum import Spectrum
from ..covariance.subspace import InvariantSubspace, accept_any, converged
from ..trees import pytree
from .matrix_functions import TERMS, Kernel, derivative, differentiable_once, fixed

__all__ = [
    "Decay",
    "Inverse",
    "Shrinkage",
    "invariant_subspace",
    "largest_reached",
    "propagate",
    "steepest",
]


@pytree
class Decay(Kernel):
    """φ(x) = exp(−x): gradient flow, x = 2tλ; where ``limit``, t = ∞ and φ is 1 at x = 0 and else 0."""

    limit: Array

    def value(self, x: Array) -> Array:
        xp, limit = namespace(x, self.limit).xp, self.limit[..., None]
        return xp.where(limit, xp.where(x == 0, 1.0, 0.0), xp.exp(-x))

    def divided_difference(self, x: Array, y: Array) -> Array:
        xp, limit = namespace(x, y, self.limit).xp, self.limit[..., None]
        low, gap = xp.minimum(x, y), abs(x - y)
        distinct = gap > 0
        gap = xp.where(distinct, gap, 1.0)
        finite = -xp.exp(-low) * xp.where(distinct, -xp.expm1(-gap) / gap, 1.0)
        # In the limit twice the same eigenvalue gives 0, also at eigenvalue 0: a null space stays one.
        return xp.where(limit, xp.where(distinct & (low == 0), -1 / gap, 0.0), finite)

    def taylor(self, x: Array, order: int) -> Array:
        """(−1)^j exp(−x)/j!; nothing in the limit, whose series has no radius."""
        space, j = namespace(x, self.limit), order + np.arange(TERMS).reshape(-1, *[1] * max(np.ndim(x), 1))
        return space.xp.where(
            self.limit[..., None], 0.0, space.array((-1.0) ** j / factorial(j)) * space.xp.exp(-x)
        )

    def radius(self, x: Array) -> Array:
        return namespace(x, self.limit).xp.where(self.limit[..., None], 0.0, 1.0 + 0.0 * x)


@pytree
class Inverse(Kernel):
    """φ(x) = 1/x, x > 0."""

    def value(self, x: Array) -> Array:
        return self.differences(x)

    def divided_difference(self, x: Array, y: Array) -> Array:
        return self.differences(x, y)

    def differences(self, *points: Array) -> Array:
        """(−1)^n/(x₀ ⋯ xₙ); NaN at 0."""
        xp = namespace(points).xp
        product = -1.0
        for x in points:
            product = -product / xp.where(x > 0, x, math.nan)
        return product


@pytree
class Shrinkage(Kernel):
    """φ(x) = 1/(1 + x), x ≥ 0: what a penalty of weight λ leaves along an eigenvalue λx."""

    def value(self, x: Array) -> Array:
        return 1 / (1 + x)

    def divided_difference(self, x: Array, y: Array) -> Array:
        return -self.value(x) * self.value(y)

    def differences(self, *points: Array) -> Array:
        """(−1)^n/((1 + x₀) ⋯ (1 + xₙ))."""
        return -math.prod(-self.value(x) for x in points)


LOW_RANK_REMEDY = "what leaves the span of a low rank; where d is small, give the covariance as its matrix"


class Expansion(NamedTuple):
    """A vector v in its reach's eigenbasis: x = scale · eigenvalue, φ(x), coordinates, eigenvectors."""

    vector: Array
    x: Array
    factors: Array
    coordinates: Array
    vectors: Array

    @property
    def result(self) -> Array:
        """φ(X)v, in the coordinates of the reach: φ₁v, φ₁ that of the largest coordinate, and what the others differ.

        So a v that has hardly moved is v to the last digit, and what a stall leaves across it is not rounding.
        """
        main = self.factors[..., abs(self.coordinates).argmax(), None]
        return main * self.vector + ((self.factors - main) * self.coordinates) @ self.vectors.T


def _expand(kernel: Kernel, scale: Array, reach: InvariantSubspace, spectrum: Spectrum) -> Expansion:
    """φ is 0 where it would only blow up rounding."""
    with np.errstate(over="ignore"):  # a step or a time beyond the floats, along what is steep
        x = scale[..., None] * spectrum.values
    factors = kernel.value(x)
    kept = spectrum.reached | (abs(factors) <= 1)
    factors = namespace(factors).xp.where(kept, factors, 0.0)
    return Expansion(reach.coordinates, x, factors, spectrum.coordinates, spectrum.vectors)


def invariant_subspace(
    kernel: Kernel, scale: Array, covariance: Covariance, vector: Array
) -> InvariantSubspace:
    """The reach of A from v, large enough for φ(scale·A)v."""

    def image(reach: InvariantSubspace) -> tuple[Array, Array]:
        """φ(X)v, and what rounding the eigenvalues, by ε of the largest, does to it."""
        expansion = _expand(kernel, scale, reach, reach.covariance.spectrum(reach.coordinates))
        x, factors = expansion.x, expansion.factors
        slopes = np.where(factors == 0, 0.0, kernel.divided_difference(x, x))
        rounding = abs(factors).max(axis=-1) + x.max(axis=-1) * abs(slopes).max(axis=-1)
        return expansion.result, math.sqrt(factors.shape[-1]) * rounding * abs(vector).max()

    return covariance.reach(vector, converged(image))


def _propagate(kernel: Kernel, scale: Array, covariance: Covariance, vector: Array | None) -> Array:
    reach = invariant_subspace(kernel, scale, covariance, _vector_or_direction(covariance, vector))
    spectrum = reach.covariance.spectrum(reach.coordinates)
    return reach.embed(_expand(kernel, scale, reach, spectrum).result)


def _vector_or_direction(covariance: Any, vector: Array | None) -> Array:
    """v, or the direction that the covariance is weighted along."""
    return covariance.direction if vector is None else vector


@jax.custom_jvp
def _propagate_jax(kernel: Kernel, scale: Array, covariance: Any, vector: Any, spectrum: Spectrum) -> Array:
    """The same from a spectrum that is known, in JAX, where every reach is large enough."""
    reach = covariance.reach(_vector_or_direction(covariance, vector), accept_any)
    return reach.embed(_expand(kernel, scale, reach, spectrum).result)


@_propagate_jax.defjvp
def _(primals: Any, tangents: Any) -> tuple[Array, Array]:
    """dφ(X) v + φ(X) dv in the reach, whose basis is held; outside it A is one eigenvalue, ``rest``."""
    kernel, scale, covariance, vector, spectrum = primals

    def inside(covariance: Any, vector: Any) -> tuple[Array, Array]:
        reach = covariance.reach(_vector_or_direction(covariance, vector), accept_any)
        return reach.covariance.dense(), reach.coordinates

    (_, start), (d_matrix, d_start) = jax.jvp(inside, primals[2:4], tangents[2:4])
    reach = covariance.reach(_vector_or_direction(covariance, vector), accept_any)
    of = partial(derivative, kernel, scale, reach.covariance, basis=(spectrum.values, spectrum.vectors))
    change = of((scale * d_matrix,)) @ start + tangents[1] * (of(own=1) @ start) + of() @ d_start
    change = reach.embed(change)
    if reach.rest is not None:
        # One more dimension stands for the complement: φ[x, rest] of each x is an entry of a first derivative there.
        m, rest = start.shape[0], scale * reach.rest
        into = jnp.zeros((m + 1, m + 1), dtype=start.dtype).at[:m, m].set(start)
        leaving = derivative(kernel, scale, with_one_more_dimension(reach.covariance, reach.rest), (into,))[
            :m, m
        ]
        _, image = jax.jvp(lambda c: scale * c.apply(reach.embed(leaving)), (covariance,), (tangents[2],))
        _, d_vector = jax.jvp(_vector_or_direction, (covariance, vector), tangents[2:4])
        outside = reach.outside(image + kernel.value(rest[None]) * d_vector)
        change = change + fixed(_movable(covariance, vector), LOW_RANK_REMEDY) * outside
    return _propagate_jax(*primals), change


def _movable(covariance: Any, vector: Array | None) -> Array:
    """A number that moves where the factor of a low rank or the vector does."""
    base = covariance.base if isinstance(covariance, RankOneDowndate) else covariance
    return base.factor.sum() + _vector_or_direction(covariance, vector).sum()


@pytree
class Indicator(Kernel):
    """φ(x) = 1 at one eigenvalue, to rounding, and 0 at all others: φ(X) is the projector onto its space."""

    at: Array

    def value(self, x: Array) -> Array:
        return jnp.where(self._here(x), 1.0, 0.0 * x)

    def divided_difference(self, x: Array, y: Array) -> Array:
        here, there = self._here(x), self._here(y)
        return jnp.where(
            here == there, 0.0, jnp.where(here, 1.0, -1.0) / jnp.where(here == there, 1.0, x - y)
        )

    def taylor(self, x: Array, order: int) -> Array:
        return jnp.zeros((TERMS, *x.shape), dtype=x.dtype)

    def radius(self, x: Array) -> Array:
        return 64 * x.size * namespace(x).eps * abs(self.at) + 0.0 * x

    def _here(self, x: Array) -> Array:
        return abs(x - self.at) <= 64 * x.size * namespace(x).eps * abs(self.at)


def steepest(covariance: Covariance) -> tuple[Array, Array, tuple[Array, Array]]:
    """Of the eigenvalues along which a path from e, the direction A is weighted along, moves at all the largest (0 for
    none), with its vector in the reach; and all values and vectors there.
    """

    def top(reach: InvariantSubspace) -> tuple[Array, Array, tuple[Array, Array]]:
        spectrum = reach.covariance.spectrum(reach.coordinates)
        values = namespace(spectrum.values).xp.where(spectrum.reached, spectrum.values, 0.0)
        return values.max(), spectrum.vectors[:, values.argmax()], (spectrum.values, spectrum.vectors)

    value_converged = converged(lambda reach: (top(reach)[0][None], top(reach)[0]))
    return top(covariance.reach(_vector_or_direction(covariance, None), value_converged))


def largest_reached(covariance: Covariance) -> Array:
    """The eigenvalue of :func:`steepest`, with its derivatives."""
    if namespace(covariance).xp is np:
        return steepest(covariance)[0]
    value, vector, basis = steepest(jax.lax.stop_gradient(covariance))
    reach = covariance.reach(_vector_or_direction(covariance, None), accept_any)
    # The Rayleigh quotient of the projected vector is the eigenvalue also after a small change of A.
    projected = derivative(Indicator(value), jnp.ones_like(value), reach.covariance, basis=basis) @ vector
    length = projected @ vector
    length = jnp.where(value > 0, length, 1.0)  # where nothing is reached there is no eigenvalue to follow
    quotient = projected @ (reach.covariance.dense() @ vector) / length
    if reach.rest is not None:
        quotient = quotient * differentiable_once(_movable(covariance, None), LOW_RANK_REMEDY)
    return value + (quotient - jax.lax.stop_gradient(quotient))


def propagate(kernel: Kernel, scale: Array, covariance: Covariance, vector: Array | None = None) -> Array:
    """φ(scale · A) v, shape (d,), or (len, d) where kernel or scale hold several numbers of steps or times.

    v left out is the direction that A is weighted along. Computed in the reach of A from v: all of R^d for a matrix,
    a few dimensions for the identity plus a low rank, a Krylov space for an operator.
    """
    if namespace(kernel, scale, covariance, vector).xp is np:
        return _propagate(kernel, scale, covariance, vector)
    reach = covariance.reach(_vector_or_direction(covariance, vector), accept_any)
    spectrum = jax.lax.stop_gradient(reach.covariance.spectrum(reach.coordinates))
    one = lambda kernel, scale: _propagate_jax(kernel, scale, covariance, vector, spectrum)
    axes = jax.tree.map(lambda leaf: 0 if leaf.ndim else None, (kernel, scale))
    several = any(leaf.ndim for leaf in jax.tree.leaves((kernel, scale)))
    return jax.vmap(one, in_axes=axes)(kernel, scale) if several else one(kernel, scale)
