"""The paper's comparison in miniature: forgetting and learning of every method, also at the same mean step."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import xarray as xr

from paper_reproduction.claim import Check, Claim, Settings, Table, Verdict
from paper_reproduction.mlp import choice, comparison, equal_learning
from paper_reproduction.mlp.comparison import Task
from paper_reproduction.mlp.methods import (
    COMPARED,
    CONTROLS,
    FLOW,
    METHODS,
    SAME,
    SHUFFLED,
    STANDARD,
    TEMPERATURES,
    label_of,
)
from paper_reproduction.mlp.protocol import MEMORISED
from paper_reproduction.mlp.statistics import (
    ahead,
    answer,
    beyond,
    difference,
    percent,
    sorted_out,
    survivors,
    told,
)

CLAIM = Claim(
    name="digits-label-noise",
    title="FLOW resists learning wrong labels by heart; at equal learning it keeps no more of the old task",
    question="Do FLOW's weights help beyond the shorter steps that they bring?",
    statement=(
        "A two-layer tanh network learns the digits 0-4, then gets a new head for the digits 5-9, rotated by 45 "
        "degrees, with a share of the training and validation labels wrong. The head is probed first, the weights come "
        "from the losses of the probed model, every method then runs 30 epochs over the same batches, and the old head "
        "is put back to measure forgetting. Beside the paper's baselines stand three comparisons that it does not "
        "have: standard fine-tuning at the same mean step (its loss times FLOW's mean weight), FLOW at the same mean "
        "step as standard fine-tuning (its weights over their mean), and FLOW with its weights in random order. "
        "Methods are compared at one learning rate for all; each at its own best, chosen on validation rows of the new "
        "task alone or of both; and where they have learned as much of the new task on the way, each at the rate that "
        "then keeps the most of the old one. A long run with momentum learns the wrong labels by heart."
    ),
    equation="section 4, Fig. 1 and Table 1 in miniature",
    formula=r"\frac1n\sum_i w_i\,\ell_i(\theta),\qquad w_i=e^{-\ell_i(\theta_*)/\tau},\quad "
    r"\tau=\mathrm{median}_i\,\ell_i(\theta_*)",
    functions=("flow_weights", "effective_sample_size"),
    seconds=400,
    quick_seconds=15,
    order=30,
)

NOISES, QUICK_NOISES = (0.0, 0.1, 0.2, 0.4), (0.0, 0.2)
RUNS = (*METHODS, *TEMPERATURES)
QUICK_RUNS = (*COMPARED, "flow-same-mean-step", "l2", "probe", "wise")
# Seven times as long and with momentum, until the wrong labels are learned by heart.
LONG = replace(
    comparison.RECIPE,
    epochs=200,
    momentum=0.9,
    rates=comparison.RECIPE.rates[3:8],
    equal=comparison.RECIPE.rates[5],
)
HIGH = float(comparison.RECIPE.rates[8])
WINDOW = (0.0464, 1.0)  # a factor of 20 of rates
LONG_NOISE, LONG_RUNS = 0.4, (STANDARD, FLOW, *CONTROLS)


def compute(settings: Settings) -> xr.Dataset:
    """A comparison of all methods at each noise level, and the long arm at one."""
    seeds = settings.repetitions(10, 5)
    noises = QUICK_NOISES if settings.quick else NOISES
    runs = QUICK_RUNS if settings.quick else RUNS
    levels = [comparison.compare(settings, Task(noise).ready(settings, seeds), runs) for noise in noises]
    joined = xr.concat(levels, "noise", combine_attrs="drop").assign_coords(noise=list(noises))
    long = _long(settings, seeds)
    equal = int(np.argmin(abs(long.long_rate.values - LONG.equal)))
    return joined.assign(long_curve=long).assign_attrs(
        seeds=seeds, long_noise=LONG_NOISE, long_rate_place=equal
    )


def _long(settings: Settings, seeds: int) -> xr.DataArray:
    recipe = replace(LONG, rates=np.array([LONG.equal])) if settings.quick else LONG
    found = comparison.compare(settings, Task(LONG_NOISE).ready(settings, seeds, recipe), LONG_RUNS).curve
    return found.rename(trained="long_run", rate="long_rate", mark="long_mark").drop_vars("equal_rate")


# ------------------------------------------------------------------------------------------- the verdict


LEVEL = 0.8  # of what can be learned, where methods are compared at equal learning; the tables have others


def _methods(d: xr.Dataset) -> list[str]:
    """Those of :data:`METHODS` that were run."""
    return [run for run in METHODS if run in d.run.values]


def _levels(d: xr.Dataset) -> list[xr.Dataset]:
    return [d.isel(noise=i) for i in range(d.sizes["noise"])]


def _at(cell: xr.Dataset, run: str, place: str) -> xr.DataArray:
    """Accuracy at the rate that all are compared at, (seed,)."""
    return choice.at(cell.accuracy, run).sel(place=place)


def _high(cell: xr.Dataset, run: str) -> xr.DataArray:
    """The old task at four times the rate that all are compared at, (seed,)."""
    return cell.accuracy.sel(run=run, place="pretrain").sel(rate=HIGH, method="nearest")


def _kept(cell: xr.Dataset) -> xr.DataArray:
    """(keeper, seed): what is kept of the old task where the new one is learned as well."""
    return cell.kept.sel(learned=LEVEL)


def _gains(d: xr.Dataset) -> dict[str, xr.DataArray]:
    """FLOW minus each control at equal learning, at each noise level, (seed,)."""
    return {
        f"{float(cell.noise):g} {run}": _kept(cell).sel(keeper=FLOW) - _kept(cell).sel(keeper=run)
        for cell in _levels(d)
        for run in CONTROLS
    }


def _helps(d: xr.Dataset) -> list[bool]:
    """Where FLOW keeps more than a control at equal learning, beyond error over all of them (Holm)."""
    gains = _gains(d)
    return [real and float(gains[name].mean()) > 0 for name, real in survivors(gains).items()]


def verdict(dataset: xr.Dataset) -> Verdict:
    """FLOW's own weights forget and learn less than shuffled ones; who wins is told as it comes out."""
    d = dataset
    levels = _levels(d)
    clean = levels[0]
    learned = [float(cell.before.sel(place="target").mean()) for cell in levels]
    tuned = [
        float(choice.at(cell.accuracy, STANDARD, choice.own_best(cell)).sel(place="target").mean())
        for cell in levels
    ]
    checks = (
        Check.at_least("places from the edge of the rate grid, over methods and noise levels, the probe left out",
                       min(choice.from_edge(cell.sel(run=_methods(d))) for cell in levels), 1),
        # Errors, not accuracy: near 1 every accuracy is close to every other.
        Check("pre-trained errors", 1 - float(d.before.sel(place="pretrain").mean("seed", skipna=False).min()), 0.05),
        Check.at_least("standard fine-tuning at its best learns over the probe by",
                       float(np.subtract(tuned, learned).min()), 0.05),
        *(
            beyond(f"clean labels, rate {HIGH:.2g}: FLOW keeps more of the old task than {METHODS[run]}",
                   _high(clean, FLOW) - _high(clean, run))
            for run in CONTROLS
        ),
        *(
            beyond(f"clean labels, equal rate: {METHODS[run]} learns more of the new task than FLOW",
                   _at(clean, run, "target") - _at(clean, FLOW, "target"))
            for run in (STANDARD, *CONTROLS)
        ),
        Check.at_least("long training, standard: share of the wrong labels that is learned by heart",
                       float(_long_end(d, STANDARD, MEMORISED).mean(skipna=False)), 0.5),
        *(
            beyond(f"long training: {METHODS[run]} learns more wrong labels by heart than FLOW",
                   _long_end(d, run, MEMORISED) - _long_end(d, FLOW, MEMORISED))
            for run in CONTROLS
        ),
        Check("comparisons at equal learning in which FLOW keeps more than a control, beyond error", sum(_helps(d)), 0),
    )  # fmt: skip
    return Verdict(checks, headline=_headline(d), **_also(d))


def _long_end(d: xr.Dataset, run: str, place: str) -> xr.DataArray:
    """The end of the long arm at the rate that all are compared at, (seed,)."""
    end = d.long_curve.sel(long_run=run, place=place).isel(long_mark=-1)
    return end.sel(long_rate=LONG.equal, method="nearest")


def _headline(d: xr.Dataset) -> str:
    helps = _helps(d)
    new = lambda run: f"{percent(_long_end(d, run, 'target'))} %"
    return (
        f"{answer(any(helps), all(_resists(d)))}: where they have learned as much of the new task, FLOW keeps more of "
        "the old one than standard fine-tuning at the same mean step or FLOW with its weights shuffled in "
        f"{sum(helps)} of {len(helps)} comparisons beyond error. After {LONG.epochs} epochs with momentum and "
        f"{100 * LONG_NOISE:.0f} % wrong labels it has {new(FLOW)} on the new task, standard {new(STANDARD)}, "
        f"standard at the same mean step {new(SAME)} and FLOW with its weights shuffled {new(SHUFFLED)}."
    )


def _resists(d: xr.Dataset) -> list[bool]:
    """Whether FLOW ends the long arm ahead of each control, by the mean of both tasks."""
    end = {run: choice.mean_of_both(d.long_curve.sel(long_run=run).isel(long_mark=-1)) for run in COMPARED}
    at_equal = {run: one.sel(long_rate=LONG.equal, method="nearest") for run, one in end.items()}
    return [ahead(at_equal[FLOW], at_equal[run]) for run in CONTROLS]


def _middle(d: xr.Dataset) -> int:
    """20 % noise."""
    return int(np.argmin(abs(d.noise.values - 0.2)))


def _also(d: xr.Dataset) -> dict[str, tuple[str, ...]]:
    lines, weights, widths, equal, firsts, behind = [], [], [], [], [], []
    for cell in _levels(d):
        share = f"{100 * float(cell.noise):.0f} % wrong labels"
        best = choice.own_best(cell, choice.BOTH)
        order = sorted(_methods(d), key=lambda run: -float(choice.both(cell, run, best).mean()))
        own = lambda run, cell=cell, best=best: f"{percent(choice.both(cell, run, best))} %"
        firsts.append(order[0] == FLOW)
        lines.append(
            f"{share}: {METHODS[order[0]]} {own(order[0])}, then {METHODS[order[1]]} {own(order[1])}; FLOW number "
            f"{order.index(FLOW) + 1} of {len(order)} with {own(FLOW)}"
        )
        weights.append(
            f"{share}: τ {told(cell.temperature, 2)}, mean weight {told(cell.mean_weight, 2)}, effective share "
            f"{told(cell.effective, 2)}, below 0.01 {told(cell.idle, 2)}"
        )
        width = {run: choice.plateau(cell.accuracy.sel(run=run)) for run in COMPARED}
        widths.append(
            f"{share}: " + ", ".join(f"{METHODS[run]} {told(one, 2)}" for run, one in width.items())
        )
        level, kept = float(cell.level.sel(learned=LEVEL)), _kept(cell)
        winner = equal_learning.most(kept)
        behind.append(any(ahead(kept.sel(keeper=run), kept.sel(keeper=FLOW)) for run in CONTROLS))
        equal.append(
            f"{share}, {100 * level:.0f} % on the new task: FLOW {percent(kept.sel(keeper=FLOW))} %, same mean step "
            f"{percent(kept.sel(keeper=SAME))} %, weights shuffled {percent(kept.sel(keeper=SHUFFLED))} %, most "
            f"{label_of(winner)} {percent(kept.sel(keeper=winner))} %"
        )
    return sorted_out(
        (not any(behind), "What is kept of the old task where the new one is learned as well, each method at its own "
         "best rate: " + "; ".join(equal) + "."),
        (all(firsts), "By the mean of both accuracies, rates chosen on both tasks: " + "; ".join(lines) + "."),
        _robust(d, widths),
        (True, _fixed_window(d)),
        (True, _tuning(d)),
        (True, _memory(d)),
        (True, "The weights: " + "; ".join(weights) + "."),
    )  # fmt: skip


def _robust(d: xr.Dataset, widths: list[str]) -> tuple[bool, str]:
    """Whether FLOW has the wider stretch of good rates at every noise level beyond error, and each stretch."""
    gaps = {}
    for cell in _levels(d):
        of = {run: choice.plateau(cell.accuracy.sel(run=run)) for run in COMPARED}
        gaps |= {f"{float(cell.noise):g} {run}": of[FLOW] - of[run] for run in COMPARED if run != FLOW}
    real = survivors(gaps)
    wider = sum(real[name] and float(gap.mean()) > 0 for name, gap in gaps.items())
    return wider == len(gaps), (
        f"The factor of rates over which the mean of both stays within {100 * choice.PLATEAU:.0f} points of its best, "
        f"as a power of ten: {'; '.join(widths)}. FLOW's is wider than another's in {wider} of {len(gaps)} comparisons "
        "beyond error (Holm): where its weights only move the good rates upwards, that is no robustness."
    )


def _fixed_window(d: xr.Dataset) -> str:
    """By how much the mean of both varies over a fixed window of rates above the one all are compared at."""
    cell = d.isel(noise=_middle(d))
    window = cell.accuracy.sel(rate=slice(WINDOW[0] * 0.99, WINDOW[1] * 1.01))
    over = lambda run: choice.mean_of_both(window.sel(run=run))
    spread = {
        run: over(run).max("rate", skipna=False) - over(run).min("rate", skipna=False) for run in COMPARED
    }
    parts = ", ".join(f"{METHODS[run]} {percent(one)}" for run, one in spread.items())
    low, high = float(window.rate[0]), float(window.rate[-1])
    return (
        f"Between the rates {low:.2g} and {high:.2g}, where standard fine-tuning begins to collapse, the mean of both "
        f"varies, at {100 * float(cell.noise):.0f} % wrong labels, by {parts} points."
    )


def _tuning(d: xr.Dataset) -> str:
    """What a rate chosen on the new task alone does to the old one."""
    parts = []
    for cell in _levels(d):
        new, both = choice.own_best(cell), choice.own_best(cell, choice.BOTH)
        old = lambda run, best, cell=cell: choice.at(cell.accuracy, run, best).sel(place="pretrain")
        lost = lambda run, new=new, both=both, old=old: difference(old(run, new), old(run, both))
        parts.append(
            f"{100 * float(cell.noise):.0f} % wrong labels: standard {lost(STANDARD)}, FLOW {lost(FLOW)}"
        )
    return (
        "On the old task, a rate chosen on the new task alone minus one chosen on both: "
        + "; ".join(parts)
        + "."
    )


def _memory(d: xr.Dataset) -> str:
    """The long arm: peak and end of the new task, and what is learned by heart."""
    parts = []
    for run in LONG_RUNS:
        curve = d.long_curve.sel(long_run=run).sel(long_rate=LONG.equal, method="nearest")
        top = choice.peak(curve, ["long_mark"], choice.NEW).sel(place="target")
        parts.append(
            f"{METHODS[run]} {percent(top)} % at its best on the new task, {percent(_long_end(d, run, 'target'))} % at "
            f"the end with {percent(_long_end(d, run, MEMORISED))} % of the wrong labels by heart"
        )
    return (
        f"{LONG.epochs} epochs with momentum at {100 * LONG_NOISE:.0f} % wrong labels, rate {LONG.equal:.2g}: "
        + "; ".join(parts)
        + "."
    )


def tables(dataset: xr.Dataset) -> tuple[Table, ...]:
    """A table a noise level: three ways to choose the rate; one of equal learning; one of peaks and ends."""
    made = []
    for cell in _levels(dataset):
        ways = (None, choice.own_best(cell), choice.own_best(cell, choice.BOTH))
        rows = [("pre-trained, probed head", *(3 * choice.row_before(cell.before)))]
        for run in map(str, cell.run.values):
            mark = "*" if run == FLOW else ""
            found = [cell_of for way in ways for cell_of in choice.row(cell, run, way)]
            rows.append((mark + label_of(run), *found))
        three = ("old", "new", "mean")
        header = (
            "method",
            *three,
            *(f"{one}, by new" for one in three),
            *(f"{one}, by both" for one in three),
        )
        caption = (
            f"{100 * float(cell.noise):.0f} % of the labels wrong: accuracy in %, mean ± s.e. over "
            f"{cell.sizes['seed']} seeds, at rate {float(cell.equal_rate):.2g} and at each method's own best"
        )
        note = "Own best: the smallest rate within one s.e. of the best on validation rows, of the new task or of both."
        made.append(Table(caption, header, tuple(rows), note))
    named = {f"{100 * float(cell.noise):.0f} % wrong: ": cell for cell in _levels(dataset)}
    return (*made, equal_learning.kept_table(named, [LEVEL]), _peak_table(dataset))


def _peak_table(d: xr.Dataset) -> Table:
    rows = []
    for cell in _levels(d):
        for run in COMPARED:
            curve = choice.at(cell.curve, run)
            top, end = choice.peak(curve, ["mark"], choice.NEW), curve.isel(mark=-1)
            share = f"{100 * float(cell.noise):.0f} % wrong, {METHODS[run]}"
            rows.append(
                (share, *(percent(one.sel(place=p)) for one in (top, end) for p in ("pretrain", "target")))
            )
    caption = "Peak (by the new task's validation rows) and end of training at equal rate, accuracy in %"
    return Table(caption, ("run", "old, peak", "new, peak", "old, end", "new, end"), tuple(rows))
