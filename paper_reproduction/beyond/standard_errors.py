"""(T15): intervals around FLOW's minimiser cover what they say, if the temperature's own error is counted."""

from __future__ import annotations

import math

import numpy as np
import xarray as xr
from scipy import optimize, stats

import linear_theory as lt
from linear_theory.significance import four_sigma
from paper_reproduction.beyond._asymptotic import closed, integrated
from paper_reproduction.beyond._left_out import fits_without, rounding
from paper_reproduction.claim import IN_EPSILON_TIMES_CONDITION, Check, Claim, Settings, Verdict

CLAIM = Claim(
    name="standard-errors",
    title="Intervals around FLOW's minimiser have to count the error of their own temperature",
    statement=(
        r"FLOW's minimiser on $n$ rows is a weighted least-squares fit, and its sandwich covariance is known. But the "
        r"default temperature is the median of the same rows' losses. It errs, and where FLOW averages, under label "
        r"noise, the minimiser moves along with it, along the shift. The usual sandwich takes the temperature for "
        r"known: its 95 % intervals along the shift cover too rarely, across it they are right. One more term for each "
        r"row, $b\,(\frac12 - 1\{r_i^2 \le \tau\})/f$ with the density $f$ of the losses at their median, repairs "
        r"that. The interval is for $\theta_\infty$, where training ends, and not for $\tilde\theta^\ast$."
    ),
    equation="beyond the paper",
    formula=(
        r"\mathrm{Cov}(\hat\theta) \approx \frac{1}{n^2}\sum_i \mathrm{IF}_i\mathrm{IF}_i^\top, \qquad \mathrm{IF}_i = "
        r"H^{-1}w_i\varrho_i x_i + b\,\frac{\frac12 - 1\{r_i^2 \le \tau\}}{f}, \qquad b = \frac{\partial\theta_\infty}"
        r"{\partial\tau}"
    ),
    functions=(
        "standard_errors",
        "median_temperature",
        "flow_weights",
        "fixed_point",
        "population_median_temperature",
    ),
    seconds=20.0,
    quick_seconds=4.0,
    order=150,
    question="Do the usual standard errors hold?",
)

EPS = float(np.finfo(float).eps)
LEVEL, QUANTILE = 0.95, float(stats.norm.ppf(0.975))
COVARIANCE = np.array([[1.0, 0.5, 0.0], [0.5, 1.0, 0.2], [0.0, 0.2, 1.5]])
CASES = {  # law of x, shift, noise variance, a unit vector across the shift
    "σ² = 1": ("Gaussian", (1.0, 0.0, 0.0), 1.0, (0.0, 1.0, 0.0)),
    "σ² = 0.3": ("Gaussian", (0.8, -0.5, 0.4), 0.3, (0.0, 0.4 / math.sqrt(0.41), 0.5 / math.sqrt(0.41))),
    "x = ±1": ("signs", (1.0, 0.5, 0.0), 1.0, (0.0, 0.0, 1.0)),
}
PRINTED = {  # n times the covariance, derived by hand: known beforehand, and the sample's median
    "fixed 11": 0.689689733, "fixed 22": 0.463102885, "fixed 33": 0.231551442, "fixed 12": -0.231551442,
    "median 11": 1.134831589, "second case, fixed": 0.5764, "second case, median": 1.1759,
}  # fmt: skip
LEFT_OUT = 200  # rows of which each is left out in turn
INTERVALS = ("corrected", "usual", "textbook")


def _draw(name: str, n: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows, labels and θ* = e; θ̃* = 0."""
    law, shift, noise, _ = CASES[name]
    X = (
        rng.standard_normal((n, 3)) @ np.linalg.cholesky(COVARIANCE).T
        if law == "Gaussian"
        else rng.choice([-1.0, 1.0], (n, 3))
    )
    return X, math.sqrt(noise) * rng.standard_normal(n), np.array(shift)


def _end(name: str) -> np.ndarray:
    """θ_∞ at the population's median temperature; with x = ±1 the residual is a mixture of four Gaussians."""
    law, shift, noise, _ = CASES[name]
    if law == "Gaussian":
        problem = lt.FineTuningProblem(shift, np.zeros(3), COVARIANCE, noise_variance=noise)
        return lt.fixed_point(problem, lt.population_median_temperature(problem))
    centres, scale = (
        np.array([a * shift[0] + b * shift[1] for a in (-1, 1) for b in (-1, 1)]),
        math.sqrt(noise),
    )
    below = lambda tau: np.mean(
        stats.norm.cdf((math.sqrt(tau) - centres) / scale)
        - stats.norm.cdf((-math.sqrt(tau) - centres) / scale)
    )
    tau = float(optimize.root_scalar(lambda tau: below(tau) - 0.5, bracket=(1e-3, 20.0), xtol=1e-14).root)
    return np.array(shift) * 2 * noise / (tau + 2 * noise)


def _one(name: str, n: int, end: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Deviation from θ_∞ along and across the shift, (2,), and its standard error by each interval, (2, 3)."""
    X, y, start = _draw(name, n, rng)
    losses = (y - X @ start) ** 2
    tau = float(lt.median_temperature(losses))
    corrected, usual = lt.standard_errors(X, y, start), lt.standard_errors(X, y, start, tau)
    weights = lt.flow_weights(losses, tau)
    gram = (X.T * weights) @ X
    scale = weights @ (y - X @ corrected.theta) ** 2 / (n - 3)  # as if 1/w were variances
    covariances = (corrected.covariance, usual.covariance, scale * np.linalg.inv(gram))
    directions = np.stack([start / np.linalg.norm(start), CASES[name][3]])
    errors = np.array([[math.sqrt(u @ one @ u) for one in covariances] for u in directions])
    return directions @ (corrected.theta - end), errors


def _left_out(name: str, rng: np.random.Generator) -> np.ndarray:
    """The usual sandwich against Σ(θ̂ − θ̂₋ᵢ)(θ̂ − θ̂₋ᵢ)ᵀ of fits without each row, and against that of their limit as
    n → ∞, which forgets leverages: the largest distance, over what rounding explains.
    """
    X, y, start = _draw(name, LEFT_OUT, rng)
    losses = (y - X @ start) ** 2
    tau = float(lt.median_temperature(losses))
    weights = lt.flow_weights(losses, tau)
    fit, others = fits_without(X, y, weights)
    moved = fit - others
    influence = np.linalg.solve((X.T * weights) @ X, (X.T * (weights * (y - X @ fit)))).T
    found = lt.standard_errors(X, y, start, tau).covariance
    # Each of n differences is known to the rounding of θ̂, and enters times its own size.
    unit = rounding(X, weights) * np.abs(fit).max() * np.abs(moved).sum(axis=0).max()
    return np.array([np.abs(found - one.T @ one).max() / unit for one in (moved, influence)])


def _coverage(ratio: np.ndarray) -> np.ndarray:
    """Of a 95 % interval that takes the variance for this share of what it is."""
    return 2 * stats.norm.cdf(QUANTILE * np.sqrt(ratio)) - 1


def compute(settings: Settings) -> xr.Dataset:
    """Many samples of each size and law, with three intervals each; the covariance in closed form and integrated."""
    sizes = (100, 400, 1600) if settings.quick else (100, 400, 1600, 6400)
    draws = settings.repetitions(130, 50)
    shape = (len(CASES), len(sizes), draws)
    deviation, error = np.empty((*shape, 2)), np.empty((*shape, 2, 3))
    for c, name in enumerate(CASES):
        end = _end(name)
        for s, n in enumerate(sizes):
            rng = settings.rng(f"{name} {n}")
            for k in range(draws):
                deviation[c, s, k], error[c, s, k] = _one(name, n, end, rng)
    gaussian = [np.array(CASES[name][1]) for name in list(CASES)[:2]]
    noises = [CASES[name][2] for name in list(CASES)[:2]]
    pairs = list(zip(gaussian, noises, strict=True))
    by_form, by_integral = (
        np.array([[route(COVARIANCE, e, noise, median) for median in (False, True)] for e, noise in pairs])
        for route in (closed, integrated)
    )
    unit = gaussian[1] / np.linalg.norm(gaussian[1])
    a, b = by_form[0, 0], by_form[0, 1]
    digits = [a[0, 0], a[1, 1], a[2, 2], a[0, 1], b[0, 0], *(unit @ one @ unit for one in by_form[1])]
    along = np.einsum("gi,gwij,gj->gw", np.stack(gaussian), by_form, np.stack(gaussian))
    share = np.geomspace(1e-3, 1e2, 101)
    one = lambda noise, median: closed(np.eye(1), np.ones(1), noise, median)[0, 0]
    ratio = np.array([one(noise, False) / one(noise, True) for noise in share])
    form = ("gaussian", "which", "row", "column")
    left_out = np.array([_left_out(name, settings.rng(f"left out {name}")) for name in CASES])
    where = ("case", "n", "draw", "direction")
    d = xr.Dataset(
        {
            "deviation": (where, deviation, {"long_name": "θ̂ − θ_∞"}),
            "error": ((*where, "interval"), error, {"long_name": "its standard error"}),
            "closed": (form, by_form, {"long_name": "n Cov θ̂ as n → ∞, in closed form"}),
            "integrated": (form, by_integral, {"long_name": "the same, integrated numerically"}),
            "left_out": (("case", "route"), left_out, {"long_name": "sandwich against fits without each row"}),
            "digits": ("printed_name", np.array(digits)),
            "printed": ("printed_name", np.array(list(PRINTED.values()))),
            "foretold": ("gaussian", _coverage(along[:, 0] / along[:, 1]), {"long_name": "coverage predicted of it"}),
            "gaussian_share": ("gaussian", np.array([noise / (e @ COVARIANCE @ e) for e, noise in pairs])),
            "predicted": ("share", _coverage(ratio),
                          {"long_name": "coverage of the usual interval along an eigenvector"}),
        },
        coords={"case": list(CASES), "n": list(sizes), "direction": ["along", "across"], "interval": list(INTERVALS),
                "gaussian": list(CASES)[:2], "which": ["fixed", "median"], "printed_name": list(PRINTED),
                "share": ("share", share, {"long_name": "σ²/v"})},
        attrs={"draws": draws},
    )  # fmt: skip
    rate = covered(d).mean("case")
    return d.assign(coverage=rate, coverage_error=np.sqrt(rate * (1 - rate) / draws / len(CASES)))


def covered(d: xr.Dataset) -> xr.DataArray:
    """How often each interval holds θ_∞."""
    return (np.abs(d.deviation) <= QUANTILE * d.error).mean("draw").where(d.error.notnull().all("draw"))


def verdict(dataset: xr.Dataset) -> Verdict:
    """Coverage along and across the shift, the closed form against two routes, and the printed digits."""
    d, draws = dataset, dataset.attrs["draws"]
    rate = covered(d)
    spread = math.sqrt(LEVEL * (1 - LEVEL) / draws)
    large = rate.sel(n=[n for n in d.n.values if n >= 400])
    off = lambda one: np.abs(one - LEVEL) / spread
    right, usual_across = (
        off(large.sel(interval="corrected")),
        off(large.sel(interval="usual", direction="across")),
    )
    usual = large.sel(interval="usual", direction="along")
    lost = (LEVEL - usual.mean()) / (spread / math.sqrt(usual.size))
    many = usual.sel(n=[n for n in d.n.values if n >= 1600], case=d.gaussian.values)
    foretold = d.foretold.rename(gaussian="case")
    as_foretold = np.abs(many - foretold) / np.sqrt(foretold * (1 - foretold) / draws)
    # Mean variance told, against the closed form: the kernel's density errs by n^(−2/5), the mean by its spread.
    last = d.isel(n=-1).sel(case=d.gaussian.values)
    told = (last.error**2 * float(d.n[-1])).isel(direction=0)
    unit = np.array([np.array(CASES[name][1]) / np.linalg.norm(CASES[name][1]) for name in d.gaussian.values])
    along = np.einsum("gi,gwij,gj->gw", unit, d.closed.values, unit)
    mean, wide = told.mean("draw"), told.std("draw", ddof=1) / math.sqrt(draws)
    kernel = float(d.n[-1]) ** -0.4
    apart = lambda interval, which: (
        np.abs(mean.sel(interval=interval).values - along[:, which])
        / (wide.sel(interval=interval).values + kernel / 4 * along[:, which])
    )
    form = (
        np.abs(d.closed - d.integrated).max(["row", "column"]) / np.abs(d.closed).max(["row", "column"]) / EPS
    )
    differ = (
        np.abs(d.digits - d.printed) > np.where(d.printed_name.str.startswith("second"), 5e-5, 5e-10)
    ).sum()
    differ = differ + d.digits.isnull().sum()
    cells = right.size
    return Verdict(
        checks=(
            Check("corrected intervals: coverage against 95 %, along and across, n ≥ 400, in standard errors",
                  right.max(), four_sigma(cells)),
            Check.at_least("usual intervals along the shift: what they cover too rarely, in standard errors",
                           float(lost), four_sigma(1)),
            Check("usual intervals along the shift, n ≥ 1600: coverage against what is predicted, in standard errors",
                  as_foretold.max(), four_sigma(as_foretold.size)),
            Check(f"usual sandwich against fits without each row, {IN_EPSILON_TIMES_CONDITION}",
                  d.left_out.values[:, 0].max(), 16),
            Check.at_least("the same with leverages forgotten", d.left_out.values[:, 1].min(), 16e3),
            Check("usual intervals across the shift: coverage against 95 %, in standard errors",
                  usual_across.max(), four_sigma(usual_across.size)),
            Check(f"closed form against numerical integration, {IN_EPSILON_TIMES_CONDITION}", form.max(), 256),
            Check("corrected variance along the shift against the closed form, in standard errors",
                  apart("corrected", 1).max(), four_sigma(2)),
            Check("usual variance along the shift against the closed form of a known temperature, in standard errors",
                  apart("usual", 0).max(), four_sigma(2)),
            Check.at_least("corrected variance against the closed form of a known temperature",
                           apart("corrected", 0).min(), four_sigma(2)),
            Check("figures derived by hand that differ in one of their digits", differ, 0),
            Check("least coverage predicted of the usual interval: its distance from 80 %",
                  abs(float(d.predicted.min()) - 0.8), 0.005),
        ),
        headline=_headline(d, rate),
        measured=_measured(d, rate),
    )  # fmt: skip


def _pooled(rate: xr.DataArray, draws: int) -> str:
    """The mean over all cells with its standard error, in percent."""
    mean = float(rate.mean())
    return f"{100 * mean:.1f} ± {100 * math.sqrt(mean * (1 - mean) / draws / rate.size):.1f} %"


def _headline(d: xr.Dataset, rate: xr.DataArray) -> str:
    large = rate.sel(direction="along", n=[n for n in d.n.values if n >= 400])
    usual, corrected = (
        _pooled(large.sel(interval=name), d.attrs["draws"]) for name in ("usual", "corrected")
    )
    foretold = " and ".join(f"{100 * float(one):.1f}" for one in d.foretold)
    return (
        f"No: along the shift 95 % intervals of the usual sandwich cover {usual} ({foretold} % are predicted for the "
        f"two Gaussian laws), those that count the temperature's error {corrected}."
    )


def _measured(d: xr.Dataset, rate: xr.DataArray) -> tuple[str, ...]:
    worst = float(d.share[int(np.argmin(d.predicted.values))])
    large = rate.sel(n=[n for n in d.n.values if n >= 400])
    pooled = lambda interval, direction: _pooled(
        large.sel(interval=interval, direction=direction), d.attrs["draws"]
    )
    few = _pooled(rate.sel(n=100, interval="corrected"), d.attrs["draws"])
    return (
        "With Gaussian rows the usual interval along the shift covers no less than "
        f"{100 * float(d.predicted.min()):.1f} %, at $\\sigma^2 = {worst:.2f}\\,v$, and nearly 95 % where there is "
        f"hardly any noise or hardly any shift. Across the shift it loses nothing ({pooled('usual', 'across')}).",
        "The textbook's $s^2(X^\\top WX)^{-1}$, which takes weights for known precisions, covers "
        f"{pooled('textbook', 'along')} along and {pooled('textbook', 'across')} across the shift.",
        f"At $n = 100$ the corrected intervals cover {few}.",
    )
