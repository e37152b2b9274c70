"""Sequences of tasks on sampled rows: FLOW, a ridge and standard training, and tasks of few rows."""

from __future__ import annotations

import math

import numpy as np
from scipy.optimize import brentq

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


def many_dimensions(
    optima: np.ndarray,
    noise: float,
    temperatures: dict[str, np.ndarray],
    strength: float,
    rows: int,
    rng: np.random.Generator,
    *,
    shuffled: bool = False,
) -> np.ndarray:
    """(trainings, T, T): ‖θ_t − θ°_j‖² after each task of x ~ N(0, I), every training on the same fresh rows."""
    count, dim = optima.shape
    theta, squares = np.zeros((len(TRAININGS), dim)), np.empty((len(TRAININGS), count, count))
    for t, optimum in enumerate(optima):
        X, xi = rng.standard_normal((rows, dim)), math.sqrt(noise) * rng.standard_normal(rows)
        gram = X.T @ X / rows
        for k, name in enumerate(TRAININGS):
            r = X @ (optimum - theta[k]) + xi
            if name in temperatures:
                weights = lt.flow_weights(r**2, temperatures[name][t])
                weights = rng.permutation(weights) if shuffled else weights
                weighted = X * weights[:, None]
                theta[k] += np.linalg.solve(weighted.T @ X / rows, weighted.T @ r / rows)
            else:
                penalised = gram + (strength if name == "ridge" else 0.0) * np.eye(dim)
                theta[k] += np.linalg.solve(penalised, X.T @ r / rows)
        squares[:, t] = ((theta[:, None] - optima) ** 2).sum(axis=-1)
    return squares


def by_hand(
    optima: np.ndarray,
    ratio: float,
    noise: float,
    temperatures: np.ndarray,
    *,
    flatten: bool = True,
    chained: bool = True,
) -> np.ndarray:
    """E‖θ_t − θ°_j‖² of FLOW (T, T), by bisection and sums over a grid.

    Wrong without ``flatten``: weights as in the population, and the variance to first order in d/n; and without
    ``chained``: no task sees what the rows before it have left as error.
    """
    z = np.linspace(-9, 9, 20_001)
    mass = np.exp(-z * z / 2)
    mass /= mass.sum()
    mean, variance, found = np.zeros(optima.shape[1]), 0.0, []
    for optimum, tau in zip(optima, temperatures, strict=True):
        v = ((mean - optimum) ** 2).sum() + (variance if chained else 0.0)
        s2 = v + noise
        w = np.exp(-s2 * z * z / tau)
        unfitted = lambda u, w=w: (mass * np.exp(u) * w / (1 + np.exp(u) * w)).sum() - ratio
        g = math.exp(float(brentq(unfitted, -60, 200, xtol=1e-14))) if flatten else 0.0  # pyright: ignore
        flat = w / (1 + g * w)
        missing = 1 - (mass * z * z * flat).sum() / (mass * flat).sum()
        kappa = 1 - noise * missing / (s2 - missing * v)
        residual = (1 - kappa * v / s2) ** 2 * s2 * (mass * z * z * flat**2).sum()
        residual += kappa**2 * v * noise / s2 * (mass * flat**2).sum()
        gain = g / (mass * w / (1 + g * w) ** 2).sum() if flatten else ratio / (mass * w).sum() ** 2
        mean = (1 - kappa) * mean + kappa * optimum
        variance = (1 - kappa) ** 2 * variance + gain * residual
        found.append(((mean - optima) ** 2).sum(axis=1) + variance)
    return np.array(found)
