"""Full-batch training of a network: gradient descent, recorded on the way, and Adam to pre-train with."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

Array = Any


def path(loss: Callable[[Array], Array], theta: Array, rate: Array, steps: tuple[int, ...]) -> Array:
    """θ_K (len(steps), P) for each K of ``steps``, ascending: θ ← θ − rate · ∇loss(θ)."""
    slope = jax.grad(loss)

    def between(theta: Array, span: Array) -> tuple[Array, Array]:
        theta = jax.lax.fori_loop(0, span, lambda _, t: t - rate * slope(t), theta)
        return theta, theta

    return jax.lax.scan(between, theta, jnp.diff(jnp.array(steps), prepend=0))[1]


def adam(loss: Callable[[Any], Array], params: Any, rate: float, steps: int) -> Any:
    """The parameters after so many steps of Adam."""
    optimiser = optax.adam(rate)

    def step(carry: Any, _: None) -> tuple[Any, None]:
        params, state = carry
        updates, state = optimiser.update(jax.grad(loss)(params), state)
        return (optax.apply_updates(params, updates), state), None

    # Adam in optax mixes floats and counts.
    with jax.numpy_dtype_promotion("standard"):
        return jax.lax.scan(step, (params, optimiser.init(params)), None, length=steps)[0][0]
