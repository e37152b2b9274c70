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


def head_alone(trainable: Any, start: Network) -> Network:
    """The trunk stays as it is."""
    return Network(start.trunk, trainable)


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

    logits: Callable[
        [Network, Array], Array
    ]  # from the rows that are trained on: images, or features of a frozen trunk
    build: Callable[[Any, Network], Network]
    measure: Callable[[Network, Any], Any]  # (network, what one seed brings along) → arrays
    pulled: Callable[[Network], Any] = trunk_of  # what λ‖· − ·*‖² pulls to the start
    momentum: float = 0.0
    one_by_one: bool = False  # members one after another: faster than side by side where the network is large


def batches(rng: np.random.Generator, rows: int, size: int, epochs: int) -> np.ndarray:
    """(steps, size) row numbers: each epoch a new order, its incomplete last batch left out."""
    steps = rows // size
    return np.concatenate([rng.permutation(rows)[: steps * size].reshape(steps, size) for _ in range(epochs)])


def marks(steps: int, points: int) -> tuple[int, ...]:
    """0, 1, …, ``steps``: after how many steps it is measured, about evenly apart in logarithm."""
    return (0, *np.unique(np.geomspace(1, steps, points).round().astype(int)).tolist())


def run(
    loop: Loop,
    trainable: Any,
    start: Network,
    rows: tuple[Array, Array],
    order: Array,
    seen: Array,
    extra: Any,
    member: Member,
) -> tuple[Network, Any]:
    """The network of one member after ``seen[-1]`` steps, and what was measured after each of ``seen``, ascending.

    Step k is a gradient step on the rows ``order[k]``.
    """
    images, labels = rows
    optimiser = optax.sgd(member.rate, loop.momentum or None)

    def loss(parameters: Any, place: Array) -> Array:
        network = loop.build(parameters, start)
        losses = cross_entropy(loop.logits(network, images[place]), labels[place])
        gaps = jax.tree.map(lambda a, b: jnp.sum((a - b) ** 2), loop.pulled(network), loop.pulled(start))
        return jnp.mean(member.weights[place] * losses) + member.pull * sum(jax.tree.leaves(gaps))

    def step(k: Array, carry: Any) -> Any:
        parameters, state = carry
        updates, state = optimiser.update(jax.grad(loss)(parameters, order[k]), state)
        return optax.apply_updates(parameters, updates), state

    def onward(carry: Any, ends: tuple[Array, Array]) -> tuple[Any, Any]:
        carry = jax.lax.fori_loop(*ends, step, carry)
        return carry, loop.measure(loop.build(carry[0], start), extra)

    begin = (trainable, optimiser.init(trainable))
    (trained, _), curve = jax.lax.scan(
        onward, begin, (jnp.concatenate([jnp.zeros_like(seen[:1]), seen[:-1]]), seen)
    )
    return loop.build(trained, start), curve


@partial(jax.jit, static_argnums=0)
def train(
    loop: Loop,
    trainable: Any,
    start: Network,
    rows: tuple[Array, Array],
    order: Array,
    seen: Array,
    extra: Any,
    members: Member,
) -> tuple[Network, Any]:
    """Every member of every seed: arguments but ``seen`` have seeds on their first axis, members on the second."""

    def of_seed(of_one: Any) -> tuple[Network, Any]:
        trainable, start, rows, order, extra, members = of_one
        alone = lambda member: run(loop, trainable, start, rows, order, seen, extra, member)
        return jax.lax.map(alone, members) if loop.one_by_one else jax.vmap(alone)(members)

    all_of_them = (trainable, start, rows, order, extra, members)
    return jax.lax.map(of_seed, all_of_them) if loop.one_by_one else jax.vmap(of_seed)(all_of_them)
