"""What gradient descent sees of sampled rows, in plain NumPy: weighted Gram, moment, path, jackknife."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

import linear_theory as lt


def draw_rows(
    problem: lt.FineTuningProblem, rng: np.random.Generator, n: int
) -> tuple[np.ndarray, np.ndarray]:
    """n rows of the fine-tuning task: X ~ N(0, Σ̃), y = ⟨θ̃*, x⟩ + ξ."""
    factor = np.linalg.cholesky(problem.target_covariance)
    rows = rng.standard_normal((n, problem.dim)) @ factor.T
    return rows, rows @ problem.target + np.sqrt(problem.noise_variance) * rng.standard_normal(n)


def weighted_sums(X: np.ndarray, residual: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """(1/n)[XᵀWX | XᵀWr | Σw] stacked into one (d, d + 2) array: everything a step needs, and it averages."""
    weighted = X * weights[:, None]
    mass = np.full((X.shape[1], 1), weights.mean())
    return np.concatenate([weighted.T @ X / len(X), (weighted.T @ residual / len(X))[:, None], mass], axis=1)


def descent_path(sums: np.ndarray, start: np.ndarray, rate: float, steps: int) -> np.ndarray:
    """θ_0 … θ_K of θ ← θ + 2η·(moment − Gram·(θ − θ*)), a step at a time."""
    d = len(start)
    gram, moment = sums[:, :d], sums[:, d]
    path = np.zeros((steps + 1, d))
    for k in range(steps):
        path[k + 1] = path[k] + 2 * rate * (moment - gram @ path[k])
    return start + path


def jackknife(
    blocks: np.ndarray, statistic: Callable[[np.ndarray], np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """A statistic of the mean over blocks, and its standard error by leaving out one block at a time."""
    total, m = blocks.sum(axis=0), len(blocks)
    left_out = np.stack([statistic((total - block) / (m - 1)) for block in blocks])
    spread = ((left_out - left_out.mean(axis=0)) ** 2).sum(axis=0)
    return statistic(total / m), np.sqrt((m - 1) / m * spread)
