"""One head for both tasks, the same five labels for other digits: forgetting that nothing can hide."""

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
from paper_reproduction.mlp.statistics import difference, percent, sigmas, told
from paper_reproduction.mlp.training import Loop, train, whole

CLAIM = Claim(
    name="conflicting-labels",
    title="With one head and conflicting labels everything forgets; stopping early or averaging keeps far more",
    question="Who wins where the two tasks fight over one head?",
    statement=(
        "The network learns the digits 0-4 as the classes 0-4 and is fine-tuned, with the same head, on the "
        "digits 5-9 called 0-4. "
        "We show the accuracy on both tasks after every epoch. Beside standard fine-tuning, FLOW and the "
        "step-matched "
        "control stand two oracles that see validation rows of both tasks: the best epoch, and the best average of "
        "the parameters before and after (WiSE-FT)."
    ),
    equation="section 4; Remark 7.5 in networks",
    formula=r"\theta_\omega=\omega\theta_*+(1-\omega)\theta_K",
    functions=("flow_weights", "effective_sample_size"),
    seconds=30,
    quick_seconds=8,
    order=40,
)

RUNS = {"standard": "standard", "flow": "FLOW", "matched": "control: loss × mean weight"}


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
    weighing = {"standard": ones, "flow": w, "matched": ones * w.mean(axis=1, keepdims=True)}
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
    """Test accuracies where the mean of both validation accuracies is best, seed by seed: an oracle of both tasks."""
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
    """Forgetting is there, the task is learned, no choice on an edge; oracles keep what the end forgets."""
    d = dataset
    points = _points(d)
    mean = {name: one.mean("place") for name, one in points.items()}
    start = d.curve.isel(epoch=0, rate=0).sel(run="standard")
    end = points["standard, own best"]
    kept = lambda name: points[name].sel(place="pretrain")
    gain = lambda oracle: float(
        sigmas(mean[f"standard, equal rate, {oracle}"] - mean["standard, equal rate"])
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
    return Verdict(checks, _findings(d, points, mean), _headline(points, mean))


def _headline(points: dict[str, xr.DataArray], mean: dict[str, xr.DataArray]) -> str:
    show = lambda name: f"{percent(mean[name])} %"
    end = points["standard, equal rate"].sel(place="pretrain")
    return (
        f"At equal rate standard keeps {percent(end)} % on the old task. Mean of both tasks, rate and moment "
        f"(or share) chosen "
        f"on both: standard stopped {show('standard, best rate and epoch')}, averaged "
        f"{show('standard, best rate and share')}; FLOW stopped {show('FLOW, best rate and epoch')}, averaged "
        f"{show('FLOW, best rate and share')}."
    )


def _findings(
    d: xr.Dataset, points: dict[str, xr.DataArray], mean: dict[str, xr.DataArray]
) -> tuple[str, ...]:
    order = sorted(mean, key=lambda name: -float(mean[name].mean()))
    pair = lambda one, other: difference(mean[one], mean[other])
    control = RUNS["matched"]
    return (
        f"By the mean of both accuracies: {order[0]} {percent(mean[order[0]])} %, then {order[1]} "
        f"{percent(mean[order[1]])} %, {order[2]} {percent(mean[order[2]])} %; last {order[-1]} "
        f"{percent(mean[order[-1]])} %.",
        f"At equal rate FLOW less standard {pair('FLOW, equal rate', 'standard, equal rate')}, FLOW less the "
        f"step-matched "
        f"control {pair('FLOW, equal rate', f'{control}, equal rate')}; stopped at the best rate and epoch "
        f"{pair('FLOW, best rate and epoch', 'standard, best rate and epoch')} and "
        f"{pair('FLOW, best rate and epoch', f'{control}, best rate and epoch')}.",
        f"Standard, best rate and epoch less best rate and share: "
        f"{pair('standard, best rate and epoch', 'standard, best rate and share')}.",
        f"The pre-trained model gives the new digits its old labels: τ {told(d.temperature, 2)}, effective "
        f"sample share "
        f"{told(d.effective, 2)}, weights below 0.01 {told(d.idle, 2)}.",
    )


def tables(dataset: xr.Dataset) -> tuple[Table, ...]:
    """Both tasks, for each method at its end and at its oracles."""
    start = dataset.curve.isel(epoch=0, rate=0).sel(run="standard", place=["pretrain", "target"])
    rows = [("pre-trained", *choice.plain(start))]
    rows += [(name, *choice.plain(one)) for name, one in _points(dataset).items()]
    caption = "Accuracy in %, mean ± s.e.; oracles choose on validation rows of both tasks"
    return (Table(caption, ("method", "old", "new", "mean"), tuple(rows)),)
