"""(1 − x)^K for a K of any size: elementwise, its divided differences, and its geometric sum.

Every path is made of these: x = 2ηλ for one eigenvalue λ, and what K steps leave of the error is (1 − x)^K.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..arrays import Array, Namespace, integer, namespace, numeric
from ..errors import InvalidTypeError, InvalidValueError
from ..reading import read
from ..trees import is_traced, pytree
from .matrix_functions import TERMS, Kernel

__all__ = [
    "GeometricSum",
    "Power",
    "Steps",
    "count_steps",
    "listed_steps",
    "one_minus_power",
    "power",
    "split_steps",
    "steps_to_halve",
]


@pytree
class Steps:
    """A number of steps of any size as a float and a parity: λ^K needs both where λ < 0."""

    count: Array
    odd: Array

    def less(self, number: int | Array) -> Steps:
        """``number`` steps less (integers known now), at least 0."""
        xp = namespace(self.count).xp
        return Steps(
            xp.maximum(self.count - xp.asarray(number, dtype=self.count.dtype), 0.0),
            self.odd ^ (number % 2 == 1),
        )

    def per_row(self) -> Steps:
        """The same, with a last axis to broadcast against eigenvalues."""
        return Steps(self.count[..., None], self.odd[..., None])


STEPS_REMEDY = "must be an integer ≥ 0, or an array of them"


def count_steps(space: Namespace, steps: Any, ndim: tuple[int, ...] = (0, 1)) -> Steps:
    """``steps`` (a Python int of any size, an integer array or a sequence of ints), checked and split."""
    steps = _integer_or_object_array(steps, STEPS_REMEDY)
    if isinstance(steps, jax.Array):
        counts = numeric(space, "steps", steps, ndim)
        if is_traced(steps):
            return Steps(jnp.where(steps >= 0, counts, jnp.nan), steps % 2 == 1)
        steps = np.asarray(steps)
    if steps.ndim not in ndim:
        raise InvalidValueError("steps", steps, STEPS_REMEDY)
    if steps.dtype != object:
        if steps.min(initial=0) < 0:
            raise InvalidValueError("steps", steps, STEPS_REMEDY)
        return Steps(space.array(steps), space.xp.asarray(steps % 2 == 1))
    return split_steps(space, [_natural_number(entry, STEPS_REMEDY) for entry in steps.ravel()], steps.shape)


def split_steps(space: Namespace, numbers: Sequence[int], shape: tuple[int, ...] = (-1,)) -> Steps:
    """Python's integers ≥ 0 of any size as :class:`Steps` of this shape."""
    largest = int(jnp.finfo(space.dtype).max)  # beyond it every λ^K is 0, 1 or ∞; infinity has no derivative
    counts = np.array([float(min(k, largest)) for k in numbers]).reshape(shape)
    odd = np.array([k % 2 == 1 for k in numbers], dtype=bool).reshape(shape)
    return Steps(space.array(counts), space.xp.asarray(odd))


def steps_to_halve(x: Array, factor: Array | None = None) -> Array:
    """K with ``|1 − x|^K`` = ½, elementwise: ln 2/−ln ``|1 − x|``; 0 at x = 1, ∞ where nothing decays.

    ``factor`` is ``|1 − x|`` where it is known with digits of its own.
    """
    xp = namespace(x, factor).xp
    factor = abs(1 - x) if factor is None else factor
    at_once, near = factor == 0, abs(x) < 0.5
    logarithm = xp.where(
        near, xp.log1p(-xp.where(near, x, 0.5)), xp.log(xp.where(at_once | near, 0.5, factor))
    )
    decays = ~(logarithm >= 0)  # NaN stays NaN
    with np.errstate(over="ignore"):  # longer than the largest float
        steps = xp.where(decays, -math.log(2) / xp.where(decays, logarithm, -1.0), math.inf)
    return xp.where(at_once, 0.0, steps)


def listed_steps(steps: Any, remedy: str = STEPS_REMEDY) -> tuple[tuple[int, ...], bool]:
    """Integers ≥ 0 of any size, one or at least one of them, as Python's; and whether it was one alone.

    For what unrolls over the binary digits of K: it must be known, also under ``jit``.
    """
    if is_traced(steps):
        raise InvalidTypeError("steps", steps, "must be known when this is traced; pass it as static")
    table = np.asarray(_integer_or_object_array(steps, remedy))
    if table.ndim > 1 or table.size == 0:
        raise InvalidValueError("steps", steps, remedy)
    return tuple(_natural_number(entry, remedy) for entry in table.ravel()), table.ndim == 0


def _integer_or_object_array(steps: Any, remedy: str) -> Any:
    """An array of integers, or of objects that may be integers."""
    array = read("steps", steps, dtype=object)
    integers = jnp.issubdtype(array.dtype, np.integer) and not jnp.issubdtype(array.dtype, np.timedelta64)
    if not (integers or array.dtype == object):
        raise InvalidTypeError("steps", steps, remedy)
    return array


def _natural_number(entry: Any, remedy: str) -> int:
    """A Python integer ≥ 0."""
    number = integer("steps", entry, remedy)
    if number < 0:
        raise InvalidValueError("steps", entry, remedy)
    return number


def _log_magnitude(xp: Any, x: Array) -> Array:
    """log|1 − x|: exact to rounding near x = 0 and x = 2 alike."""
    with np.errstate(divide="ignore"):  # log 0 = −∞, and λ = 0 to any power is 0
        near_zero = x < 0.5
        small, large = xp.where(near_zero, x, 0.0), xp.where(near_zero, 2.0, x)
        return xp.where(near_zero, xp.log1p(-small), xp.log(xp.abs(1 - large)))


def _exponent(xp: Any, x: Array, count: Array) -> Array:
    """count · log|1 − x|, with 0·∞ = 0."""
    logarithm = _log_magnitude(xp, x)
    zero = (count == 0) | (logarithm == 0)
    return xp.where(zero, 0.0, count * xp.where(zero, 1.0, logarithm))


def _power(x: Array, steps: Steps) -> Array:
    """(1 − x)^K without a derivative of its own, for formulas whose derivatives are formulas here, too."""
    xp = namespace(x, steps.count).xp
    with np.errstate(over="ignore"):
        magnitude = xp.exp(_exponent(xp, x, steps.count))
    return xp.where((x > 1) & steps.odd, -magnitude, magnitude)


def _one_minus_power(x: Array, steps: Steps) -> Array:
    xp = namespace(x, steps.count).xp
    with np.errstate(over="ignore"):
        growing = xp.expm1(_exponent(xp, x, steps.count))
    return xp.where((x > 1) & steps.odd, 2 + growing, -growing)


def _slope(x: Array, steps: Steps) -> Array:
    """d/dx (1 − x)^K = −K (1 − x)^(K−1)."""
    xp = namespace(x, steps.count).xp
    return xp.where(steps.count == 0, 0.0, -steps.count * power(x, steps.less(1)))


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


@pytree
class Power(Kernel):
    """φ(x) = (1 − x)^K: K steps of gradient descent, x = 2ηλ."""

    steps: Steps

    def value(self, x: Array) -> Array:
        return power(x, self.steps.per_row())

    def divided_difference(self, x: Array, y: Array) -> Array:
        steps = self.steps.per_row()
        xp = namespace(x, y, steps.count).xp
        # On one side of 1, of |1 − x| and |1 − y| the larger is ``far``: with L = log(smaller/far) the difference is
        # far^(K−1) · expm1(K L)/expm1(L), which tends to K far^(K−1).
        # It is chosen and raised by x, because 1 − x has none of the digits of a small x.
        low, high = xp.minimum(x, y), xp.maximum(x, y)
        at_far = xp.where(high > 1, high, low)
        far, gap = abs(1 - at_far), high - low
        distinct = gap > 0
        with np.errstate(divide="ignore"):
            logs = xp.log1p(-xp.where(distinct, xp.minimum(gap / xp.where(far > 0, far, 1.0), 1.0), 0.5))
        growth = xp.expm1(steps.count * xp.where(steps.count == 0, -1.0, logs)) / xp.expm1(logs)
        leading = abs(_power(at_far, steps.less(1))) * xp.where(distinct, growth, steps.count)
        both_above = (high > 1) & ~steps.odd  # one of them may be exactly 1
        one_side = xp.where(steps.count == 0, 0.0, xp.where(both_above, leading, -leading))
        two_sides = (_power(x, steps) - _power(y, steps)) / xp.where(distinct, x - y, 1.0)
        return xp.where((x - 1) * (y - 1) < 0, two_sides, one_side)

    def taylor(self, x: Array, order: int) -> Array:
        """(−1)^j C(K, j) (1 − x)^(K−j) (``|1 − x|``/K)^(j−n), n the order: K^n at most."""
        space, steps = namespace(x, self.steps.count), self.steps.per_row()
        xp, count = space.xp, steps.count
        # The power first: where that is 0, no number of steps makes more of it. Beyond j = K all are 0.
        leading = _power(x, steps.less(order))
        for j in range(order):
            leading = leading * (-(count - j) / (j + 1))
        j = order + np.arange(TERMS).reshape(-1, *[1] * max(np.ndim(x), count.ndim))
        side = xp.where(x > 1, 1.0, -1.0)  # of 1: where a power less has the other sign
        factors = side * space.array(1.0 / j) * (count - space.array(j - 1)) / xp.maximum(count, 1.0)
        return leading * xp.cumprod(xp.where(j == order, 1.0, factors), axis=0)

    def radius(self, x: Array) -> Array:
        """|1 − x|/K, over which (1 − x)^K changes by a factor e at most."""
        count = self.steps.per_row().count
        return abs(1 - x) / namespace(x, count).xp.maximum(count, 1.0)


@pytree
class GeometricSum(Kernel):
    """ψ(x) = Σ_{k<K} (1 − x)^k = (1 − (1 − x)^K)/x, K at 0: how far K steps go along a gradient.

    It is −φ[x, 0], a divided difference of φ(x) = (1 − x)^K, and so are its own.
    """

    steps: Steps

    def value(self, x: Array) -> Array:
        xp, steps = namespace(x, self.steps.count).xp, self.steps.per_row()
        at_zero = x == 0
        return xp.where(at_zero, steps.count, one_minus_power(x, steps) / xp.where(at_zero, 1.0, x))

    def divided_difference(self, x: Array, y: Array) -> Array:
        return self.differences(x, y)

    def differences(self, *points: Array) -> Array:
        return -Power(self.steps).differences(*points, 0.0 * points[0])
