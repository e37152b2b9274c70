"""Where the recipe does not help, and what the slowdown of cross-entropy is made of."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import jax
import numpy as np
import xarray as xr

import linear_theory as lt
from paper_reproduction.claim import Check, Claim, Settings, Table, Verdict
from paper_reproduction.mlp import choice, comparison, digits
from paper_reproduction.mlp.comparison import NET, RECIPE, Task
from paper_reproduction.mlp.hardware import double, quiet
from paper_reproduction.mlp.methods import (
    COMPARED,
    CONTROLS,
    FLOW,
    LAST_STEP,
    METHODS,
    PULLS,
    SAME,
    STANDARD,
    TRAINED,
    tune,
)
from paper_reproduction.mlp.networks import Network
from paper_reproduction.mlp.protocol import Ready, only
from paper_reproduction.mlp.statistics import (
    ahead,
    answer,
    apart,
    beyond,
    difference,
    percent,
    points_more,
    sigmas,
    sorted_out,
    told,
)

CLAIM = Claim(
    name="where-it-fails",
    title="Where all samples are equally hard weights only shorten the steps; with clean labels they cost",
    question="Does FLOW help where all samples are equally hard, or where the labels are clean?",
    statement=(
        r"Three settings in which FLOW has no reason to win. The same digits inverted (ink for paper), with the same "
        r"head: every sample is hard, the weights are nearly uniform, and what is left of them is a shorter step. "
        r"Clean labels: hard samples are then the informative ones. And cross-entropy, where FLOW may be slow because "
        r"the weighted curvature along the way is small, as in the theory, or because the gradient is: both are "
        r"measured at $\theta_*$ along the way that standard fine-tuning takes, relative to the mean weight, "
        r"with the curvature of cross-entropy, $H=\mathrm{diag}\,p-pp^\top$. Clean digits are those of "
        r"the other two comparisons, not new data."
    ),
    equation="section 4; Lemma F.1; beyond the paper, (T2)",
    formula=r"\frac{u^\top J^\top WHJu}{\bar w\,u^\top J^\top HJu},\qquad "
    r"\frac{\langle\nabla L_w(\theta_*),u\rangle}{\bar w\,\langle\nabla L(\theta_*),u\rangle}",
    functions=(
        "linearize",
        "flow_weights",
        "effective_sample_size",
        "population_median_temperature",
        "weight_mass",
    ),
    seconds=120,
    quick_seconds=22,
    order=70,
)

RUNS = tuple(run for run in METHODS if run != LAST_STEP)  # a shared head has no last step of its own
QUICK_RUNS = (*COMPARED, "flow-same-mean-step", "l2", "l2-strong", "wise")
GAUSSIAN = 0.185  # s of squared loss and Gaussian residuals, at the median temperature
# Inverted digits collapse earlier: they are compared at a smaller rate.
EARLIER = replace(RECIPE, equal=float(RECIPE.rates[4]))
SETTINGS = {
    "inverted": (Task(change=digits.inverted, shared=True, again=True), EARLIER),
    "clean": (Task(), RECIPE),
}


def compute(settings: Settings) -> xr.Dataset:
    """A comparison of all methods in each setting, and the two ratios of cross-entropy on the clean one."""
    seeds = settings.repetitions(20, 10)  # fewer cannot tell what clean labels cost from nothing
    ready = {name: task.ready(settings, seeds, recipe) for name, (task, recipe) in SETTINGS.items()}
    runs = QUICK_RUNS if settings.quick else RUNS
    comparisons = [comparison.compare(settings, one, runs) for one in ready.values()]
    both = xr.concat(comparisons, "setting", combine_attrs="drop").assign_coords(setting=list(SETTINGS))
    tuned = only(tune(settings, ready["clean"], TRAINED[STANDARD], np.array([RECIPE.equal]))[0])
    keep = [
        "accuracy",
        "best",
        "best_of_both",
        "level",
        "kept",
        "before",
        "temperature",
        "mean_weight",
        "effective",
        "idle",
    ]
    return both[keep].merge(_slowdown(ready["clean"], tuned), combine_attrs="drop").assign_attrs(seeds=seeds)


def _logits(params: Any, X: Any) -> Any:
    return NET.logits(params, X)


@quiet
@double
def _slowdown(ready: Ready, tuned: Network) -> xr.Dataset:
    """For each seed the ratios along standard fine-tuning's way and of the gradient, over the mean weight."""
    found = []
    for s in range(ready.seeds):
        one = lambda tree, s=s: jax.tree.map(lambda leaf: np.asarray(leaf[s], dtype=float), tree)
        X, labels = np.asarray(ready.rows[0][s], dtype=float), ready.rows[1][s]
        y = np.eye(digits.CLASSES)[labels]
        line = lt.linearize(_logits, one(ready.probed), X, y)
        odds = np.exp(line.outputs - line.outputs.max(axis=1, keepdims=True))
        surprise = y - odds / odds.sum(
            axis=1, keepdims=True
        )  # minus the gradient of cross-entropy in the logits
        w = ready.weights[s]
        way = line.flatten(one(tuned)) - line.start
        gradient = lambda v, line=line, surprise=surprise: line.vjp(v[:, None] * surprise)
        size = np.linalg.norm(gradient(w)) / np.linalg.norm(gradient(np.ones_like(w)))
        logit_way = line.jvp(way)
        along = float((gradient(w) @ way) / (gradient(np.ones_like(w)) @ way))
        p = odds / odds.sum(axis=1, keepdims=True)
        fisher = (p * logit_way**2).sum(axis=1) - (p * logit_way).sum(axis=1) ** 2  # (Ju)ᵀ(diag p − ppᵀ)(Ju)
        found.append(
            {
                "curvature": float(line.curvature_ratio(way, w)) / w.mean(),
                "fisher": float((w * fisher).sum() / fisher.sum()) / w.mean(),
                "gradient": size / w.mean(),
                "along": along / w.mean(),
            }
        )
    names = {
        "fisher": "curvature of cross-entropy along the way",
        "along": "gradient along the way",
        "gradient": "norm of the gradient",
        "curvature": "for comparison: JᵀWJ, of squared loss",
    }
    values = np.array([[one[name] for one in found] for name in names])
    return xr.Dataset(
        {
            "ratio": (
                ("kind", "seed"),
                values,
                {"long_name": "weighted over unweighted, over the mean weight"},
            )
        },
        {"kind": list(names), "kind_label": ("kind", list(names.values()))},
    )


# ------------------------------------------------------------------------------------------- the verdict


def _setting(d: xr.Dataset, name: str) -> xr.Dataset:
    return d.sel(setting=name)


def _apart(d: xr.Dataset, run: str) -> float:
    """A run's distance from standard at the same mean step, mean of both at equal rate, in standard errors."""
    return abs(float(sigmas(choice.both(d, run) - choice.both(d, SAME))))


def _difference(d: xr.Dataset, run: str) -> float:
    """The size of a run's difference from standard at the same mean step, mean of both at equal rate."""
    return abs(float((choice.both(d, run) - choice.both(d, SAME)).mean("seed", skipna=False)))


def _unevenness(effective: xr.DataArray) -> float:
    """The squared coefficient of variation of the weights, n/ESS − 1, over the Gaussian theory's at its median."""
    problem = lt.paper_problem(0.0)
    tau = lt.population_median_temperature(problem)
    # E[w]²/E[w²]; w² is the weight at τ/2.
    gaussian = float(lt.weight_mass(problem, tau) ** 2 / lt.weight_mass(problem, tau / 2))
    return float((1 / effective - 1).mean(skipna=False)) / (1 / gaussian - 1)


def verdict(dataset: xr.Dataset) -> Verdict:
    """Inverted digits weigh nearly alike; with clean labels the weights cost; both slow cross-entropy down."""
    d = dataset
    inverted, clean = _setting(d, "inverted"), _setting(d, "clean")
    hardly = lambda run: at(clean, run, "target") - at(clean, FLOW, "target")
    at = lambda cell, run, place: choice.at(cell.accuracy, run).sel(place=place)
    ratio = lambda kind: d.ratio.sel(kind=kind)
    edge = min(choice.from_edge(cell) for cell in (clean, inverted))
    checks = (
        # Nearer to equal weights than to what the weights of the theory are.
        Check("inverted: variance of the weights over their squared mean, share of the Gaussian theory's",
              _unevenness(inverted.effective), 0.5),
        Check("inverted: FLOW's difference from standard at the same mean step, share of standard's",
              _difference(inverted, FLOW) / _difference(inverted, STANDARD), 0.75),
        Check.at_least("inverted: standard's distance from standard at the same mean step, in standard errors",
                       _apart(inverted, "standard"), apart(choice.both(inverted, "standard"))),
        *(
            beyond(f"clean, equal rate: {METHODS[run]} learns more of the new task", hardly(run))
            for run in CONTROLS
        ),
        Check.at_least("cross-entropy: the curvature along the way shrinks beyond the mean weight, in standard errors",
                       float(sigmas(1 - ratio("fisher"))), 4.0),
        Check.at_least("cross-entropy: the gradient along the way shrinks more than the curvature, in standard errors",
                       float(sigmas(ratio("fisher") - ratio("along"))), 4.0),
        Check.at_least("places from the edge of the rate grid, the probe left out", edge, 1),
    )  # fmt: skip
    return Verdict(checks, headline=_headline(d), **_also(d))


def _headline(d: xr.Dataset) -> str:
    of = lambda name, run: choice.both(_setting(d, name), run)
    helps = [ahead(of(name, "flow"), of(name, SAME)) for name in SETTINGS]
    say = lambda name: (
        f"FLOW has {percent(of(name, 'flow'))} %, {points_more(of(name, 'flow'), of(name, SAME))} than standard "
        f"fine-tuning at the same mean step (standard {percent(of(name, 'standard'))} %, WiSE-FT "
        f"{percent(of(name, 'wise'))} %)"
    )
    return (
        f"{answer(*helps)}: by the mean of both accuracies at equal rate, on inverted digits {say('inverted')}; with "
        f"clean labels {say('clean')}."
    )


def _also(d: xr.Dataset) -> dict[str, tuple[str, ...]]:
    lines, runs = [], list(map(str, d.run.values))
    for name in SETTINGS:
        cell = _setting(d, name)
        best = choice.own_best(cell)
        before = cell.before.sel(place=["pretrain", "target"]).mean("place")
        order = lambda chosen, cell=cell: sorted(
            runs, key=lambda run: -float(choice.both(cell, run, chosen).mean())
        )
        equal, own = order(None), order(best)
        lines.append(
            f"{name}, before fine-tuning {percent(before)} %: at equal rate {METHODS[equal[0]]} "
            f"{percent(choice.both(cell, equal[0]))} %, FLOW number {equal.index('flow') + 1} of {len(runs)}; at "
            f"own rates {METHODS[own[0]]} {percent(choice.both(cell, own[0], best))} %, FLOW number "
            f"{own.index('flow') + 1} with {percent(choice.both(cell, 'flow', best))} %"
        )
    weights = "; ".join(
        f"{name} τ {told(_setting(d, name).temperature, 2)}, effective share {told(_setting(d, name).effective, 2)}, "
        f"below 0.01 {told(_setting(d, name).idle, 2)}"
        for name in SETTINGS
    )
    ratios = "; ".join(
        f"{d.kind_label.sel(kind=k).values!s} {told(d.ratio.sel(kind=k), 2)}" for k in d.kind.values
    )
    gaussian = bool((abs(sigmas(d.ratio - GAUSSIAN)) <= 4).all())
    one, clean = _setting(d, "inverted"), _setting(d, "clean")
    nothing = difference(choice.both(one, "flow-same-mean-step"), choice.both(one, "standard"))
    pulled = difference(choice.both(one, "l2"), choice.both(one, "flow"))
    strong = difference(choice.both(one, "l2-strong"), choice.both(one, "flow"))
    best = choice.own_best(clean)
    own = difference(choice.both(clean, SAME, best), choice.both(clean, "flow", best))
    return sorted_out(
        (gaussian, f"Cross-entropy at θ*, weighted over unweighted, over the mean weight: {ratios}. Below 1 is "
         f"slower than the shorter step alone. In the Gaussian theory of squared loss it is "
         f"s = {GAUSSIAN:g} along the shift."),
        (True, "By the mean of both accuracies, " + "; ".join(lines) + "."),
        (True, "Inverted digits at equal rate, mean of both accuracies: FLOW at the mean step of standard, minus "
         f"standard, {nothing}; ℓ2 with λ = {PULLS[0]:g} minus FLOW {pulled}, with "
         f"λ = {PULLS[1]:g} {strong} (the head is pulled, too)."),
        (True, f"Clean labels at own rates: standard at the same mean step minus FLOW {own}."),
        (True, "The weights: " + weights + "."),
    )  # fmt: skip


def tables(dataset: xr.Dataset) -> tuple[Table, ...]:
    """Both settings, all methods, at equal rate and at own best."""
    made = []
    for name in SETTINGS:
        cell = _setting(dataset, name)
        best = choice.own_best(cell)
        rows = [("before fine-tuning", *choice.row_before(cell.before), "–", *choice.row_before(cell.before))]
        for run in map(str, cell.run.values):
            rate = f"{float(cell.rate[int(best.sel(run=run))]):.2g}"
            mark = "*" if run == "flow" else ""
            rows.append((mark + METHODS[run], *choice.row(cell, run), rate, *choice.row(cell, run, best)))
        header = ("method", "old", "new", "mean", "own best", "old", "new", "mean")
        caption = f"{name}: accuracy in %, left at equal rate {float(cell.equal_rate):.2g}, right at own best"
        made.append(Table(caption, header, tuple(rows)))
    return tuple(made)
