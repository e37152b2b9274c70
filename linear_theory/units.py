"""Units and shares: quotients of numbers so large or small that their squares and sums are no floats."""

from __future__ import annotations

import jax
import numpy as np

from .arrays import Array, Namespace

__all__ = ["binary_unit", "in_units", "share"]


def share(space: Namespace, part: Array, other: Array, otherwise: float) -> Array:
    """part/(part + other) of numbers ≥ 0 of any size, one of them perhaps infinite; ``otherwise`` where both are 0."""
    xp, more = space.xp, part >= other
    smaller, larger = xp.where(more, other, part), xp.where(more, part, other)
    endless = xp.isinf(larger)
    ratio = smaller / xp.where(endless | (larger == 0), 1.0, larger) * xp.where(endless, 0.0, 1.0)
    return xp.where(larger == 0, otherwise + ratio, xp.where(more, 1.0, ratio) / (1 + ratio))


def binary_unit(space: Namespace, array: Array) -> Array:
    """The power of two at or just below max |array|, 1 for zeros: a unit that changes no bit, without a derivative."""
    largest = space.xp.max(space.xp.abs(array), initial=0.0)
    largest = jax.lax.stop_gradient(largest) if space.xp is not np else largest
    exponent = space.xp.frexp(largest)[1]
    return space.xp.ldexp(space.array(1.0), space.xp.where(largest > 0, exponent - 1, 0))


def in_units(space: Namespace, array: Array, one: Array, other: Array) -> Array:
    """array · one · other, the product of the sizes nearest to 1 first: only the whole can leave the floats."""
    xp = space.xp
    small, large = xp.minimum(one, other), xp.maximum(one, other)
    down = binary_unit(space, array) > 1
    with np.errstate(over="ignore"):
        return array * xp.where(down, small, large) * xp.where(down, large, small)
