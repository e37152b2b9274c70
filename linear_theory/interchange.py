"""Arrays of other frameworks, in and out, by the protocols they share: DLPack and the array API standard.

PyTorch and its like are never imported here; whoever passes a tensor has imported its framework.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
import sys
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from .errors import InvalidTypeError, InvalidValueError

F = TypeVar("F", bound=Callable[..., Any])

_OURS = (np.ndarray, np.generic, jax.Array, float, int)
_ON_HOST = (1, 3)  # kDLCPU and kDLCUDAHost: memory that NumPy can look at
UNREADABLE = (AttributeError, BufferError, RuntimeError, TypeError, ValueError)
"""What frameworks raise where an array cannot be handed to another."""


def preserve_array_type(function: F) -> F:
    """``function`` of NumPy and JAX arrays, also of arrays of any framework that speaks DLPack.

    Such arrays are read without a copy (from a GPU: through one on the host) and never written. NumPy computes, in
    float64. An array goes back to the framework, dtype and device of the first such argument, in memory of its own;
    a number goes back as a Python float. Integers are answered in the framework's default precision.
    """
    signature = inspect.signature(function)

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        if not any(framework(value) for value in (*args, *kwargs.values())):
            return function(*args, **kwargs)
        bound = signature.bind(*args, **kwargs)
        foreign = {name: value for name, value in bound.arguments.items() if framework(value)}
        first, like = next(iter(foreign.items()))
        for name, value in _by_name(bound.arguments):
            if framework(value) not in (None, framework(like)) or _holds_jax(value):
                remedy = f"must come from the framework of {first}, or be a number"
                raise InvalidTypeError(name, value, remedy)
        read = {name: from_framework(name, value) for name, value in foreign.items()}
        bound.arguments.update(read)
        found = function(*bound.args, **bound.kwargs)
        return _returned(found, like, read[first].dtype) if np.ndim(found) else float(found)

    return call  # pyright: ignore[reportReturnType]


def framework(value: object) -> ModuleType | None:
    """The module that ``value`` is an array of, unless that is NumPy, JAX, or none that would take an answer."""
    if isinstance(value, _OURS) or not hasattr(value, "__dlpack__"):
        return None
    homes = (sys.modules.get(base.__module__.partition(".")[0]) for base in type(value).__mro__)
    return next((home for home in homes if hasattr(home, "from_dlpack") and hasattr(home, "asarray")), None)


def _by_name(arguments: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """The arguments; of a rule's method the parameters of the rule, since its caller knows no ``self``."""
    for name, value in arguments.items():
        if name == "self" and dataclasses.is_dataclass(value):
            yield from vars(value).items()
        else:
            yield name, value


def _holds_jax(value: object) -> bool:
    return not isinstance(value, Iterator) and any(
        isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(value)
    )


def from_framework(name: str, value: Any) -> np.ndarray:
    """A view of a framework's array in NumPy; in a precision that NumPy lacks, a copy."""
    try:
        for step in ("cpu", "resolve_neg"):  # PyTorch's own; the second, because DLPack would lose that sign
            value = getattr(value, step, lambda value=value: value)()
        where: dict[str, Any] = {} if int(value.__dlpack_device__()[0]) in _ON_HOST else {"device": "cpu"}
        try:
            return np.from_dlpack(value, **where)
        except RuntimeError:  # bfloat16: JAX knows it, if nothing lies between the numbers
            return np.asarray(jnp.from_dlpack(getattr(value, "contiguous", lambda: value)()))
    except UNREADABLE as refused:
        remedy = f"""cannot be read ({str(refused).rstrip(".")}); it must be dense and constant: compute it without
                     gradients or detach it, and make it dense if it is sparse"""
        raise InvalidTypeError(name, value, remedy) from None


def _returned(values: np.ndarray, like: Any, dtype: np.dtype) -> Any:
    """``values`` as an array of the framework, dtype and device of ``like``, which NumPy read as ``dtype``."""
    home: Any = framework(like)
    kind = like.dtype
    if not jnp.issubdtype(dtype, np.floating):
        zero = home.asarray(0.0)
        kind, dtype = zero.dtype, from_framework("result", zero).dtype
    finite = np.isfinite(values)
    low, high = (extreme(values, initial=0.0, where=finite) for extreme in (np.min, np.max))
    with np.errstate(over="ignore", under="ignore"):
        over = not np.isfinite(np.array([low, high]).astype(dtype)).all()
        under = values.max(initial=0.0) == high > 0 == high.astype(dtype)
    if over or under:
        what = f"is beyond the largest {kind}" if over else f"underflows to 0 in {kind}, all of it"
        raise InvalidValueError("result", values, f"{what}; pass a higher precision")
    try:
        return home.asarray(values, dtype=kind, device=getattr(like, "device", None))
    except TypeError:  # CuPy takes no device: its current one
        return home.asarray(values, dtype=kind)
