"""A root that is known, with the derivatives that its equation gives it."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp

from ..arrays import Array

__all__ = ["differentiable_root"]


def differentiable_root(condition: Callable[[Array], Array], root: Array) -> Array:
    """``root`` of a condition that is 0 there: each of Newton's steps from it doubles how many derivatives are right.

    0 and infinity, which no equation gives, are constants.
    """
    inner = jnp.isfinite(root) & (root > 0)
    found = jnp.where(inner, root, 1.0)
    for _ in range(2):
        value, slope = jax.jvp(condition, (found,), (jnp.ones_like(found),))
        found = found - value / slope
    return root + jnp.where(inner, found - jax.lax.stop_gradient(found), 0.0)
