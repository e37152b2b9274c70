"""Sequences of tasks on sampled rows: FLOW, a ridge and standard training, and tasks of few rows."""

from __future__ import annotations

import math

import numpy as np

import linear_theory as lt

TRAININGS = ("standard", "ridge", "FLOW", "FLOW, harmonic")


def inputs(rng: np.random.Generator, n: int, root: np.ndarray, task: int) -> np.ndarray:
    """Rows of the covariance root·rootᵀ, Gaussian or two-sided exponential in turn."""
    law = rng.standard_normal if task % 2 == 0 else lambda size: rng.laplace(scale=math.sqrt(0.5), size=size)
    return law((n, len(root))) @ root.T


def chain(
    optima: np.ndarray,
    roots: np.ndarray,
    temperatures: dict[str, np.ndarray],
    noises: np.ndarray,
    strength: float,
    rows: int,
    rng: np.random.Generator,
) -> np.ndarray:
    """(trainings, T, d): θ after each task, every training on the same fresh rows, weights at its own last point."""
    theta = np.zeros((len(TRAININGS), optima.shape[1]))
    path = np.empty((len(TRAININGS), *optima.shape))
    for t, (optimum, root, noise) in enumerate(zip(optima, roots, noises, strict=True)):
        X = inputs(rng, rows, root, t)
        y = X @ optimum + math.sqrt(noise) * rng.standard_normal(rows)
        for k, name in enumerate(TRAININGS):
            r = y - X @ theta[k]
            weighted = X if name in ("standard", "ridge") else (
                X * lt.flow_weights(r**2, temperatures[name][t])[:, None]
            )  # fmt: skip
            gram = weighted.T @ X / rows + (strength if name == "ridge" else 0.0) * np.eye(len(root))
            path[k, t] = theta[k] + np.linalg.solve(gram, weighted.T @ r / rows)
        theta = path[:, t]
    return path


def few_rows(
    optima: np.ndarray, reference: np.ndarray, rows: int, noise: float, runs: int, rng: np.random.Generator
) -> tuple[np.ndarray, float]:
    """(runs, T) squared distances to ``reference``, each task on few rows to the nearest fit; what weights change."""
    distances, changed = [], 0.0
    for run in range(runs):
        theta, found = np.zeros(optima.shape[1]), []
        for optimum in optima:
            X = rng.standard_normal((rows, len(theta)))
            y = X @ optimum + math.sqrt(noise) * rng.standard_normal(rows)
            moved = theta + X.T @ np.linalg.solve(X @ X.T, y - X @ theta)
            if run == 0:
                weights = lt.flow_weights((y - X @ theta) ** 2)
                weighted = lt.solve(X, y, theta, weights).theta
                scale = np.linalg.cond(X) ** 2 * np.linalg.norm(moved)
                changed = max(changed, float(abs(weighted - moved).max() / scale))
            theta = moved
            found.append(((theta - reference) ** 2).sum())
        distances.append(found)
    return np.array(distances), changed


def repeated(v: float, noise: float, rounds: int, rows: int, rng: np.random.Generator) -> np.ndarray:
    """v = (θ − θ°)² after each round of FLOW on one task, with the median of the rows' losses as temperature."""
    theta, found = math.sqrt(v), []
    for _ in range(rounds):
        x = rng.standard_normal(rows)
        r = math.sqrt(noise) * rng.standard_normal(rows) - x * theta
        weights = lt.flow_weights(r**2)
        theta = theta + (weights * x) @ r / ((weights * x) @ x)
        found.append(theta)
    return np.array(found)
