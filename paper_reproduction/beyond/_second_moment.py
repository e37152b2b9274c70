"""One-pass SGD by routes of its own: its second moment entry by entry, and samples of it, step by step."""

from __future__ import annotations

import math
from itertools import product

import numpy as np

import linear_theory as lt

PAIRINGS = (((0, 1), (2, 3)), ((0, 2), (1, 3)), ((0, 3), (1, 2)))
WRONG = ("one pairing forgotten", "w for w²")


def one_step(problem: lt.FineTuningProblem, tau: float, rate: float, wrong: str = "") -> np.ndarray:
    """The (D², D²) matrix of one step on vec E[uuᵀ], u = (θ − θ̃*, −1), D = d + 1, its fourth moments over pairings."""
    d, D = problem.dim, problem.dim + 1
    C = np.zeros((D, D))
    C[:d, :d], C[d, d] = problem.target_covariance, problem.noise_variance
    u = np.append(problem.shift, -1.0)

    def moments(t: float) -> tuple[float, np.ndarray]:
        """Mass and covariance of z = (x, ξ) under exp(−r²/t): a Gaussian, conditioned on a measurement of noise t/2."""
        seen = u @ C @ u + t / 2
        return math.sqrt(t / 2 / seen), C - np.outer(C @ u, C @ u) / seen

    mass, first = moments(tau) if math.isfinite(tau) else (1.0, C)
    square, second = moments(tau if wrong == "w for w²" else tau / 2) if math.isfinite(tau) else (1.0, C)
    pairings = PAIRINGS[1:] if wrong == "one pairing forgotten" else PAIRINGS
    fourth = np.zeros((D,) * 4)
    for index in product(range(D), repeat=4):
        for (a, b), (c, e) in pairings:
            fourth[index] += second[index[a], index[b]] * second[index[c], index[e]]
    keep = np.diag([1.0] * d + [0.0])
    drift = np.kron(keep @ first, np.eye(D)) + np.kron(np.eye(D), keep @ first)
    kick = np.einsum("ia,jb,abkl->ijkl", keep, keep, fourth).reshape(D * D, D * D)
    return np.eye(D * D) - 2 * rate * mass * drift + 4 * rate**2 * square * kick


def both_errors(
    problem: lt.FineTuningProblem, steps: np.ndarray, matrix: np.ndarray, sign: int = 1
) -> np.ndarray:
    """(2, steps): E err₁ = tr(ΣM) + 2eᵀΣM_last + eᵀΣe and E err₂ = tr(Σ̃M), by powers of the matrix."""
    d, e, S = problem.dim, problem.shift, problem.pretrain_covariance
    u, found = np.append(e, -1.0), []
    for count in steps:
        M = (np.linalg.matrix_power(matrix, int(count)) @ np.outer(u, u).ravel()).reshape(d + 1, d + 1)
        forgotten = np.sum(S * M[:d, :d]) + sign * 2 * e @ S @ M[:d, d] + e @ S @ e
        found.append((forgotten, np.sum(problem.target_covariance * M[:d, :d])))
    return np.array(found).T


def radius(problem: lt.FineTuningProblem, tau: float, rate: float, wrong: str = "") -> float:
    """Of one step, on the second moment of θ alone: below 1 where the error stays bounded."""
    d = problem.dim
    inside = [i * (d + 1) + j for i, j in product(range(d), repeat=2)]
    return float(abs(np.linalg.eigvals(one_step(problem, tau, rate, wrong)[np.ix_(inside, inside)])).max())


def sampled(
    problem: lt.FineTuningProblem,
    tau: float,
    rate: float,
    steps: np.ndarray,
    runs: int,
    rng: np.random.Generator,
    shuffle: bool = False,
) -> np.ndarray:
    """(2, 2, steps): mean and standard error of both errors over so many runs, each on fresh rows."""
    root = np.linalg.cholesky(problem.target_covariance)
    moved, found = np.zeros((runs, problem.dim)), []
    for step in range(int(steps[-1]) + 1):
        if step in steps:
            errors = np.stack([lt.pretrain_error(problem, problem.pretrained + moved),
                               lt.target_error(problem, problem.pretrained + moved)])  # fmt: skip
            found.append((errors.mean(axis=1), errors.std(axis=1, ddof=1) / math.sqrt(runs)))
        x = rng.standard_normal(moved.shape) @ root.T
        r = math.sqrt(problem.noise_variance) * rng.standard_normal(runs) - x @ problem.shift
        weights = lt.flow_weights(r**2, tau)
        weights = rng.permutation(weights) if shuffle else weights
        moved = moved + (2 * rate * weights * (r - np.einsum("rd,rd->r", x, moved)))[:, None] * x
    return np.moveaxis(np.array(found), 0, -1)
