"""Weighted logistic and Poisson regression by literal sums over labels: of nodes in the plane, and of sampled rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.optimize import brentq
from scipy.special import expit, gammaln, logsumexp

import linear_theory as lt

LOGISTIC, POISSON = lt.experts.Logistic(), lt.experts.Poisson()


def median_loss(pretrained: np.ndarray, target: np.ndarray) -> float:
    """The median of logistic regression's loss under θ*, x ~ N(0, I) in the plane: FLOW's default temperature.

    The loss falls with the margin y⟨θ*, x⟩ = ‖θ*‖a, whose density is 2φ(a)·E[1/(1 + exp(−⟨θ̃*, x⟩))] given a.
    """
    size = np.linalg.norm(pretrained)
    along = target @ pretrained / size
    across = np.sqrt(max(target @ target - along**2, 0.0))
    nodes, mass = np.polynomial.legendre.leggauss(300)
    other, spacing = np.linspace(-9, 9, 801, retstep=True)
    normal = lambda z: np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi)

    def above(margin: float) -> float:
        a = margin + (nodes + 1) / 2 * (9 - margin)
        right = (expit(along * a[:, None] + across * other) @ normal(other)) * spacing
        return float((9 - margin) / 2 * mass @ (2 * normal(a) * right)) - 0.5

    middle = float(np.asarray(brentq(above, -9, 8.9, xtol=1e-13)))
    return float(np.logaddexp(0, -size * middle))


@dataclass(frozen=True)
class Nodes:
    """Rows of a population in the plane: x (n, 2), the mass Σ_y P(x, y) w of each, and Σ_y y P(x, y) w."""

    x: np.ndarray
    mass: np.ndarray
    label_mass: np.ndarray
    mean: Any
    slope: Any

    def gradient(self, theta: np.ndarray) -> np.ndarray:
        return (self.mass * self.mean(self.x @ theta) - self.label_mass) @ self.x

    def curvature(self, theta: np.ndarray, along: np.ndarray) -> float:
        return float(self.mass @ (self.slope(self.x @ theta) * (self.x @ along) ** 2))


def nodes(
    family: Any, old: np.ndarray, new: np.ndarray, tau: float, reach: float = 9.0, many: int = 300
) -> Nodes:
    """A square of Gauss-Legendre panels and every label: no frame, no log-concavity, no trapezoidal rule."""
    panel, mass = np.polynomial.legendre.leggauss(20)
    width = 2 * reach / (panels := -(-many // 20))
    points = (-reach + width * (np.arange(panels)[:, None] + (panel + 1) / 2)).ravel()
    mass = np.tile(mass * width / 2, panels) * np.exp(-(points**2) / 2) / np.sqrt(2 * np.pi)
    x = np.stack(np.meshgrid(points, points), axis=-1).reshape(-1, 2)
    probability = np.outer(mass, mass).ravel()
    z, before = x @ new, x @ old
    total, labels = np.zeros(len(x)), np.zeros(len(x))
    for y in range(2 if family is LOGISTIC else 260):
        part = probability * np.exp(-_loss(family, z, y) - _loss(family, before, y) / tau)
        total += part
        labels += y * part
    if family is LOGISTIC:
        return Nodes(x, total, labels, expit, lambda z: expit(z) * expit(-z))
    return Nodes(x, total, labels, np.exp, np.exp)


def _loss(family: Any, z: np.ndarray, y: float) -> np.ndarray:
    if family is LOGISTIC:
        return np.logaddexp(0, z) - y * z
    return np.exp(z) - y * z + gammaln(y + 1)


def log_weight_without(new: float, old: float, tau: float) -> tuple[float, float]:
    """ln E[w|x] of Poisson regression whose loss leaves out ln y!: in closed form, and as a sum over labels."""
    y = np.arange(4000.0)
    parts = -_loss(POISSON, np.array(new), 0) + y * new - gammaln(y + 1) - (np.exp(old) - y * old) / tau
    return float(np.exp(new + old / tau) - np.exp(old) / tau - np.exp(new)), float(
        np.asarray(logsumexp(parts))
    )


def draw_labels(family: Any, predictor: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Labels of the model with these predictors."""
    if family is LOGISTIC:
        return (rng.random(len(predictor)) < expit(predictor)).astype(float)
    return rng.poisson(np.exp(predictor)).astype(float)


def descend(
    x: np.ndarray, y: np.ndarray, weights: np.ndarray, start: np.ndarray, rate: float, steps: list[int]
) -> np.ndarray:
    """θ_K of gradient descent on (1/n) Σ w ℓ for each K in ``steps``, of labels 0 and 1 or of counts beyond."""
    mean = expit if y.max() <= 1 else np.exp
    theta, found, weighted = start, [], x * weights[:, None] / len(x)
    for k in range(max(steps) + 1):
        if k in steps:
            found.append(theta)
        theta = theta - rate * (mean(x @ theta) - y) @ weighted
    return np.array(found)
