"""Which engine computes: JAX as it is, or JAX in float64 on behalf of NumPy; and what joins the two."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, Concatenate, ParamSpec, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from ..arrays import Array, Namespace, namespace

__all__ = ["engine", "joined"]

S = TypeVar("S")
P = ParamSpec("P")
T = TypeVar("T")


def engine(space: Namespace, function: Callable[..., Any], *arrays: Array) -> Any:
    """``function(*arrays)``, which is JAX: as it is, or from NumPy in float64 and back."""
    if space.xp is not np:
        return function(*arrays)
    with jax.enable_x64(True), jax.ensure_compile_time_eval():  # also inside somebody's jit
        return jax.tree.map(np.asarray, function(*map(jnp.asarray, arrays)))


def joined(method: Callable[Concatenate[S, P], T]) -> Callable[Concatenate[S, P], T]:
    """A method of which the object is one argument among others: a JAX array among them decides for all."""

    @functools.wraps(method)
    def call(self: S, *args: P.args, **kwargs: P.kwargs) -> T:
        space = namespace(self, args, kwargs)
        for name, value in inspect.signature(method).bind(self, *args, **kwargs).arguments.items():
            space.refuse_half(name, value)
        return method(self.within(space), *args, **kwargs)  # pyright: ignore[reportAttributeAccessIssue]

    return call
