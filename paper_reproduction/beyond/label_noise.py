"""Under Gaussian label noise FLOW ends on the line between old and new, at one place for every law of the inputs."""

from __future__ import annotations

import numpy as np
import xarray as xr

import linear_theory as lt
from linear_theory.significance import four_sigma
from paper_reproduction.beyond._noisy_rows import LAWS, OTHERS, displacement, noise
from paper_reproduction.claim import IN_EPSILON, Check, Claim, Settings, Verdict
from paper_reproduction.sampled_rows import jackknife, weighted_sums
from paper_reproduction.standard_errors import in_standard_errors

CLAIM = Claim(
    name="label-noise",
    title="Gaussian label noise makes FLOW an average, the same one for every law of the inputs",
    statement=(
        r"Given $x$, weights $e^{-r^2/\tau}$ tilt Gaussian noise of variance $\sigma^2$ into Gaussian noise of "
        r"variance $\kappa\sigma^2$ around $(1-\kappa)\langle e, x\rangle$, $\kappa = \tau/(\tau + 2\sigma^2)$. So "
        r"the new labels are those of the average $(1-\kappa)\theta^\ast + \kappa\tilde\theta^\ast$, whatever the "
        r"law of $x$, and there FLOW ends. On the way noise is a temperature: the path is the one without noise at "
        r"$\tau + 2\sigma^2$, shrunk towards that end. Repeated from where it ended, with the median each time, FLOW "
        r"learns a fixed share of what is left."
    ),
    equation="beyond the paper",
    formula=(
        r"\theta_\infty = \theta^\ast - \kappa e, \qquad \kappa = \frac{\tau}{\tau + 2\sigma^2}, \qquad "
        r"z_\tau(t) = (1-\kappa)\,e + \kappa\, z^{\sigma = 0}_{\tau + 2\sigma^2}(t)"
    ),
    functions=(
        "fixed_point",
        "displacement",
        "iterate",
        "flow_weights",
        "population_median_temperature",
        "solve",
    ),
    seconds=20.0,
    quick_seconds=4.0,
    order=50,
    question="Does FLOW end at the same place whatever the inputs?",
)

SHIFT, NOISE = np.array([0.8, -0.5, 0.4]), 0.7
MIXED = np.array(
    [[1.0, 0.0, 0.0], [0.5, 0.8, 0.0], [0.0, 0.3, 1.1]]
)  # a row is this times independent entries
RATIOS = (0.2, 0.5, 1.0, 2.0, 5.0, 20.0)  # τ/σ²
COLD = 0.454936423119572  # the median of χ²₁: the default temperature over s²
REPEATED = {"start": 4.0, "noise": 1.0, "printed": (0.87561, 0.43021, 0.24493, 0.14875)}  # v after each round
EPS = float(np.finfo(float).eps)


def _problem() -> lt.FineTuningProblem:
    """The second moments of the rows of every law."""
    return lt.FineTuningProblem(SHIFT, np.zeros(3), MIXED @ MIXED.T, noise_variance=NOISE)


def _ends(case: str, settings: Settings, size: int, blocks: int) -> tuple[np.ndarray, np.ndarray]:
    """θ̂ − θ* of the weighted rows at each τ, with its standard error, each (ratio, 3)."""
    problem, draw = _problem(), LAWS.get(case, LAWS["Gaussian"])
    sums = np.empty((len(RATIOS), blocks, 3, 5))
    for block in range(blocks):
        rng = settings.rng(f"{case} {block}")
        X = draw(rng, (size, 3)) @ MIXED.T
        residual = noise(case, X @ SHIFT, float(problem.shift_variance), NOISE, rng) - X @ SHIFT
        for i, ratio in enumerate(RATIOS):
            sums[i, block] = weighted_sums(X, residual, lt.flow_weights(residual**2, ratio * NOISE))
    end = lambda mean: np.linalg.solve(mean[:, :3], mean[:, 3])
    found = [jackknife(one, end) for one in sums]
    return np.stack([one[0] for one in found]), np.stack([one[1] for one in found])


def _shrunk(problem: lt.FineTuningProblem, tau: float, temperature: float, steps: np.ndarray) -> np.ndarray:
    """(1 − κ)e + κ z of the path without noise at a temperature, whose steps are as long as FLOW's on average."""
    clear = lt.FineTuningProblem(problem.pretrained, problem.target, problem.target_covariance)
    rate = 0.3 / lt.weight_mass(clear, temperature)
    kappa = tau / (tau + 2 * NOISE)
    return (1 - kappa) * SHIFT + kappa * lt.iterate(clear, steps, rate, temperature)


def _rounds(count: int) -> tuple[np.ndarray, np.ndarray]:
    """v and κ of each round of FLOW at the median, started where the round before ended."""
    v, kappa = [REPEATED["start"]], []
    for _ in range(count):
        problem = lt.FineTuningProblem([v[-1] ** 0.5], [0.0], [[1.0]], noise_variance=REPEATED["noise"])
        tau = lt.population_median_temperature(problem)
        kappa.append(float(lt.displacement(problem, tau)))
        v.append(float(lt.fixed_point(problem, tau)[0] ** 2))
    return np.array(v[1:]), np.array(kappa)


def _wrong_rounds(count: int) -> np.ndarray:
    """v of each round by κ = τ/(τ + σ²)."""
    v, noise = [REPEATED["start"]], REPEATED["noise"]
    for _ in range(count):
        tau = COLD * (v[-1] + noise)
        v.append((noise / (tau + noise)) ** 2 * v[-1])
    return np.array(v[1:])


def _sampled_rounds(settings: Settings, runs: int, size: int) -> np.ndarray:
    """(run, round): what is left of the shift on Gaussian rows, each round with the median of its own losses."""
    found = np.empty((runs, len(REPEATED["printed"])))
    for run in range(runs):
        rng, theta = settings.rng(f"rounds {run}"), np.array([REPEATED["start"] ** 0.5, 0.0])
        for k in range(found.shape[1]):
            X = rng.standard_normal((size, 2))
            y = REPEATED["noise"] ** 0.5 * rng.standard_normal(size)
            theta = lt.solve(X, y, theta, lt.flow_weights((y - X @ theta) ** 2)).theta
            found[run, k] = theta[0]
    return found


def compute(settings: Settings) -> xr.Dataset:
    """Ends of sampled rows under each law, the exact ones, a path by two routes, and rounds."""
    size, blocks = (2000, 60) if settings.quick else (20_000, 60)
    cases = (*LAWS, *OTHERS)
    found = [_ends(case, settings, size, blocks) for case in cases]
    problem = _problem()
    exact = np.array([lt.fixed_point(problem, ratio * NOISE) for ratio in RATIOS])
    tau, steps = 2 * NOISE, np.arange(60)
    path = lt.iterate(problem, steps, 0.3 / lt.weight_mass(problem, tau), tau)
    v, kappa = _rounds(200)
    curve = np.geomspace(0.1, 40, 40)
    by_quadrature = lambda ratios, nodes: np.array([
        [displacement(kind, ratio * NOISE, float(problem.shift_variance), NOISE, nodes) for ratio in ratios]
        for kind in OTHERS
    ])  # fmt: skip
    moved, error = (np.stack([one[i] for one in found]) for i in (0, 1))
    length = SHIFT @ SHIFT
    return xr.Dataset(
        {
            "moved": (("case", "ratio", "axis"), moved, {"long_name": "θ̂ − θ*"}),
            "error": (("case", "ratio", "axis"), error),
            "share": (("case", "ratio"), -moved @ SHIFT / length, {"long_name": "of the shift, along it"}),
            "share_error": (("case", "ratio"), np.sqrt(error**2 @ SHIFT**2) / length),
            "exact": (("ratio", "axis"), exact - SHIFT, {"long_name": "lt.fixed_point − θ*"}),
            "curve": ("tau_over_noise", [float(lt.displacement(problem, x * NOISE)) for x in curve]),
            "left": (("other", "ratio"), by_quadrature(RATIOS, 200), {"long_name": "κ by quadrature"}),
            "left_coarse": (("other", "ratio"), by_quadrature(RATIOS, 100)),
            "left_curve": (("other", "tau_over_noise"), by_quadrature(curve, 100)),
            "path": (("step", "axis"), path),
            "shrunk": (("step", "axis"), _shrunk(problem, tau, tau + 2 * NOISE, steps)),
            "shrunk_wrong": (("step", "axis"), _shrunk(problem, tau, tau + NOISE, steps)),
            "round_v": ("round", v),
            "round_kappa": ("round", kappa),
            "round_wrong": ("early_round", _wrong_rounds(len(REPEATED["printed"]))),
            "round_sampled": (("run", "early_round"), _sampled_rounds(settings, 20, 5 * size)),
        },
        coords={"case": list(cases), "ratio": list(RATIOS), "other": list(OTHERS), "tau_over_noise": curve},
        attrs={"rows": size * blocks, "blocks": blocks, "noise": NOISE, "laws": len(LAWS)},
    )


def verdict(dataset: xr.Dataset) -> Verdict:
    """Five laws on one curve, two that leave it, the path by two routes, and rounds to their digits."""
    ds, laws = dataset, dataset.attrs["laws"]
    tau = ds.ratio.values * NOISE
    on_line = lambda kappa: -np.asarray(kappa)[..., None] * SHIFT
    off = lambda cases, where: in_standard_errors(ds.moved.values[cases], where, ds.error.values[cases])
    own, others = slice(0, laws), slice(laws, None)
    limit = four_sigma(ds.moved.size, ds.attrs["blocks"] - 1)
    wrong = off(own, on_line(tau / (tau + NOISE))).max(axis=(1, 2))
    unit = EPS * np.abs(SHIFT).max()
    rule = tau / (tau + 2 * NOISE)
    apart = np.abs(ds.left.values - rule).max(axis=1)
    at = [f"{ds.ratio.values[int(i)]:g}" for i in np.abs(ds.left.values - rule).argmax(axis=1)]
    printed = np.array(REPEATED["printed"])
    v, kappa = ds.round_v.values, ds.round_kappa.values
    rounds, count = ds.round_sampled.values, ds.sizes["run"]
    error = rounds.std(axis=0, ddof=1) / count**0.5
    sampled = lambda left: in_standard_errors(
        rounds.mean(axis=0), np.sqrt(np.asarray(left)[: len(printed)]), error
    )
    enough = four_sigma(len(printed), count - 1)
    ratio = float(v[-1] / v[-2])
    rows, size, laws_off = ds.attrs["rows"], "standard errors", off(own, on_line(rule)).max()
    learned = 100 * float(ds.share.sel(ratio=1.0)[:laws].mean())
    checks = (
        Check(
            f"FLOW's end against θ* − κe, {IN_EPSILON}",
            np.abs(ds.exact.values - on_line(rule)).max() / unit,
            8.0,
        ),
        Check(f"ends of sampled rows under five laws of x, every component, in {size}", laws_off, limit),
        Check.at_least(f"the same against κ = τ/(τ + σ²), under every law, in {size}", wrong.min(), limit),
        Check(
            f"other noise against its own κ by quadrature, in {size}",
            off(others, on_line(ds.left)).max(),
            limit,
        ),
        Check("that quadrature with half as many nodes", np.abs(ds.left - ds.left_coarse).max(), 1e-8),
        Check.at_least(
            f"other noise against the one κ, in {size}",
            off(others, on_line(rule)).max(axis=(1, 2)).min(),
            limit,
        ),
        # Each of 60 steps adds a few units of rounding of numbers of size one.
        Check(
            f"path under noise against the shrunk path without, {IN_EPSILON}",
            np.abs(ds.path - ds.shrunk).max() / unit,
            240.0,
        ),
        Check.at_least("the same at τ + σ² for τ + 2σ²", np.abs(ds.path - ds.shrunk_wrong).max() / unit, 1e6),
        Check(
            "rounds at the median against their five digits, in units of the last",
            np.abs(v[: len(printed)] - printed).max() / 1e-5,
            0.5 + 1e-6,
        ),
        Check(f"what sampled rounds leave of the shift, in {size}", sampled(v).max(), enough),
        Check.at_least(
            f"the same with κ = τ/(τ + σ²) in every round, in {size}", sampled(ds.round_wrong).max(), enough
        ),
        Check(
            "ratio of v after the last two rounds against (2/(c + 2))²",
            abs(ratio - (2 / (COLD + 2)) ** 2),
            1e-12,
        ),
    )
    return Verdict(
        checks,
        headline=(
            f"Yes, under Gaussian label noise, between old and new: under each of {laws} laws of the inputs within "
            f"{laws_off:.1f} standard errors of κ = τ/(τ + 2σ²) ({rows} rows), {learned:.1f} % of the way at τ = σ²."
        ),
        findings=(
            f"It needs Gaussian noise of one size. Laplace noise on Gaussian inputs ends on the line at another place, "
            f"up to {apart[0]:.3f} in κ (τ = {at[0]} σ²); Gaussian noise whose variance grows along the shift, up to "
            f"{apart[1]:.3f} (τ = {at[1]} σ²).",
        ),
        measured=(
            f"Repeated from its end, with the median each time, FLOW leaves {v[0]:.3f}, {v[1]:.3f}, {v[2]:.3f} of "
            f"v = 4 and never stops learning: κ falls to {kappa[-1]:.4f}, and each round leaves {ratio:.4f} of v.",
        ),
    )
