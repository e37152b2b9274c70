"""Where rows are as many as dimensions: flatter weights, a spread, and a default temperature that may hurt."""

from __future__ import annotations

import math

import numpy as np
import xarray as xr

import linear_theory as lt
from linear_theory.significance import four_sigma, standard_error
from paper_reproduction.beyond._few_rows import (
    FLIP,
    FLOOR,
    METHODS,
    NOISE,
    QUANTITIES,
    classical,
    cut,
    flip_rows,
    floor,
    floor_rows,
    in_last_digits,
    predicted,
    printed_digits,
    problem_of,
    sampled,
)
from paper_reproduction.claim import IN_EPSILON, Check, Claim, Settings, Table, Verdict
from paper_reproduction.standard_errors import in_standard_errors

CLAIM = Claim(
    name="high-dimension",
    title="With few rows for each dimension the weights flatten, FLOW averages less, and its default may hurt",
    statement=(
        r"Let rows and dimensions grow together, $d/n \to \gamma$. A row pulls the fit towards itself with a leverage "
        r"$gw/(1+gw)$, and so rows weighted by $w$ end where a population weighted by $w/(1+gw)$ would: the weights "
        r"flatten, FLOW averages less than $\kappa = \tau/(\tau+2\sigma^2)$ says, and a fit has a variance. Without a "
        r"ridge and with $\gamma > 1$ positive weights do not matter any more. The whole path of gradient flow is a "
        r"contour integral. In one problem the median temperature beats early stopping with ten rows a dimension "
        r"and loses with two."
    ),
    equation="beyond the paper",
    formula=(
        r"\gamma = \lambda g + E\left[\frac{gw}{1+gw}\right], \qquad w \to \frac{w}{1+gw}, \qquad "
        r"E\,h(t) = -\frac{1}{2\pi i}\oint \frac{1-e^{-2tz}}{z}\,\bar{h}(z)\,dz"
    ),
    functions=(
        "high_dimension.optimum",
        "high_dimension.path",
        "flow_weights",
        "weight_mass",
        "displacement",
        "population_median_temperature",
        "pretrain_error",
        "target_error",
        "total_error",
    ),
    seconds=60.0,
    quick_seconds=6.0,
    order=130,
    question="Does FLOW help where rows are few?",
)

EPS = float(np.finfo(float).eps)
RATIOS = (0.1, 0.3, 0.5, 0.7, 1.5, 2.0)
SOME = (0.1, 0.5, 0.7, 2.0)  # of a quick run
FEW = 0.5  # from this ratio on the classical formula has to be seen as wrong
COLD = (1e-3, 1e-4)  # τ over s², in the direction of the cut
CUTS = (0.1, 0.5, 0.9)
ROUNDINGS = 64  # of the solution of one equation, and of a form in it
ORDER = 0.05  # by how much the order 2 may be missed a decade apart: the next term is of relative size τ²


def compute(settings: Settings) -> xr.Dataset:
    """Predictions over γ, the same of sampled rows, the flip, the cut and the floor."""
    draws, flip_draws, cases = (10, 8, 2) if settings.quick else (40, 40, 4)
    ratios = SOME if settings.quick else RATIOS
    rows = [sampled(ratio, draws, settings.rng(f"rows {ratio:g}")) for ratio in ratios]
    shuffled = sampled(FEW, draws, settings.rng("shuffled"), shuffled=True)
    white, median = problem_of(1000, 0.0, NOISE)
    fit = lambda ratio, relative: lt.high_dimension.optimum(white, ratio, temperature=relative)
    fine = (9, 4) if settings.quick else (30, 15)
    below, above = np.linspace(0.02, 0.92, fine[0]), np.geomspace(1.12, 2.2, fine[1])
    lines = np.concatenate([below, above])
    floors = list(FLOOR)[:: 3 if settings.quick else 1]
    found = floor_rows(floors)
    digits = [in_last_digits(row[:3], FLOOR[ratio]) for row, ratio in zip(found, floors, strict=True)]
    full = ("ratio", "draw", "training", "quantity")
    return xr.merge(
        [
            xr.Dataset(
                {
                    "predicted": ((full[0], *full[2:]), np.stack([predicted(r) for r in ratios])),
                    "classical": ((full[0], *full[2:]), classical(ratios),
                                  {"long_name": "first order in d/n around the population: wrong"}),
                    "sampled": (full, np.stack(rows), {"long_name": "of weighted rows"}),
                    "shuffled": (full[1:], shuffled, {"long_name": "the same, weights shuffled"}),
                    "line": (("line_ratio", *full[2:]), np.stack([predicted(r) for r in lines])),
                    "digits": ("printed", printed_digits(), {"units": "last printed digit"}),
                    "kappa": (("relative", "below"), np.array(
                        [[float(fit(r, t * median).displacement) for r in below] for t in (1.0, 0.1)])),
                    "kappa_cut": ("below", np.array([cut(r) for r in below])),
                    "population_kappa": ("relative", np.array(
                        [float(lt.displacement(white, t * median)) for t in (1.0, 0.1)])),
                    "cold": (("cold_ratio", "cold_temperature"), np.array(
                        [[float(fit(r, t * 2).displacement) for t in COLD] for r in CUTS])),
                    "cut": ("cold_ratio", np.array([cut(r) for r in CUTS])),
                    "floor_line": ("below", np.array([floor(r) for r in below])),
                    "floor": (("floor_ratio", "floor_method"), found, {"long_name": "mean total error, v = σ² = 1"}),
                    "floor_digits": (("floor_ratio", "floor_printed"), np.array(digits)),
                },
                coords={"ratio": list(ratios), "training": list(METHODS), "quantity": list(QUANTITIES),
                        "line_ratio": lines, "below": below, "relative": [1.0, 0.1],
                        "floor_ratio": floors, "cold_ratio": list(CUTS), "cold_temperature": list(COLD),
                        "floor_method": ["floor", "best ridge", "FLOW to convergence", "floor, by hand"]},
            ),
            flip_rows(settings, cases, flip_draws),
        ],
        combine_attrs="no_conflicts",
    )  # fmt: skip


def _paired(d: xr.Dataset) -> np.ndarray:
    """Standard fine-tuning minus FLOW on the same rows, in standard errors, with ten rows a dimension and with two."""
    gain = (d.flip_sampled.sel(stopped="standard") - d.flip_sampled.sel(stopped="FLOW")).values
    return gain.mean(axis=1) / standard_error(gain, axis=1)


def verdict(dataset: xr.Dataset) -> Verdict:
    """Rows against the limit, wrong formulas refused, the digits, the cut's order, the floor, the flip."""
    d = dataset
    error = standard_error(d.sampled.values, axis=1)
    mean = d.sampled.values.mean(axis=1)
    off = in_standard_errors(mean, d.predicted.values, error)
    wrong = in_standard_errors(mean, d.classical.values, error).max(axis=(1, 2))
    limit = four_sigma(off.size, d.sizes["draw"] - 1)
    few = d.predicted.sel(ratio=FEW).values
    shuffled = in_standard_errors(d.shuffled.values.mean(axis=0), few, standard_error(d.shuffled.values))
    best = d.flip_sampled.values
    of_flip = in_standard_errors(
        best.mean(axis=-1), d.flip.values[:2][:, [0, 2]], standard_error(best, axis=-1)
    )
    flip_limit = four_sigma(of_flip.size, best.shape[-1] - 1)
    pair = _paired(d)
    gap = np.abs(d.cold - d.cut).values
    with np.errstate(divide="ignore", invalid="ignore"):
        order = np.log10(gap[:, 0] / gap[:, 1]) / math.log10(COLD[0] / COLD[1])
    found = d.floor.values
    checks = (
        Check("sampled rows against the limit, both errors and κ, in standard errors", off.max(), limit),
        Check.at_least(
            f"weights that do not flatten would show at each γ ≥ {FEW:g}, in standard errors",
            wrong[d.ratio.values >= FEW].min(),
            limit,
        ),
        Check.at_least("shuffled weights are refused, in standard errors", shuffled.max(), limit),
        Check("fits and paths against digits derived by hand, in units of the last", d.digits.max(), 1),
        Check(
            "least errors over time against digits derived by hand, in units of the last",
            d.flip_digits.max(),
            1,
        ),
        Check("floor and what comes near it, against digits derived by hand", d.floor_digits.max(), 1),
        Check("order in τ at which κ reaches the cut's, off 2", np.abs(order - 2).max(), ORDER),
        Check(
            f"the floor from the ridge against a quadratic equation, {IN_EPSILON}",
            np.abs(found[:, 0] / found[:, 3] - 1).max() / EPS,
            ROUNDINGS,
        ),
        Check.at_least(
            "nobody is below the floor: the nearest is above by", (found[:, 1:3] - found[:, [0]]).min(), 0
        ),
        Check("rows at the best times against the limit, in standard errors", of_flip.max(), flip_limit),
        Check.at_least(
            "ten rows a dimension: FLOW below early stopping, in standard errors", pair[0], flip_limit
        ),
        Check.at_least(
            "two rows a dimension: FLOW above early stopping, in standard errors", -pair[1], flip_limit
        ),
    )
    return Verdict(checks, _findings(d), _headline(d), _measured(d))


def _headline(d: xr.Dataset) -> str:
    table = d.flip.sel(flip_method=["standard, stopped early", "FLOW, median"]).values
    return (
        f"Partly: at the median temperature FLOW's least total error is {table[0, 1]:.3f} against early stopping's "
        f"{table[0, 0]:.3f} with ten rows for each dimension, and {table[1, 1]:.3f} against {table[1, 0]:.3f} with two."
    )


def _findings(d: xr.Dataset) -> tuple[str, ...]:
    at = d.floor.isel(floor_ratio=-1)
    flow, ridge, least = (
        float(at.sel(floor_method=name)) for name in ("FLOW to convergence", "best ridge", "floor")
    )
    return (
        "Where Σ and Σ̃ are the identity and the shift is random, FLOW trained to convergence is far from the floor: "
        f"{flow:.2f} at its best temperature with γ = {float(at.floor_ratio):g}, where a ridge has {ridge:.3f} and "
        f"nobody can be below {least:.3f}.",
    )


def _measured(d: xr.Dataset) -> tuple[str, ...]:
    kappa = d.predicted.sel(training="converged", quantity="displacement")
    ten, two = (float(kappa.sel(ratio=ratio)) for ratio in (0.1, 0.5))
    return (
        f"Trained to convergence at the median temperature FLOW goes {ten:.3f} of the way with ten rows a dimension "
        f"and {two:.3f} with two, for {float(d.population_kappa[0]):.3f} in the population.",
        f"As τ → 0 the fit is a cut at the d easiest rows: κ → {float(d.cut.sel(cold_ratio=0.5)):.4f} at γ = 1/2, "
        "reached in the second order of τ, and the variance grows like 1/τ.",
    )


PROBLEMS = tuple(f"γ = {ratio:g}, ρ = {rho:g}, σ² = {noise:g}" for ratio, noise, rho, *_ in FLIP)


def tables(dataset: xr.Dataset) -> tuple[Table, ...]:
    """Who wins with few rows."""
    rows = zip(PROBLEMS, dataset.flip.values, strict=False)  # a quick run has the first two
    cells = tuple((name, *(f"{value:.4f}" for value in values)) for name, values in rows)
    header = ("problem", *map(str, dataset.flip_method.values))
    return (Table("Least mean total error over time, d → ∞", header, cells),)
