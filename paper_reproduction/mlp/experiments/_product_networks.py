"""The product of experts in both small networks along training: labels partly wrong, a probed head to start from.

p̃ is what standard fine-tuning has learned after as many steps, p* the probed model. *Early* is where the loss of
standard fine-tuning is least on validation rows, which are as noisy as those it is trained on.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

import linear_theory as lt
from figures.mlp import parts
from paper_reproduction.claim import Check, Settings
from paper_reproduction.mlp import comparison, experts, images
from paper_reproduction.mlp.comparison import Task
from paper_reproduction.mlp.experiments import _image_runs
from paper_reproduction.mlp.networks import Array, Network
from paper_reproduction.mlp.protocol import Net, Ready, members, prepare
from paper_reproduction.mlp.statistics import beyond
from paper_reproduction.mlp.training import train

FLOW, LONGER, SAME, SHUFFLED = "flow", "flow-same-mean-step", "standard-same-mean-step", "permuted"
RUNS = (FLOW, LONGER, SAME, SHUFFLED)
CONTROLS = (SAME, SHUFFLED)
NOISES, QUICK_NOISES = (0.2, 0.4), (0.2,)
# With fewer wrong labels standard fine-tuning of the residual network is on some splits at its best within a few steps,
# before it has learned a law of the labels that could be a factor. What is found there is told, not judged.
JUDGED = {"digits": (0.2, 0.4), "images": (0.4,)}
FACTORS, QUICK_FACTORS = (0.1, 0.3, 1.0, 3.0, 10.0), (0.1, 0.3, 1.0)  # τ over the median loss
DEFAULT, COLD, COLDEST = 1.0, 0.3, 0.1
NETWORKS, QUICK = {"digits": "digits", "images": "residual network"}, ("digits",)
# Of each network the rate, and epochs until the wrong labels are memorised.
DIGITS = replace(comparison.RECIPE, equal=0.5, epochs=300, points=24)
QUICK_DIGITS = replace(DIGITS, epochs=180)
IMAGES = replace(_image_runs.recipe(5, 40, (), 0.012), points=24)


def compute(settings: Settings, seeds: int) -> xr.Dataset:
    """Both networks; in a quick run the digits alone."""
    return xr.merge([cells(network, settings, seeds) for network in (QUICK if settings.quick else NETWORKS)])


def cells(network: str, settings: Settings, seeds: int) -> xr.Dataset:
    """Every share of wrong labels and every temperature, under names of this network's own."""
    noises = QUICK_NOISES if settings.quick else NOISES
    found = [_cell(settings, noise, *READY[network](settings, seeds, noise)) for noise in noises]
    return parts.named(xr.concat(found, "noise").assign_coords(noise=list(noises)), network)


def _digits(settings: Settings, seeds: int, noise: float) -> tuple[Ready, float]:
    """Ready to be fine-tuned, and what its seeds share (:func:`figures.mlp.seeds.error`)."""
    ready = Task(noise).ready(settings, seeds, QUICK_DIGITS if settings.quick else DIGITS)
    return ready, ready.new["test"].truth.shape[1] / ready.losses.shape[1]


def _images(settings: Settings, seeds: int, noise: float) -> tuple[Ready, float]:
    """The same of the residual network; there are only so many splits that share nothing."""
    seeds = min(seeds, images.SPLITS)
    old = _image_runs.splits(settings, seeds, range(5), 5)
    new = _image_runs.splits(settings, seeds, range(5, 10), 5, noise)
    return prepare(settings, IMAGES, old, new), 0.0


READY = {"digits": _digits, "images": _images}


def shown(d: xr.Dataset) -> dict[str, xr.Dataset]:
    """The networks that were run, by name; what is asked below is asked of one of them."""
    return parts.networks(d, tuple(NETWORKS))


def judged(d: xr.Dataset) -> dict[str, xr.Dataset]:
    """The same at the shares of wrong labels that the verdict is about."""
    return {
        network: one.isel(noise=[float(noise) in JUDGED[network] for noise in one.noise])
        for network, one in shown(d).items()
    }


@functools.cache
def laws(net: Net) -> Callable[[Network, Any], tuple[Array, Array, Array]]:
    """(network, three parts) → ln p on test and on validation rows, and the share of wrong labels reproduced."""

    def of_each(network: Network, judged: Any) -> tuple[Array, Array, Array]:
        test, validation, rows = judged
        of = lambda part: jax.nn.log_softmax(net.logits(network, part.images))
        wrong = rows.labels != rows.truth
        learned = wrong & (jnp.argmax(of(rows), axis=-1).astype(rows.labels.dtype) == rows.labels)
        share = jnp.sum(learned).astype(jnp.float32) / jnp.sum(wrong).astype(jnp.float32)
        return of(test), of(validation), share

    return of_each


def _weights(settings: Settings, losses: np.ndarray, temperature: np.ndarray) -> list[np.ndarray]:
    """(seeds, n) of each of :data:`RUNS`."""
    flow = np.stack([lt.flow_weights(one, t) for one, t in zip(losses, temperature, strict=True)])
    mean = flow.mean(axis=1, keepdims=True)
    shuffled = np.stack([settings.rng(f"shuffle {seed}").permutation(one) for seed, one in enumerate(flow)])
    return [flow, flow / mean, np.ones_like(flow) * mean, shuffled]


def _trained(settings: Settings, ready: Ready, temperature: np.ndarray) -> list[np.ndarray]:
    """What :func:`laws` says of each member, (member, seed, mark, …): standard, then every run by temperature."""
    weights = [one for each in temperature for one in _weights(settings, ready.losses, each)]
    rate = np.array([ready.recipe.equal])
    lone = [members(one, rate) for one in (np.ones_like(ready.losses), *weights)]
    side_by_side = jax.tree.map(lambda *leaves: jnp.concatenate(leaves, axis=1), *lone)
    judged = tuple(ready.new[name] for name in ("test", "validation", "train"))
    _, curves = train(
        ready.recipe.fine_tuning(measure=laws(ready.recipe.net)), ready.probed, ready.probed, ready.rows, ready.orders,
        np.array(ready.marks), judged, side_by_side,
    )  # fmt: skip
    return [np.moveaxis(np.asarray(one, dtype=float), 1, 0) for one in curves]


def _cell(settings: Settings, noise: float, ready: Ready, overlap: float) -> xr.Dataset:
    factors, seeds = np.array(QUICK_FACTORS if settings.quick else FACTORS), ready.seeds
    temperature = factors[:, None] * np.median(ready.losses, axis=1)  # (factor, seed)
    test, validation, memorised = _trained(settings, ready, temperature)
    labels = np.eye(test.shape[-1])[ready.new["validation"].labels]
    # The mark at which standard fine-tuning fits the validation rows best, for each seed.
    stop = (validation[0] * labels[:, None]).sum(axis=(-2, -1)).argmax(axis=1)
    by_run = lambda values: np.moveaxis(values[1:].reshape(len(factors), len(RUNS), *values.shape[1:]), 1, 0)
    law, seen = by_run(test), by_run(validation)  # (run, factor, seed, mark, row, class)
    standard, start = test[0], test[0][:, :1]
    predicted = experts.product(standard, start, temperature[:, :, None, None, None])
    curve = ("run", "factor", "seed", "mark")
    early = lambda values: np.stack([values[..., s, stop[s], :, :] for s in range(seeds)], axis=-3)
    return xr.Dataset(
        {
            "exponents": ((*curve, "expert"), _exponents(law, standard, start)),
            "to_product": (curve, experts.divergence(law, predicted)),
            "to_standard": (curve, experts.divergence(law, standard)),
            "to_start": (curve, experts.divergence(law, start)),
            "memorised": (curve, by_run(memorised)),
            "standard_memorised": (("seed", "mark"), memorised[0]),
            "stop": ("seed", stop),
            "temperature": (("factor", "seed"), temperature),
            "overlap": ((), overlap),
            **_confidence(early(seen), early(validation[:1, None])[0, 0], labels),
            **_corrected(early(law), start[:, 0], ready.new["test"].truth, temperature, noise),
        },
        {
            "run": list(RUNS), "factor": factors, "mark": list(ready.marks), "expert": list(experts.EXPERTS),
        },
    )  # fmt: skip


def _exponents(law: np.ndarray, standard: np.ndarray, start: np.ndarray) -> np.ndarray:
    """Of p̃ and p*, at each mark but the first: there both are the same, and nothing can be told apart."""
    found = experts.exponents(
        law[..., 1:, :, :], standard[:, 1:], np.broadcast_to(start, standard[:, 1:].shape)
    )
    return np.concatenate([np.full_like(found[..., :1, :], np.nan), found], axis=-2)


def _confidence(law: np.ndarray, standard: np.ndarray, labels: np.ndarray) -> dict[str, Any]:
    """How sure every run is on validation rows, (run, factor, seed, row, class), and standard fine-tuning there."""
    each = lambda of: [
        [[of(*one) for one in zip(of_seeds, labels, strict=True)] for of_seeds in run] for run in law
    ]
    lone = [experts.softening(*one) for one in zip(standard, labels, strict=True)]
    return {
        "softening": (("run", "factor", "seed"), each(experts.softening)),
        "overconfidence": (("run", "factor", "seed"), each(experts.overconfidence)),
        "standard_softening": ("seed", lone),
    }


def _corrected(
    law: np.ndarray, start: np.ndarray, truth: np.ndarray, temperature: np.ndarray, noise: float
) -> dict[str, Any]:
    """Test rows that the probed model gets wrong, by whether the product would set them right; how many were."""
    behind = experts.margin(start, truth)  # (seed, row)
    largest = experts.largest_margin(temperature, noise, law.shape[-1])[..., None]
    below, above = (
        (behind > 0) & (behind < largest),
        (behind > 0) & (behind >= largest),
    )  # (factor, seed, row)
    right = law.argmax(axis=-1) == truth
    counts = lambda chosen: (("run", "factor", "seed"), (right & chosen).sum(axis=-1).astype(float))
    return {
        "corrected_below": counts(below),
        "corrected_above": counts(above),
        "below": (("factor", "seed"), below.sum(axis=-1).astype(float)),
        "above": (("factor", "seed"), above.sum(axis=-1).astype(float)),
    }


# ------------------------------------------------------------------------------------------- what is asked


def at_stop(d: xr.Dataset, name: str) -> xr.DataArray:
    """A curve where standard fine-tuning is best."""
    return d[name].isel(mark=d.stop)


def share(d: xr.Dataset) -> xr.DataArray:
    """KL to the product over KL to standard fine-tuning, means over seeds, early."""
    mean = lambda name: at_stop(d, name).mean("seed", skipna=False)
    return mean("to_product") / mean("to_standard")


def in_units(d: xr.Dataset) -> xr.DataArray:
    """The exponents of p̃ and p*, early, in units of what the product has: 1 and 1/τ."""
    unit = xr.where(d.expert == experts.EXPERTS[1], 1 / d.temperature, 1.0)
    return (at_stop(d, "exponents") / unit).assign_coords(overlap=d.overlap.max())


def corrected(d: xr.Dataset, side: str) -> xr.DataArray:
    """Of the test rows that the probed model gets wrong, on one side of the margin: the share that is set right."""
    return d[f"corrected_{side}"].sum("seed", skipna=False) / d[f"{side}"].sum("seed", skipna=False)


def checks(dataset: xr.Dataset) -> tuple[Check, ...]:
    """Those of every network."""
    return tuple(check for network, d in judged(dataset).items() for check in _checks(network, d))


def _checks(network: str, d: xr.Dataset) -> tuple[Check, ...]:
    """Early the product is near, and explains neither control; later and at low temperatures it is gone."""
    at = d.sel(factor=DEFAULT)
    near, units = share(at), in_units(at)
    of_each = xr.apply_ufunc(np.log, at_stop(at, "to_product") / at_stop(at, "to_standard"))
    gap = (of_each.sel(run=list(CONTROLS)) - of_each.sel(run=FLOW)).assign_coords(overlap=units.overlap)
    to_product = at.to_product.sel(run=FLOW)
    end = to_product.isel(mark=-1).mean("seed", skipna=False)
    early = at_stop(at, "to_product").sel(run=FLOW).mean("seed", skipna=False)
    flow = units.sel(run=FLOW).mean("seed", skipna=False)
    controls = units.sel(run=list(CONTROLS), expert=experts.EXPERTS[1]).mean("seed", skipna=False)
    above, below = (corrected(d.sel(factor=COLD), side) for side in ("above", "below"))
    return (
        Check(f"{network}, early: KL(FLOW ‖ product) over KL(FLOW ‖ standard)",
              float(near.sel(run=FLOW).max(skipna=False)), 0.5),
        Check.at_least(f"{network}, early: the same of both controls",
                       float(near.sel(run=list(CONTROLS)).min(skipna=False)), 1.0),
        # Half-way between the product and a model that the weights have not touched.
        Check(f"{network}, early: exponents from 1 and 1/τ, in units of these",
              float(abs(flow - 1).max(skipna=False)), 0.5),
        Check(f"{network}, early: exponent of p* under either control, in units of 1/τ",
              float(controls.max(skipna=False)), 0.5),
        beyond(f"{network}, early: ln of that ratio below both controls'", gap),
        Check.at_least(f"{network}: KL(FLOW ‖ product) at the end over early",
                       float((end / early).min(skipna=False)), 3.0),
        Check.at_least(f"{network}: wrong labels that standard fine-tuning reproduces at the end",
                       float(d.standard_memorised.isel(mark=-1).mean("seed", skipna=False).min()), 0.4),
        Check.at_least(f"{network}, early, τ = median × {COLDEST:g}: KL(FLOW ‖ product) over KL(FLOW ‖ standard)",
                       float(share(d.sel(factor=COLDEST, run=FLOW)).min(skipna=False)), 1.0),
        Check(f"{network}, early, τ = median × {COLD:g}: rows beyond the margin set right, over the lesser control's",
              float((above.sel(run=FLOW) / above.sel(run=list(CONTROLS)).min("run")).max(skipna=False)), 0.5),
        Check(f"{network}, early, τ = median × {COLD:g}: rows below the margin set right",
              float(below.sel(run=FLOW).max(skipna=False)), 0.8),
    )  # fmt: skip
