"""A tanh network whose target is itself, moved: pre-trained θ*, labels from θ* + δ‖θ*‖u for a random unit u."""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

import linear_theory as lt
from paper_reproduction.claim import Settings
from paper_reproduction.mlp import descent
from paper_reproduction.mlp.hardware import double
from paper_reproduction.mlp.networks import Array, keys

INPUTS, WIDTH, ROWS = 10, 16, 2000
PRETRAIN_STEPS, PRETRAIN_RATE = 500, 1e-2
RATE = 0.25  # in units of 1/λ_max(JᵀJ/n); 1 would diverge


normal = partial(jax.random.normal, dtype=jnp.float64)


def predict(params: dict[str, Array], X: Array) -> Array:
    """tanh(XW + b) a + c, (n,)."""
    return jnp.tanh(X @ params["w"] + params["b"]) @ params["a"] + params["c"]


def initial(key: Array, inputs: int = INPUTS, width: int = WIDTH) -> dict[str, Array]:
    """Standard deviations 1/√inputs, ½ and 1/√width."""
    one, two, three = jax.random.split(key, 3)
    return {
        "w": normal(one, (inputs, width)) / inputs**0.5,
        "b": 0.5 * normal(two, (width,)),
        "a": normal(three, (width,)) / width**0.5,
        "c": jnp.zeros((), jnp.float64),
    }


# Random numbers are drawn key by key, in functions of their own: these compile in half the time of a vmap.


def pretrained(keys: Array) -> dict[str, Array]:
    """θ*, one for each key: a network trained by Adam on a random network's labels."""
    return _trained(*_teachers_students_and_rows(keys))


@jax.jit
def _teachers_students_and_rows(keys: Array) -> tuple[Any, Any, Array]:
    def drawn(key: Array) -> tuple[Any, Any, Array]:
        teacher, student, rows = jax.random.split(key, 3)
        return initial(teacher), initial(student), normal(rows, (ROWS, INPUTS))

    return jax.lax.map(drawn, keys)


@jax.jit
@jax.vmap
def _trained(teacher: Any, student: Any, X: Array) -> dict[str, Array]:
    y = predict(teacher, X)
    loss = lambda params: jnp.mean((y - predict(params, X)) ** 2)
    return descent.adam(loss, student, PRETRAIN_RATE, PRETRAIN_STEPS)


class Rows(NamedTuple):
    """Inputs, labels, and δ‖θ*‖u, the way to the target, in the network's own parameters."""

    X: Array
    y: Array
    shift: Any


def moved(keys: Array, stars: Any, distance: float, noise: float, rows: int = ROWS) -> Rows:
    """Labels of the networks moved by ``distance`` · ‖θ*‖, with noise of ``noise`` times their mean squared change."""
    parameters = sum(leaf[0].size for leaf in jax.tree.leaves(stars))
    return _labelled(
        stars, *_inputs_ways_and_errors(keys, stars["w"].shape[1], parameters, rows), distance, noise
    )


@partial(jax.jit, static_argnums=(1, 2, 3))
def _inputs_ways_and_errors(
    keys: Array, inputs: int, parameters: int, rows: int
) -> tuple[Array, Array, Array]:
    def drawn(key: Array) -> tuple[Array, Array, Array]:
        one, two, three = jax.random.split(key, 3)
        return normal(one, (rows, inputs)), normal(two, (parameters,)), normal(three, (rows,))

    return jax.lax.map(drawn, keys)


@jax.jit
@partial(jax.vmap, in_axes=(0, 0, 0, 0, None, None))
def _labelled(star: Any, X: Array, u: Array, errors: Array, distance: float, noise: float) -> Rows:
    flat, unflatten = ravel_pytree(star)
    shift = unflatten(distance * jnp.linalg.norm(flat) * u / jnp.linalg.norm(u))
    y = predict(jax.tree.map(jnp.add, star, shift), X)
    variance = noise * jnp.mean((y - predict(star, X)) ** 2)
    return Rows(X, y + jnp.sqrt(variance) * errors, shift)


@partial(jax.jit, static_argnums=5)
@partial(jax.vmap, in_axes=(0, 0, 0, 0, 0, None))
@partial(jax.vmap, in_axes=(None, None, None, 0, 0, None))
def paths(star: Any, X: Array, y: Array, weights: Array, rate: Array, steps: tuple[int, ...]) -> Array:
    """θ_K (len(steps), P) of full-batch gradient descent on the network itself; seeds, then members."""
    flat, unflatten = ravel_pytree(star)
    return descent.path(lambda t: jnp.mean(weights * (y - predict(unflatten(t), X)) ** 2), flat, rate, steps)


class Fleet(NamedTuple):
    """One task for each seed: pre-trained networks, rows, their linearizations, the shift as a vector, FLOW's weights,
    and the learning rate in units of each one's steepest curvature.
    """

    stars: Any
    rows: Rows
    lines: list[lt.Linearization]
    shifts: list[np.ndarray]
    weights: np.ndarray  # (seeds, n)
    rates: np.ndarray  # (seeds,)

    def trained(self, weights: np.ndarray, rates: np.ndarray, steps: tuple[int, ...]) -> np.ndarray:
        """θ_K (seeds, members, len(steps), P) of the networks, from weights (seeds, members, n)."""
        return np.asarray(paths(self.stars, self.rows.X, self.rows.y, weights, rates, steps))


@double
def fleet(settings: Settings, seeds: int, distance: float, noise: float = 0.0) -> Fleet:
    """The tasks of the seeds at one distance and one noise level."""
    stars = pretrained(keys(settings, "pre-training", seeds))
    rows = moved(keys(settings, "rows", seeds), stars, distance, noise, ROWS)
    one = lambda tree, s: jax.tree.map(lambda leaf: np.asarray(leaf[s], dtype=float), tree)
    lines = [lt.linearize(predict, one(stars, s), one(rows.X, s), one(rows.y, s)) for s in range(seeds)]
    shifts = [line.flatten(one(rows.shift, s)) for s, line in enumerate(lines)]
    weights = np.stack([lt.flow_weights(line.losses) for line in lines])
    rates = RATE / np.array([line.spectrum(1).values[0] for line in lines])
    return Fleet(stars, rows, lines, shifts, weights, rates)
