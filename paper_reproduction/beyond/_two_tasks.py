"""Two tasks in turn, from null spaces to a cycle: by projections, and by the principal angles (Evron et al. 2022)."""

from __future__ import annotations

import math

import numpy as np

import linear_theory as lt
from paper_reproduction.claim import Settings

EPS = float(np.finfo(float).eps)
CYCLE, ANGLE = 12, math.pi / 2 - 0.8
FLAT = np.array([1.0, 0.0])  # a start that fits the first row
SHAPES = ((2, 1), (6, 2), (6, 3), (9, 3), (9, 6))  # dimensions and rows


def row(norm: float, angle: float) -> np.ndarray:
    """One row in the plane, at this angle to the second axis."""
    return norm * np.array([[-math.sin(angle), math.cos(angle)]])


def two_tasks(first: np.ndarray, second: np.ndarray, start: np.ndarray, count: int) -> np.ndarray:
    """F_k, the mean of both tasks' ‖Xe‖² after k = 1 … count of them in turn, both solved at 0."""
    grams = np.array([(first, second)[t % 2].T @ (first, second)[t % 2] for t in range(count)])
    zeros = np.zeros((count, first.shape[1]))
    return lt.sequences.task_errors(lt.sequences.plain(zeros, grams, start), zeros, grams)[:, :2].mean(axis=1)


def by_angles(
    first: np.ndarray, second: np.ndarray, start: np.ndarray, count: int, late: int = 0
) -> np.ndarray:
    """½Σ cos^{2(k−1)}φᵢ sin²φᵢ⟨aᵢ, e₀⟩² over the principal angles of the null spaces; ``late`` shifts the power."""
    null = [np.linalg.svd(X)[2][len(X) :].T for X in (first, second)]
    left, cosine, _ = np.linalg.svd(null[0].T @ null[1])
    weight = ((null[0] @ left[:, : len(cosine)]).T @ start) ** 2
    k = np.arange(1, count + 1)[:, None]
    return 0.5 * (cosine ** (2 * (k - 1 + late)) * (1 - cosine**2) * weight).sum(axis=1)


def cycles(settings: Settings) -> dict:
    """Orthonormal rows, shorter ones, a longer one, and ridges."""
    rng = settings.rng("cycles")
    off, late, above = [], [], []
    for dim, rank in SHAPES:
        X, Y = (np.linalg.qr(rng.standard_normal((dim, rank)))[0].T for _ in range(2))
        e = rng.standard_normal(dim)
        found, want = two_tasks(X, Y, e, CYCLE), by_angles(X, Y, e, CYCLE)
        off.append(abs(found - want).max() / (e @ e))
        late.append(abs(found - by_angles(X, Y, e, CYCLE, 1)).max() / (e @ e))
        shrunk = [np.diag(rng.uniform(0.2, 1.0, rank)) @ one for one in (X, Y)]
        above.append((two_tasks(shrunk[0], shrunk[1], e, CYCLE) - want).max() / (e @ e))
    alternating = lambda norm: two_tasks(row(norm, 0.0), row(1.0, ANGLE), FLAT, CYCLE)
    ridges, matrices = [], []
    for angle, strength in ((0.3, 0.2), (1.1, 0.2), (0.8, 3.0)):
        grams = np.array([one.T @ one for one in (row(1.0, 0.0), row(1.0, angle))])
        cycle = np.array([lt.sequences.ridge(np.zeros((2, 2)), grams, strength, e)[-1] for e in np.eye(2)]).T
        c = 1 / (1 + strength)
        ridges.append((np.linalg.det(cycle), np.trace(cycle)))
        matrices.append(((1 - c) ** 2, 2 - 2 * c + (c * math.cos(angle)) ** 2))
    return {
        "cycle": (("norm", "visit"), np.array([alternating(1.0), alternating(2.0)]), {"long_name": "F_k"}),
        "cycle_law": ("visit", by_angles(row(1.0, 0.0), row(1.0, ANGLE), FLAT, CYCLE)),
        "cycle_off": ("shape", np.array(off) / EPS),
        "cycle_late": ("shape", np.array(late) / EPS),
        "cycle_above": ("shape", np.array(above) / EPS),
        "ridge": (("case", "invariant"), np.array(ridges)),
        "ridge_law": (("case", "invariant"), np.array(matrices)),
    }
