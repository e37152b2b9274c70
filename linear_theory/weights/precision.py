"""Losses in 16 bits: computed in 32, and the answer rounded once."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar

import jax
import jax.numpy as jnp

from ..arrays import is_half, namespace
from ..errors import reject
from ..trees import is_concrete

__all__ = ["through_single"]

T = TypeVar("T")


def through_single(function: Callable[..., T]) -> Callable[..., T]:
    """``function``, where JAX would compute in fewer than 32 bits: in float32, the answer rounded once.

    In float16 the sum of 10⁵ ones is infinite and in bfloat16 it stops at 256. An answer that is too large for its
    precision, or 0 in all of its entries though none was, is an error (NaN under tracing).
    """

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> T:
        if not namespace(args, kwargs).half:
            return function(*args, **kwargs)
        dtype = jnp.result_type(*(leaf.dtype for leaf in jax.tree.leaves((args, kwargs)) if is_half(leaf)))
        wide = lambda leaf: leaf.astype(jnp.float32) if is_half(leaf) else leaf
        args, kwargs = jax.tree.map(wide, (args, kwargs))
        return jax.tree.map(lambda leaf: _rounded(leaf, dtype), function(*args, **kwargs))

    return call


def _rounded(exact: Any, dtype: Any) -> Any:
    if not isinstance(exact, jax.Array) or exact.dtype != jnp.float32:
        return exact
    found = exact.astype(dtype)
    # Some of the shortest floats have no infinity: there it is NaN.
    over = (jnp.isinf(found) & jnp.isfinite(exact)) | (jnp.isnan(found) & ~jnp.isnan(exact))
    under = (jnp.max(exact, initial=0.0) > 0) & (jnp.max(found, initial=0.0) == 0)
    lost = over | under
    if not is_concrete(lost):
        return jnp.where(lost, jnp.nan, found)
    if bool(lost.any()):
        what = (
            f"is beyond the largest {dtype}" if bool(over.any()) else f"underflows to 0 in {dtype}, all of it"
        )
        reject("result", exact, f"{what}; pass a higher precision, .astype(jnp.float32)")
    return found
