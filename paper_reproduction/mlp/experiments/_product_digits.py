"""The product of experts in a digits network along training: labels partly wrong, a probed head to start from.

p̃ is what standard fine-tuning has learned after as many steps, p* the probed model. *Early* is where the loss of
standard fine-tuning is least on validation rows, which are as noisy as those it is trained on.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

import linear_theory as lt
from paper_reproduction.claim import Check, Settings
from paper_reproduction.mlp import comparison, experts
from paper_reproduction.mlp.comparison import Task
from paper_reproduction.mlp.networks import Array, Network
from paper_reproduction.mlp.protocol import Ready, Recipe, members
from paper_reproduction.mlp.statistics import apart, sigmas
from paper_reproduction.mlp.training import train

FLOW, LONGER, SAME, SHUFFLED = "flow", "flow-same-mean-step", "standard-same-mean-step", "permuted"
RUNS = (FLOW, LONGER, SAME, SHUFFLED)
CONTROLS = (SAME, SHUFFLED)
NOISES, QUICK_NOISES = (0.2, 0.4), (0.2,)
FACTORS, QUICK_FACTORS = (0.1, 0.3, 1.0, 3.0, 10.0), (0.1, 0.3, 1.0)  # τ over the median loss
DEFAULT, COLD, COLDEST = 1.0, 0.3, 0.1
RATE, EPOCHS, QUICK_EPOCHS = 0.5, 300, 180  # until the wrong labels are memorised


def compute(settings: Settings, seeds: int) -> xr.Dataset:
    """Every share of wrong labels and every temperature."""
    noises = QUICK_NOISES if settings.quick else NOISES
    cells = [_cell(settings, noise, seeds) for noise in noises]
    return xr.concat(cells, "noise").assign_coords(noise=list(noises))


@functools.cache
def _recipe(quick: bool) -> Recipe:
    return dataclasses.replace(comparison.RECIPE, epochs=QUICK_EPOCHS if quick else EPOCHS, points=24)


def _laws(network: Network, parts: Any) -> tuple[Array, Array, Array]:
    """ln p on test rows and on validation rows, and the share of wrong training labels that is reproduced."""
    test, validation, rows = parts
    of = lambda part: jax.nn.log_softmax(comparison.NET.logits(network, part.images))
    wrong = rows.labels != rows.truth
    learned = wrong & (jnp.argmax(of(rows), axis=-1).astype(jnp.int32) == rows.labels)
    return of(test), of(validation), jnp.sum(learned).astype(jnp.float32) / jnp.sum(wrong).astype(jnp.float32)


def _weights(settings: Settings, losses: np.ndarray, temperature: np.ndarray) -> list[np.ndarray]:
    """(seeds, n) of each of :data:`RUNS`."""
    flow = np.stack([lt.flow_weights(one, t) for one, t in zip(losses, temperature, strict=True)])
    mean = flow.mean(axis=1, keepdims=True)
    shuffled = np.stack([settings.rng(f"shuffle {seed}").permutation(one) for seed, one in enumerate(flow)])
    return [flow, flow / mean, np.ones_like(flow) * mean, shuffled]


def _trained(settings: Settings, ready: Ready, temperature: np.ndarray) -> list[np.ndarray]:
    """What :func:`_laws` says of each member, (member, seed, mark, …): standard, then every run by temperature."""
    weights = [one for each in temperature for one in _weights(settings, ready.losses, each)]
    lone = [members(one, np.array([RATE])) for one in (np.ones_like(ready.losses), *weights)]
    side_by_side = jax.tree.map(lambda *leaves: jnp.concatenate(leaves, axis=1), *lone)
    parts = tuple(ready.new[name] for name in ("test", "validation", "train"))
    _, curves = train(
        ready.recipe.fine_tuning(measure=_laws), ready.probed, ready.probed, ready.rows, ready.orders,
        np.array(ready.marks), parts, side_by_side,
    )  # fmt: skip
    return [np.moveaxis(np.asarray(one, dtype=float), 1, 0) for one in curves]


def _cell(settings: Settings, noise: float, seeds: int) -> xr.Dataset:
    factors = np.array(QUICK_FACTORS if settings.quick else FACTORS)
    ready = Task(noise).ready(settings, seeds, _recipe(settings.quick))
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
            "digits_exponents": ((*curve, "expert"), _exponents(law, standard, start)),
            "digits_to_product": (curve, experts.divergence(law, predicted)),
            "digits_to_standard": (curve, experts.divergence(law, standard)),
            "digits_to_start": (curve, experts.divergence(law, start)),
            "digits_memorised": (curve, by_run(memorised)),
            "digits_standard_memorised": (("seed", "mark"), memorised[0]),
            "digits_stop": ("seed", stop),
            "digits_temperature": (("factor", "seed"), temperature),
            "digits_overlap": ((), test.shape[-2] / ready.losses.shape[1]),
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
        "digits_softening": (("run", "factor", "seed"), each(experts.softening)),
        "digits_overconfidence": (("run", "factor", "seed"), each(experts.overconfidence)),
        "digits_standard_softening": ("seed", lone),
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
        "digits_corrected_below": counts(below),
        "digits_corrected_above": counts(above),
        "digits_below": (("factor", "seed"), below.sum(axis=-1).astype(float)),
        "digits_above": (("factor", "seed"), above.sum(axis=-1).astype(float)),
    }


# ------------------------------------------------------------------------------------------- what is asked


def at_stop(d: xr.Dataset, name: str) -> xr.DataArray:
    """A curve where standard fine-tuning is best."""
    return d[name].isel(mark=d.digits_stop)


def share(d: xr.Dataset) -> xr.DataArray:
    """KL to the product over KL to standard fine-tuning, means over seeds, early."""
    mean = lambda name: at_stop(d, name).mean("seed", skipna=False)
    return mean("digits_to_product") / mean("digits_to_standard")


def in_units(d: xr.Dataset) -> xr.DataArray:
    """The exponents of p̃ and p*, early, in units of what the product has: 1 and 1/τ."""
    unit = xr.where(d.expert == experts.EXPERTS[1], 1 / d.digits_temperature, 1.0)
    return (at_stop(d, "digits_exponents") / unit).assign_coords(overlap=d.digits_overlap.max())


def corrected(d: xr.Dataset, side: str) -> xr.DataArray:
    """Of the test rows that the probed model gets wrong, on one side of the margin: the share that is set right."""
    return d[f"digits_corrected_{side}"].sum("seed", skipna=False) / d[f"digits_{side}"].sum(
        "seed", skipna=False
    )


def checks(d: xr.Dataset) -> tuple[Check, ...]:
    """Early the product is near, and explains neither control; later and at low temperatures it is gone."""
    at = d.sel(factor=DEFAULT)
    near, units = share(at), in_units(at)
    of_each = xr.apply_ufunc(np.log, at_stop(at, "digits_to_product") / at_stop(at, "digits_to_standard"))
    gap = (of_each.sel(run=list(CONTROLS)) - of_each.sel(run=FLOW)).assign_coords(overlap=units.overlap)
    to_product = at.digits_to_product.sel(run=FLOW)
    end = to_product.isel(mark=-1).mean("seed", skipna=False)
    early = at_stop(at, "digits_to_product").sel(run=FLOW).mean("seed", skipna=False)
    flow = units.sel(run=FLOW).mean("seed", skipna=False)
    controls = units.sel(run=list(CONTROLS), expert=experts.EXPERTS[1]).mean("seed", skipna=False)
    above, below = (corrected(d.sel(factor=COLD), side) for side in ("above", "below"))
    return (
        Check("digits, early: KL(FLOW ‖ product) over KL(FLOW ‖ standard)",
              float(near.sel(run=FLOW).max(skipna=False)), 0.5),
        Check.at_least("digits, early: the same of both controls",
                       float(near.sel(run=list(CONTROLS)).min(skipna=False)), 1.0),
        # Half-way between the product and a model that the weights have not touched.
        Check("digits, early: exponents from 1 and 1/τ, in units of these",
              float(abs(flow - 1).max(skipna=False)), 0.5),
        Check("digits, early: exponent of p* under either control, in units of 1/τ",
              float(controls.max(skipna=False)), 0.5),
        Check.at_least("digits, early: ln of that ratio below both controls', in standard errors",
                       float(sigmas(gap).min(skipna=False)), apart(gap)),
        Check.at_least("digits: KL(FLOW ‖ product) at the end over early", float((end / early).min(skipna=False)), 3.0),
        Check.at_least("digits: wrong labels that standard fine-tuning reproduces at the end",
                       float(d.digits_standard_memorised.isel(mark=-1).mean("seed", skipna=False).min()), 0.4),
        Check.at_least(f"digits, early, τ = median × {COLDEST:g}: KL(FLOW ‖ product) over KL(FLOW ‖ standard)",
                       float(share(d.sel(factor=COLDEST, run=FLOW)).min(skipna=False)), 1.0),
        Check(f"digits, early, τ = median × {COLD:g}: rows beyond the margin set right, over the lesser control's",
              float((above.sel(run=FLOW) / above.sel(run=list(CONTROLS)).min("run")).max(skipna=False)), 0.5),
        Check(f"digits, early, τ = median × {COLD:g}: rows below the margin set right",
              float(below.sel(run=FLOW).max(skipna=False)), 0.8),
    )  # fmt: skip
