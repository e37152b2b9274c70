"""What FLOW's weights do to a Gaussian population: sample size, minimum and distance of Proposition 4.3."""

from __future__ import annotations

import math

import numpy as np
import scipy.stats
import xarray as xr

import linear_theory as lt
from paper_reproduction.claim import Settings

RATIOS = (0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 100.0)  # τ over s²
FACTS = ("effective sample size", "minimum", "distance from uniform")


def _facts(mass: np.ndarray, half_mass: np.ndarray, ratio: np.ndarray) -> np.ndarray:
    """ESS/n, the minimum over s², and the distance from uniform, out of E[w] and E[w²], which is E[w] at τ/2."""
    square = mass**2
    return np.stack([square / half_mass, -ratio / 2 * np.log(square), (square - 1 - np.log(square)) / 2])


def _mass(problem: lt.FineTuningProblem, ratios: np.ndarray) -> np.ndarray:
    variance = problem.residual_variance
    return np.array([lt.weight_mass(problem, ratio * variance) for ratio in ratios])


def _quadrature(ratio: float) -> np.ndarray:
    """The three facts from their definitions, by the trapezoidal rule, which converges beyond every power."""
    z, width = np.linspace(-9.0, 9.0, 20001, retstep=True)
    density = width * np.exp(-(z**2) / 2) / math.sqrt(2 * math.pi)
    weight = np.exp(-(z**2) / ratio)
    pi = density * weight / (density @ weight)  # a density against the uniform one: π/(1/n) → pi/density
    kept = pi > 0
    distance = pi[kept] @ np.log(weight[kept] / (density @ weight))
    return np.array([(density @ weight) ** 2 / (density @ weight**2), pi @ z**2 + ratio * distance, distance])


def _of_rows(losses: np.ndarray, ratio: float, variance: float) -> np.ndarray:
    """The same three from sampled rows and the weights they get."""
    weights = lt.flow_weights(losses, ratio * variance)
    pi = weights / weights.sum()
    kept = pi > 0  # 0 ln 0 = 0
    distance = pi[kept] @ np.log(len(pi) * pi[kept])
    size = lt.effective_sample_size(weights) / len(weights)
    return np.array([size, pi @ losses / variance + ratio * distance, distance])


def weighted_population(settings: Settings) -> xr.Dataset:
    """The same facts three times: by formula, by quadrature, and from sampled rows with their weights."""
    batches, rows = (24, 20_000) if settings.quick else (100, 100_000)
    rng = settings.rng("population")
    grid, ratios = np.geomspace(0.02, 200.0, 81), np.array(RATIOS)
    problems = {
        f"noise {noise:g}": lt.paper_problem(0.6, dim=3, noise_variance=noise) for noise in (0.0, 1.0)
    }
    simulated = np.empty((len(problems), batches, len(FACTS), len(ratios)))
    defaults = np.empty((len(problems), batches, 2))
    exact, wrong, default, size = [], [], [], []
    for p, problem in enumerate(problems.values()):
        variance = float(problem.residual_variance)
        factor = np.linalg.cholesky(problem.target_covariance).T @ problem.shift
        mass, half_mass = _mass(problem, ratios), _mass(problem, ratios / 2)
        exact.append(_facts(mass, half_mass, ratios))
        wrong.append(
            [
                _facts(_mass(problem, 2 * ratios), mass, ratios),  # a ½ in the loss
                _facts(mass**0.5, half_mass**0.5, ratios),  # μ in place of μ²
            ]
        )
        tau = lt.population_median_temperature(problem)
        default.append([tau / variance, lt.weight_mass(problem, tau) ** 2])
        size.append(lt.weight_mass(problem, tau) ** 2 / lt.weight_mass(problem, tau / 2))
        for b in range(batches):
            residual = rng.standard_normal((rows, problem.dim)) @ factor
            losses = (residual + math.sqrt(problem.noise_variance) * rng.standard_normal(rows)) ** 2
            simulated[p, b] = np.stack([_of_rows(losses, ratio, variance) for ratio in ratios], axis=-1)
            defaults[p, b] = (
                lt.median_temperature(losses) / variance,
                lt.flow_weights(losses).mean() ** 2,
            )
    median = scipy.stats.chi2(1).median()
    quadrature = np.stack([_quadrature(ratio) for ratio in ratios], axis=-1)
    independent = np.array([median, 1 / (1 + 2 / median)])
    some, root = next(iter(problems.values())), math.sqrt(batches)
    # Near μ = 1, at high temperature, the minimum is the logarithm of a number near 1, and the terms of the
    # distance ½(μ² − 1 − ln μ²) cancel: a rounding of μ² weighs as much more as these are smaller than 1.
    condition = np.ones((len(FACTS), len(ratios)))
    condition[1] += ratios / (2 * quadrature[1])
    condition[2] += 1 / quadrature[2]
    every = ("problem", "fact", "population_ratio")
    deviation = lambda a: a.std(axis=1, ddof=1) / root
    return xr.Dataset(
        {
            "fact_curve": (("fact", "grid"), _facts(_mass(some, grid), _mass(some, grid / 2), grid)),
            "fact_exact": (every, np.stack(exact)),
            "fact_wrong": (("problem", "mistake", *every[1:]), np.array(wrong)),
            "fact_quadrature": (every[1:], quadrature),
            "fact_condition": (every[1:], condition, {"long_name": "relative condition"}),
            "fact_simulated": (every, simulated.mean(axis=1)),
            "fact_error": (every, deviation(simulated), {"long_name": "standard error"}),
            "default_exact": (("problem", "default"), np.array(default)),
            "default_size": ("problem", size, {"long_name": "ESS/n at the default temperature"}),
            "default_independent": ("default", independent, {"long_name": "through SciPy's χ² median"}),
            "default_simulated": (("problem", "default"), defaults.mean(axis=1)),
            "default_error": (("problem", "default"), deviation(defaults), {"long_name": "standard error"}),
            "batches": batches,
            "rows": rows,
        },
        coords={
            "problem": list(problems),
            "fact": list(FACTS),
            "mistake": ["a ½ in the loss", "μ in place of μ²"],
            "default": ["median loss over s²", "squared mass"],
            "grid": ("grid", grid, {"long_name": "τ/s²"}),
            "population_ratio": ("population_ratio", ratios, {"long_name": "τ/s²"}),
        },
    )
