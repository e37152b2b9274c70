"""One loop for every method: minibatch gradient descent on weighted losses, many seeds and settings at once."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from paper_reproduction.mlp.networks import Array, Network


class Member(NamedTuple):
    """What distinguishes one run from its neighbours under ``vmap``."""

    weights: Array  # (n,), one for each training row; the loss is a mean over n, not over the weights
    rate: Array  # learning rate
    pull: Array  # λ of λ‖trunk − trunk*‖², with the head where tasks share it
    trunk: Array  # 1 where the trunk is trained, 0 where the head alone


class Adapter(NamedTuple):
    """LoRA: for each matrix of the trunk a product of two thin ones that is added to it; and a head."""

    factors: list[tuple[Array, Array]]
    head: Any


def cross_entropy(logits: Array, labels: Array) -> Array:
    """One loss a row."""
    return optax.softmax_cross_entropy_with_integer_labels(logits, labels)


def whole(trainable: Network, start: Network) -> Network:
    """All parameters are trained as they are."""
    return trainable


def adapted(trainable: Adapter, start: Network) -> Network:
    """The frozen trunk plus the products of the adapter."""
    leaves, structure = jax.tree.flatten(start.trunk)
    factors = iter(trainable.factors)
    moved = []
    for leaf in leaves:
        if leaf.ndim == 2:
            left, right = next(factors)
            moved.append(leaf + left @ right)
        else:
            moved.append(leaf)
    return Network(jax.tree.unflatten(structure, moved), trainable.head)


def adapter(network: Network, rank: int, key: Array) -> Adapter:
    """LoRA's start: one factor Gaussian, the other zero, so that nothing has moved yet."""
    factors = []
    for place, leaf in enumerate(jax.tree.leaves(network.trunk)):
        if leaf.ndim == 2:
            right = jax.random.normal(jax.random.fold_in(key, place), (rank, leaf.shape[1]), leaf.dtype)
            factors.append((jnp.zeros((leaf.shape[0], rank), leaf.dtype), right / leaf.shape[1] ** 0.5))
    return Adapter(factors, network.head)


def trunk_of(network: Network) -> Any:
    """The trunk, where each task has a head of its own."""
    return network.trunk


def all_of(network: Network) -> Any:
    """Trunk and head, where both tasks share it."""
    return network


class Loop(NamedTuple):
    """What is the same for every member: the network, how it is parametrised, what is measured on the way."""

    logits: Callable[[Network, Array], Array]
    build: Callable[[Any, Network], Network]
    measure: Callable[[Network, Any], Any]  # (network, what one seed brings along) → arrays
    pulled: Callable[[Network], Any] = trunk_of  # what λ‖· − ·*‖² pulls to the start


def batches(rng: np.random.Generator, rows: int, size: int, epochs: int) -> np.ndarray:
    """(epochs, steps, size) row numbers: each epoch a new order, the incomplete last batch left out."""
    steps = rows // size
    return np.stack([rng.permutation(rows)[: steps * size].reshape(steps, size) for _ in range(epochs)])


def run(
    loop: Loop,
    trainable: Any,
    start: Network,
    rows: tuple[Array, Array],
    order: Array,
    extra: Any,
    member: Member,
) -> tuple[Network, Any]:
    """The trained network of one member, and what was measured before the first and after every epoch."""
    images, labels = rows
    optimiser = optax.sgd(member.rate)

    def loss(parameters: Any, place: Array) -> Array:
        network = loop.build(parameters, start)
        losses = cross_entropy(loop.logits(network, images[place]), labels[place])
        gaps = jax.tree.map(lambda a, b: jnp.sum((a - b) ** 2), loop.pulled(network), loop.pulled(start))
        return jnp.mean(member.weights[place] * losses) + member.pull * sum(jax.tree.leaves(gaps))

    def held(gradient: Any) -> Any:
        if isinstance(gradient, Adapter):
            return gradient
        return Network(jax.tree.map(lambda g: member.trunk * g, gradient.trunk), gradient.head)

    def step(carry: Any, place: Array) -> tuple[Any, None]:
        parameters, state = carry
        updates, state = optimiser.update(held(jax.grad(loss)(parameters, place)), state)
        return (optax.apply_updates(parameters, updates), state), None

    def epoch(carry: Any, places: Array) -> tuple[Any, Any]:
        carry, _ = jax.lax.scan(step, carry, places)
        return carry, loop.measure(loop.build(carry[0], start), extra)

    first = loop.measure(loop.build(trainable, start), extra)
    (trained, _), later = jax.lax.scan(epoch, (trainable, optimiser.init(trainable)), order)
    curve = jax.tree.map(lambda a, b: jnp.concatenate([a[None], b]), first, later)
    return loop.build(trained, start), curve


@partial(jax.jit, static_argnums=0)
def train(
    loop: Loop,
    trainable: Any,
    start: Network,
    rows: tuple[Array, Array],
    order: Array,
    extra: Any,
    members: Member,
) -> tuple[Network, Any]:
    """Every member of every seed: each argument has the seeds on its first axis, members on their second."""
    of_seed = jax.vmap(partial(run, loop), in_axes=(None, None, None, None, None, 0))
    return jax.vmap(of_seed)(trainable, start, rows, order, extra, members)
