"""A residual network on ten digits, upright and then turned by 90 degrees, with one head: what is kept at equal learning."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import xarray as xr

from paper_reproduction.claim import Check, Claim, Settings, Table, Verdict
from paper_reproduction.mlp import choice, comparison, images
from paper_reproduction.mlp.equal_learning import most
from paper_reproduction.mlp.experiments._image_runs import (
    LEVEL,
    QUICK_RUNS,
    RUNS,
    beyond,
    gains,
    kept_in_words,
    kept_table,
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
    percent,
    points_more,
    sorted_out,
    told,
)

CLAIM = Claim(
    name="images-rotated",
    title="On turned images FLOW's weights forget less than shuffled ones at equal learning",
    question="Does FLOW keep more of the old task where as much has been learned of the new one?",
    statement=(
        "A residual network learns ten handwritten digits (MNIST, 14 × 14) and is fine-tuned, with the same head, on "
        "the same images turned by 90 degrees, until it has learned them. It forgets the upright ones on the way. Methods are "
        "compared where they have the same accuracy on the turned images, each at the learning rate that then keeps the "
        "most of the upright ones: standard fine-tuning, FLOW, standard at the same mean step, FLOW with its weights in "
        "random order, ℓ2, LoRA, WiSE-FT and FLOW with each of these. The five splits share no image."
    ),
    equation="section 4, Table 1 in miniature",
    formula=r"\frac1n\sum_i w_i\,\ell_i(\theta),\qquad w_i=e^{-\ell_i(\theta_*)/\tau}",
    functions=("flow_weights", "effective_sample_size"),
    seconds=600,
    quick_seconds=20,
    order=80,
)

RECIPE = recipe(10, 30, (0.0005, 0.001, 0.002, 0.004, 0.008, 0.016), 0.004)
QUICK = replace(RECIPE, epochs=12, rates=RECIPE.rates[4:5], equal=float(RECIPE.rates[4]), points=10)


def compute(settings: Settings) -> xr.Dataset:
    """Every run on every split; temperatures at one rate."""
    seeds = settings.repetitions(images.SPLITS, images.SPLITS)
    old = splits(settings, seeds, range(10), 10)
    new = splits(settings, seeds, range(10), 10, change=images.turned)
    ready = prepare(settings, QUICK if settings.quick else RECIPE, old, new, shared=True)
    found = comparison.compare(settings, ready, QUICK_RUNS if settings.quick else RUNS, overlap=0.0)
    found = found.assign(kept_by_rate=there_by_rate(found, "pretrain"))
    if not settings.quick:
        found = found.assign(by_temperature=temperatures(settings, ready, found))
    return found.assign_attrs(seeds=seeds)


# ------------------------------------------------------------------------------------------- the verdict


def _end(d: xr.Dataset, run: str, place: str) -> xr.DataArray:
    """The end of training at the rate that all are compared at, (seed,)."""
    return choice.at(d.accuracy, run).sel(place=place)


def verdict(dataset: xr.Dataset) -> Verdict:
    """It forgets and it learns; at equal learning FLOW keeps more than standard and than both controls, beyond error."""
    d = dataset
    lost = d.before.sel(place="pretrain") - _end(d, STANDARD, "pretrain")
    reached = (
        d.curve.sel(trained=list(COMPARED), place="target").mean("seed", skipna=False).max(["rate", "mark"])
    )
    checks = (
        Check.at_least("equal rate: standard forgets, share of accuracy", float(lost.mean("seed", skipna=False)), 0.3),
        Check.at_least("the least that a compared run reaches on the new task", float(reached.min()), 0.8),
        *(
            beyond(f"at equal learning FLOW keeps more of the old task than {METHODS[run]}", gap)
            for run, gap in gains(d).items()
        ),
    )  # fmt: skip
    return Verdict(checks, headline=_headline(d), **_also(d))


def _headline(d: xr.Dataset) -> str:
    kept = d.kept.sel(learned=LEVEL)
    flow, best = kept.sel(keeper=FLOW), most(kept)
    more = [ahead(flow, kept.sel(keeper=run)) for run in (STANDARD, *CONTROLS)]
    beside = [
        f"{points_more(flow, kept.sel(keeper=run))} than {METHODS[run]}" for run in (STANDARD, *CONTROLS)
    ]
    first = (
        "the most of all"
        if best == FLOW
        else f"{label_of(best)} keeps the most, {percent(kept.sel(keeper=best))} %"
    )
    return (
        f"{answer(*more)}: where {100 * float(d.level.sel(learned=LEVEL)):.0f} % of the turned images are right, FLOW has "
        f"{percent(flow)} % of the upright ones right, {', '.join(beside)}; {first}."
    )


def _also(d: xr.Dataset) -> dict[str, tuple[str, ...]]:
    wins = most(d.kept.sel(learned=LEVEL)) == FLOW
    ends = {run: choice.mean_of_both(choice.at(d.accuracy, run)) for run in d.run.values}
    order = sorted(ends, key=lambda run: -float(ends[run].mean()))
    peaks = {run: choice.peak(d.curve.sel(trained=run), ["rate", "mark"]) for run in d.trained.values}
    peak = {run: choice.mean_of_both(one) for run, one in peaks.items()}
    top = sorted(peak, key=lambda run: -float(peak[run].mean()))
    hard = d.by_decile.sel(rate=float(d.equal_rate), method="nearest").isel(decile=-1)
    tenth = ", ".join(f"{METHODS[run]} {percent(hard.sel(run=run))} %" for run in COMPARED)
    fewer = not ahead(hard.sel(run=STANDARD), hard.sel(run=FLOW))
    sentences = [
        kept_in_words(d),
        (wins, "Who keeps the most at equal learning, first to last: " + ", ".join(
            f"{label_of(run)} {percent(d.kept.sel(learned=LEVEL, keeper=run))} %" for run in _order(d)) + "."),
        (order[0] == FLOW, f"By the mean of both at the end, at equal rate: {label_of(order[0])} {percent(ends[order[0]])} %, "
         f"FLOW {percent(ends[FLOW])} %, standard {percent(ends[STANDARD])} %."),
        (top[0] == FLOW, f"By the mean of both at the best rate and time: {label_of(top[0])} {percent(peak[top[0]])} %, "
         f"FLOW {percent(peak[FLOW])} %, standard {percent(peak[STANDARD])} %."),
        (fewer, f"On the tenth of the turned images that the pre-trained model finds hardest, at equal rate: {tenth}."),
        (True, f"The weights: τ {told(d.temperature, 2)}, mean {told(d.mean_weight, 2)}, effective share "
         f"{told(d.effective, 2)}, below 0.01 {told(d.idle, 2)}."),
    ]  # fmt: skip
    if "by_temperature" in d:
        sentences.append((True, temperatures_in_words(d.by_temperature)))
    return sorted_out(*sentences)


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
