"""Where the recipe does not help, and what the slowdown of cross-entropy is made of."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import numpy as np
import xarray as xr

import linear_theory as lt
from paper_reproduction.claim import Check, Claim, Settings, Table, Verdict
from paper_reproduction.mlp import choice, comparison, digits
from paper_reproduction.mlp.comparison import METHODS, NET, Task
from paper_reproduction.mlp.hardware import quiet
from paper_reproduction.mlp.statistics import difference, error, percent, told

CLAIM = Claim(
    name="where-it-fails",
    title="Where all samples are equally hard the weights are a smaller step, and with clean labels they cost",
    question="Where does it fail?",
    statement=(
        r"Three settings in which FLOW has no reason to win, kept in the report. The same digits inverted (ink "
        r"for paper), with the same "
        r"head: every sample is hard, the weights are near uniform, and what is left is a smaller step. Clean "
        r"labels at each "
        r"method's own learning rate: hard samples are then the informative ones. And cross-entropy, where FLOW "
        r"may be slow "
        r"because the weighted curvature along the way is small, as in the theory, or because the gradient is: "
        r"both are measured "
        r"at $\theta_*$ and relative to the mean weight, the Rayleigh ratio of $J^\top WJ$ along the way that "
        r"standard "
        r"fine-tuning takes, and the norm of the gradient."
    ),
    equation="section 4; THEORY 3 (B)",
    formula=r"\frac{u^\top J^\top WJu}{\bar w\,u^\top J^\top Ju},\qquad "
    r"\frac{\|\nabla L_w(\theta_*)\|}{\bar w\,\|\nabla L(\theta_*)\|}",
    functions=("linearize", "flow_weights", "effective_sample_size"),
    seconds=60,
    quick_seconds=15,
    order=70,
)

SETTINGS = {"inverted": Task(change=digits.inverted, shared=True), "clean": Task()}


def compute(settings: Settings) -> xr.Dataset:
    """A comparison of all methods in each setting, and the two ratios of cross-entropy on the clean one."""
    seeds = settings.repetitions(10, 5)
    cells: dict[str, Any] = {
        name: partial(comparison.compare, settings, task, seeds) for name, task in SETTINGS.items()
    }
    cells["cross-entropy"] = partial(_slowdown, settings, seeds)
    found = settings.each(cells)
    both = xr.concat([found[name] for name in SETTINGS], "setting", combine_attrs="drop")
    both = both.assign_coords(setting=list(SETTINGS))
    keep = ["accuracy", "before", "temperature", "mean_weight", "effective", "idle"]
    return both[keep].merge(found["cross-entropy"], combine_attrs="drop").assign_attrs(seeds=seeds)


def _logits(params: Any, X: Any) -> Any:
    return NET.logits(params, X)


@quiet
def _slowdown(settings: Settings, seeds: int) -> xr.Dataset:
    """For each seed the ratios along standard fine-tuning's way and of the gradient, over the mean weight."""
    ready = comparison.prepare(settings, Task(), seeds)
    rate = np.array([comparison.EQUAL])
    tuned = comparison.only(comparison.tune(settings, ready, "standard", rate))
    found = []
    for s in range(seeds):
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
        "curvature": "JᵀWJ along the way",
        "fisher": "Gauss-Newton of cross-entropy along the way",
        "gradient": "norm of the gradient",
        "along": "gradient along the way",
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


def _apart(cell: xr.Dataset) -> float:
    """How far FLOW is from the step-matched control in the mean of both accuracies at equal rate."""
    return abs(float((choice.both(cell, "flow") - choice.both(cell, "matched")).mean(skipna=False)))


def verdict(dataset: xr.Dataset) -> Verdict:
    """Inverted digits weigh nearly alike; with clean labels the weights cost; the gradient is what is small."""
    d = dataset
    inverted, clean = _setting(d, "inverted"), _setting(d, "clean")
    best = choice.own_best(clean)
    cost = choice.both(clean, "matched", best) - choice.both(clean, "flow", best)
    ratios = d.ratio.sel(kind=["curvature", "gradient"])
    gap = ratios.sel(kind="curvature") - ratios.sel(kind="gradient")
    tuned = [run for run in METHODS if run != "probe"]
    cells = [cell.sel(run=tuned) for cell in (inverted, clean)]
    edge = min(choice.from_edge(cell, choice.own_best(cell)) for cell in cells)
    checks = (
        Check.at_least("inverted: effective sample share", float(inverted.effective.mean()), 0.85),
        Check("inverted: FLOW from the control without weights, both accuracies, share", _apart(inverted), 0.05),
        Check.at_least("clean, own rates: the control without weights less FLOW, in standard errors",
                       float(cost.mean()) / float(error(cost)), 2.0),
        Check.at_least("cross-entropy: the gradient shrinks more than the curvature, in standard errors",
                       float(gap.mean()) / float(error(gap)), 2.0),
        Check.at_least("places from the edge of the rate grid, the probe left out", edge, 1),
    )  # fmt: skip
    return Verdict(checks, _findings(d), _headline(d, best))


def _headline(d: xr.Dataset, best: xr.DataArray) -> str:
    clean, inverted = _setting(d, "clean"), _setting(d, "inverted")
    both = lambda cell, run, b: f"{percent(choice.both(cell, run, b))} %"
    return (
        f"Mean of both accuracies: clean labels at own rates, FLOW {both(clean, 'flow', best)}, standard "
        f"{both(clean, 'standard', best)}, ℓ2 {both(clean, 'l2-strong', best)}; inverted digits at equal rate, FLOW "
        f"{both(inverted, 'flow', None)}, the control without weights {both(inverted, 'matched', None)}."
    )


def _findings(d: xr.Dataset) -> tuple[str, ...]:
    lines = []
    for name in SETTINGS:
        cell = _setting(d, name)
        best = choice.own_best(cell)
        tuned = [run for run in METHODS if run != "probe"]
        equal = sorted(tuned, key=lambda run: -float(choice.both(cell, run).mean()))
        own = sorted(tuned, key=lambda run: -float(choice.both(cell, run, best).mean()))
        lines.append(
            f"{name}: at equal rate {METHODS[equal[0]]} first, FLOW number {equal.index('flow') + 1} of "
            f"{len(tuned)}; at own rates "
            f"{METHODS[own[0]]} first, FLOW number {own.index('flow') + 1}, "
            f"{difference(choice.both(cell, own[0], best), choice.both(cell, 'flow', best)).lstrip('+')} behind"
        )
    weights = "; ".join(
        f"{name} τ {told(_setting(d, name).temperature, 2)}, effective share "
        f"{told(_setting(d, name).effective, 2)}, below 0.01 "
        f"{told(_setting(d, name).idle, 2)}"
        for name in SETTINGS
    )
    ratios = "; ".join(
        f"{d.kind_label.sel(kind=k).values!s} {told(d.ratio.sel(kind=k), 2)}" for k in d.kind.values
    )
    one = _setting(d, "inverted")
    nothing = difference(choice.both(one, "normalised"), choice.both(one, "standard"))
    pulled = difference(choice.both(one, "l2"), choice.both(one, "flow"))
    return (
        "By the mean of both accuracies, " + "; ".join(lines) + ".",
        f"Inverted digits at equal rate: weights over their mean less standard {nothing}, mean of both "
        f"accuracies: the weights do "
        f"next to nothing. ℓ2 (λ = {comparison.PULLS[0]:g}) less FLOW {pulled}.",
        "The weights: " + weights + ".",
        f"Cross-entropy at θ*, weighted over unweighted, over the mean weight: {ratios}. Below 1 is slower than "
        f"the step alone. The "
        "Gaussian theory of squared loss has both along the shift at s = 0.185.",
    )


def tables(dataset: xr.Dataset) -> tuple[Table, ...]:
    """Both settings, all methods, at equal rate and at own best."""
    made = []
    for name in SETTINGS:
        cell = _setting(dataset, name)
        best = choice.own_best(cell)
        rows = [("pre-trained, probed head", *choice.plain(cell.before), "–", *choice.plain(cell.before))]
        for run, label in METHODS.items():
            rate = f"{float(cell.rate[int(best.sel(run=run))]):.2g}"
            mark = "*" if run == "flow" else ""
            rows.append((mark + label, *choice.row(cell, run), rate, *choice.row(cell, run, best)))
        header = ("method", "old", "new", "mean", "own best", "old", "new", "mean")
        caption = f"{name}: accuracy in %, left at equal rate {comparison.EQUAL:g}, right at own best"
        made.append(Table(caption, header, tuple(rows)))
    return tuple(made)
