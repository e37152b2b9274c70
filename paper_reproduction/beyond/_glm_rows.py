"""What gradient descent and curvatures are on sampled rows of weighted logistic and Poisson regression."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

import linear_theory as lt
from paper_reproduction.beyond._glm import LOGISTIC, POISSON, descend, draw_labels
from paper_reproduction.claim import Settings
from paper_reproduction.sampled_rows import jackknife

STEPS = [1, 5, 30]
PLANE = np.eye(2)


def _paper(rho: float) -> np.ndarray:
    covariance = np.eye(6)
    covariance[0, 1] = covariance[1, 0] = rho
    return covariance


CASES = {  # family, θ*, θ̃*, Σ̃, τ, step times E[w]
    "logistic, τ = 0.693": (LOGISTIC, [1.5, 0, 0, 0], [0.3, 1, 0, 0], np.eye(4), 0.693, 2.0),
    "logistic, τ = 0.1": (LOGISTIC, [1.5, 0, 0, 0], [0.3, 1, 0, 0], np.eye(4), 0.1, 2.0),
    "Poisson, τ = 1.3": (POISSON, [0.5, 0, 0, 0], [0.1, 0.4, 0, 0], np.eye(4), 1.3, 0.3),
    "logistic, ρ = 0.6": (
        LOGISTIC,
        [1.2, 0.3, 0.8, 0, 0, 0],
        [0.2, 0.3, 0.8, 0, 0, 0],
        _paper(0.6),
        0.693,
        2.0,
    ),
}
HALF_MARGINS = ([1.5, 0.0], [0.75, 1.0])  # θ*, θ̃* with c = 1/2


def between(old: Any, new: Any, covariance: np.ndarray = PLANE) -> lt.FineTuningProblem:
    return lt.FineTuningProblem(np.array(old, dtype=float), np.array(new, dtype=float), covariance)


def directions(problem: lt.FineTuningProblem) -> np.ndarray:
    """ē, across it, θ* and across it, each of unit length."""
    turn = np.array([[0.0, -1.0], [1.0, 0.0]])
    e, old = (v / np.linalg.norm(v) for v in (problem.shift, problem.pretrained))
    return np.stack([e, turn @ e, old, turn @ old])


def sampled(settings: Settings, name: str) -> dict[str, np.ndarray]:
    """Gradient descent on rows: mean path over blocks and its error, with FLOW's, shuffled and levelled weights."""
    family, old, new, covariance, tau, length = CASES[name]
    problem, rng = between(old, new, covariance), settings.rng(f"rows {name}")
    blocks, n = (10, 4000) if settings.quick else (20, 25000)
    mass = float(lt.experts.mean_weight(problem, family, tau))
    exact = lt.experts.iterate(problem, family, STEPS, length / mass, tau)
    factor, found = np.linalg.cholesky(covariance), []
    for _ in range(blocks):
        x = rng.normal(size=(n, problem.dim)) @ factor.T
        y = draw_labels(family, x @ problem.target, rng)
        weights = lt.flow_weights(np.maximum(family.loss(x @ problem.pretrained, y), 0.0), tau)
        found.append(
            [
                descend(x, y, w, problem.pretrained, length / mass, STEPS)
                for w in (weights, rng.permutation(weights), np.full(n, mass))
            ]
        )
    mean, error = np.mean(found, axis=0), np.std(found, axis=0, ddof=1) / math.sqrt(blocks)
    return {"exact": exact[:, :4], "mean": mean[..., :4], "error": error[..., :4]}


def sampled_ratios(settings: Settings, tau: float) -> np.ndarray:
    """(mean and error, weights, direction) of the ratio on rows, c = ½: the weights', and shuffled ones'."""
    problem, rng = between(*HALF_MARGINS), settings.rng(f"ratios {tau}")
    along, blocks = directions(problem)[[0, 2, 3]], []
    for _ in range(20):
        x = rng.normal(size=(3000 if settings.quick else 25000, 2))
        y = draw_labels(LOGISTIC, x @ problem.target, rng)
        weights = lt.flow_weights(LOGISTIC.loss(x @ problem.pretrained, y), tau)
        bend = LOGISTIC.variance(x @ problem.target)[:, None] * (x @ along.T) ** 2
        sums = [np.append(w @ bend, w.sum()) for w in (weights, rng.permutation(weights), np.ones(len(x)))]
        blocks.append(np.array(sums) / len(x))
    ratio = lambda sums: sums[:2, :-1] / sums[:2, -1:] / (sums[2, :-1] / sums[2, -1])
    return np.stack(jackknife(np.array(blocks), ratio))
