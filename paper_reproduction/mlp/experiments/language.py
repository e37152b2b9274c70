"""A language model of prose learns code: what it forgets on the way, at equal rate and at equal learning."""

from __future__ import annotations

import itertools
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

import linear_theory as lt
from linear_theory.threads import cores
from paper_reproduction.claim import Check, Claim, Settings, Table, Verdict
from paper_reproduction.mlp import corpus, language
from paper_reproduction.mlp.equal_learning import LEARNED, at_best_rate
from paper_reproduction.mlp.networks import mixed
from paper_reproduction.mlp.statistics import (
    ahead,
    answer,
    beyond,
    paired,
    sorted_out,
    survivors,
    told,
)
from paper_reproduction.mlp.transformer import Transformer

CLAIM = Claim(
    name="language",
    title="A language model keeps more of its old text under FLOW, and most where parameters are averaged",
    question="Does FLOW keep more of an old language than all else, where as much of a new one is learned?",
    statement=(
        "A byte-level transformer is pre-trained on the sentences of the docstrings of NumPy, SciPy and scikit-learn "
        "(letters and spaces) to less than two bits a byte and fine-tuned with Adam on their code. FLOW weighs whole "
        "sequences by their mean loss under the pre-trained model, or each byte by its own. Adam divides a common "
        "factor of the loss out, so that FLOW takes steps as long as standard fine-tuning's; what the weights do is "
        "told by the same weights in random order and by a grid of rates and temperatures. Beside them stand a pull to "
        "the pre-trained parameters and the whole path of averages with them (WiSE-FT). Each seed has a split of the "
        "texts and a pre-training of its own."
    ),
    equation="section 4; the language row of the paper in miniature",
    formula=r"\frac1{nT}\sum_{i,t} w_{it}\,\ell_{it}(\theta),\qquad w_{it}=e^{-\ell_{it}(\theta_*)/\tau}"
    r"\;\text{ or }\; e^{-\overline{\ell}_i(\theta_*)/\tau}",
    functions=("flow_weights", "effective_sample_size"),
    seconds=1500,
    quick_seconds=15,
    order=90,
)

RUNS = {
    "standard": "standard",
    "flow": "FLOW, per byte",
    "permuted": "FLOW per byte, weights shuffled",
    "flow-sequence": "FLOW, per sequence",
    "permuted-sequence": "FLOW per sequence, weights shuffled",
    "l2": "ℓ2 to θ*, λ = 0.01",
    "l2-strong": "ℓ2 to θ*, λ = 0.1",
}
PULLS = {"l2": 0.01, "l2-strong": 0.1}
# τ over the median loss of a byte; 1 is FLOW's own.
TEMPERED = {f"flow-{multiple:g}": multiple for multiple in (0.1, 0.3, 3.0, 10.0)}
# Whose last parameters are averaged with the first.
PATHS = {"wise": "standard", "flow-wise": "flow", "flow-sequence-wise": "flow-sequence"}
LABELS = RUNS | {run: f"FLOW, per byte, τ × {multiple:g}" for run, multiple in TEMPERED.items()}
METHODS = LABELS | {
    "wise": "WiSE-FT of standard",
    "flow-wise": "WiSE-FT of FLOW, per byte",
    "flow-sequence-wise": "WiSE-FT of FLOW, per sequence",
}
PLACES = ("pretrain", "target", "pretrain validation", "target validation")
EQUAL = 1e-3  # the rate at which they are compared, and temperatures tried


class Size(NamedTuple):
    """How much is computed."""

    net: Transformer
    rates: tuple[float, ...]
    steps: int
    batch: int  # windows a step, none of them twice
    held: int  # windows of each held-out text
    measured: int  # times along training
    runs: tuple[str, ...] = tuple(LABELS)
    averages: int = 11  # shares of the pre-trained parameters, from 0 to 1
    packages: tuple[str, ...] = tuple(corpus.PACKAGES)  # whose texts


FULL = Size(language.NET, (1e-4, 3e-4, 1e-3, 3e-3), steps=200, batch=16, held=64, measured=8)
QUICK = Size(
    language.NET, (3e-4, EQUAL), steps=16, batch=8, held=16, measured=2, runs=tuple(RUNS), averages=3,
    packages=("numpy",),
)  # fmt: skip
WIDE = Size(language.WIDE, (1e-4, 3e-4, 1e-3, 3e-3), steps=400, batch=32, held=256, measured=11)


def compute(settings: Settings) -> xr.Dataset:
    """Every seed's runs; on a GPU with a larger model."""
    size = QUICK if settings.quick else WIDE if jax.default_backend() == "gpu" else FULL
    seeds = settings.repetitions(language.STORED, language.STORED)
    with ThreadPoolExecutor(min(cores(), seeds)) as pool:
        cells = list(pool.map(partial(_one_seed, settings, size), range(seeds)))
    d = xr.concat(cells, "seed").assign_coords(overlap=corpus.SHARES["test"] / corpus.SHARES["train"])
    prose, code = corpus.languages(0, size.packages)
    return d.assign(_at_equal_learning(d)).assign_attrs(
        seeds=seeds,
        prose=prose.digest,
        code=code.digest,
        texts=", ".join(f"{package} {corpus.versions()[package]}" for package in size.packages),
        parameters=language.count(size.net),
    )


def _one_seed(settings: Settings, size: Size, seed: int) -> xr.Dataset:
    """All curves of one seed; the weights; the averages."""
    prose, code = corpus.languages(seed, size.packages)
    rng = lambda name: settings.rng(f"{name} {seed}")
    net, star = size.net, language.start(seed, size.net)
    rows = corpus.windows(code.parts["train"], net.context, size.steps * size.batch, rng("windows"))
    held = jnp.asarray(
        [corpus.windows(text, net.context, size.held, rng("held out")) for text in _texts(prose, code)]
    )
    losses = np.asarray(language.token_losses(net, star, jnp.asarray(rows)), dtype=float)
    weights = _weights(losses, rng)
    shares = np.linspace(0.0, 1.0, size.averages)
    tune = partial(_tune, size, star, _bits(net, star, held), jnp.asarray(rows), held)
    curves: dict[str, list[Any]] = {run: [] for run in size.runs}
    paths: dict[str, list[Any]] = {method: [] for method in PATHS}
    for rate in size.rates:
        ends = {}
        for run in size.runs:
            curve, ends[run] = tune(weights[run], rate, PULLS.get(run, 0.0))
            curves[run].append(curve)
        for method, source in PATHS.items():
            paths[method].append(
                [_bits(net, mixed(star, ends[source], float(share)), held) for share in shares]
            )
    return xr.Dataset(
        {
            "bits": (("run", "rate", "step", "place"), np.array(list(curves.values()))),
            "averaged": (("average", "rate", "share", "place"), np.array(list(paths.values()))),
            **_facts(losses, weights, rows[:, 1:], prose.parts["train"]),
        },
        {
            "run": list(size.runs), "label": ("run", [LABELS[run] for run in size.runs]), "rate": list(size.rates),
            "step": _measured(size), "place": list(PLACES), "share": shares, "average": list(PATHS),
        },
    )  # fmt: skip


def _texts(prose: corpus.Language, code: corpus.Language) -> list[np.ndarray]:
    """In the order of :data:`PLACES`."""
    return [language.parts[part] for part in ("test", "validation") for language in (prose, code)]


def _weights(losses: np.ndarray, rng: Any) -> dict[str, np.ndarray]:
    """(n, T) of each run."""
    wide = lambda each: np.broadcast_to(each[:, None], losses.shape)
    by_byte, by_sequence = _per_byte(losses), lt.flow_weights(losses.mean(axis=1))
    ones = np.ones_like(losses)
    return {
        "standard": ones,
        "flow": by_byte,
        "permuted": rng("bytes in random order").permutation(by_byte.ravel()).reshape(losses.shape),
        "flow-sequence": wide(by_sequence),
        "permuted-sequence": wide(rng("sequences in random order").permutation(by_sequence)),
        "l2": ones,
        "l2-strong": ones,
        **{run: _per_byte(losses, multiple) for run, multiple in TEMPERED.items()},
    }


def _per_byte(losses: np.ndarray, multiple: float = 1.0) -> np.ndarray:
    """Of each byte's own loss, at this multiple of their median."""
    return lt.flow_weights(losses.ravel(), multiple * float(np.median(losses))).reshape(losses.shape)


def _measured(size: Size) -> np.ndarray:
    """The steps after which is measured: 0, and from 2 on in geometric progression."""
    return np.unique([0, *np.geomspace(2, size.steps, size.measured).round().astype(int)])


def _tune(
    size: Size,
    star: Any,
    at_star: np.ndarray,
    rows: Any,
    held: Any,
    weights: np.ndarray,
    rate: float,
    pull: float = 0.0,
) -> tuple[np.ndarray, Any]:
    """Bits a byte (step, place) along one run, beginning with those at θ*, and its last parameters."""
    order = jnp.arange(len(rows), dtype=jnp.int32).reshape(size.steps, size.batch)
    rates = jnp.full(size.steps, rate, jnp.float32)
    tuning = language.Tuning(rows, jnp.asarray(weights, jnp.float32), order, rates, star, jnp.float32(pull))
    carry = (star, language.ADAM.init(star))
    curve = [at_star]
    for first, last in itertools.pairwise(_measured(size).tolist()):
        carry = language.advance(size.net, carry, tuning, first, last)
        curve.append(_bits(size.net, carry[0], held))
    return np.array(curve), carry[0]


def _bits(net: Transformer, parameters: Any, held: Any) -> np.ndarray:
    """(place,)"""
    losses = language.token_losses(net, parameters, held.reshape(-1, held.shape[-1]))
    return np.asarray(losses, dtype=float).reshape(len(held), -1).mean(axis=1) * language.BITS


def _facts(losses: np.ndarray, weights: dict[str, np.ndarray], guessed: np.ndarray, prose: np.ndarray) -> Any:
    """What FLOW's weights are like; how many of the bytes are symbols that prose has none of, and what they weigh."""
    each = {"flow": weights["flow"].ravel(), "flow-sequence": weights["flow-sequence"][:, 0]}
    share = lambda one: lt.effective_sample_size(one) / len(one)
    median = {"flow": np.median(losses), "flow-sequence": np.median(losses.mean(axis=1))}
    strange = ~np.isin(guessed, prose)
    return {
        "temperature": ("weighting", [median[name] for name in each], {"long_name": "τ, in nats"}),
        "mean_weight": ("weighting", [one.mean() for one in each.values()]),
        "effective": ("weighting", [share(one) for one in each.values()]),
        "strange": ((), strange.mean(), {"long_name": "share of bytes whose symbol prose does not have"}),
        "strange_weight": ((), weights["flow"][strange].mean(), {"long_name": "their mean weight, per byte"}),
    }


# ----------------------------------------------------------------------------------------- at equal learning


def _at_equal_learning(d: xr.Dataset) -> dict[str, xr.DataArray]:
    """Old bits (level, way, seed) where a method first has as few new bits, at its own best rate; NaN where never.

    The levels are a share of the way from before fine-tuning to the fewest that can be had: by every way at its best
    rate, other temperatures left aside, and by each that does not hold back as FLOW per byte and the strong pull do.
    At the fewest itself one would compare the last step of one way with an early one of another.
    """
    curves = d.bits.transpose("run", "rate", "seed", "step", "place").rename(run="way", step="mark")
    averaged = d.averaged.transpose("average", "rate", "seed", "share", "place").rename(
        average="way", share="mark"
    )
    # Averages from the pre-trained parameters to the last, as training goes.
    ways = (curves.drop_vars("label"), averaged.isel(mark=slice(None, None, -1)))
    reached = xr.concat([_reached(one) for one in ways], "way").drop_sel(way=list(TEMPERED), errors="ignore")
    start = float(d.bits.sel(run="standard", place="target").isel(step=0, rate=0).mean("seed"))
    fewest = [
        float(some.max()) for some in (reached, reached.drop_sel(way=["flow", "flow-wise", "l2-strong"]))
    ]
    levels = [start - LEARNED[-1] * (start - bits) for bits in fewest]
    found = [
        xr.concat([-at_best_rate(-one.rename(way="run"), -level) for one in ways], "run") for level in levels
    ]
    kept = xr.concat(found, xr.Variable("level", levels)).rename(run="way")
    kept.attrs["long_name"] = "bits a byte of old text"
    return {"kept": kept}


def _reached(curves: xr.DataArray) -> xr.DataArray:
    """(way,): the fewest new bits, mean over seeds."""
    return curves.sel(place="target").mean("seed", skipna=False).min(["mark", "rate"])


# --------------------------------------------------------------------------------------------- the verdict

OLD, NEW = "pretrain", "target"


def _end(d: xr.Dataset, run: str, place: str, rate: float = EQUAL) -> xr.DataArray:
    """Bits a byte after the last step, (seed,)."""
    return d.bits.sel(run=run, place=place).isel(step=-1).sel(rate=rate)


def verdict(dataset: xr.Dataset) -> Verdict:
    """What the weights do that their shuffled selves do not; who wins at equal learning is told as it comes out."""
    d = dataset
    before = lambda place: d.bits.sel(run="standard", place=place).isel(step=0).sel(rate=EQUAL)
    after = lambda place: _end(d, "standard", place)
    mean = lambda values: float(values.mean("seed", skipna=False))
    last = d.bits.isel(step=-1).mean("rate", skipna=False)
    more = lambda one, other, place: last.sel(run=one, place=place) - last.sel(run=other, place=place)
    checks = (
        Check("pre-trained: bits a byte of held-out prose", mean(before(OLD)), 2.5),
        Check.at_least("standard learns code: bits a byte fewer", mean(before(NEW) - after(NEW)), 4.0),
        beyond("equal rate: standard forgets prose", after(OLD) - before(OLD)),
        beyond("over all rates: FLOW per byte keeps more prose than with shuffled weights",
               more("permuted", "flow", OLD)),
        beyond("over all rates: FLOW per byte learns less code than with shuffled weights",
               more("flow", "permuted", NEW)),
        beyond("over all rates: FLOW per sequence keeps more prose than with shuffled weights",
               more("permuted-sequence", "flow-sequence", OLD)),
    )  # fmt: skip
    return Verdict(checks, headline=_headline(d), **_also(d))


def _kept(d: xr.Dataset, way: str, level: int) -> xr.DataArray:
    return d.kept.sel(way=way).isel(level=level)


# FLOW of each kind, its weights shuffled, and the level of code that it reaches.
KINDS = (("flow", "permuted", 0), ("flow-sequence", "permuted-sequence", 1))


def _wins(d: xr.Dataset) -> list[bool]:
    """Where FLOW keeps more at equal learning, beyond error over all comparisons (Holm)."""
    gains = {
        (flow, other): _kept(d, other, level) - _kept(d, flow, level)
        for flow, shuffled, level in KINDS
        for other in ("standard", shuffled, "wise")
    }
    return [real and float(gains[pair].mean()) > 0 for pair, real in survivors(gains).items()]


def _headline(d: xr.Dataset) -> str:
    said = [
        f"where code takes {float(d.level[level]):.2f} bits a byte, prose takes {told(_kept(d, flow, level), 2)} under "
        f"{METHODS[flow]}, {told(_kept(d, 'standard', level), 2)} under standard fine-tuning, "
        f"{told(_kept(d, shuffled, level), 2)} with the weights shuffled, {told(_kept(d, 'wise', level), 2)} where "
        "standard fine-tuning is averaged with the start"
        for flow, shuffled, level in KINDS
    ]
    return f"{answer(*_wins(d))}: {'; '.join(said)}."


def _fewer(one: xr.DataArray, other: xr.DataArray) -> str:
    """one − other, paired by seed."""
    mean, spread = paired(one, other)
    return f"{mean:+.2f} ± {spread:.2f}".replace("-", "−")


def _also(d: xr.Dataset) -> dict[str, tuple[str, ...]]:
    beside = lambda run, shuffled: (
        f"{METHODS[run]} {_fewer(_end(d, run, OLD), _end(d, shuffled, OLD))} on prose and "
        f"{_fewer(_end(d, run, NEW), _end(d, shuffled, NEW))} on code"
    )
    with_wise = [ahead(_kept(d, "wise", level), _kept(d, way, level)) for way, level in
                 (("flow-wise", 0), ("flow-sequence-wise", 1))]  # fmt: skip
    return sorted_out(
        (True, f"At rate {EQUAL:g}, bits a byte minus those with the weights shuffled: "
         f"{beside('flow', 'permuted')}; {beside('flow-sequence', 'permuted-sequence')}."),
        (all(with_wise), "Averaged with the start, at equal learning, FLOW minus standard fine-tuning: per byte "
         f"{_fewer(_kept(d, 'flow-wise', 0), _kept(d, 'wise', 0))}, per sequence "
         f"{_fewer(_kept(d, 'flow-sequence-wise', 1), _kept(d, 'wise', 1))} bits a byte of prose."),
        (True, _slower(d)),
        *([_tempered(d)] if set(TEMPERED) <= set(d.run.values) else []),
        (True, _spread(d)),
        (True, f"{100 * float(d.strange.mean()):.0f} % of the bytes of code are symbols that prose does not have; FLOW "
         f"per byte gives them the mean weight {float(d.strange_weight.mean()):.2f}, all bytes "
         f"{float(d.mean_weight.isel(weighting=0).mean()):.2f}, and learns them last."),
    )  # fmt: skip


def _steps_down(d: xr.Dataset) -> list[tuple[float, float]]:
    """Each rate with the next smaller one."""
    return [(high, low) for low, high in itertools.pairwise(d.rate.values.tolist())]


def _slower(d: xr.Dataset) -> str:
    gaps = [
        f"{high:g} against {low:g}: {_fewer(_end(d, 'flow', OLD, high), _end(d, 'standard', OLD, low))} on prose, "
        f"{_fewer(_end(d, 'flow', NEW, high), _end(d, 'standard', NEW, low))} on code"
        for high, low in _steps_down(d)
    ]
    return (
        "FLOW per byte minus standard fine-tuning at a rate about three times smaller, bits a byte: "
        + "; ".join(gaps)
        + "."
    )


def _tempered(d: xr.Dataset) -> tuple[bool, str]:
    """Whether some temperature keeps more than WiSE-FT at the level that FLOW per byte reaches, and what each keeps."""
    ways = {"flow": 1.0} | TEMPERED
    order = sorted(ways, key=lambda way: ways[way])
    reach = [way for way in order if bool(_kept(d, way, 0).notnull().all())]
    each = ", ".join(f"× {ways[way]:g} {told(_kept(d, way, 0), 2)}" for way in reach)
    never = ", ".join(f"× {ways[way]:g}" for way in order if way not in reach)
    wise = _kept(d, "wise", 0)
    return any(ahead(wise, _kept(d, way, 0)) for way in reach), (
        f"FLOW per byte by temperature in median losses, each at its best rate, bits a byte of prose where code takes "
        f"{float(d.level[0]):.2f}: {each}{f'; {never}: never there' if never else ''}. WiSE-FT {told(wise, 2)}."
    )


def _spread(d: xr.Dataset) -> str:
    """How much of what is forgotten hangs on the rate."""
    last = d.bits.isel(step=-1).sel(place=OLD)
    spread = lambda run: told(last.sel(run=run).max("rate") - last.sel(run=run).min("rate"), 2)
    return (
        f"From the best to the worst of the rates, prose after the last step moves by {spread('flow')} bits a byte "
        f"under FLOW per byte, {spread('flow-sequence')} per sequence and {spread('standard')} under standard "
        "fine-tuning."
    )


def tables(dataset: xr.Dataset) -> tuple[Table, ...]:
    """At equal learning, and at every rate and temperature."""
    d = dataset
    seeds = f"bits a byte, mean ± s.e. over {d.sizes['seed']} seeds"
    cell = lambda values: "–" if bool(values.isnull().any()) else told(values, 2)
    levels = [f"code at {float(level):.2f}" for level in d.level]
    equal = [
        (METHODS[str(way)], *(cell(_kept(d, str(way), level)) for level in range(len(levels))))
        for way in d.way.values
    ]
    both = lambda run, rate: f"{cell(_end(d, run, OLD, rate))}; {cell(_end(d, run, NEW, rate))}"
    rates = [(LABELS[run], *(both(run, rate) for rate in d.rate.values)) for run in map(str, d.run.values)]
    note = (
        "Where the method first takes as many bits for code, at its own best rate on validation text; "
        "–: at no rate does every seed get there."
    )
    return (
        Table(f"Prose at equal learning of code: {seeds}", ("method", *levels), tuple(equal), note),
        Table(
            f"Prose; code, after the last step: {seeds}",
            ("method", *(f"rate {rate:g}" for rate in d.rate.values)),
            tuple(rates),
        ),
    )
