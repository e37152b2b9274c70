"""The precision of weighted rows, and of rows with shuffled weights, beside the formula."""

from __future__ import annotations

import numpy as np

import linear_theory as lt
from paper_reproduction.claim import Settings
from paper_reproduction.sampled_rows import draw_rows, jackknife, weighted_sums

RHO = 0.6
NOISES, TEMPERATURES = (0.0, 0.25, 1.0), (0.1, 0.4, 1.6)  # in units of ‖e‖²
ENTRIES = ("ee", "e⊥", "⊥⊥", "rate")


def _inverse_and_rate(sums: np.ndarray) -> np.ndarray:
    """Three entries of (Σ'/μ)⁻¹ and the smallest eigenvalue of Σ'/μ."""
    second = sums[:, :2] / sums[0, -1]
    inverse = np.linalg.inv(second)
    return np.array([inverse[0, 0], inverse[0, 1], inverse[1, 1], np.linalg.eigvalsh(second)[0]])


def sampled_precision(settings: Settings) -> dict[str, tuple]:
    """The same of weighted rows, and of rows with shuffled weights."""
    blocks, size = 100, 1000 if settings.quick else 10_000
    shape = (len(NOISES), len(TEMPERATURES), 4)
    exact, wrong, sampled, error, shuffled, shuffled_error = (np.empty(shape) for _ in range(6))
    for i, noise in enumerate(NOISES):
        problem = lt.paper_problem(RHO, noise_variance=noise)
        rows = [draw_rows(problem, settings.rng(f"rows {noise} {b}"), size) for b in range(blocks)]
        order = [settings.rng(f"shuffle {noise} {b}").permutation(size) for b in range(blocks)]
        for j, tau in enumerate(TEMPERATURES):
            precision = np.linalg.inv(problem.target_covariance)
            predicted = [precision + 2 / T * np.diag([1.0, 0.0]) for T in (tau + 2 * noise, tau)]
            exact[i, j], wrong[i, j] = (
                (p[0, 0], p[0, 1], p[1, 1], 1 / np.linalg.eigvalsh(p)[-1]) for p in predicted
            )
            residuals = [y - X @ problem.pretrained for X, y in rows]
            weights = [lt.flow_weights(r**2, tau) for r in residuals]
            sums = lambda ws, residuals=residuals, rows=rows: np.stack(
                [weighted_sums(X, r, w) for (X, _), r, w in zip(rows, residuals, ws, strict=True)]
            )
            sampled[i, j], error[i, j] = jackknife(sums(weights), _inverse_and_rate)
            mixed = sums([w[o] for w, o in zip(weights, order, strict=True)])
            shuffled[i, j], shuffled_error[i, j] = jackknife(mixed, _inverse_and_rate)
    grid = ("noise", "temperature", "entry")
    return {
        "exact": (grid, exact, {"long_name": "entries of Σ̃⁻¹ + 2eeᵀ/T, and the rate"}),
        "with_tau": (grid, wrong, {"long_name": "the same with τ for T"}),
        "sampled": (grid, sampled, {"long_name": "the same of weighted rows"}),
        "error": (grid, error, {"long_name": "its standard error, by the jackknife over blocks"}),
        "shuffled": (grid, shuffled, {"long_name": "the same with shuffled weights"}),
        "shuffled_error": (grid, shuffled_error),
        "blocks": ((), blocks),
        "rows": ((), blocks * size),
    }
