"""One head for both tasks, the same five labels for other digits: what learns the one forgets the other."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

import linear_theory as lt
from paper_reproduction.claim import Check, Claim, Settings, Table, Verdict
from paper_reproduction.mlp import choice, comparison, digits
from paper_reproduction.mlp.comparison import (
    NET,
    PLACES,
    SHARES,
    Ready,
    members,
    orders,
    pretrained,
    rates,
    sample_losses,
    weight_facts,
)
from paper_reproduction.mlp.networks import accuracy
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
from paper_reproduction.mlp.training import Loop, train, whole

CLAIM = Claim(
    name="conflicting-labels",
    title="With one head and conflicting labels everything forgets; stopping early or averaging keeps far more",
    question="Is FLOW best for both tasks where one head has to give them conflicting labels?",
    statement=(
        "The network learns the digits 0-4 as the classes 0-4 and is fine-tuned, with the same head, on the digits 5-9 "
        "called 0-4. We show the accuracy on both tasks after every epoch, for standard fine-tuning, FLOW and standard "
        "fine-tuning at the same mean step. Beside them stand two choices that see validation rows of both tasks, "
        "which one rarely has: the best epoch, and the best average of the parameters before and after (WiSE-FT)."
    ),
    equation="section 4; Remark 7.5 in networks",
    formula=r"\theta_\omega=\omega\theta_*+(1-\omega)\theta_K",
    functions=("flow_weights", "effective_sample_size"),
    seconds=30,
    quick_seconds=8,
    order=40,
)

SAME = "standard-same-mean-step"
RUNS = {"standard": "standard", "flow": "FLOW", "standard-same-mean-step": "standard, same mean step"}


def _measure(network: Any, parts: Any) -> Any:
    """Accuracy in the places of :data:`PLACES`, all with the one head."""
    labels = (parts[0].truth, parts[1].truth, parts[2].labels, parts[3].labels)
    return jnp.stack([accuracy(NET.logits(network, p.images), y) for p, y in zip(parts, labels, strict=True)])


LOOP = Loop(NET.logits, whole, _measure)


def compute(settings: Settings) -> xr.Dataset:
    """Curves over epochs and paths over the average, every method and rate."""
    seeds = settings.repetitions(10, 5)
    curves = _curves(settings, seeds)
    return curves.assign(best=choice.own_best(curves)).assign_attrs(seeds=seeds)


def _curves(settings: Settings, seeds: int) -> xr.Dataset:
    old, star = pretrained(settings, seeds)
    new = digits.stacked([digits.split(range(5, 10), settings.rng(f"new {s}")) for s in range(seeds)])
    rows, grid = (new["train"].images, new["train"].labels), rates(settings)
    losses = np.asarray(sample_losses(star, *rows), dtype=float)
    w = np.stack([lt.flow_weights(one) for one in losses])
    ones = np.ones_like(w)
    order = orders(settings, "fine-tuning", seeds, comparison.EPOCHS)
    ready = Ready(old, new, star, star, losses, w, order, jax.random.key(0))
    parts = (old["test"], new["test"], old["validation"], new["validation"])
    weighing = {"standard": ones, "flow": w, "standard-same-mean-step": ones * w.mean(axis=1, keepdims=True)}
    curves, paths = [], []
    for weights in weighing.values():
        networks, curve = train(LOOP, star, star, rows, order, parts, members(weights, grid))
        curves.append(np.asarray(curve))
        paths.append([_scores(comparison.averaged(ready, networks, share), parts) for share in SHARES])
    table = np.array(curves).transpose(0, 2, 1, 3, 4)
    d = xr.Dataset(
        {
            "curve": (("run", "rate", "seed", "epoch", "place"), table),
            "wise": (("run", "share", "seed", "rate", "place"), np.array(paths)),
        },
        {
            "run": list(RUNS), "label": ("run", list(RUNS.values())), "rate": grid, "share": SHARES,
            "epoch": np.arange(table.shape[3]), "place": list(PLACES),
        },
    )  # fmt: skip
    return d.assign(accuracy=d.curve.isel(epoch=-1)).merge(weight_facts(losses, w))


@jax.jit
def _scores(networks: Any, parts: Any) -> Any:
    return jax.vmap(jax.vmap(_measure, in_axes=(0, None)))(networks, parts)


# ------------------------------------------------------------------------------------------- the verdict


def _chosen(values: xr.DataArray, along: str) -> xr.DataArray:
    """Test accuracies where the mean of both validation accuracies is best, seed by seed."""
    seen = values.sel(place=["pretrain validation", "target validation"]).mean("place", skipna=False)
    place = seen.fillna(-1.0).argmax(along)
    return values.isel({along: place}).sel(place=["pretrain", "target"])


def _flat(values: xr.DataArray, along: str) -> xr.DataArray:
    """Rates and epochs (or shares) as one axis, so that both are chosen together."""
    return values.stack({f"rate and {along}": ("rate", along)}, create_index=False)


def _points(d: xr.Dataset) -> dict[str, xr.DataArray]:
    """Each row of the table: accuracies (seed, place)."""
    best = choice.own_best(d)
    found = {}
    for run, label in RUNS.items():
        found[f"{label}, equal rate"] = choice.at(d.accuracy, run)
        found[f"{label}, own best"] = choice.at(d.accuracy, run, best)
        found[f"{label}, equal rate, best epoch"] = _chosen(choice.at(d.curve, run), "epoch")
        found[f"{label}, equal rate, best share"] = _chosen(choice.at(d.wise, run), "share")
        found[f"{label}, best rate and epoch"] = _chosen(
            _flat(d.curve.sel(run=run), "epoch"), "rate and epoch"
        )
        found[f"{label}, best rate and share"] = _chosen(
            _flat(d.wise.sel(run=run), "share"), "rate and share"
        )
    return {name: one.sel(place=["pretrain", "target"]) for name, one in found.items()}


def verdict(dataset: xr.Dataset) -> Verdict:
    """Forgetting is there, the task is learned, no choice on an edge; both choices keep more than the end."""
    d = dataset
    points = _points(d)
    mean = {name: one.mean("place") for name, one in points.items()}
    start = d.curve.isel(epoch=0, rate=0).sel(run="standard")
    end = points["standard, own best"]
    kept = lambda name: points[name].sel(place="pretrain")
    gain = lambda choice_of_both: float(
        sigmas(mean[f"standard, equal rate, {choice_of_both}"] - mean["standard, equal rate"])
    )
    checks = (
        Check.at_least("standard at its best forgets, share of accuracy",
                       float((start.sel(place="pretrain") - end.sel(place="pretrain")).mean(skipna=False)), 0.2),
        Check("standard at its best learns, errors",
              1 - float(end.sel(place="target").mean(skipna=False)), 0.1),
        Check.at_least("equal rate, standard: the best epoch beats the end, in standard errors",
                       gain("best epoch"), 2.0),
        Check.at_least("equal rate, standard: the best average beats the end, in standard errors",
                       gain("best share"), 2.0),
        Check.at_least("equal rate: FLOW keeps more of the old task than standard, in standard errors",
                       float(sigmas(kept("FLOW, equal rate") - kept("standard, equal rate"))), 2.0),
        Check.at_least("places from the edge of the rate grid", choice.from_edge(d), 1),
    )  # fmt: skip
    return Verdict(checks, headline=_headline(points, mean), **_also(d, mean))


def _headline(points: dict[str, xr.DataArray], mean: dict[str, xr.DataArray]) -> str:
    flow, standard, same = (RUNS[run] for run in ("flow", "standard", SAME))
    ends = [ahead(mean[f"{flow}, equal rate"], mean[f"{other}, equal rate"]) for other in (standard, same)]
    chosen = "best rate and epoch"
    best = [ahead(mean[f"{flow}, {chosen}"], mean[f"{other}, {chosen}"]) for other in (standard, same)]
    at_the_end = lambda other: points_more(mean[f"{flow}, equal rate"], mean[f"{other}, equal rate"])
    show = lambda run: f"{percent(mean[f'{run}, {chosen}'])} %"
    end = points[f"{standard}, equal rate"].sel(place="pretrain")
    return (
        f"{answer(all(ends), all(best))}: by the mean of both accuracies, at equal rate and to the end FLOW has "
        f"{at_the_end(standard)} than standard fine-tuning, which keeps {percent(end)} % on the old task, and "
        f"{at_the_end(same)} than standard at the same mean step; rate and epoch chosen on both tasks FLOW has "
        f"{show(flow)}, standard {show(standard)} and standard at the same mean step {show(same)}."
    )


def _also(d: xr.Dataset, mean: dict[str, xr.DataArray]) -> dict[str, tuple[str, ...]]:
    order = sorted(mean, key=lambda name: -float(mean[name].mean()))
    level = lambda name: f"{name} {percent(mean[name])} %"
    pair = lambda one, other: difference(mean[one], mean[other])
    chosen = "best rate and epoch"
    not_behind = not any(ahead(mean[f"{RUNS[run]}, {chosen}"], mean[f"FLOW, {chosen}"]) for run in RUNS)
    return sorted_out(
        (True, f"By the mean of both accuracies: {level(order[0])}, then {level(order[1])}, "
         f"{level(order[2])}; last {level(order[-1])}."),
        (not_behind, "At the best rate and epoch FLOW minus standard is "
         f"{pair(f'FLOW, {chosen}', f'standard, {chosen}')}, minus standard at the same mean step "
         f"{pair(f'FLOW, {chosen}', f'{RUNS[SAME]}, {chosen}')}."),
        (True, "Standard at the best rate and epoch, minus standard at the best rate and share of the average: "
         f"{pair(f'standard, {chosen}', 'standard, best rate and share')}."),
        (True, f"The pre-trained model gives the new digits its old labels: τ {told(d.temperature, 2)}, effective "
         f"sample share {told(d.effective, 2)}, weights below 0.01 {told(d.idle, 2)}."),
    )  # fmt: skip


def tables(dataset: xr.Dataset) -> tuple[Table, ...]:
    """Both tasks, for each method at its end and where both tasks choose to stop or to average."""
    start = dataset.curve.isel(epoch=0, rate=0).sel(run="standard", place=["pretrain", "target"])
    rows = [("pre-trained", *choice.row_before(start))]
    rows += [(name, *choice.row_before(one)) for name, one in _points(dataset).items()]
    caption = "Accuracy in %, mean ± s.e.; own best: rate chosen on the new task; other bests: on both tasks"
    return (Table(caption, ("method", "old", "new", "mean"), tuple(rows)),)
