"""A tanh network whose target is itself, moved: pre-trained θ*, labels from θ* + δ‖θ*‖u for a random unit u."""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.flatten_util import ravel_pytree

from paper_reproduction.claim import Settings

Array = Any
INPUTS, WIDTH, ROWS = 10, 16, 2000
PRETRAIN_STEPS, PRETRAIN_RATE = 500, 1e-2


def predict(params: dict[str, Array], X: Array) -> Array:
    """tanh(XW + b) a + c, (n,)."""
    return jnp.tanh(X @ params["w"] + params["b"]) @ params["a"] + params["c"]


def initial(key: Array, inputs: int = INPUTS, width: int = WIDTH) -> dict[str, Array]:
    """Standard deviations 1/√inputs, ½ and 1/√width."""
    one, two, three = jax.random.split(key, 3)
    return {
        "w": jax.random.normal(one, (inputs, width)) / inputs**0.5,
        "b": 0.5 * jax.random.normal(two, (width,)),
        "a": jax.random.normal(three, (width,)) / width**0.5,
        "c": jnp.zeros(()),
    }


def keys(settings: Settings, name: str, seeds: int) -> Array:
    """One key a seed; a seed's is the same however many seeds there are."""
    return jnp.stack([jax.random.key(int(settings.rng(f"{name} {s}").integers(2**31))) for s in range(seeds)])


def pretrained(key: Array) -> dict[str, Array]:
    """θ*, one for each key: a network trained by Adam on a random network's labels."""
    with jax.numpy_dtype_promotion("standard"):  # Adam in optax mixes floats and counts
        return _pretrained(key)


@jax.jit
@jax.vmap
def _pretrained(key: Array) -> dict[str, Array]:
    teacher, student, rows = jax.random.split(key, 3)
    X = jax.random.normal(rows, (ROWS, INPUTS))
    y = predict(initial(teacher), X)
    optimiser = optax.adam(PRETRAIN_RATE)

    def step(carry: Any, _: None) -> tuple[Any, None]:
        params, state = carry
        gradient = jax.grad(lambda p: jnp.mean((y - predict(p, X)) ** 2))(params)
        updates, state = optimiser.update(gradient, state)
        return (optax.apply_updates(params, updates), state), None

    start = initial(student)
    return jax.lax.scan(step, (start, optimiser.init(start)), None, length=PRETRAIN_STEPS)[0][0]


class Rows(NamedTuple):
    """Inputs, labels, and δ‖θ*‖u, the way to the target, in the network's own parameters."""

    X: Array
    y: Array
    shift: Any


@partial(jax.jit, static_argnums=4)
@partial(jax.vmap, in_axes=(0, 0, None, None, None))
def moved(key: Array, star: Any, distance: float, noise: float, rows: int = ROWS) -> Rows:
    """Labels of the network moved by ``distance`` · ‖θ*‖, with noise of ``noise`` times their mean squared change."""
    inputs, way, labels = jax.random.split(key, 3)
    X = jax.random.normal(inputs, (rows, star["w"].shape[0]))
    flat, unflatten = ravel_pytree(star)
    u = jax.random.normal(way, flat.shape)
    shift = unflatten(distance * jnp.linalg.norm(flat) * u / jnp.linalg.norm(u))
    y = predict(jax.tree.map(jnp.add, star, shift), X)
    variance = noise * jnp.mean((y - predict(star, X)) ** 2)
    return Rows(X, y + jnp.sqrt(variance) * jax.random.normal(labels, y.shape), shift)


@partial(jax.jit, static_argnums=5)
@partial(jax.vmap, in_axes=(0, 0, 0, 0, 0, None))
@partial(jax.vmap, in_axes=(None, None, None, 0, 0, None))
def paths(star: Any, X: Array, y: Array, weights: Array, rate: Array, steps: tuple[int, ...]) -> Array:
    """θ_K (len(steps), P) of full-batch gradient descent on the network itself; seeds, then members."""
    flat, unflatten = ravel_pytree(star)
    gradient = jax.grad(lambda t: jnp.mean(weights * (y - predict(unflatten(t), X)) ** 2))

    def between(theta: Array, span: Array) -> tuple[Array, Array]:
        theta = jax.lax.fori_loop(0, span, lambda _, t: t - rate * gradient(t), theta)
        return theta, theta

    return jax.lax.scan(between, flat, jnp.diff(jnp.array(steps), prepend=0))[1]


def geometric(last: int, points: int) -> tuple[int, ...]:
    """0, 1, … , last: whole numbers about evenly apart in logarithm."""
    return (0, *np.unique(np.geomspace(1, last, points).round().astype(int)).tolist())
