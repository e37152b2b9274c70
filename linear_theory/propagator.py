"""(I − 2ηA)^K v and exp(−2tA) v, exactly, without a loop over K, and differentiable everywhere.

Both are functions φ of one symmetric matrix applied to one vector: V φ(Λ) Vᵀ v. ``jax.grad`` through
``eigh`` divides by differences of eigenvalues and gives NaN where two coincide (they do from d = 4 in the
paper's covariance). Here the derivative is the Daleckii-Krein formula, with each divided difference
φ[λᵢ, λⱼ] written so that it neither cancels nor divides by zero.
"""

from __future__ import annotations

import operator as python_operator
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from .arrays import (
    Array,
    InvalidTypeError,
    InvalidValueError,
    Namespace,
    is_traced,
    namespace,
    numeric,
    pytree,
)
from .covariance import Covariance

__all__ = ["Decay", "Power", "Steps", "count_steps", "one_minus_power", "power", "propagate", "reached"]


@pytree
class Steps:
    """A number of steps of any size as a float and a parity: λ^K needs both where λ < 0."""

    count: Array
    odd: Array

    @property
    def before(self) -> Steps:
        """One step less (only ever used multiplied by ``count``, so 0 stays 0)."""
        xp = namespace(self.count).xp
        return Steps(xp.maximum(self.count - 1, 0.0), ~self.odd)

    def per_row(self) -> Steps:
        """The same, with a last axis to broadcast against eigenvalues."""
        return Steps(self.count[..., None], self.odd[..., None])


def count_steps(space: Namespace, steps: Any, ndim: tuple[int, ...] = (0, 1)) -> Steps:
    """``steps`` (a Python int of any size, an integer array or a sequence of ints), checked and split."""
    remedy = "must be an integer ≥ 0, or an array of them"
    if isinstance(steps, jax.Array):
        if not jnp.issubdtype(steps.dtype, jnp.integer):
            raise InvalidTypeError("steps", steps, remedy)
        counts = numeric(space, "steps", steps, ndim)
        if is_traced(steps):
            return Steps(jnp.where(steps >= 0, counts, jnp.nan), steps % 2 == 1)
        steps = np.asarray(steps)
    table = np.array(steps, dtype=object)
    if table.ndim not in ndim:
        raise InvalidValueError("steps", steps, remedy)
    counts, odd = np.empty(table.shape), np.empty(table.shape, dtype=bool)
    largest = int(jnp.finfo(space.dtype).max)
    for index in np.ndindex(table.shape):
        entry = table[index]
        try:
            exact = python_operator.index(entry)
        except TypeError:
            exact = None
        if exact is None or isinstance(entry, bool | np.bool_):
            raise InvalidTypeError("steps", entry, remedy)
        if exact < 0:
            raise InvalidValueError("steps", entry, remedy)
        counts[index] = min(exact, largest)  # beyond it every λ^K is 0, 1 or ∞; infinity has no derivative
        odd[index] = exact % 2
    return Steps(space.array(counts), space.xp.asarray(odd))


def _log_magnitude(xp: Any, x: Array) -> Array:
    """log|1 − x|: exact to rounding near x = 0 and x = 2 alike."""
    with np.errstate(divide="ignore"):  # log 0 = −∞, and λ = 0 to any power is 0
        near = x < 0.5
        return xp.where(near, xp.log1p(-xp.where(near, x, 0.0)), xp.log(xp.abs(1 - xp.where(near, 2.0, x))))


def _exponent(xp: Any, x: Array, count: Array) -> Array:
    """count · log|1 − x|, with 0·∞ = 0."""
    logarithm = _log_magnitude(xp, x)
    idle = (count == 0) | (logarithm == 0)
    return xp.where(idle, 0.0, count * xp.where(idle, 1.0, logarithm))


def _power(x: Array, steps: Steps) -> Array:
    xp = namespace(x, steps.count).xp
    with np.errstate(over="ignore"):
        magnitude = xp.exp(_exponent(xp, x, steps.count))
    return xp.where((x > 1) & steps.odd, -magnitude, magnitude)


def _one_minus_power(x: Array, steps: Steps) -> Array:
    xp = namespace(x, steps.count).xp
    with np.errstate(over="ignore"):
        shrinking = -xp.expm1(_exponent(xp, x, steps.count))
    return xp.where((x > 1) & steps.odd, 1 - _power(x, steps), shrinking)


def _slope(x: Array, steps: Steps) -> Array:
    """d/dx (1 − x)^K = −K (1 − x)^(K−1)."""
    xp = namespace(x, steps.count).xp
    return xp.where(steps.count == 0, 0.0, -steps.count * power(x, steps.before))


_power_jax = jax.custom_jvp(_power)
_one_minus_power_jax = jax.custom_jvp(_one_minus_power)


@_power_jax.defjvp
def _(primals: tuple[Array, Steps], tangents: tuple[Array, Steps]) -> tuple[Array, Array]:
    return power(*primals), _slope(*primals) * tangents[0]


@_one_minus_power_jax.defjvp
def _(primals: tuple[Array, Steps], tangents: tuple[Array, Steps]) -> tuple[Array, Array]:
    return one_minus_power(*primals), -_slope(*primals) * tangents[0]


def power(x: Array, steps: Steps) -> Array:
    """(1 − x)^K, elementwise: through log1p, so that K = 10¹² costs nothing and loses nothing."""
    return (_power_jax if namespace(x, steps).xp is jnp else _power)(x, steps)


def one_minus_power(x: Array, steps: Steps) -> Array:
    """1 − (1 − x)^K, elementwise, without cancellation for small K x."""
    return (_one_minus_power_jax if namespace(x, steps).xp is jnp else _one_minus_power)(x, steps)


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
        leading = _power(1 - far, steps.before) * xp.where(distinct, growth, steps.count)
        both_above = (xp.maximum(x, y) > 1) & ~steps.odd  # one of them may be exactly 1
        same = xp.where(steps.count == 0, 0.0, xp.where(both_above, leading, -leading))
        across = (_power(x, steps) - _power(y, steps)) / xp.where(distinct, x - y, 1.0)
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


def reached(coordinates: Array) -> Array:
    """Which of a vector's coordinates in an eigenbasis are more than rounding (d · eps · its length)."""
    space = namespace(coordinates)
    length = space.xp.sqrt(coordinates @ coordinates)
    return space.xp.abs(coordinates) > coordinates.shape[0] * space.eps * length


def _spread(kernel: Kernel, covariance: Covariance, vector: Array) -> tuple[Array, Array, Array, Array]:
    """Eigenvalues, eigenvectors, the vector's coordinates, and φ: 0 where it would only blow up rounding."""
    values, vectors = covariance.eigh()
    coordinates = vector @ vectors
    factors = kernel.value(kernel.rate, values)
    xp = namespace(factors).xp
    return values, vectors, coordinates, xp.where(reached(coordinates) | (abs(factors) <= 1), factors, 0.0)


def _propagate(kernel: Kernel, covariance: Covariance, vector: Array) -> Array:
    _, vectors, coordinates, factors = _spread(kernel, covariance, vector)
    return (factors * coordinates) @ vectors.T


_propagate_jax = jax.custom_jvp(_propagate)


@_propagate_jax.defjvp
def _(primals: Any, tangents: Any) -> tuple[Array, Array]:
    (kernel, covariance, vector), (d_kernel, d_covariance, d_vector) = primals, tangents
    values, vectors, coordinates, factors = _spread(kernel, covariance, vector)
    _, d_factors = jax.jvp(lambda rate: kernel.value(rate, values), (kernel.rate,), (d_kernel.rate,))
    _, d_matrix = jax.jvp(lambda c: c.dense(), (covariance,), (d_covariance,))
    differences = kernel.divided_difference(values[:, None], values[None, :])
    turned = (differences * (vectors.T @ d_matrix @ vectors)) @ coordinates
    moved = factors * (d_vector @ vectors) + d_factors * coordinates + turned
    return (factors * coordinates) @ vectors.T, moved @ vectors.T


def propagate(kernel: Kernel, covariance: Covariance, vector: Array) -> Array:
    """φ(A) v, shape (d,), or (len, d) where the kernel holds several numbers of steps or times."""
    numpy_only = namespace(kernel, covariance, vector).xp is np
    return (_propagate if numpy_only else _propagate_jax)(kernel, covariance, vector)
