"""Array namespace and argument checks: the ground floor.

NumPy in, NumPy float64 out (other widths are rounded to it); any JAX array among the arguments, JAX out in that
array's precision, of at least 32 bits. Shapes are always checked. Values are checked where they are known; under
``jit``, ``vmap`` or ``grad`` they are not, and there a bad value turns what depends on it into NaN.
"""

from __future__ import annotations

import dataclasses
import math
import numbers
import operator
from collections.abc import Callable
from types import ModuleType
from typing import Any, TypeAlias, TypeVar

import jax
import jax.numpy as jnp
import jax.scipy.special
import numpy as np
import scipy.special

from .errors import InvalidTypeError, InvalidValueError
from .reading import read
from .sharding import with_automatic_axes
from .trees import is_concrete, leaves

__all__ = ["binary_unit", "in_units", "share"]

Array: TypeAlias = Any
"""``numpy.ndarray | jax.Array``, whichever came in; its shape stands in the docstring, as (n, d).

Any to a type checker: which of the two comes back hangs on all arguments together, and the union would be refused
wherever a caller of NumPy goes on with NumPy.
"""
T = TypeVar("T")
ANY_NDIM = tuple(range(33))
"""Any number of axes that an array can have."""


@dataclasses.dataclass(frozen=True)
class Namespace:
    """Which engine the arguments ask for: ``numpy`` in float64, or ``jax.numpy`` in their precision."""

    xp: ModuleType
    special: ModuleType
    dtype: Any
    half: bool = False  # whether all floats that asked for JAX have less than 32 bits

    @property
    def eps(self) -> float:
        return float(jnp.finfo(self.dtype).eps)

    @property
    def range(self) -> tuple[float, float]:
        """Sizes whose multiples and sums, by and of 2²⁴, still have all their digits."""
        finfo = jnp.finfo(self.dtype)
        return float(finfo.tiny) * 2.0**24, float(finfo.max) / 2.0**24

    def array(self, value: object) -> Array:
        with np.errstate(over="ignore"):  # 1e300 in float32 is inf, as everywhere in that precision
            return self.xp.asarray(value, dtype=self.dtype)

    def tree(self, value: T) -> T:
        """``value`` with every leaf in this engine and precision: itself, where they are already."""
        leaves, structure = jax.tree.flatten(value)
        arrays = [leaf if self._is_scalar(leaf) else self.array(leaf) for leaf in leaves]
        same = all(array is leaf for array, leaf in zip(arrays, leaves, strict=True))
        return value if same else jax.tree.unflatten(structure, arrays)

    def constant(self, value: T) -> T:
        """``value``, through which no derivative passes."""
        return value if self.xp is np else jax.lax.stop_gradient(value)

    def _is_scalar(self, leaf: object) -> bool:
        return self.xp is np and type(leaf) is np.float64

    def refuse_half(self, name: str, value: object) -> None:
        """Refuse JAX's 16 bits and less: sums, products and factorisations have no digits left in them."""
        for leaf in leaves(value) if self.half else ():
            if is_half(leaf):
                raise InvalidTypeError(
                    name, value, f"must be float32 or float64, not {leaf.dtype}; use .astype"
                )


def namespace(*values: object) -> Namespace:
    """The engine of these arguments (pytrees allowed): JAX if any leaf is a JAX array, else NumPy."""
    traced = [leaf for leaf in leaves(values) if isinstance(leaf, jax.Array)]
    if not traced:
        return Namespace(np, scipy.special, np.dtype(np.float64))
    floats = [leaf.dtype for leaf in traced if jnp.issubdtype(leaf.dtype, jnp.floating)]
    dtype = jnp.result_type(*floats) if floats else jnp.asarray(0.0).dtype
    if dtype.itemsize < 4:
        return Namespace(jnp, jax.scipy.special, np.dtype(np.float32), half=True)
    return Namespace(jnp, jax.scipy.special, dtype)


def is_half(leaf: object) -> bool:
    """Whether this is a JAX array of floats with 16 bits or fewer."""
    return (
        isinstance(leaf, jax.Array) and jnp.issubdtype(leaf.dtype, jnp.floating) and leaf.dtype.itemsize < 4
    )


def numeric(space: Namespace, name: str, value: object, ndim: int | tuple[int, ...] = 0) -> Array:
    """``value`` as an array of real numbers with ``ndim`` axes (or one of several); nothing is broadcast."""
    allowed = (ndim,) if isinstance(ndim, int) else ndim
    array = read(name, value)
    if not _is_real(array.dtype):
        raise InvalidTypeError(name, value, f"must hold real numbers, not {_described(array)}")
    if array.ndim not in allowed:
        kind = {0: "a number", 1: "a vector", 2: "a matrix"}
        wanted = " or ".join(kind.get(axes, f"an array with {axes} axes") for axes in allowed)
        raise InvalidValueError(name, array, f"must be {wanted}, not an array of shape {array.shape}")
    space.refuse_half(name, value)
    return space.array(with_automatic_axes(array))


def _is_real(dtype: Any) -> bool:
    """Integers and floats of any size; a timedelta is an integer to NumPy, but not here."""
    return not jnp.issubdtype(dtype, np.timedelta64) and any(
        jnp.issubdtype(dtype, kind) for kind in (np.integer, np.floating)
    )


def _described(array: Array) -> str:
    """The type of what is no number, and what to do about it."""
    if array.dtype == np.bool_:
        return "bool; pass it .astype(float) if 0 and 1 are meant"
    if array.dtype == np.object_:
        return _described_object(array)
    if jnp.issubdtype(array.dtype, np.character):
        return "text"
    return str(array.dtype)


def _described_object(array: np.ndarray) -> str:
    """The same of its first entry that is no number, or else of its first one of another kind than NumPy's."""
    entries = list(array.flat)
    foreign = [k for k, entry in enumerate(entries) if not isinstance(entry, numbers.Number)]
    exact = [k for k, entry in enumerate(entries) if not isinstance(entry, int | float | np.generic)]
    place = next(iter(foreign or exact), 0)
    entry = entries[place] if entries else None
    remedy = "drop what is missing, or fill it in" if entry is None else ""
    if isinstance(entry, numbers.Number):
        remedy = "pass numpy.asarray(…, dtype=float) of it"
    at = ", ".join(str(k) for k in np.unravel_index(place, array.shape)) if array.size > 1 else ""
    where = f" at [{at}], counted from 0" if at else ""
    return f"{type(entry).__name__}{where}{'; ' if remedy else ''}{remedy}"


def require(
    space: Namespace, name: str, value: Array, valid: Array, remedy: str, given: object | None = None
) -> Array:
    """``value`` if ``valid`` holds everywhere; an error where that can be seen, NaN under tracing.

    ``given`` is the argument as the error shows it, where ``value`` has been computed from it.
    """
    if is_concrete(value, valid):
        if not bool(space.xp.all(valid)):
            if given is None:
                given = value[()] if np.ndim(value) == 0 else value
            raise InvalidValueError(name, given, remedy)
        return value
    return space.xp.where(valid, value, space.xp.nan)


def whole_or_nan(space: Namespace, parts: dict[str, T], valid: Array | bool = True) -> dict[str, T]:
    """``parts`` (pytrees); under tracing NaN in all of them where ``valid`` is not, or where one holds any."""
    if is_concrete(parts, valid):
        return parts
    for leaf in jax.tree.leaves(parts):
        valid = valid & ~space.xp.isnan(leaf).any()
    return jax.tree.map(lambda leaf: space.xp.where(valid, leaf, space.xp.nan), parts)


def integer(name: str, value: Any, remedy: str) -> int:
    """``value`` as Python's integer: of any kind, also a known array without axes, but no bool and no float."""
    try:
        if isinstance(value, bool | np.bool_):
            raise TypeError
        return operator.index(value)
    except TypeError:
        raise InvalidTypeError(name, value, remedy) from None


def finite(space: Namespace, name: str, value: object, ndim: int | tuple[int, ...] = 0) -> Array:
    """``value`` as an array of finite numbers with ``ndim`` axes."""
    array = numeric(space, name, value, ndim)
    return require(space, name, array, space.xp.isfinite(array), "must be finite (no NaN, no infinity)")


def bounded(
    space: Namespace,
    name: str,
    value: object,
    accept: Callable[[Array], Array],
    remedy: str,
    ndim: int | tuple[int, ...] = 0,
) -> Array:
    """``value`` as an array on which ``accept`` holds (which it must not for NaN)."""
    array = numeric(space, name, value, ndim)
    return require(space, name, array, accept(array), remedy)


def positive(space: Namespace, name: str, value: object) -> Array:
    """``value`` as a finite number > 0."""
    return bounded(space, name, value, lambda v: (v > 0) & (v < math.inf), "must be finite and > 0")


def shaped(name: str, value: Array, shape: tuple[int, ...], remedy: str) -> Array:
    """``value`` if it has exactly this shape."""
    if value.shape != shape:
        raise InvalidValueError(name, value, f"has shape {value.shape}, must have {shape}: {remedy}")
    return value


def quotient(space: Namespace, numerator: Array, denominator: Array, otherwise: float) -> Array:
    """numerator/denominator, and ``otherwise`` where the denominator is 0; differentiable there too."""
    nonzero = denominator != 0
    with np.errstate(over="ignore"):
        return space.xp.where(nonzero, numerator / space.xp.where(nonzero, denominator, 1.0), otherwise)


BLOCK = 16_000
"""Entries of every array that elementwise work takes at once: what stays in cache beside its temporaries."""


def blockwise(function: Callable[..., tuple[Array, ...]], results: int, *arrays: Array) -> tuple[Array, ...]:
    """``function(*arrays)``, elementwise with several results: in NumPy block by block where there is much."""
    if any(isinstance(array, jax.Array) for array in arrays) or np.broadcast(*arrays).size <= BLOCK:
        return function(*arrays)
    how: dict[str, Any] = {"flags": ["buffered", "external_loop"], "buffersize": BLOCK}
    access: Any = [["readonly"]] * len(arrays) + [["writeonly", "allocate"]] * results
    kinds = [array.dtype for array in arrays] + [np.dtype(np.float64)] * results
    with np.nditer([*arrays, *[None] * results], op_flags=access, op_dtypes=kinds, **how) as blocks:
        for block in blocks:
            for out, value in zip(block[len(arrays) :], function(*block[: len(arrays)]), strict=True):
                out[...] = value
        return blocks.operands[len(arrays) :]


def broadcast(**arrays: Array) -> None:
    """Refuse arrays whose shapes do not broadcast against each other."""
    try:
        np.broadcast_shapes(*(array.shape for array in arrays.values()))
    except ValueError:
        shapes = ", ".join(f"{name} {array.shape}" for name, array in arrays.items())
        first, value = next(iter(arrays.items()))
        raise InvalidValueError(first, value, f"shapes do not broadcast together: {shapes}") from None


def share(space: Namespace, part: Array, other: Array, otherwise: float) -> Array:
    """part/(part + other) of numbers ≥ 0 of any size, one of them perhaps infinite; ``otherwise`` where both are 0."""
    xp, more = space.xp, part >= other
    smaller, larger = xp.where(more, other, part), xp.where(more, part, other)
    endless = xp.isinf(larger)
    ratio = smaller / xp.where(endless | (larger == 0), 1.0, larger) * xp.where(endless, 0.0, 1.0)
    return xp.where(larger == 0, otherwise + ratio, xp.where(more, 1.0, ratio) / (1 + ratio))


def binary_unit(space: Namespace, array: Array) -> Array:
    """The power of two at or just below max |array|, 1 for zeros: a unit that changes no bit, without a derivative."""
    largest = space.constant(space.xp.max(space.xp.abs(array), initial=0.0))
    exponent = space.xp.frexp(largest)[1]
    return space.xp.ldexp(space.array(1.0), space.xp.where(largest > 0, exponent - 1, 0))


def in_units(space: Namespace, array: Array, one: Array, other: Array) -> Array:
    """array · one · other, the product of the sizes nearest to 1 first: only the whole can leave the floats."""
    xp = space.xp
    small, large = xp.minimum(one, other), xp.maximum(one, other)
    down = binary_unit(space, array) > 1
    with np.errstate(over="ignore"):
        return array * xp.where(down, small, large) * xp.where(down, large, small)
