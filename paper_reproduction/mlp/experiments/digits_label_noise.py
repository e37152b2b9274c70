"""The paper's comparison in miniature: forgetting and learning of every method, also at the same mean step."""

from __future__ import annotations

import numpy as np
import xarray as xr

from paper_reproduction.claim import Check, Claim, Settings, Table, Verdict
from paper_reproduction.mlp import choice, comparison
from paper_reproduction.mlp.comparison import EQUAL, METHODS, Task
from paper_reproduction.mlp.statistics import (
    ahead,
    answer,
    difference,
    percent,
    points_more,
    sigmas,
    sorted_out,
    told,
)

CLAIM = Claim(
    name="digits-label-noise",
    title="On digits FLOW forgets and learns less; standard at the same mean step does as well",
    question="Do FLOW's weights help beyond the shorter steps that they bring?",
    statement=(
        "A two-layer tanh network learns the digits 0-4, then gets a new head for the digits 5-9, rotated by 45 "
        "degrees, with a share of the training and validation labels wrong. The head is probed first, the weights come "
        "from the losses of the probed model, every method then runs 30 epochs over the same batches, and the old head "
        "is put back to measure forgetting. Beside the paper's baselines stand three comparisons that it does not "
        "have: standard fine-tuning at the same mean step (its loss times FLOW's mean weight), FLOW at the same mean "
        "step as standard fine-tuning (its weights over their mean), and FLOW with its weights in random order. "
        "Methods are compared at one learning rate for all, and each at its own best, chosen on validation rows of the "
        "new task."
    ),
    equation="section 4, Fig. 1 and Table 1 in miniature",
    formula=r"\frac1n\sum_i w_i\,\ell_i(\theta),\qquad w_i=e^{-\ell_i(\theta_*)/\tau},\quad "
    r"\tau=\mathrm{median}_i\,\ell_i(\theta_*)",
    functions=("flow_weights", "effective_sample_size"),
    seconds=120,
    quick_seconds=15,
    order=30,
)

SAME = "standard-same-mean-step"
NOISES, QUICK_NOISES = (0.0, 0.1, 0.2, 0.4), (0.0, 0.2)


def compute(settings: Settings) -> xr.Dataset:
    """A comparison of all methods at each noise level."""
    seeds = settings.repetitions(10, 5)
    noises = QUICK_NOISES if settings.quick else NOISES
    levels = [comparison.compare(settings, Task(noise), seeds) for noise in noises]
    joined = xr.concat(levels, "noise", combine_attrs="drop").assign_coords(noise=list(noises))
    return joined.assign(best=choice.own_best(joined)).assign_attrs(seeds=seeds)


# ------------------------------------------------------------------------------------------- the verdict


def _levels(d: xr.Dataset) -> list[xr.Dataset]:
    return [d.isel(noise=i) for i in range(d.sizes["noise"])]


def _ahead(cell: xr.Dataset, one: str, other: str, *places: str) -> float:
    """One run minus another at equal rate, mean over places, in paired standard errors."""
    of = lambda run: choice.at(cell.accuracy, run).sel(place=list(places)).mean("place", skipna=False)
    return float(sigmas(of(one) - of(other)))


def verdict(dataset: xr.Dataset) -> Verdict:
    """What must hold for the comparison to mean anything; who wins is told as it comes out."""
    d = dataset
    levels = _levels(d)
    learned = [float(cell.before.sel(place="target").mean()) for cell in _levels(d)]
    tuned = [
        float(choice.at(cell.accuracy, "standard", choice.own_best(cell)).sel(place="target").mean())
        for cell in _levels(d)
    ]
    checks = (
        Check.at_least("places from the edge of the rate grid, over methods and noise levels, the probe left out",
                       min(choice.from_edge(cell) for cell in levels), 1),
        # Errors, not accuracy: near 1 every accuracy is close to every other.
        Check("pre-trained errors", 1 - float(d.before.sel(place="pretrain").mean("seed", skipna=False).min()), 0.05),
        Check.at_least("standard fine-tuning at its best learns over the probe by",
                       float(np.subtract(tuned, learned).min()), 0.05),
        Check.at_least("clean labels, equal rate: FLOW keeps more of the old task than standard, in standard errors",
                       _ahead(levels[0], "flow", "standard", "pretrain"), 2.0),
        Check.at_least("clean labels, equal rate: standard learns more of the new task than FLOW, in standard errors",
                       _ahead(levels[0], "standard", "flow", "target"), 2.0),
        Check.at_least("equal rate: standard at the same mean step minus FLOW, mean of both, in standard errors",
                       min(_ahead(cell, SAME, "flow", "pretrain", "target") for cell in levels), -2.0),
    )  # fmt: skip
    return Verdict(checks, headline=_headline(d), **_also(d))


def _old(cell: xr.Dataset, run: str) -> xr.DataArray:
    """Accuracy on the old task at the rate that all are compared at, (seed,)."""
    return choice.at(cell.accuracy, run).sel(place="pretrain")


def _headline(d: xr.Dataset) -> str:
    helps = [ahead(choice.both(cell, "flow"), choice.both(cell, SAME)) for cell in _levels(d)]
    cell = d.isel(noise=_middle(d))
    new = lambda run: choice.at(cell.accuracy, run).sel(place="target")
    beside = lambda one, other: (
        f"{points_more(_old(cell, one), _old(cell, other))} on the old task and "
        f"{points_more(new(one), new(other))} on the new one"
    )
    return (
        f"{answer(*helps)}: at equal rate and {100 * float(cell.noise):.0f} % wrong labels FLOW has "
        f"{beside('flow', 'standard')} than standard fine-tuning; beside standard fine-tuning at "
        f"the same mean step it has {beside('flow', SAME)}. By the mean of both it is ahead of that at {sum(helps)} of "
        f"{len(helps)} shares of wrong labels."
    )


def _middle(d: xr.Dataset) -> int:
    """20 % noise."""
    return int(np.argmin(abs(d.noise.values - 0.2)))


def _also(d: xr.Dataset) -> dict[str, tuple[str, ...]]:
    lines, weights, against, behind, firsts = [], [], [], [], []
    for cell in _levels(d):
        share = f"{100 * float(cell.noise):.0f} % wrong labels"
        best = choice.own_best(cell)
        order = sorted(METHODS, key=lambda run: -float(choice.both(cell, run, best).mean()))
        own = lambda run, cell=cell, best=best: f"{percent(choice.both(cell, run, best))} %"
        before = cell.before.sel(place=["pretrain", "target"]).mean("place")
        ties = int(choice.tied(cell).sel(run="flow").sum())
        firsts.append(order[0] == "flow")
        lines.append(
            f"{share}: {METHODS[order[0]]} {own(order[0])}, then {METHODS[order[1]]} {own(order[1])}; FLOW number "
            f"{order.index('flow') + 1} of {len(order)} with {own('flow')} (rates as good on the validation "
            f"rows: {ties}); before fine-tuning {percent(before)} %"
        )
        weights.append(
            f"{share}: τ {told(cell.temperature, 2)}, mean weight {told(cell.mean_weight, 2)}, effective share "
            f"{told(cell.effective, 2)}, below 0.01 {told(cell.idle, 2)}"
        )
        flow = choice.both(cell, "flow")
        others = {run: choice.both(cell, run) for run in (SAME, "flow-same-mean-step", "permuted")}
        behind.append(any(ahead(other, flow) for other in others.values()))
        gaps = [f"{METHODS[run]} {difference(flow, other)}" for run, other in others.items()]
        against.append(f"{share}: " + ", ".join(gaps))
    return sorted_out(
        (all(firsts), "By the mean of both accuracies, each method at its own best rate: " + "; ".join(lines) + "."),
        (not any(behind), "At equal rate, mean of both accuracies, FLOW minus each: " + "; ".join(against) + ". "
         "Negative: the weights cost more than they keep."),
        (True, "The weights: " + "; ".join(weights) + "."),
        (True, _tuning(d)),
    )  # fmt: skip


def _tuning(d: xr.Dataset) -> str:
    """What a rate chosen on the new task alone does to the old one."""
    parts = []
    for cell in _levels(d):
        best = choice.own_best(cell)
        lost = lambda run, cell=cell, best=best: difference(
            choice.at(cell.accuracy, run, best).sel(place="pretrain"),
            choice.at(cell.accuracy, run).sel(place="pretrain"),
        )
        parts.append(
            f"{100 * float(cell.noise):.0f} % wrong labels: standard {lost('standard')}, FLOW {lost('flow')}"
        )
    return (
        "The own rate is chosen on the new task alone, the smallest within one standard error of the best. What that "
        "does to the old task, minus what the equal rate does: " + "; ".join(parts) + "."
    )


def tables(dataset: xr.Dataset) -> tuple[Table, ...]:
    """One table a noise level: the old task, the new one and their mean, at equal rate and at each method's best."""
    made = []
    for cell in _levels(dataset):
        best = choice.own_best(cell)
        before = cell.before
        rows = [
            ("pre-trained, probed head", "–", *choice.row_before(before), "–", *choice.row_before(before))
        ]
        for run, label in METHODS.items():
            rate = f"{float(cell.rate[int(best.sel(run=run))]):.2g}"
            mark = "*" if run == "flow" else ""
            rows.append(
                (mark + label, f"{EQUAL:.2g}", *choice.row(cell, run), rate, *choice.row(cell, run, best))
            )
        header = ("method", "rate", "old", "new", "mean", "own best", "old", "new", "mean")
        share = f"{100 * float(cell.noise):.0f} % of the labels wrong"
        caption = f"{share}: accuracy in %, mean ± s.e. over {cell.sizes['seed']} seeds"
        made.append(
            Table(
                caption,
                header,
                tuple(rows),
                "Own best: the smallest rate within one s.e. of the best on the new task's validation rows.",
            )
        )
    return tuple(made)
