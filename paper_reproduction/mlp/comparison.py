"""Every fine-tuning method on one task of digits: same seeds, same batches, a grid of learning rates.

The protocol is the paper's for a task with a head of its own: probe first (the new head on the frozen trunk), weights
from the losses of the probed model, then fine-tune; forgetting is measured with the old head put back.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

import linear_theory as lt
from paper_reproduction.claim import Settings
from paper_reproduction.mlp import digits
from paper_reproduction.mlp.networks import Architecture, Array, Network, accuracy, blank_head, mixed
from paper_reproduction.mlp.training import (
    Loop,
    Member,
    adapted,
    adapter,
    all_of,
    batches,
    cross_entropy,
    train,
    whole,
)

NET = Architecture(inputs=64, width=64, depth=2, outputs=digits.CLASSES)
BATCH, EPOCHS = 50, 30
PRETRAIN_RATE, PROBE_RATE, PROBE_EPOCHS = 0.5, 0.15, 60
RATES = 10.0 ** (np.arange(-9, 5) / 3)  # wide enough that no method's best sits on an edge: checked
EQUAL = 0.1  # the rate at which methods are compared at equal rate, in the middle
RANK, SHARE = 4, 0.5  # of LoRA; of the pre-trained weights in WiSE-FT, as in the paper
PULLS = (0.01, 0.1)
SHARES = np.linspace(0.0, 1.0, 11)
DECILES = 10

# The last three are not the paper's. Standard fine-tuning's loss times the mean weight takes steps as long, on
# average, as FLOW's; FLOW's weights over their mean take steps as long as those of standard fine-tuning.
METHODS = {
    "standard": "standard",
    "flow": "FLOW",
    "l2": f"ℓ2 to θ*, λ = {PULLS[0]:g}",
    "l2-strong": f"ℓ2 to θ*, λ = {PULLS[1]:g}",
    "wise": "WiSE-FT",
    "flow-wise": "FLOW + WiSE",
    "lora": f"LoRA, rank {RANK}",
    "probe": "linear probe",
    "standard-same-mean-step": "standard, same mean step",
    "flow-same-mean-step": "FLOW, same mean step",
    "permuted": "FLOW, weights shuffled",
}
PLACES = ("pretrain", "target", "pretrain validation", "target validation")


TURNED = partial(digits.rotated, degrees=45.0)


def rates(settings: Settings) -> np.ndarray:
    """The grid of learning rates; every other one in a quick run."""
    return RATES[::2] if settings.quick else RATES


@dataclass(frozen=True)
class Task:
    """Pre-train on 0-4, fine-tune on 5-9 with a head of their own after ``change``, a share ``noise`` of labels wrong.

    ``shared``: fine-tune on 0-4 instead, with the same head and no probe.
    """

    noise: float = 0.0
    shared: bool = False
    change: Callable[[np.ndarray], np.ndarray] = TURNED


@dataclass(frozen=True)
class Ready:
    """Everything before fine-tuning, seeds first: splits, the pre-trained and the probed network, the weights."""

    old: digits.Parts
    new: digits.Parts
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


def nothing(network: Network, extra: Any) -> Array:
    """No measurement on the way."""
    return jnp.zeros(())


FULL = Loop(NET.logits, whole, nothing)
LOW_RANK = Loop(NET.logits, adapted, nothing)


def members(weights: np.ndarray, grid: np.ndarray, pull: float = 0.0, trunk: float = 1.0) -> Member:
    """One member a rate for each seed, from weights (seeds, n)."""
    shape = (len(weights), len(grid))
    fill = lambda value: jnp.broadcast_to(jnp.asarray(value, jnp.float32), shape)
    wide = jnp.broadcast_to(jnp.asarray(weights, jnp.float32)[:, None], (*shape, weights.shape[1]))
    return Member(wide, fill(grid), fill(pull), fill(trunk))


def only(tree: Any) -> Any:
    """The single member of each seed."""
    return jax.tree.map(lambda leaf: leaf[:, 0], tree)


def orders(settings: Settings, name: str, seeds: int, epochs: int) -> np.ndarray:
    """The batches of each seed; a seed's are the same however many seeds there are."""
    return np.stack(
        [batches(settings.rng(f"{name} {s}"), digits.SIZES["train"], BATCH, epochs) for s in range(seeds)]
    )


def pretrained(settings: Settings, seeds: int) -> tuple[digits.Parts, Network]:
    """The old task's splits and a network trained on it, for each seed."""
    old = digits.stacked([digits.split(range(5), settings.rng(f"old {s}")) for s in range(seeds)])
    keys = jnp.stack([jax.random.key(int(settings.rng(f"init {s}").integers(2**31))) for s in range(seeds)])
    fresh = jax.vmap(NET.initial)(keys)
    rows = (old["train"].images, old["train"].labels)
    ones = members(np.ones((seeds, digits.SIZES["train"])), np.array([PRETRAIN_RATE]))
    order = orders(settings, "pre-training", seeds, EPOCHS)
    return old, only(train(FULL, fresh, fresh, rows, order, None, ones)[0])


def prepare(settings: Settings, task: Task, seeds: int) -> Ready:
    """Pre-train, probe, weigh."""
    old, star = pretrained(settings, seeds)
    # The same images of the same split where the digits are the same: no test image was ever trained on.
    kinds, name = (range(5), "old") if task.shared else (range(5, 10), "new")
    splits = [digits.split(kinds, settings.rng(f"{name} {s}"), task.noise, task.change) for s in range(seeds)]
    new = digits.stacked(splits)
    rows = (new["train"].images, new["train"].labels)
    probed = star if task.shared else _probe(settings, star, rows, seeds)
    losses = np.asarray(sample_losses(probed, *rows), dtype=float)
    weights = np.stack([lt.flow_weights(one) for one in losses])
    key = jax.random.key(int(settings.rng("LoRA").integers(2**31)))
    return Ready(
        old,
        new,
        star,
        probed,
        losses,
        weights,
        orders(settings, "fine-tuning", seeds, EPOCHS),
        key,
        task.shared,
    )


def _probe(settings: Settings, star: Network, rows: tuple[Array, Array], seeds: int) -> Network:
    """The new head, from zero, on the frozen trunk."""
    blank = jax.vmap(blank_head)(star)
    probing = members(np.ones((seeds, digits.SIZES["train"])), np.array([PROBE_RATE]), trunk=0.0)
    order = orders(settings, "probe", seeds, PROBE_EPOCHS)
    return only(train(FULL, blank, blank, rows, order, None, probing)[0])


@jax.jit
@jax.vmap
def sample_losses(network: Network, images: Array, labels: Array) -> Array:
    """Cross-entropy of each row, (seeds, n)."""
    return cross_entropy(NET.logits(network, images), labels)


def tune(settings: Settings, ready: Ready, name: str, grid: np.ndarray) -> Network:
    """The networks of one method, (seeds, rates, …)."""
    loop = FULL._replace(pulled=all_of) if ready.shared else FULL
    w, ones, mean = ready.weights, np.ones_like(ready.weights), ready.weights.mean(axis=1, keepdims=True)
    if name == "lora":
        keys = jnp.stack([jax.random.fold_in(ready.key, s) for s in range(len(w))])
        start = jax.vmap(lambda network, key: adapter(network, RANK, key))(ready.probed, keys)
        return train(LOW_RANK, start, ready.probed, ready.rows, ready.orders, None, members(ones, grid))[0]
    shuffled = lambda: np.stack([settings.rng(f"shuffle {s}").permutation(one) for s, one in enumerate(w)])
    chosen = {
        "standard": lambda: members(ones, grid),
        "flow": lambda: members(w, grid),
        "l2": lambda: members(ones, grid, pull=PULLS[0]),
        "l2-strong": lambda: members(ones, grid, pull=PULLS[1]),
        "probe": lambda: members(ones, grid, trunk=0.0),
        "standard-same-mean-step": lambda: members(ones * mean, grid),
        "flow-same-mean-step": lambda: members(w / mean, grid),
        "permuted": lambda: members(shuffled(), grid),
    }[name]()
    return train(loop, ready.probed, ready.probed, ready.rows, ready.orders, None, chosen)[0]


def averaged(ready: Ready, networks: Network, share: float = SHARE) -> Network:
    """WiSE-FT: parameters between the probed network and each of these."""
    of_seed = lambda one, many: jax.vmap(lambda network: mixed(one, network, float(share)))(many)
    return jax.vmap(of_seed)(ready.probed, networks)


@jax.jit
def scores(networks: Network, ready_parts: Any) -> Array:
    """(seeds, members, places): accuracy on the old task with the old head, and on the new one."""

    def one(network: Network, head: Any, sets: Any) -> Array:
        old = network if head is None else Network(network.trunk, head)
        nets = (old, network, old, network)
        return jnp.stack(
            [accuracy(NET.logits(n, part.images), part.truth if k < 2 else part.labels)
             for k, (n, part) in enumerate(zip(nets, sets, strict=True))]
        )  # fmt: skip

    head, sets = ready_parts
    return jax.vmap(jax.vmap(one, in_axes=(0, None, None)))(networks, head, sets)


def parts(ready: Ready) -> Any:
    """The old head (None where it is shared) and the four sets of :data:`PLACES`."""
    sets = (ready.old["test"], ready.new["test"], ready.old["validation"], ready.new["validation"])
    return None if ready.shared else ready.pretrained.head, sets


@jax.jit
def right(networks: Network, images: Array, truth: Array) -> Array:
    """(seeds, members, rows): 1 where the new task's image is classified right; NaN as in ``accuracy``."""

    def one(network: Network, x: Array, y: Array) -> Array:
        logits = NET.logits(network, x)
        hits = (jnp.argmax(logits, axis=-1) == y.astype(int)).astype(jnp.float32)
        return jnp.where(jnp.isfinite(logits).all(), hits, jnp.nan)

    return jax.vmap(jax.vmap(one, in_axes=(0, None, None)))(networks, images, truth)


def compare(settings: Settings, task: Task, seeds: int) -> xr.Dataset:
    """Accuracy (run, rate, seed, place), by decile of the probed model's loss, along WiSE's α, and the weights."""
    ready = prepare(settings, task, seeds)
    test, sets = ready.new["test"], parts(ready)
    grid = rates(settings)
    tuned = {name: tune(settings, ready, name, grid) for name in METHODS if "wise" not in name}
    nets = {name: averaged(ready, tuned["standard" if name == "wise" else "flow"]) if "wise" in name
            else tuned[name] for name in METHODS}  # fmt: skip
    table = np.stack([np.swapaxes(np.asarray(scores(net, sets)), 0, 1) for net in nets.values()])
    hits = np.stack(
        [np.swapaxes(np.asarray(right(net, test.images, test.truth)), 0, 1) for net in nets.values()]
    )
    hardness = np.asarray(sample_losses(ready.probed, test.images, test.truth))
    rank = np.argsort(np.argsort(hardness, axis=1), axis=1) * DECILES // hardness.shape[1]
    paths = [[np.asarray(scores(averaged(ready, tuned[name], share), sets))[..., :2] for share in SHARES]
             for name in ("standard", "flow")]  # fmt: skip
    lone = lambda network: np.asarray(scores(jax.tree.map(lambda leaf: leaf[:, None], network), sets))[:, 0]
    d = xr.Dataset(
        {
            "accuracy": (("run", "rate", "seed", "place"), table),
            "by_decile": (("run", "rate", "seed", "decile"), _by_decile(hits, rank)),
            "wise_path": (("source", "share", "seed", "rate", "task"), np.array(paths)),
            "before": (("seed", "place"), lone(ready.probed), {"long_name": "the probed model"}),
            "test_loss": (("seed", "decile"), _by_decile(hardness, rank)),
        },
        {
            "run": list(METHODS),
            "label": ("run", list(METHODS.values())),
            "rate": grid,
            "place": list(PLACES),
            "task": list(PLACES[:2]),
            "source": ["standard", "flow"],
            "share": SHARES,
            "decile": np.arange(1, DECILES + 1),
        },
    )
    return d.merge(weight_facts(ready.losses, ready.weights))


def _by_decile(values: np.ndarray, rank: np.ndarray) -> np.ndarray:
    """The means of (…, seed, row) over the rows of each rank (seed, row): (…, seed, decile)."""
    chosen = [rank == k for k in range(DECILES)]
    return np.stack([(values * one).sum(axis=-1) / one.sum(axis=-1) for one in chosen], axis=-1)


def weight_facts(losses: np.ndarray, weights: np.ndarray) -> xr.Dataset:
    """What every run records of its weights: τ, mean, effective sample share, share of next to none; (seed,)."""
    effective = np.array([lt.effective_sample_size(one) for one in weights]) / weights.shape[1]
    return xr.Dataset(
        {
            "temperature": ("seed", np.median(losses, axis=1), {"long_name": "τ, the median loss"}),
            "mean_weight": ("seed", weights.mean(axis=1)),
            "effective": ("seed", effective, {"long_name": "effective sample size over n"}),
            "idle": ("seed", (weights < 0.01).mean(axis=1), {"long_name": "share of weights below 0.01"}),
        }
    )
