"""A residual network on ten digits, upright and then turned by 90 degrees, with one head: what it keeps."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import xarray as xr

from paper_reproduction.claim import Check, Claim, Settings, Table, Verdict
from paper_reproduction.mlp import choice, comparison, images
from paper_reproduction.mlp.equal_learning import kept_table, most
from paper_reproduction.mlp.experiments._image_runs import (
    BOTH_ARMS,
    LEVEL,
    gains,
    kept_in_words,
    recipe,
    splits,
    temperatures,
    temperatures_in_words,
    there_by_rate,
)
from paper_reproduction.mlp.methods import COMPARED, CONTROLS, FLOW, METHODS, STANDARD, label_of
from paper_reproduction.mlp.protocol import prepare
from paper_reproduction.mlp.statistics import (
    ahead,
    answer,
    beyond,
    difference,
    percent,
    points_more,
    sorted_out,
    survivors,
    told,
)

CLAIM = Claim(
    name="images-rotated",
    title="On turned images FLOW's weights forget less than shuffled ones at a large rate; a small rate does as much",
    question="Does FLOW keep more of the old task where as much has been learned of the new one?",
    statement=(
        "A residual network learns ten handwritten digits (MNIST, 14 × 14) and is fine-tuned, with the same head, on "
        "the same images turned by 90 degrees. It forgets the upright ones on the way. Methods are compared where "
        "they have the same accuracy on the turned images: all at one large learning rate, and each at the rate that "
        "then keeps the most of the upright ones. At the large rate every split is pre-trained and fine-tuned five "
        "times, and the mean of the five is one observation: what hangs on initial parameters and on the order of "
        "batches is as large as what is asked for. Beside standard fine-tuning and FLOW stand standard at the same "
        "mean step, FLOW with its weights in random order, ℓ2, LoRA, WiSE-FT, and FLOW with each of these. The five "
        "splits share no image."
    ),
    equation="section 4, Table 1 in miniature",
    formula=r"\frac1n\sum_i w_i\,\ell_i(\theta),\qquad w_i=e^{-\ell_i(\theta_*)/\tau}",
    functions=("flow_weights", "effective_sample_size"),
    seconds=600,
    quick_seconds=18,
    order=80,
)

RUNS = {run: label_of(run) for run in BOTH_ARMS}
OTHERS = (STANDARD, *CONTROLS)
RECIPE = replace(recipe(10, 30, (0.001, 0.002, 0.004, 0.008, 0.016), 0.008), points=16)
PRETRAININGS = 5  # of each split, at the largest rate
QUICK = replace(RECIPE, pretrain_epochs=15, epochs=12, rates=RECIPE.rates[-1:], equal=0.016, points=8)


def compute(settings: Settings) -> xr.Dataset:
    """Every run on every split; temperatures at one rate."""
    seeds = settings.repetitions(images.SPLITS, images.SPLITS)
    old = splits(settings, seeds, range(10), 10)
    new = splits(settings, seeds, range(10), 10, change=images.turned)
    ready = prepare(settings, QUICK if settings.quick else RECIPE, old, new, shared=True)
    found = comparison.compare(settings, ready, COMPARED if settings.quick else tuple(RUNS), overlap=0.0)
    kept = [_at_largest_rate(found)]
    for k in range(1, 1 if settings.quick else PRETRAININGS):
        other = replace(settings, seed=int(settings.rng(f"pre-training {k}").integers(2**31)))
        again = prepare(other, replace(ready.recipe, rates=ready.recipe.rates[-1:]), old, new, shared=True)
        kept.append(_at_largest_rate(comparison.compare(other, again, COMPARED, overlap=0.0)))
    found = found.assign(
        kept_by_rate=there_by_rate(found, "pretrain"), kept_at_largest=xr.concat(kept, "pretraining")
    )
    if not settings.quick:
        found = found.assign(by_temperature=temperatures(settings, ready, found))
    return found.assign_attrs(seeds=seeds)


def _at_largest_rate(found: xr.Dataset) -> xr.DataArray:
    """(learned, trained, seed): what the compared runs keep of the old task where as much is learned, at that rate."""
    return there_by_rate(found.isel(rate=[-1]), "pretrain", COMPARED).isel(rate=0, drop=True)


# ------------------------------------------------------------------------------------------- the verdict


def _end(d: xr.Dataset, run: str, place: str) -> xr.DataArray:
    """The end of training at the rate that all are compared at, (seed,)."""
    return choice.at(d.accuracy, run).sel(place=place)


def kept_at_largest_rate(d: xr.Dataset, run: str) -> xr.DataArray:
    """What is kept of the old task there, where as much is learned: the mean over levels and pre-trainings, (seed,)."""
    return d.kept_at_largest.sel(trained=run).mean(["learned", "pretraining"], skipna=False)


def _gains_at_largest_rate(d: xr.Dataset) -> dict[str, xr.DataArray]:
    """What FLOW keeps more there than each of the others, (seed,)."""
    kept = {run: kept_at_largest_rate(d, run) for run in COMPARED}
    return {run: kept[FLOW] - kept[run] for run in OTHERS}


def verdict(dataset: xr.Dataset) -> Verdict:
    """It forgets and learns; at the largest rate and equal learning FLOW keeps more than standard and both controls."""
    d = dataset
    lost = d.before.sel(place="pretrain") - _end(d, STANDARD, "pretrain")
    reached = (
        d.curve.sel(trained=list(COMPARED), place="target").mean("seed", skipna=False).max(["rate", "mark"])
    )
    checks = (
        Check("pre-trained errors", 1 - float(d.before.sel(place="pretrain").mean("seed", skipna=False)), 0.15),
        Check.at_least("equal rate: standard forgets, share of accuracy", float(lost.mean("seed", skipna=False)), 0.3),
        Check("errors on the new task of the compared run that learns the least", 1 - float(reached.min()), 0.25),
        *(
            beyond(f"largest rate, equal learning: FLOW keeps more than {METHODS[run]}", gap)
            for run, gap in _gains_at_largest_rate(d).items()
        ),
    )  # fmt: skip
    return Verdict(checks, headline=_headline(d), **_also(d))


def _headline(d: xr.Dataset) -> str:
    large = _gains_at_largest_rate(d)
    ahead_of = [real and float(large[run].mean("seed")) > 0 for run, real in survivors(large).items()]
    own = [ahead(gap, 0 * gap) for gap in gains(d).values()]
    flow = kept_at_largest_rate(d, FLOW)
    beside = [f"{points_more(flow, kept_at_largest_rate(d, run))} than {METHODS[run]}" for run in OTHERS]
    there = d.kept.sel(learned=LEVEL)
    each = ", ".join(f"{METHODS[run]} {percent(there.sel(keeper=run))} %" for run in COMPARED)
    return (
        f"{answer(all(ahead_of), all(own))}: where as much is learned of the turned images, at rate "
        f"{float(d.rate[-1]):.2g}, FLOW has {percent(flow)} % of the upright ones "
        f"right, {', '.join(beside)}; each at its own best rate, where "
        f"{100 * float(d.level.sel(learned=LEVEL)):.0f} % of the turned ones are right: {each}."
    )


def _also(d: xr.Dataset) -> dict[str, tuple[str, ...]]:
    ends = {str(run): choice.mean_of_both(choice.at(d.accuracy, run)) for run in d.run.values}
    best = {str(run): choice.peak(d.curve.sel(trained=run), ["rate", "mark"]) for run in d.trained.values}
    peaks = {run: choice.mean_of_both(one) for run, one in best.items()}
    hard = {run: choice.at(d.by_decile, run).isel(decile=-1) for run in COMPARED}
    tenth = ", ".join(f"{METHODS[run]} {percent(one)} %" for run, one in hard.items())
    sentences = [
        kept_in_words(d),
        (most(d.kept.sel(learned=LEVEL)) == FLOW, "Who keeps the most there, from first to last: " + ", ".join(
            f"{label_of(run)} {percent(d.kept.sel(learned=LEVEL, keeper=run))} %" for run in _order(d)) + "."),
        _by_rate(d),
        _first("at the end, at equal rate", ends),
        _first("at the best rate and time", peaks),
        (not ahead(hard[STANDARD], hard[FLOW]),
         f"On the tenth of the turned images that the pre-trained model finds hardest, at equal rate: {tenth}."),
        (True, f"The weights: τ {told(d.temperature, 2)}, mean {told(d.mean_weight, 2)}, effective share "
         f"{told(d.effective, 2)}, below 0.01 {told(d.idle, 2)}."),
    ]  # fmt: skip
    if "by_temperature" in d:
        sentences.append((True, temperatures_in_words(d.by_temperature)))
    return sorted_out(*sentences)


def _first(where: str, means: dict[str, xr.DataArray]) -> tuple[bool, str]:
    """Whether FLOW is first by the mean of both tasks, and who is."""
    order = sorted(means, key=lambda run: -float(means[run].mean("seed")))
    shown = dict.fromkeys((*order[:2], FLOW, STANDARD))
    told_of = ", ".join(f"{label_of(run)} {percent(means[run])} %" for run in shown)
    return order[
        0
    ] == FLOW, f"By the mean of both {where}: {told_of}; FLOW number {order.index(FLOW) + 1} of {len(order)}."


def _by_rate(d: xr.Dataset) -> tuple[bool, str]:
    """What FLOW keeps more than each of the others, rate by rate, at one level; whether all of it is beyond error."""
    kept = d.kept_by_rate.sel(learned=LEVEL)
    family = {
        (run, rate): gap
        for run in OTHERS
        for rate in kept.rate.values.tolist()
        if bool((gap := (kept.sel(trained=FLOW) - kept.sel(trained=run)).sel(rate=rate)).notnull().all())
    }
    real = survivors(family)
    told_of = lambda run: ", ".join(
        f"{rate:.2g}: {difference(gap, 0 * gap)}{' *' * real[one, rate]}"
        for (one, rate), gap in family.items()
        if one == run
    )
    return all(real.values()), (
        f"Where {100 * float(d.level.sel(learned=LEVEL)):.0f} % of the turned images are right, FLOW keeps more of the "
        f"upright ones, by rate, than {'; than '.join(f'{METHODS[run]}, {told_of(run)}' for run in OTHERS)}. A star: "
        "beyond error (Holm over all of these)."
    )


def _order(d: xr.Dataset) -> list[str]:
    """Runs that reach the level, by what they keep there."""
    kept = d.kept.sel(learned=LEVEL).mean("seed", skipna=False)
    reach = [str(run) for run in kept.keeper.values if np.isfinite(float(kept.sel(keeper=run)))]
    return sorted(reach, key=lambda run: -float(kept.sel(keeper=run)))


def tables(dataset: xr.Dataset) -> tuple[Table, ...]:
    """What is kept at equal learning; the end at equal rate and at the rates that validation rows choose."""
    d = dataset
    ways = (None, choice.own_best(d), choice.own_best(d, choice.BOTH))
    rows = [("pre-trained", *(3 * choice.row_before(d.before)))]
    for run in d.run.values:
        found = [cell for way in ways for cell in choice.row(d, str(run), way)]
        rows.append((("*" if run == FLOW else "") + label_of(str(run)), *found))
    three = ("old", "new", "mean")
    header = ("method", *three, *(f"{one}, by new" for one in three), *(f"{one}, by both" for one in three))
    caption = (
        f"End of training: accuracy in %, mean ± s.e. over {d.sizes['seed']} splits that share no image, at rate "
        f"{float(d.equal_rate):.2g} and at each method's own best"
    )
    note = "Own best: the smallest rate within one s.e. of the best on validation rows, of the new task or of both."
    return (kept_table({"": d}, d.learned.values.tolist()), Table(caption, header, tuple(rows), note))
