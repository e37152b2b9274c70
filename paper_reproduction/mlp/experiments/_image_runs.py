"""What both image experiments share: the splits, the recipe, temperatures at one rate, and what is kept, in words."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xarray as xr

from paper_reproduction.claim import Settings
from paper_reproduction.mlp import digits, images
from paper_reproduction.mlp.convolution import ResidualNetwork
from paper_reproduction.mlp.equal_learning import kept, most, reached
from paper_reproduction.mlp.methods import (
    COMPARED,
    CONTROLS,
    FLOW,
    SAME,
    SHUFFLED,
    STANDARD,
    TEMPERATURES,
    label_of,
    tune,
)
from paper_reproduction.mlp.protocol import MEMORISED, PLACES, Ready, Recipe
from paper_reproduction.mlp.statistics import percent, survivors

BOTH_ARMS = (*COMPARED, "l2", "flow-l2", "lora", "flow-lora", "wise", "flow-wise")
LEVEL = 0.8  # of what can be learned, where methods are compared at equal learning; the tables have others
WIDTH, BLOCKS = 16, 2


def recipe(outputs: int, epochs: int, rates: tuple[float, ...], equal: float) -> Recipe:
    """Momentum and small batches; the probe is slow enough to be steady on wrong labels."""
    return Recipe(
        net=ResidualNetwork(images.SIDE, WIDTH, BLOCKS, outputs),
        batch=20,
        epochs=epochs,
        rates=np.array(rates),
        equal=equal,
        pretrain_rate=0.01,
        pretrain_epochs=30,
        probe_rate=0.001,
        probe_epochs=60,
        momentum=0.9,
        pretrain_momentum=0.9,
        one_by_one=True,
        points=12,
    )


def splits(
    settings: Settings, seeds: int, kinds: range, labels: int, noise=0.0, change=images.upright
) -> digits.Parts:
    """As many disjoint splits as seeds, seeds first."""
    return digits.stacked(
        [images.split(kinds, s, settings.rng("images"), noise, change, labels) for s in range(seeds)]
    )


def temperatures(settings: Settings, ready: Ready, found: xr.Dataset) -> xr.DataArray:
    """(temperature, seed, place): the end at the rate that all are compared at, τ over the median loss by factor."""
    rate = np.array([ready.recipe.equal])
    ends = {1.0: found.curve.sel(trained=FLOW).sel(rate=rate[0], method="nearest").isel(mark=-1).values}
    for method in TEMPERATURES.values():
        ends[method.temperature] = tune(settings, ready, method, rate)[1][:, 0, -1]
    order = sorted(ends)
    return xr.DataArray(
        np.stack([ends[factor] for factor in order]),
        {"factor": order, "place": [*PLACES, MEMORISED]},
        ("factor", "seed", "place"),
    )


def there_by_rate(found: xr.Dataset, place: str, runs: Sequence[str] | None = None) -> xr.DataArray:
    """(learned, trained, rate, seed): accuracy in a place where the new task reaches each level; NaN where never.

    Levels are those of the dataset, or, of some runs alone, those that these reach at the rates that it has.
    """
    chosen = found if runs is None else found.sel(trained=list(runs))
    levels = found.level if runs is None else [reached(found, runs, share) for share in found.learned.values]
    curve = lambda where: chosen.curve.sel(place=where, drop=True)
    there = [kept(curve(place), curve("target"), float(level)) for level in levels]
    return xr.concat(there, found.learned).transpose("learned", "trained", "rate", "seed")


def gains(cell: xr.Dataset, learned: float = LEVEL) -> dict[str, xr.DataArray]:
    """What FLOW keeps more than standard and than each control where all have learned as much, (seed,)."""
    there = cell.kept.sel(learned=learned)
    return {run: there.sel(keeper=FLOW) - there.sel(keeper=run) for run in (STANDARD, *CONTROLS)}


def kept_in_words(cell: xr.Dataset) -> tuple[bool, str]:
    """Whether FLOW keeps more than standard and both controls at every level beyond error (Holm); what each keeps."""
    parts, family = [], {}
    for learned, level in zip(cell.learned.values, cell.level.values, strict=True):
        there = cell.kept.sel(learned=learned)
        of = lambda run, there=there: f"{percent(there.sel(keeper=run))} %"
        best = most(there)
        parts.append(
            f"at {100 * level:.0f} % on the new task FLOW {of(FLOW)}, standard {of(STANDARD)}, same mean step "
            f"{of(SAME)}, weights shuffled {of(SHUFFLED)}; the most {label_of(best)}, {of(best)}"
        )
        family |= {f"{learned:g} {run}": gap for run, gap in gains(cell, learned).items()}
    real = survivors(family)
    more = [real[key] and float(gap.mean("seed")) > 0 for key, gap in family.items()]
    text = "Of the old task is kept, each method at the rate that then keeps the most: " + ". ".join(
        part[0].upper() + part[1:] for part in parts
    )
    return all(
        more
    ), f"{text}. FLOW keeps more in {sum(more)} of {len(more)} comparisons beyond error (Holm)."


def temperatures_in_words(ends: xr.DataArray) -> str:
    """Old and new task at each temperature."""
    parts = [
        f"× {float(one.factor):g}: {percent(one.sel(place='pretrain'))} % and {percent(one.sel(place='target'))} %"
        for one in ends.transpose("factor", ...)
    ]
    return "FLOW by temperature in median losses, at equal rate, old and new task: " + "; ".join(parts) + "."
