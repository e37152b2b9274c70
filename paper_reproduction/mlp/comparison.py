"""Every fine-tuning method on one task: accuracy along training, at its end, by tenth, along WiSE's average."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

import linear_theory as lt
from paper_reproduction.claim import Settings
from paper_reproduction.mlp import choice, digits
from paper_reproduction.mlp.equal_learning import at_each_level
from paper_reproduction.mlp.methods import (
    AVERAGED,
    COMPARED,
    FLOW,
    LAST_STEP,
    METHODS,
    SHARES,
    averaged,
    label_of,
    last_step,
    path,
    trained,
    tune,
)
from paper_reproduction.mlp.networks import Architecture, Array, Network
from paper_reproduction.mlp.protocol import MEMORISED, PLACES, Net, Ready, Recipe, prepare, sample_losses

DECILES = 10
NET = Architecture(inputs=64, width=64, depth=2, outputs=digits.CLASSES)
RECIPE = Recipe(
    net=NET,
    batch=50,
    epochs=30,
    rates=10.0 ** (np.arange(-9, 5) / 3),
    equal=0.1,
    pretrain_rate=0.5,
    pretrain_epochs=30,
    probe_rate=0.15,
    probe_epochs=60,
)
TURNED = partial(digits.rotated, degrees=45.0)


def rates(settings: Settings, recipe: Recipe = RECIPE) -> np.ndarray:
    """The grid of learning rates; every other one in a quick run."""
    return recipe.rates[::2] if settings.quick else recipe.rates


@dataclass(frozen=True)
class Task:
    """Pre-train on 0-4, fine-tune on 5-9 with a head of their own after ``change``, a share ``noise`` of labels wrong.

    ``shared``: fine-tune with the same head and no probe; ``again``: on 0-4, the very digits of pre-training.
    """

    noise: float = 0.0
    shared: bool = False
    again: bool = False
    change: Callable[[np.ndarray], np.ndarray] = TURNED

    def splits(self, settings: Settings, seeds: int) -> tuple[digits.Parts, digits.Parts]:
        """Of the old and the new task, seeds first."""
        old = [digits.split(range(5), settings.rng(f"old {s}")) for s in range(seeds)]
        # The same images of the same split where the digits are the same: no test image was ever trained on.
        kinds, name = (range(5), "old") if self.again else (range(5, 10), "new")
        new = [
            digits.split(kinds, settings.rng(f"{name} {s}"), self.noise, self.change) for s in range(seeds)
        ]
        return digits.stacked(old), digits.stacked(new)

    def ready(self, settings: Settings, seeds: int, recipe: Recipe = RECIPE) -> Ready:
        """Everything before fine-tuning."""
        return prepare(settings, recipe, *self.splits(settings, seeds), self.shared)


@partial(jax.jit, static_argnums=0)
def right(net: Net, networks: Network, images: Array, truth: Array) -> Array:
    """(seeds, members, rows): 1 where the new task's image is classified right; NaN as in ``accuracy``."""

    def one(network: Network, x: Array, y: Array) -> Array:
        logits = net.logits(network, x)
        hits = (jnp.argmax(logits, axis=-1) == y.astype(int)).astype(jnp.float32)
        return jnp.where(jnp.isfinite(logits).all(), hits, jnp.nan)

    of_seed = lambda many: jax.vmap(one, in_axes=(0, None, None))(*many)
    return jax.lax.map(of_seed, (networks, images, truth))


def compare(
    settings: Settings, ready: Ready, runs: Sequence[str] = tuple(METHODS), overlap: float | None = None
) -> xr.Dataset:
    """Accuracy at the end (run, rate, seed, place), along training (trained, …, mark, …) and along WiSE's α.

    By tenth of the probed model's loss, too, and what the weights are. The dataset's ``overlap`` is what seeds share
    (:func:`figures.mlp.seeds.error`): n_test/n_train where they split one data set again, 0 where they share nothing.
    Beside it stands what each run keeps of the old task at equal learning.
    """
    test, grid, net = ready.new["test"], rates(settings, ready.recipe), ready.recipe.net
    needed = dict.fromkeys([*(AVERAGED[run][0] for run in runs if run in AVERAGED), *runs])
    if LAST_STEP in runs:
        needed[FLOW] = None
    tuned = {run: tune(settings, ready, trained(run), grid) for run in needed if trained(run)}

    def networks(run: str) -> Network:
        if run in AVERAGED:
            return averaged(ready, tuned[AVERAGED[run][0]][0])
        return last_step(settings, ready, tuned[FLOW][0]) if run == LAST_STEP else tuned[run][0]

    hardness = np.asarray(sample_losses(net, ready.probed, test.images, test.truth))
    rank = np.argsort(np.argsort(hardness, axis=1), axis=1) * DECILES // hardness.shape[1]
    ends, tenths = [], []
    for run in runs:
        ended = networks(run)
        ends.append(np.swapaxes(ready.scores(ended), 0, 1))
        hits = np.swapaxes(np.asarray(right(net, ended, test.images, test.truth)), 0, 1)
        tenths.append(_by_decile(hits, rank))
    curves = [run for run in runs if trained(run)]
    sources = list(dict.fromkeys(AVERAGED[run][0] for run in runs if run in AVERAGED))
    places = [*PLACES, MEMORISED]
    lone = jax.tree.map(lambda leaf: leaf[:, None], ready.probed)
    shared_rows = len(test.truth[0]) / len(ready.rows[1][0]) if overlap is None else overlap
    d = xr.Dataset(
        {
            "accuracy": (("run", "rate", "seed", "place"), np.stack(ends)),
            "by_decile": (("run", "rate", "seed", "decile"), np.stack(tenths)),
            "curve": (
                ("trained", "rate", "seed", "mark", "place"),
                np.stack([np.swapaxes(tuned[run][1], 0, 1) for run in curves]),
            ),
            "before": (("seed", "place"), ready.scores(lone)[:, 0], {"long_name": "the probed model"}),
            "test_loss": (("seed", "decile"), _by_decile(hardness, rank)),
        },
        {
            "run": list(runs),
            "label": ("run", [label_of(run) for run in runs]),
            "trained": curves,
            "rate": grid,
            "mark": list(ready.marks),
            "place": places,
            "decile": np.arange(1, DECILES + 1),
            "overlap": shared_rows,
            "equal_rate": ready.recipe.equal,
        },
    )
    if sources:
        paths = np.stack([path(ready, tuned[source][0]) for source in sources])
        averages = {"wise_path": (("source", "share", "seed", "rate", "place"), paths)}
        d = d.assign(averages).assign_coords(source=sources, share=SHARES)
    d = d.assign(weight_facts(ready.losses, ready.weights).data_vars)
    d = d.assign(best=choice.own_best(d), best_of_both=choice.own_best(d, choice.BOTH))
    return d.assign(at_each_level(d, [run for run in COMPARED if run in runs]).data_vars)


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
