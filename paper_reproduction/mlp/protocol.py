"""What comes before fine-tuning, for any network and any images: pre-train, probe, weigh.

The protocol is the paper's for a task with a head of its own: probe first (the new head on the frozen trunk), weights
from the losses of the probed model, then fine-tune; forgetting is measured with the old head put back. Where both
tasks share the head nothing is probed.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np

import linear_theory as lt
from paper_reproduction.claim import Settings
from paper_reproduction.mlp.digits import Parts
from paper_reproduction.mlp.networks import Array, Network, accuracy, blank_head, keys
from paper_reproduction.mlp.training import (
    Loop,
    Member,
    all_of,
    batches,
    cross_entropy,
    head_alone,
    marks,
    train,
    trunk_of,
    whole,
)

PLACES = ("pretrain", "target", "pretrain validation", "target validation")
MEMORISED = "wrong labels"
"""Where accuracy is measured; the last is the share of the wrong training labels that are reproduced."""


class Net(Protocol):
    """A trunk and a linear head."""

    def initial(self, key: Array) -> Network:
        """Its parameters before all training, float32."""
        ...

    def features(self, trunk: Any, images: Array) -> Array:
        """(n, …) → (n, features)."""
        ...

    def read(self, network: Network, features: Array) -> Array:
        """(n, features) → (n, outputs), by the head."""
        ...

    def logits(self, network: Network, images: Array) -> Array:
        """(n, …) → (n, outputs): the features, read."""
        ...


@dataclass(frozen=True, eq=False)
class Recipe:
    """How networks are trained in one experiment. Hashable by identity."""

    net: Net
    batch: int
    epochs: int
    rates: np.ndarray  # wide enough that no method's best sits on an edge: checked
    equal: float  # the one at which methods are compared at equal rate
    pretrain_rate: float
    pretrain_epochs: int
    probe_rate: float = 0.0
    probe_epochs: int = 0
    momentum: float = 0.0  # of fine-tuning
    pretrain_momentum: float = 0.0  # of pre-training and of the probe
    one_by_one: bool = False
    points: int = 16  # of each curve along training

    def fine_tuning(self, build: Any = whole, shared: bool = False, measure: Any = None) -> Loop:
        """The loop of fine-tuning; measured on the way are accuracies, unless something else is asked for."""
        pulled = all_of if shared else trunk_of
        return Loop(
            self.net.logits, build, measure or scoring(self.net), pulled, self.momentum, self._one_by_one
        )

    @property
    def _one_by_one(self) -> bool:
        """A GPU is idle unless much is done side by side."""
        return self.one_by_one and jax.default_backend() == "cpu"

    def pretraining(self) -> Loop:
        """The loop of pre-training: nothing is measured on the way."""
        return Loop(
            self.net.logits, whole, nothing, momentum=self.pretrain_momentum, one_by_one=self._one_by_one
        )

    def probing(self) -> Loop:
        """The loop of the probe and of the last step, on features: nothing is measured on the way."""
        return Loop(self.net.read, head_alone, nothing, momentum=self.pretrain_momentum)

    def reading(self) -> Loop:
        """The loop of fine-tuning for the head alone, on features; measured as in :meth:`fine_tuning`."""
        return Loop(self.net.read, head_alone, scoring(self.net), momentum=self.momentum)


def nothing(network: Network, extra: Any) -> Array:
    """No measurement on the way."""
    return jnp.zeros((), jnp.float32)


@functools.cache
def scoring(net: Net) -> Any:
    """(network, (old head or None, five parts)) → accuracy at each of :data:`PLACES` and :data:`MEMORISED`.

    Test rows are judged by their true labels, validation rows by those they were given.
    """

    def scored(network: Network, extra: Any) -> Array:
        head, (old, new, old_validation, new_validation, rows) = extra
        before = network if head is None else Network(network.trunk, head)
        of = lambda which, part, labels: accuracy(net.logits(which, part.images), labels)
        fit = jnp.argmax(net.logits(network, rows.images), axis=-1).astype(rows.labels.dtype) == rows.labels
        wrong = rows.labels != rows.truth
        share = jnp.sum(fit & wrong).astype(jnp.float32) / jnp.maximum(jnp.sum(wrong), 1).astype(jnp.float32)
        learned = of(network, new, new.truth)
        return jnp.stack([
            of(before, old, old.truth),
            learned,
            of(before, old_validation, old_validation.labels),
            of(network, new_validation, new_validation.labels),
            jnp.where(jnp.isfinite(learned), share, jnp.nan),
        ])  # fmt: skip

    return scored


@dataclass(frozen=True)
class Ready:
    """Everything before fine-tuning, seeds first: splits, the pre-trained and the probed network, the weights."""

    recipe: Recipe
    old: Parts
    new: Parts
    pretrained: Network
    probed: Network
    losses: np.ndarray
    weights: np.ndarray
    orders: np.ndarray
    key: Array
    shared: bool = False

    @property
    def rows(self) -> tuple[Array, Array]:
        """What is trained on."""
        return self.new["train"].images, self.new["train"].labels

    @property
    def seeds(self) -> int:
        """How many."""
        return len(self.weights)

    @property
    def marks(self) -> tuple[int, ...]:
        """After how many steps of fine-tuning it is measured."""
        return marks(self.orders.shape[1], self.recipe.points)

    @property
    def judged(self) -> Any:
        """The old head (None where it is shared) and the parts that :func:`scoring` wants, seeds first."""
        parts = (
            self.old["test"],
            self.new["test"],
            self.old["validation"],
            self.new["validation"],
            self.new["train"],
        )
        return None if self.shared else self.pretrained.head, parts

    def scores(self, networks: Network) -> np.ndarray:
        """(seeds, members, places) of networks (seeds, members, …)."""
        return np.asarray(_scores(self.recipe.net, networks, self.judged))


@functools.partial(jax.jit, static_argnums=0)
def _scores(net: Net, networks: Network, judged: Any) -> Array:
    # Seeds one after another: side by side the features of all networks at once would have to be held.
    return jax.lax.map(lambda one: jax.vmap(scoring(net), in_axes=(0, None))(*one), (networks, judged))


def members(weights: np.ndarray, grid: np.ndarray, pull: float = 0.0) -> Member:
    """One member a rate for each seed, from weights (seeds, n)."""
    shape = (len(weights), len(grid))
    fill = lambda value: jnp.broadcast_to(jnp.asarray(value, jnp.float32), shape)
    wide = jnp.broadcast_to(jnp.asarray(weights, jnp.float32)[:, None], (*shape, weights.shape[1]))
    return Member(wide, fill(grid), fill(pull))


def only(tree: Any) -> Any:
    """The single member of each seed."""
    return jax.tree.map(lambda leaf: leaf[:, 0], tree)


def orders(settings: Settings, name: str, seeds: int, rows: int, recipe: Recipe, epochs: int) -> np.ndarray:
    """(seeds, steps, batch): the batches of each seed; a seed's are the same however many seeds there are."""
    return np.stack([batches(settings.rng(f"{name} {s}"), rows, recipe.batch, epochs) for s in range(seeds)])


def pretrained(settings: Settings, recipe: Recipe, old: Parts) -> Network:
    """A network trained on the old task, for each seed."""
    images, labels = old["train"].images, old["train"].labels
    seeds, rows = labels.shape
    fresh = jax.vmap(recipe.net.initial)(keys(settings, "init", seeds))
    ones = members(np.ones((seeds, rows)), np.array([recipe.pretrain_rate]))
    order = orders(settings, "pre-training", seeds, rows, recipe, recipe.pretrain_epochs)
    return _ended(recipe.pretraining(), fresh, fresh, (images, labels), order, ones)


def prepare(settings: Settings, recipe: Recipe, old: Parts, new: Parts, shared: bool = False) -> Ready:
    """Pre-train, probe, weigh; the splits of the seeds come stacked, seeds first."""
    star = pretrained(settings, recipe, old)
    rows = (new["train"].images, new["train"].labels)
    count = rows[1].shape[1]
    probed = star
    if not shared:
        probing = orders(settings, "probe", len(rows[1]), count, recipe, recipe.probe_epochs)
        probed = probe(recipe, jax.vmap(blank_head)(star), rows, probing)
    losses = np.asarray(sample_losses(recipe.net, probed, *rows), dtype=float)
    weights = np.stack([lt.flow_weights(one) for one in losses])
    key = jax.random.key(int(settings.rng("LoRA").integers(2**31)))
    order = orders(settings, "fine-tuning", len(losses), count, recipe, recipe.epochs)
    return Ready(recipe, old, new, star, probed, losses, weights, order, key, shared)


def probe(recipe: Recipe, networks: Network, rows: tuple[Array, Array], order: np.ndarray) -> Network:
    """The head of each network (seeds, …) trained on, alone and on the unweighted loss, on its frozen trunk."""
    images, labels = rows
    ones = members(np.ones(labels.shape), np.array([recipe.probe_rate]))
    seen = features(recipe.net, networks.trunk, images)
    return _ended(recipe.probing(), networks.head, networks, (seen, labels), order, ones)


def _ended(
    loop: Loop, trainable: Any, start: Network, rows: Any, order: np.ndarray, chosen: Member
) -> Network:
    """The networks of the single member of each seed after the last step, nothing being measured on the way."""
    return only(train(loop, trainable, start, rows, order, np.array([order.shape[1]]), None, chosen)[0])


@functools.partial(jax.jit, static_argnums=0)
def features(net: Net, trunks: Any, images: Array) -> Array:
    """(seeds, n, features): what a frozen trunk makes of its rows, once and not at every step."""
    return jax.lax.map(lambda one: net.features(*one), (trunks, images))


@functools.partial(jax.jit, static_argnums=0)
@functools.partial(jax.vmap, in_axes=(None, 0, 0, 0))
def sample_losses(net: Net, network: Network, images: Array, labels: Array) -> Array:
    """Cross-entropy of each row, (seeds, n)."""
    return cross_entropy(net.logits(network, images), labels)
