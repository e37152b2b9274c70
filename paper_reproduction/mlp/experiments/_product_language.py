"""The product of experts in a language model, byte by byte: pre-trained on prose, fine-tuned on code in one pass.

p̃ is what standard fine-tuning has learned of the next byte on the same windows, p* the pre-trained model; laws are
compared on held-out code. Adam takes no notice of a common factor of the loss, so that standard fine-tuning *is* the
run with every weight replaced by the mean; to have an error of its own it sees the same windows in another order.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

import linear_theory as lt
from linear_theory.significance import SIGMAS
from linear_theory.threads import cores
from paper_reproduction.claim import Check, Settings
from paper_reproduction.mlp import corpus, experts, language
from paper_reproduction.mlp.language import ADAM, NET, Tuning
from paper_reproduction.mlp.networks import Array
from paper_reproduction.mlp.statistics import sigmas

FLOW, SEQUENCE, SAME, SHUFFLED = "flow", "flow-sequence", "standard-same-mean-step", "permuted"
RUNS = (FLOW, SEQUENCE, SAME, SHUFFLED)
CONTROLS = (SAME, SHUFFLED)
FACTORS, QUICK_FACTORS = (0.3, 1.0, 3.0), (1.0,)  # τ over the median loss, of bytes or of windows
DEFAULT = 1.0
STEPS, QUICK_STEPS = (10, 40, 160), (10, 40)  # after which the laws are compared
BATCH, QUICK_BATCH, HELD, QUICK_HELD = 16, 8, 128, 32  # windows
PEAK, WARM = 3e-3, 0.1  # of the learning rate; share of the steps on the way to it


def compute(settings: Settings) -> xr.Dataset:
    """Every stored model; a quick run takes one, and the code of NumPy alone."""
    models = range(1 if settings.quick else language.STORED)
    code = corpus.texts(("numpy",) if settings.quick else tuple(corpus.PACKAGES))[1]
    with ThreadPoolExecutor(min(cores(), len(models))) as pool:
        cells = list(pool.map(partial(_model, settings, code), models))
    return xr.concat(cells, "model").assign_coords(model=list(models))


def _model(settings: Settings, texts: tuple[str, ...], model: int) -> xr.Dataset:
    steps = QUICK_STEPS if settings.quick else STEPS
    factors = QUICK_FACTORS if settings.quick else FACTORS
    code = corpus.cut(texts, "\n\n", model).parts
    draw = lambda part, count: jnp.asarray(
        corpus.windows(code[part], NET.context, count, settings.rng(f"language {part} {model}"))
    )
    batch, held = (QUICK_BATCH, QUICK_HELD) if settings.quick else (BATCH, HELD)
    rows, test, validation = draw("train", steps[-1] * batch), draw("test", held), draw("validation", held)
    start = language.stored(model)
    losses = np.asarray(language.token_losses(NET, start, rows), dtype=float)
    rng = settings.rng(f"language order {model}")
    order = np.arange(len(rows)).reshape(-1, batch)
    ones = np.ones_like(losses)
    tune = lambda weights, order=order: _tuned(start, rows, weights, order, steps, test, validation)
    laws = lambda parameters, windows: np.asarray(_laws(parameters, windows), dtype=float)
    old, labels = laws(start, test), np.eye(NET.symbols)[np.asarray(validation[:, 1:]).ravel()]
    standard, fitted = tune(ones)
    other = tune(ones, rng.permutation(order.ravel()).reshape(order.shape))
    found = []
    for factor in factors:
        by_byte, by_window = (factor * np.median(each) for each in (losses, losses.mean(axis=1)))
        flow = lt.flow_weights(losses.ravel(), by_byte).reshape(losses.shape)
        windows = lt.flow_weights(losses.mean(axis=1), by_window)[:, None] * ones
        runs = [tune(flow), tune(windows), other, tune(rng.permutation(flow.ravel()).reshape(flow.shape))]
        temperatures = [by_byte, by_window, by_byte, by_byte]
        facts = [
            _facts(law, seen, standard, old, labels, temperature)
            for (law, seen), temperature in zip(runs, temperatures, strict=True)
        ]
        found.append(xr.concat(facts, "run"))
    d = xr.concat(found, "language_factor").assign(
        language_standard_softening=experts.softening(fitted, labels), language_loss=float(losses.mean())
    )
    return d.assign_coords(
        run=list(RUNS), language_factor=list(factors), step=list(steps), expert=list(experts.EXPERTS)
    )


def _tuned(
    start: Any,
    rows: Array,
    weights: np.ndarray,
    order: np.ndarray,
    steps: tuple[int, ...],
    test: Array,
    validation: Array,
) -> tuple[np.ndarray, np.ndarray]:
    """ln p of every byte that may follow: on the test windows after each of ``steps``, on validation at the end."""
    rates = jnp.asarray(_rates(len(order)), jnp.float32)
    tuning = Tuning(
        rows, jnp.asarray(weights, jnp.float32), jnp.asarray(order, jnp.int32), rates, start, jnp.float32(0.0)
    )
    carry, before, found = (start, ADAM.init(start)), 0, []
    for step in steps:
        carry = language.advance(NET, carry, tuning, before, step)
        before = step
        found.append(np.asarray(_laws(carry[0], test), dtype=float))
    return np.stack(found), np.asarray(_laws(carry[0], validation), dtype=float)


def _rates(steps: int) -> np.ndarray:
    """Linearly up to :data:`PEAK`, then along a cosine to a tenth of it."""
    done, warm = np.arange(steps), round(WARM * steps)
    falling = 0.55 + 0.45 * np.cos(np.pi * (done - warm) / (steps - warm))
    return PEAK * np.where(done < warm, done / warm, falling)


@jax.jit
def _laws(parameters: Any, windows: Array) -> Array:
    """(bytes, symbols): ln p of what follows each byte of each window."""
    return jax.nn.log_softmax(NET.logits(parameters, windows[:, :-1]), axis=-1).reshape(-1, NET.symbols)


def _facts(
    law: np.ndarray,
    seen: np.ndarray,
    standard: np.ndarray,
    old: np.ndarray,
    labels: np.ndarray,
    temperature: float,
) -> xr.Dataset:
    """One run beside standard fine-tuning and the pre-trained model, laws (step, byte, symbol)."""
    by_window = lambda one: one.reshape(len(one), -1, NET.context, NET.symbols)
    predicted = experts.product(standard, old, temperature)
    fitted = experts.exponents(law, standard, np.broadcast_to(old, standard.shape))
    return xr.Dataset({
        "language_exponents": (("step", "expert"), fitted),
        "language_to_product": (("step", "window"), experts.divergence(by_window(law), by_window(predicted))),
        "language_to_standard": (("step", "window"), experts.divergence(by_window(law), by_window(standard))),
        "language_temperature": ((), temperature),
        "language_softening": ((), experts.softening(seen, labels)),
        "language_overconfidence": ((), experts.overconfidence(seen, labels)),
    })  # fmt: skip


# ------------------------------------------------------------------------------------------- what is asked


def share(d: xr.Dataset) -> xr.DataArray:
    """KL to the product over KL to standard fine-tuning after the last step, means over windows and models."""
    mean = lambda name: d[name].isel(step=-1).mean(["model", "window"], skipna=False)
    return mean("language_to_product") / mean("language_to_standard")


def in_units(d: xr.Dataset) -> xr.DataArray:
    """The exponents of p̃ and p* after the last step, in units of what the product has: 1 and 1/τ."""
    unit = xr.where(d.expert == experts.EXPERTS[1], 1 / d.language_temperature, 1.0)
    return d.language_exponents.isel(step=-1) / unit


def nearer(d: xr.Dataset) -> xr.DataArray:
    """By how much nearer the product is than standard fine-tuning, in standard errors over windows; (…, model)."""
    last = d.isel(step=-1)
    return sigmas((last.language_to_standard - last.language_to_product).rename(window="seed"))


def checks(d: xr.Dataset) -> tuple[Check, ...]:
    """Byte by byte the product is near and explains neither control; with weights of windows it is not there."""
    at = d.sel(language_factor=DEFAULT)
    near, units = share(at), in_units(at)
    pre_trained = units.sel(expert=experts.EXPERTS[1])
    return (
        Check("language: KL(FLOW ‖ product) over KL(FLOW ‖ standard)", float(near.sel(run=FLOW)), 0.8),
        Check.at_least("language: that ratio of both controls",
                       float(near.sel(run=list(CONTROLS)).min(skipna=False)), 1.0),
        Check.at_least("language: KL to standard above KL to the product, in standard errors over windows",
                       float(nearer(at).sel(run=FLOW).min(skipna=False)), SIGMAS),
        Check("language: the same of both controls",
              float(nearer(at).sel(run=list(CONTROLS)).max(skipna=False)), -SIGMAS),
        Check("language: exponents from 1 and 1/τ, in units of these",
              float(abs(units.sel(run=FLOW) - 1).mean("model", skipna=False).max(skipna=False)), 0.5),
        Check("language: exponent of p* under either control, in units of 1/τ",
              float(pre_trained.sel(run=list(CONTROLS)).mean("model", skipna=False).max(skipna=False)), 0.5),
        Check("language, weights of windows: exponent of p* byte by byte, in units of 1/τ",
              float(pre_trained.sel(run=SEQUENCE).mean("model", skipna=False)), 0.5),
        Check.at_least("language, weights of windows: KL to the product over KL to standard",
                       float(near.sel(run=SEQUENCE)), 1.0),
    )  # fmt: skip
