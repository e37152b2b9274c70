"""The linear theory fed with real rows: what holds exactly, what holds for Gaussian rows, what does not fit."""

from __future__ import annotations

import math

import numpy as np
import xarray as xr
from scipy import stats

from linear_theory.significance import four_sigma
from paper_reproduction.claim import Check, Claim, Settings, Verdict
from paper_reproduction.claims import _diabetes as diabetes
from paper_reproduction.claims._real_rows import (
    MIDWAY,
    SAME_MEAN_STEP,
    STEPS,
    identities,
    measure,
    paths,
    shifts,
)

CLAIM = Claim(
    name="real-data",
    title="On real rows standard fine-tuning follows the theory exactly, FLOW only as far as the rows are Gaussian",
    statement=(
        r"We pre-train least squares on one sex of the diabetes set and fine-tune on the other: a subgroup that "
        r"exists, about half of the rows, and no cut through a covariate that would truncate its distribution. "
        r"Each group is centred by its own means, the features are whitened on the pre-training group so that "
        r"$\Sigma=I$, and the theory is fed with the empirical $\tilde\Sigma$, shift, noise variance and its own "
        r"median temperature. Standard fine-tuning knows the rows only through their covariance and follows the "
        r"theory to rounding. FLOW's weights see the whole distribution: we say by how many standard errors each "
        r"quantity is off, and repeat everything on Gaussian rows with the same covariance, shift and noise, "
        r"where nothing may be off."
    ),
    equation="(6), (8), Lemma F.1 on data",
    formula=r"\hat\Sigma'=\frac1n\sum_i w_i x_i x_i^\top,\quad "
    r"\theta_K=\hat\theta_\infty+(I-2\eta\hat\Sigma')^K(\theta_*-\hat\theta_\infty),\quad "
    r"\hat\theta_\infty\approx\theta_*-\kappa e,\;\kappa=\frac{\tau}{\tau+2\sigma^2}",
    functions=(
        "solve",
        "descend",
        "flow_weights",
        "median_temperature",
        "effective_sample_size",
        "FineTuningProblem",
        "iterate",
        "fixed_point",
        "weighted_covariance",
        "weight_mass",
    ),
    seconds=10,
    quick_seconds=3,
    order=110,
)

SCALARS = {
    "temperature": "temperature / residual variance",
    "mass": "weight mass",
    "effective": "effective sample share",
    "along": "curvature along e, over the mass",
    "across": "curvature across e, over the mass",
    "kappa": "way to the new optimum, κ",
    "forgetting": "forgetting at FLOW's limit",
    "target": "target error at FLOW's limit",
    "midway": f"FLOW's total error after {MIDWAY} steps",
    "kurtosis": "excess kurtosis of the residual",
}
NORMS = {  # what the theory says is 0 or 1 and sampling alone moves away from it, one way only
    "aside": "limit aside of the line, over its length",
    "overlap": "overlap of the stalled direction with e",
    "spread": "largest curvature over smallest",
}
USUAL = 2  # standard deviations of Gaussian rows within which a number fits
WRONG = ("mass", "along", "kappa")


def compute(settings: Settings) -> xr.Dataset:
    """Measurements on the rows, on bootstrap resamples, on Gaussian surrogates; paths; exact identities."""
    groups = diabetes.split("sex")
    problem, n = groups.problem, len(groups.y)
    resamples, batches = (50, 20) if settings.quick else (200, 40)
    batch_rows = 5_000 if settings.quick else 15_000
    pick = settings.rng("bootstrap").integers(0, n, (resamples, n))
    rng_small, rng_large = settings.rng("surrogate"), settings.rng("large surrogate")
    rows = {
        "data": [(groups.x, groups.y)],
        "bootstrap": [(groups.x[i], groups.y[i]) for i in pick],
        "surrogate": [diabetes.gaussian_rows(problem, n, rng_small) for _ in range(resamples)],
    }
    kept = {name: [measure(x, y, groups.start) for x, y in sets] for name, sets in rows.items()}
    large = [
        measure(*diabetes.gaussian_rows(problem, batch_rows, rng_large), groups.start) for _ in range(batches)
    ]
    names = [*SCALARS, *NORMS]
    deviation = lambda sets: np.array([[m[0][k] - m[1][k] for k in names] for m in sets])
    data = kept["data"][0]
    dataset = xr.Dataset(
        {
            "sampled": ("quantity", [data[0][k] for k in names]),
            "theory": ("quantity", [data[1][k] for k in names]),
            "bootstrap": (("resample", "quantity"), deviation(kept["bootstrap"])),
            "surrogate": (("resample", "quantity"), deviation(kept["surrogate"])),
            "surrogate_level": (
                ("resample", "quantity"),
                [[m[0][k] for k in names] for m in kept["surrogate"]],
            ),
            "large": (("batch", "quantity"), deviation(large)),
            "large_entries": (("batch", "entry"), [m[2] for m in large]),
            "large_wrong": (("batch", "wrong"), [m[3] for m in large]),
            "residual": ("row", np.sort(groups.y - groups.x @ groups.start)),
        },
        {
            "quantity": names,
            "label": ("quantity", [*SCALARS.values(), *NORMS.values()]),
            "wrong": list(WRONG),
        },
        {"batch_rows": batch_rows, "rows": n, "pretrain_rows": len(groups.pretrain_y), "steps": STEPS},
    )
    dataset["bootstrap"].attrs = {"long_name": "sampled minus theory, resampled rows"}
    dataset["surrogate"].attrs = {"long_name": "sampled minus theory, Gaussian rows, as many"}
    dataset["large"].attrs = {"long_name": "sampled minus theory, Gaussian rows, many"}
    dataset["residual"].attrs = {"long_name": "residual of the pre-trained model", "units": "sd of the label"}
    dataset["normal_residual"] = (
        "row",
        float(np.sqrt(problem.residual_variance)) * stats.norm.ppf((np.arange(n) + 0.5) / n),
    )
    dataset = _in_standard_errors(dataset)
    return xr.merge(
        [dataset, paths(groups), identities(groups), shifts(groups)], combine_attrs="no_conflicts"
    )


def _in_standard_errors(d: xr.Dataset) -> xr.Dataset:
    """How far the rows are from the theory: by their own resampling, and beside Gaussian rows."""
    gap = d.sampled - d.theory
    d["off_bootstrap"] = (gap / d.bootstrap.std("resample", ddof=1)).assign_attrs(units="standard errors")
    null = d.surrogate.std("resample", ddof=1)
    d["off_surrogate"] = ((gap - d.surrogate.mean("resample")) / null).assign_attrs(
        units="standard deviations of Gaussian rows"
    )
    for name in ("large", "large_entries", "large_wrong"):
        error = d[name].std("batch", ddof=1) / math.sqrt(d.sizes["batch"])
        d[f"off_{name}"] = (d[name].mean("batch") / error).assign_attrs(units="standard errors")
    return d


# ------------------------------------------------------------------------------------------- the verdict


def verdict(dataset: xr.Dataset) -> Verdict:
    """Identities to rounding; the theory on many Gaussian rows; the misfit on the real ones as findings."""
    d = dataset
    batches = d.sizes["batch"]
    signed = abs(d.off_large.sel(quantity=list(SCALARS)))
    names = {
        "standard path": "standard fine-tuning on the rows is the theory's path",
        "weighted path": "FLOW's descent is powers of the weighted Gram matrix",
        "solve": "solve is numpy's least squares on √w rows",
        "descent's end": "descent ends where solve says",
        "mean loss": "mean loss of θ* is eᵀΣ̃e + σ²",
    }
    checks = (
        *(
            Check(f"{text}, in units of the bound on rounding errors", d.identity.sel(law=law), 1.0)
            for law, text in names.items()
        ),
        Check.at_least("a step η for 2η would show, in the same units", d.identity_wrong, 1e6),
        Check(
            "on many Gaussian rows: largest deviation of a number, in standard errors",
            signed.max(), four_sigma(signed.sizes["quantity"], batches - 1),
        ),
        Check(
            "on many Gaussian rows: largest deviation of an entry of Σ' or of the limit, in standard errors",
            abs(d.off_large_entries).max(), four_sigma(d.sizes["entry"], batches - 1),
        ),
        Check.at_least(
            "on many Gaussian rows: wrong μ, wrong stall, wrong κ would show, in standard errors",
            abs(d.off_large_wrong).min(), four_sigma(1, batches - 1),
        ),
    )  # fmt: skip
    return Verdict(checks, _findings(d), measured=(*_groups(d), _within(d), _paths(d)))


def _groups(d: xr.Dataset) -> tuple[str, ...]:
    sex = d.sel(split="sex")
    others = "; ".join(
        f"{s} {float(d.shift_share.sel(split=s)):.2f} (p = {float(d.p_value.sel(split=s)):.2g})"
        for s in d.split.values
        if s != "sex"
    )
    return (
        f"The split: {d.attrs['pretrain_rows']} rows of one sex to pre-train, {d.attrs['rows']} of the other to "
        f"fine-tune. Means taken out: features {float(sex.mean_shift):.2f} (Mahalanobis), labels "
        f"{float(sex.label_shift):+.2f} standard deviations. Covariance shift: with Σ = I the eigenvalues of Σ̃ run "
        f"from {float(sex.smallest):.2f} to {float(sex.largest):.2f}. Shift of the optimum: eᵀΣ̃e = "
        f"{float(sex.shift_share):.2f} σ², where sampling alone would give {float(sex.noise_share):.2f} σ² "
        f"(one regression against two: F = {float(sex.chow):.2f}, p = {float(sex.p_value):.2g}). Other splits at the "
        f"median: {others}.",
        f"In the raw standardised features the stall could not be told from collinearity: the condition number of Σ̃ "
        f"is {float(d.raw_condition):.0f}, and its weakest direction overlaps with e by {float(d.raw_overlap):.2f} "
        "before any weight is applied. Hence the whitening.",
    )


def _findings(d: xr.Dataset) -> tuple[str, ...]:
    """What is off the theory by more than Gaussian rows of the same number are, and what is lost in their noise."""
    at = {name: d.sel(quantity=name) for name in NORMS}
    level = lambda name: (
        f"{float(at[name].surrogate_level.mean()):.2f} ± {float(at[name].surrogate_level.std()):.2f}"
    )
    off = [name for name in _furthest_first(d) if abs(float(d.off_surrogate.sel(quantity=name))) >= USUAL]
    said = "; ".join(
        f"{_value(d, name)}, off by {_signed(d.off_surrogate.sel(quantity=name))} standard deviations of Gaussian rows "
        f"and {_signed(d.off_bootstrap.sel(quantity=name))} bootstrap standard errors"
        for name in off
    )
    noise = (
        f"At this size the stalled direction is lost in sampling noise: it overlaps with e by "
        f"{float(at['overlap'].sampled):.2f} (theory 1), but also on Gaussian rows of the same number only by "
        f"{level('overlap')}; the largest curvature is {float(at['spread'].sampled):.2f} times the smallest, where "
        f"theory says {float(at['spread'].theory):.2f} and Gaussian rows give {level('spread')}. FLOW's limit lies "
        f"aside of the line from θ* to the new optimum by {float(at['aside'].sampled):.2f} of its length (Gaussian "
        f"rows {level('aside')}).",
    )
    return (*([f"Beside {d.attrs['rows']} Gaussian rows: {said}."] if off else []), *noise)


def _within(d: xr.Dataset) -> str:
    near = [name for name in _furthest_first(d) if abs(float(d.off_surrogate.sel(quantity=name))) < USUAL]
    return (
        f"Within two standard deviations of {d.attrs['rows']} Gaussian rows, the furthest first: "
        + ("; ".join(_value(d, name) for name in near) or "nothing")
        + "."
    )


def _furthest_first(d: xr.Dataset) -> list[str]:
    return sorted(SCALARS, key=lambda name: -abs(float(d.off_surrogate.sel(quantity=name))))


def _value(d: xr.Dataset, name: str) -> str:
    one = d.sel(quantity=name)
    return f"{one.label.item()} {float(one.sampled):.3g} (theory {float(one.theory):.3g})".replace("-", "−")


def _signed(value: xr.DataArray) -> str:
    return f"{float(value):+.1f}".replace("-", "−")


def _paths(d: xr.Dataset) -> str:
    total = d.path_data.sum("task")
    end = {run: float(total.sel(run=run).isel(step=-1)) for run in ("standard", SAME_MEAN_STEP)}
    best = {run: float(total.sel(run=run).min()) for run in ("standard", "flow", SAME_MEAN_STEP)}
    return (
        f"After {d.attrs['steps']} steps the total error is {end['standard']:.4f} for standard fine-tuning and "
        f"{end[SAME_MEAN_STEP]:.4f} for FLOW with the same mean step. At their best moments standard fine-tuning has "
        f"{best['standard']:.4f}, FLOW at the same rate {best['flow']:.4f}, FLOW with the same mean step "
        f"{best[SAME_MEAN_STEP]:.4f}; the best average {float(d.average.sum('task').min()):.4f}, the best for both "
        f"(the joint optimum) {float(d.joint_optimum.sum('task')):.4f} (share of the label variance). "
        + (
            "Early stopping beats FLOW here."
            if best["standard"] < best[SAME_MEAN_STEP]
            else "FLOW beats early stopping here."
        )
    )
