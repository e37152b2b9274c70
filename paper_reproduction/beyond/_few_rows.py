"""What the claim on high dimension compares: predictions, sampled rows, the flip, the cut and the floor."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import xarray as xr
from scipy import optimize, special

import linear_theory as lt
from linear_theory.high_dimension import Expected
from paper_reproduction.claim import Settings
from paper_reproduction.sampled_rows import draw_rows

DIM, LIMIT = 300, 1000  # of the rows; of predictions, whose trace is then the limit's
RHO, NOISE, RIDGE = 0.6, 1.0, 0.1
PROGRESS = (0.5, 2.0, 10.0)  # μt
METHODS = ("converged", "ridge", *(f"flow {s:g}" for s in PROGRESS))
QUANTITIES = ("displacement", "pretrain error", "target error")
MEDIAN = float(2 * special.erfinv(0.5) ** 2)

HARD = (1.5, 5.0, -1.3)  # Σ's block along e and e⊥, as in the table of the paper's methods
FLIP = {  # (γ, σ², ρ, Σ, τ over the median): the least total errors of FLIP_METHODS, as derived by hand
    (0.1, 0.25, 0.9, HARD, 1.5): ("0.5129", "0.4545", "0.4645", "0.6087"),
    (0.5, 0.25, 0.9, HARD, 30.0): ("0.5689", "0.5682", "0.6661", "0.6667"),
    (0.1, 0.0, 0.6, (2.0, 2.0, 0.9), 0.1): ("0.6898", "0.675", "0.6844", "0.6667"),
    (0.5, 0.0, 0.6, (2.0, 2.0, 0.9), 30.0): ("0.7206", "0.7199", "0.7557", "0.6667"),
}
FLIP_METHODS = (
    "standard, stopped early",
    "FLOW, best temperature",
    "FLOW, median",
    "least squares, averaged",
)
FLOOR = {  # γ: the floor, the best ridge, FLOW to convergence
    0.1: ("0.5495", "0.5588", "0.6068"),
    0.3: ("0.6385", "0.6532", "0.9741"),
    0.5: ("0.7071", "0.7202", "1.965"),
    0.8: ("0.7771", "0.7863", "8.10"),
}
FITS = (  # λ, γ, σ², ρ, τ over the median; κ, V, err₂
    (0.0, 0.5, 1.0, 0.0, 1.0, "0.466188746", "0.777055508", "1.062009962"),
    (0.0, 0.1, 1.0, 0.0, 1.0, "0.334561493", "0.042843039"),
    (0.0, 0.9, 1.0, 0.0, 1.0, "0.788648248", "22.000077037"),
    (0.0, 0.5, 1.0, 0.0, 0.1, "0.254724230", "5.169253346"),
    (0.1, 0.5, 0.0, 0.0, 1.0, "0.337208401", "0.035398450"),
    (0.1, 2.0, 1.0, 0.0, 1.0, "0.138153859", "0.188476795"),
)
PATHS = (  # of μt = 2 and of 30 steps at 0.15, γ = ½, ρ = 0.6: h, ‖h‖², err₂
    ("-0.240967525", "-0.065808992", "0.262468368", "0.720591924"),
    ("-0.239250657", "-0.066316929", "0.259646160", "0.720604173"),
)


def in_last_digits(found: Any, printed: Sequence[str]) -> np.ndarray:
    """|found − printed| in units of the last digit that is printed, in which rounding may leave ½."""
    unit = [10.0 ** -len(text.partition(".")[2]) for text in printed]
    return np.abs(np.array(found) - np.array(printed, dtype=float)) / unit


def printed_digits() -> np.ndarray:
    """Of every fit and path whose digits were derived by hand."""
    off = []
    for ridge, ratio, noise, rho, relative, *printed in FITS:
        problem, median = problem_of(LIMIT, rho, noise)
        found = lt.high_dimension.optimum(problem, ratio, ridge, relative * median)
        numbers = (found.displacement, found.variance, found.target_error)
        off.append(in_last_digits(numbers[: len(printed)], printed))
    problem, tau = problem_of(LIMIT, 0.6, 1.0)
    time = 2 / float(lt.weight_mass(problem, tau))
    for printed, when in zip(PATHS, ({"time": time}, {"steps": 30, "learning_rate": 0.15}), strict=True):
        found = lt.high_dimension.path(problem, 0.5, temperature=tau, **when)
        h = found.theta - problem.pretrained
        off.append(in_last_digits((*h[:2], h @ h + found.variance, found.target_error), printed))
    return np.concatenate(off)


def problem_of(
    dim: int, rho: float, noise: float, block: Sequence[float] | None = None
) -> tuple[lt.FineTuningProblem, float]:
    """The paper's problem, and its median temperature."""
    pretrain = None
    if block is not None:
        a, b, c = block
        core = np.array([[a - 1, c], [c, b - 1]])
        pretrain = lt.covariance.IdentityPlusLowRank(np.eye(dim, 2), core)
    problem = lt.paper_problem(rho, dim=dim, pretrain_covariance=pretrain, noise_variance=noise)
    return problem, float(lt.population_median_temperature(problem))


def read_off(found: Expected) -> np.ndarray:
    return np.array([found.displacement, found.pretrain_error, found.target_error])


def predicted(ratio: float) -> np.ndarray:
    """(methods, quantities) in the limit."""
    problem, tau = problem_of(LIMIT, RHO, NOISE)
    times = np.array(PROGRESS) / float(lt.weight_mass(problem, tau))
    ends = [read_off(lt.high_dimension.optimum(problem, ratio, ridge, tau)) for ridge in (0.0, RIDGE)]
    return np.array([*ends, *read_off(lt.high_dimension.path(problem, ratio, times, temperature=tau)).T])


def classical(ratios: Sequence[float]) -> np.ndarray:
    """The wrong formula: weights that do not flatten, of first order in d/n around the population."""
    near = 1e-6
    one, two = predicted(near), predicted(2 * near)
    ratio = np.array(ratios)[:, None, None]
    found = one + (ratio - near) * (two - one) / near
    found[..., 0] = one[:, 0]  # the mean is the population's
    return found


def sampled(ratio: float, draws: int, rng: np.random.Generator, shuffled: bool = False) -> np.ndarray:
    """(draws, methods, quantities) of weighted rows, by one eigendecomposition for each sample."""
    problem, tau = _dense(RHO, NOISE)
    times = np.array(PROGRESS) / float(lt.weight_mass(problem, tau))
    found = np.empty((draws, len(METHODS), len(QUANTITIES)))
    for k in range(draws):
        X, residual = _rows(problem, ratio, rng)
        weights = lt.flow_weights(residual**2, tau)
        values, basis, moment = _spectral(X, residual, rng.permutation(weights) if shuffled else weights)
        kernels = [1 / values, 1 / (values + RIDGE), *(-np.expm1(-2 * t * values) / values for t in times)]
        h = (np.array(kernels) * moment) @ basis.T
        found[k] = np.stack(_measures(problem, h), axis=-1)
    return found


def _dense(
    rho: float, noise: float, block: Sequence[float] | None = None
) -> tuple[lt.FineTuningProblem, float]:
    """The same in the dimension of the rows, with its covariance as a matrix to draw from."""
    problem, tau = problem_of(DIM, rho, noise, block)
    dense = lt.FineTuningProblem(
        problem.pretrained,
        problem.target,
        problem.target_operator.dense(),
        problem.pretrain_covariance,
        noise,
    )
    return dense, tau


def _rows(
    problem: lt.FineTuningProblem, ratio: float, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """X and the residuals at θ*."""
    X, y = draw_rows(problem, rng, round(DIM / ratio))
    return X, y - X @ problem.pretrained


def _spectral(
    X: np.ndarray, residual: np.ndarray, weights: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Eigenvalues and basis of XᵀWX/n in the span of the rows, and XᵀWr/n there."""
    root = np.sqrt(weights / len(X))
    rows = root[:, None] * X
    if len(X) >= X.shape[1]:
        values, basis = np.linalg.eigh(rows.T @ rows)
    else:
        _, singular, right = np.linalg.svd(rows, full_matrices=False)
        values, basis = singular**2, right.T
    return values, basis, basis.T @ (rows.T @ (root * residual))


def _measures(problem: lt.FineTuningProblem, h: np.ndarray) -> tuple[np.ndarray, ...]:
    theta = problem.pretrained + h
    share = -h @ (problem.target_covariance @ problem.shift) / problem.shift_variance
    return share, lt.pretrain_error(problem, theta), lt.target_error(problem, theta)


# --------------------------------------------------------------------------------------------------- the flip


def best_time(total: Callable[[np.ndarray], np.ndarray]) -> tuple[float, float]:
    """The least value over μt, on a grid that is refined around it once, and where."""
    grid = np.geomspace(0.02, 100.0, 40)
    k = int(np.clip(total(grid).argmin(), 1, len(grid) - 2))
    finer = np.geomspace(grid[k - 1], grid[k + 1], 40)
    values = total(finer)
    return float(values.min()), float(finer[values.argmin()])


def stopped(case: tuple, relative: float) -> tuple[float, float]:
    """FLOW's best total error over time at this temperature in units of the median, and the time × μ."""
    ratio, noise, rho, block, _ = case
    problem, median = problem_of(LIMIT, rho, noise, block)
    tau = relative * median
    mass = float(lt.weight_mass(problem, tau))
    return best_time(
        lambda s: np.asarray(lt.high_dimension.path(problem, ratio, s / mass, temperature=tau).total_error)
    )


def averaged(case: tuple) -> float:
    """Least squares, then the best average with θ*: E err_tot is a parabola in the share ω of the way."""
    ratio, noise, rho, block, _ = case
    problem, _ = problem_of(LIMIT, rho, noise, block)
    found = lt.high_dimension.optimum(problem, ratio)
    v, along = float(problem.shift_variance), -float(found.displacement)
    squares = float(found.pretrain_error + found.target_error) - v - 2 * along * v
    return v - (along * v) ** 2 / squares


def flip_rows(settings: Settings, cases: int, draws: int) -> xr.Dataset:
    """The table, the two curves of each sample size, and rows at their best times."""
    chosen = list(FLIP)[:cases]
    found, when = np.empty((cases, 4)), np.empty((cases, 2))
    for k, case in enumerate(chosen):
        found[k, 0], when[k, 0] = stopped(case, math.inf)
        found[k, 1], _ = stopped(case, case[-1])
        found[k, 2], when[k, 1] = stopped(case, 1.0)
        found[k, 3] = averaged(case)
    progress = np.geomspace(0.03, 30.0, 40)
    curves, totals = np.empty((2, 2, progress.size)), np.empty((2, 2, draws))
    for k, (ratio, noise, rho, block, _) in enumerate(chosen[:2]):
        problem, median = problem_of(LIMIT, rho, noise, block)
        rows, _ = _dense(rho, noise, block)
        temperatures = (math.inf, median)
        masses = [float(lt.weight_mass(problem, tau)) for tau in temperatures]
        for m, (tau, mass) in enumerate(zip(temperatures, masses, strict=True)):
            curves[k, m] = lt.high_dimension.path(
                problem, ratio, progress / mass, temperature=tau
            ).total_error
        rng = settings.rng(f"flip {ratio:g}")
        for draw in range(draws):
            X, residual = _rows(rows, ratio, rng)  # the same for both
            for m, (tau, mass) in enumerate(zip(temperatures, masses, strict=True)):
                values, basis, moment = _spectral(X, residual, lt.flow_weights(residual**2, tau))
                h = basis @ (-np.expm1(-2 * when[k, m] / mass * values) / values * moment)
                totals[k, m, draw] = lt.total_error(rows, rows.pretrained + h)
    digits = [in_last_digits(row, FLIP[case]) for row, case in zip(found, chosen, strict=True)]
    return xr.Dataset(
        {
            "flip": (("case", "flip_method"), found, {"long_name": "least total error over time, in the limit"}),
            "flip_digits": (("case", "flip_method"), np.array(digits), {"units": "last printed digit"}),
            "flip_curve": (("rows_per_dimension", "stopped", "progress"), curves, {"long_name": "total error"}),
            "flip_sampled": (("rows_per_dimension", "stopped", "flip_draw"), totals,
                             {"long_name": "total error of rows, at the best time"}),
            "flip_time": (("rows_per_dimension", "stopped"), when[:2], {"long_name": "best time × μ"}),
        },
        coords={"progress": progress, "flip_method": list(FLIP_METHODS), "stopped": ["standard", "FLOW"],
                "rows_per_dimension": [10, 2]},
    )  # fmt: skip


# --------------------------------------------------------------------------------------- the cut and the floor


def cut(ratio: float) -> float:
    """κ of τ → 0: the population's displacement with a cut at the easiest d of n rows, σ² = v."""
    a = special.ndtri((1 + ratio) / 2)
    missing = 2 * a * math.exp(-a * a / 2) / math.sqrt(2 * math.pi) / ratio  # 1 − m₂/m₀
    return 1 - missing / (2 - missing)


def floor(ratio: float) -> float:
    """v(1 − k/2) at v = σ² = 1, k of the ridge λ = γ, by the quadratic equation of unweighted rows."""
    g = (-1 + math.sqrt(1 + 4 * ratio**2)) / (2 * ratio)  # γ = γg + g/(1 + g), that is γg² + g − γ = 0
    kept = 1 / (1 + g)
    return 1 - kept / (ratio + kept) / 2


def floor_rows(ratios: Sequence[float]) -> np.ndarray:
    """(γ, 4): the floor from ``optimum``, the best ridge, FLOW to convergence, by the quadratic; v = σ² = 1."""
    problem, median = problem_of(LIMIT, 0.0, 1.0)
    return np.array([_near_the_floor(problem, median, ratio) for ratio in ratios])


def _near_the_floor(problem: lt.FineTuningProblem, median: float, ratio: float) -> tuple[float, ...]:
    kept = float(lt.high_dimension.optimum(problem, ratio, ratio).displacement)
    fit = lambda ridge, tau: float(lt.high_dimension.optimum(problem, ratio, ridge, tau).total_error)
    ridge = _least(lambda x: fit(math.exp(x), math.inf))
    flow = _least(lambda x: fit(0.0, median * math.exp(x)))
    return 1 - kept / 2, ridge, flow, floor(ratio)


def _least(function: Callable[[float], float]) -> float:
    """Over the logarithm of a ridge or of a temperature beside the median."""
    found: Any = optimize.minimize_scalar(function, bounds=(-6, 6), method="bounded", options={"xatol": 1e-3})
    return float(found.fun)
