"""Real images and squared loss: is progress along the shift what the linearization at θ* says?"""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jax.flatten_util import ravel_pytree

import linear_theory as lt
from paper_reproduction.claim import Check, Claim, Settings, Table, Verdict
from paper_reproduction.mlp import descent, digits
from paper_reproduction.mlp.hardware import double, quiet
from paper_reproduction.mlp.networks import Architecture
from paper_reproduction.mlp.statistics import answer, beyond, sigmas, sorted_out, told
from paper_reproduction.mlp.training import marks

CLAIM = Claim(
    name="squared-digits",
    title="On digits with squared loss the linearization predicts progress along the shift, for standard and FLOW",
    question="Is progress on real images what the linearization predicts, for standard and FLOW?",
    statement=(
        r"A tanh network 64-32-5 learns the digits 0-4 by squared loss on one-hot labels and is fine-tuned on "
        r"the same "
        r"digits rotated. The shift $u$ is the linearized minimiser on the 50 leading directions of $J^\top J$ "
        r"(beyond them it is "
        r"noise over small eigenvalues). Full-batch gradient descent runs on the network; beside it stands the "
        r"closed "
        r"form of its linearization at $\theta_*$ with the same weights, fixed before the first step, with "
        r"nothing fitted. A prediction that did not know the "
        r"weights would give FLOW the path of the standard run at that step: how much worse that is, is part of "
        r"the verdict."
    ),
    equation="(8) with features J",
    formula=r"\frac{\langle J(\theta_K-\theta_*),Ju\rangle}{\|Ju\|^2},\qquad "
    r"u=V_r\Lambda_r^{-1}V_r^\top\frac{J^\top r}{n}",
    functions=("linearize", "flow_weights", "effective_sample_size"),
    seconds=40,
    quick_seconds=8,
    order=60,
)

NET = Architecture(inputs=64, width=32, depth=1, outputs=digits.CLASSES)
ROWS, RANK, RATE = 300, 50, 0.25
NEAR, SLOW = 0.1, 0.03  # gaps to the closed form, in units of the shift: of all runs, of FLOW's
ANGLES, QUICK_ANGLES = (10.0, 30.0, 60.0), (30.0,)
PRETRAIN_STEPS, PRETRAIN_RATE = 300, 3e-3
GAUSSIAN = 0.185  # s, at the median temperature
RUNS = {
    "standard": "standard",
    "flow": "FLOW",
    "flow-same-mean-step": "FLOW, same mean step",
    "standard-same-mean-step": "standard, same mean step",
    "permuted-same-mean-step": "FLOW, weights shuffled, same mean step",
}


def predict(params: Any, X: Any) -> Any:
    """(n, 5)."""
    return NET.logits(params, X)


def _loss(params: Any, X: Any, y: Any, weights: Any = 1.0) -> Any:
    """Mean over rows of the weighted squared error summed over outputs."""
    return jnp.mean(weights * jnp.sum((y - predict(params, X)) ** 2, axis=-1))


@jax.jit
def _pretrained(params: Any, X: Any, y: Any) -> Any:
    return descent.adam(lambda p: _loss(p, X, y), params, PRETRAIN_RATE, PRETRAIN_STEPS)


@partial(jax.jit, static_argnums=5)
@partial(jax.vmap, in_axes=(None, None, None, 0, 0, None))
def _paths(params: Any, X: Any, y: Any, weights: Any, rate: Any, steps: tuple[int, ...]) -> Any:
    """θ_K (len(steps), P) of gradient descent on the network, for each member."""
    flat, unflatten = ravel_pytree(params)
    return descent.path(lambda t: _loss(unflatten(t), X, y, weights), flat, rate, steps)


def compute(settings: Settings) -> xr.Dataset:
    """Paths at each angle."""
    seeds = settings.repetitions(10, 5)
    steps = marks(300, 14)
    angles = QUICK_ANGLES if settings.quick else ANGLES
    joined = xr.concat(
        [_cell(settings, seeds, angle, steps) for angle in angles], "angle", combine_attrs="drop"
    )
    # Seeds share rows: two samples of m of N are correlated by m/N.
    share = ROWS / digits.COUNT
    overlap = share / (1 - share)
    return joined.assign_coords(angle=list(angles), overlap=overlap).assign_attrs(
        seeds=seeds, rows=ROWS, rank=RANK
    )


@quiet
@double
def _cell(settings: Settings, seeds: int, angle: float, steps: tuple[int, ...]) -> xr.Dataset:
    return xr.concat([_one(settings, seed, angle, steps) for seed in range(seeds)], "seed")


def _one(settings: Settings, seed: int, angle: float, steps: tuple[int, ...]) -> xr.Dataset:
    old = digits.split(range(5), settings.rng(f"old {seed}"))["train"]
    X, y = np.asarray(old.images[:ROWS], dtype=float), np.eye(digits.CLASSES)[old.labels[:ROWS]]
    key = jax.random.key(int(settings.rng(f"init {seed}").integers(2**31)))
    star = jax.tree.map(np.asarray, _pretrained(NET.initial(key, jnp.float64), X, y))
    turned = digits.rotated(X, angle)
    line = lt.linearize(predict, star, turned, y)
    w, ones = lt.flow_weights(line.losses), np.ones(ROWS)
    values, vectors = line.spectrum(RANK)
    shift = ((vectors @ (line.vjp(line.residuals) / ROWS)) / values) @ vectors
    rate = RATE / values[0]
    shuffled = settings.rng(f"shuffle {seed}").permutation(w)
    weights = np.stack([ones, w, w, ones, shuffled])
    rates = np.array([rate, rate, rate / w.mean(), rate * w.mean(), rate / w.mean()])
    network = np.asarray(_paths(star, turned, y, weights, rates, steps))
    linear = [line.iterate(list(steps), r, v) for r, v in zip(rates, weights, strict=True)]
    progress = lambda paths: np.stack([line.progress(path, shift) for path in paths])
    explained = 1 - float(((line.residuals - line.jvp(shift)) ** 2).sum() / line.losses.sum())
    end = lambda theta: np.asarray(predict(line.unflatten(theta), turned)).argmax(axis=1) == y.argmax(axis=1)
    return xr.Dataset(
        {
            "network": (("run", "step"), progress(network), {"long_name": "progress along u, network"}),
            "linear": (("run", "step"), progress(linear), {"long_name": "the same, linearized"}),
            "accuracy": ("run", [float(end(path[-1]).mean()) for path in network]),
            "curvature": float(line.curvature_ratio(shift, w) / w.mean()),
            "explained": explained,
            "mean_weight": float(w.mean()),
            "temperature": float(lt.median_temperature(line.losses)),
            "effective": float(lt.effective_sample_size(w)) / ROWS,
            "idle": float((w < 0.01).mean()),
            "loss": float(line.losses.mean()),
        },
        {"run": list(RUNS), "label": ("run", list(RUNS.values())), "step": list(steps)},
    )


# ------------------------------------------------------------------------------------------- the verdict


def _rms(values: xr.DataArray) -> xr.DataArray:
    return (values**2).mean(["step", "seed"], skipna=False) ** 0.5


def _gaps(d: xr.Dataset) -> tuple[xr.DataArray, xr.DataArray]:
    """Root mean square of network − closed form; and of FLOW's network − the closed form without its weights."""
    run = {"flow-same-mean-step": "standard", "flow": "standard-same-mean-step"}
    wrong = [_rms(d.network.sel(run=one) - d.linear.sel(run=other)) for one, other in run.items()]
    return _rms(d.network - d.linear), xr.concat(wrong, xr.DataArray(list(run), dims="run", name="run"))


def _behind(d: xr.Dataset, other: str) -> xr.DataArray:
    """(angle, seed): how much less progress FLOW has made at the last step than another, at the same mean step."""
    end = d.network.sel(angle=d.angle <= 30).isel(step=-1)
    return end.sel(run=other, drop=True) - end.sel(run="flow-same-mean-step", drop=True)


def verdict(dataset: xr.Dataset) -> Verdict:
    """Small gaps beside what the weights change; a closed form without the weights would show."""
    d = dataset
    gap, wrong = _gaps(d)
    flows = gap.sel(run=list(wrong.run.values))
    close = gap.sel(angle=gap.angle <= 30)
    near, slow = (
        float(close.max(skipna=False)),
        float(close.sel(run=list(wrong.run.values)).max(skipna=False)),
    )
    checks = (
        Check("up to 30 degrees: largest gap to the closed form, in units of the shift", near, NEAR),
        Check("up to 30 degrees: largest gap of FLOW, with either step, in units of the shift", slow, SLOW),
        Check.at_least("FLOW against the closed form without its weights: gap over the gap with them",
                       float((wrong / flows).min(skipna=False)), 2.0),
        *(
            beyond(f"up to 30 degrees: the network with FLOW is behind {RUNS[other]}", _behind(d, other))
            for other in ("standard", "permuted-same-mean-step")
        ),
    )  # fmt: skip
    predicted = {
        float(a): bool(
            gap.sel(angle=a).max(skipna=False) <= NEAR and flows.sel(angle=a).max(skipna=False) <= SLOW
        )
        for a in gap.angle.values
    }
    return Verdict(checks, headline=_headline(dataset, gap, predicted), **_also(dataset, gap, predicted))


def _headline(d: xr.Dataset, gap: xr.DataArray, predicted: dict[float, bool]) -> str:
    one = d.sel(angle=30.0).isel(step=-1)
    says = lambda run: f"{told(one.network.sel(run=run), 2)} (predicted {told(one.linear.sel(run=run), 2)})"
    right, wrong = (
        " and ".join(f"{a:g}°" for a in predicted if predicted[a] is way) for way in (True, False)
    )
    where = f"at {right}" + (f", but not at {wrong}" if wrong else "") if right else "at no angle"
    return (
        f"{answer(*predicted.values())}: the network is within {NEAR:g} of its closed form, FLOW within {SLOW:g}, "
        f"{where} (root mean square over steps, in units of the shift). Rotated by 30 degrees, after {int(one.step)} "
        f"steps, standard has gone {says('standard')} of the shift and FLOW at the same mean step "
        f"{says('flow-same-mean-step')}."
    )


def _also(d: xr.Dataset, gap: xr.DataArray, predicted: dict[float, bool]) -> dict[str, tuple[str, ...]]:
    at = lambda angle: (
        f"{angle:g}°: "
        + ", ".join(f"{RUNS[str(r)]} {float(gap.sel(angle=angle, run=r)):.3f}" for r in d.run.values)
    )
    gaps = "Root mean square gap to the closed form, over steps and seeds, in units of the shift: "
    listed = {fits: "; ".join(at(a) for a in predicted if predicted[a] is fits) for fits in (True, False)}
    slow = "; ".join(f"{float(a):g}°: {told(d.curvature.sel(angle=a), 2)}" for a in d.angle.values)
    gaussian = bool((abs(sigmas(d.curvature - GAUSSIAN)) <= 4).all())
    last = (d.network - d.linear).isel(step=-1).sel(run="standard")
    ahead_by = ", ".join(f"{told(last.sel(angle=a))} at {float(a):g}°" for a in d.angle.values)
    explained = ", ".join(f"{100 * float(d.explained.sel(angle=a).mean()):.0f} %" for a in d.angle.values)
    return sorted_out(
        *((fits, gaps + listed[fits] + ".") for fits in (False, True) if listed[fits]),
        (bool((abs(sigmas(last)) <= 4).all()), "At the last step the network has gone further than the closed form, "
         f"for standard, by {ahead_by}, in units of the shift."),
        (gaussian, "Curvature of the weighted loss along u over the unweighted one, over the mean weight: "
         f"{slow}; the Gaussian theory says s = {GAUSSIAN:g}. Residuals of one-hot labels are not Gaussian."),
        (True, f"u explains {explained} of the residual at these angles; the rest lies beyond the leading directions."),
        (True, f"Effective sample share {told(d.effective.mean('angle'), 2)}, weights below 0.01 "
         f"{told(d.idle.mean('angle'), 2)}."),
    )  # fmt: skip


def tables(dataset: xr.Dataset) -> tuple[Table, ...]:
    """Progress at the last step."""
    last = dataset.isel(step=-1)
    rows = [
        (f"{float(a):g}°, {label}", told(last.network.sel(angle=a, run=run)), told(last.linear.sel(angle=a, run=run)),
         f"{100 * float(last.accuracy.sel(angle=a, run=run).mean()):.1f}")
        for a in last.angle.values for run, label in RUNS.items()
    ]  # fmt: skip
    header = ("cell", "network", "closed form", "training accuracy, %")
    return (
        Table(f"Progress along the shift after {int(last.step)} steps, mean ± s.e.", header, tuple(rows)),
    )
