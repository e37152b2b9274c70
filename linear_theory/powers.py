"""(1 − x)^K and 1 − (1 − x)^K, elementwise, for a K of any size: what every path is made of."""

from __future__ import annotations

import math
import operator as python_operator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .arrays import Array, Namespace, namespace, numeric
from .errors import InvalidTypeError, InvalidValueError
from .reading import read
from .trees import is_traced, pytree

__all__ = [
    "Steps",
    "count_steps",
    "listed_steps",
    "one_minus_power",
    "power",
    "signed_power",
    "steps_to_halve",
]


@pytree
class Steps:
    """A number of steps of any size as a float and a parity: λ^K needs both where λ < 0."""

    count: Array
    odd: Array

    @property
    def before(self) -> Steps:
        """One step less (only ever used multiplied by ``count``, so 0 stays 0)."""
        return self.less(1)

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


def count_steps(space: Namespace, steps: Any, ndim: tuple[int, ...] = (0, 1)) -> Steps:
    """``steps`` (a Python int of any size, an integer array or a sequence of ints), checked and split."""
    remedy = "must be an integer ≥ 0, or an array of them"
    steps = _integers(steps, remedy)
    if isinstance(steps, jax.Array):
        counts = numeric(space, "steps", steps, ndim)
        if is_traced(steps):
            return Steps(jnp.where(steps >= 0, counts, jnp.nan), steps % 2 == 1)
        steps = np.asarray(steps)
    if isinstance(steps, np.ndarray) and np.issubdtype(steps.dtype, np.integer):
        if steps.ndim not in ndim or steps.min(initial=0) < 0:
            raise InvalidValueError("steps", steps, remedy)
        return Steps(space.array(steps), space.xp.asarray(steps % 2 == 1))
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


def _integers(steps: Any, remedy: str) -> Any:
    """An array of integers, or of objects that may be."""
    array = read("steps", steps, dtype=object)
    whole = jnp.issubdtype(array.dtype, np.integer) and not jnp.issubdtype(array.dtype, np.timedelta64)
    if not (whole or array.dtype == object):
        raise InvalidTypeError("steps", steps, remedy)
    return array


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


def signed_power(x: Array, steps: Steps) -> Array:
    """(1 − x)^K without a derivative of its own: for one that is written out elsewhere."""
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
    return xp.where(steps.count == 0, 0.0, -steps.count * power(x, steps.before))


_power_jax = jax.custom_jvp(signed_power)
_one_minus_power_jax = jax.custom_jvp(_one_minus_power)


@_power_jax.defjvp
def _(primals: tuple[Array, Steps], tangents: tuple[Array, Steps]) -> tuple[Array, Array]:
    return power(*primals), _slope(*primals) * tangents[0]


@_one_minus_power_jax.defjvp
def _(primals: tuple[Array, Steps], tangents: tuple[Array, Steps]) -> tuple[Array, Array]:
    return one_minus_power(*primals), -_slope(*primals) * tangents[0]


def power(x: Array, steps: Steps) -> Array:
    """(1 − x)^K, elementwise: through log1p, so that K = 10¹² costs nothing and loses nothing."""
    return (_power_jax if namespace(x, steps).xp is jnp else signed_power)(x, steps)


def one_minus_power(x: Array, steps: Steps) -> Array:
    """1 − (1 − x)^K, elementwise, without cancellation for small K x."""
    return (_one_minus_power_jax if namespace(x, steps).xp is jnp else _one_minus_power)(x, steps)


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


def listed_steps(steps: Any, remedy: str) -> tuple[tuple[int, ...], bool]:
    """Integers ≥ 0 of any size, one or at least one of them, as Python's; and whether it was one alone.

    For what unrolls over the binary digits of K: it must be known, also under ``jit``.
    """
    if is_traced(steps):
        raise InvalidTypeError("steps", steps, "must be known when this is traced; pass it as static")
    table = np.array(np.asarray(_integers(steps, remedy)), dtype=object)
    if table.ndim > 1 or table.size == 0:
        raise InvalidValueError("steps", steps, remedy)
    numbers = []
    for entry in table.ravel():
        if isinstance(entry, bool | np.bool_):
            raise InvalidTypeError("steps", entry, remedy)
        try:
            numbers.append(python_operator.index(entry))
        except TypeError:
            raise InvalidTypeError("steps", entry, remedy) from None
    if min(numbers) < 0:
        raise InvalidValueError("steps", steps, remedy)
    return tuple(numbers), table.ndim == 0
