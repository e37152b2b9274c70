"""Problems of the plane that several claims share, what is printed of them elsewhere, and searches for their best."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from scipy.optimize import minimize_scalar

import linear_theory as lt
from paper_reproduction.claims import _plane_search as search
from paper_reproduction.claims._plane_search import Plane

__all__ = ["CELLS", "PLANES", "best_penalty", "best_stop_and_average", "half_digit_off", "problem"]

NAN = math.nan
# ρ, Σ = [[a, c], [c, b]]; worked out beforehand: early stopping and its time, ridge, averaging, FLOW in continuous
# time, FLOW with K ≤ 60 steps of 1/(2μ), the joint optimum, and who wins.
CELLS = (
    (0.8, 1.5, 1.5, -0.4, 0.4319, 0.2684, 0.4348, 0.6, 0.4319, 0.4326, 0.4319, "early stopping"),
    (0.9, 1.0, 1.0, 0.0, 0.3738, 0.2817, 0.3730, 0.5, 0.3730, 0.3732, 0.3730, "joint optimum"),
    (0.5, 4.0, 2.0, 1.0, 0.7843, 0.0987, 0.7843, 0.8, 0.7843, 0.7845, 0.7843, "joint optimum"),
    (0.3, 2.0, 1.5, 0.7, 0.6843, 0.1784, 0.6802, 0.6667, 0.6667, 0.6668, 0.6662, "averaging"),
    (0.7, 3.0, 3.0, 1.9, 0.7673, 0.0907, 0.7658, 0.75, 0.7489, 0.7489, 0.7489, "joint optimum"),
    (0.95, 8.0, 2.0, -2.0, 0.6302, 0.1214, 0.6338, 0.8889, 0.6302, 0.6273, 0.4935, "early stopping"),
    (0.4, 2.0, 9.0, -2.5, 0.5248, 0.2888, 0.5317, 0.6667, 0.5248, 0.5392, 0.5248, "joint optimum"),
    (0.6, 1.0, 1.0, 0.0, 0.4538, NAN, 0.4505, 0.5, 0.4505, 0.4506, 0.4505, "joint optimum"),
    (0.6, 2.0, 2.0, 0.9, 0.6813, NAN, 0.6770, 0.6667, 0.6622, 0.6622, 0.6622, "joint optimum"),
    (0.6, 1.5, 5.0, 1.3, 0.7244, NAN, 0.7131, 0.6, 0.6, NAN, 0.5944, "averaging"),
    (0.9, 5.0, 1.5, -1.3, 0.5582, NAN, 0.5670, 0.8333, 0.5582, 0.5515, 0.4555, "early stopping"),
    (0.9, 1.5, 5.0, -1.3, 0.4972, NAN, 0.4807, 0.6, 0.4107, 0.4108, 0.4107, "joint optimum"),
    (0.3, 13.0, 160.0, -37.0, 0.8035, 0.1045, 0.7973, 0.9286, 0.7968, 0.8164, 0.7968, "joint optimum"),
)
PLANES = tuple(Plane(*cell[:4]) for cell in CELLS)


def problem(plane: Plane, noise: float = 0.0) -> lt.FineTuningProblem:
    old = np.array([[plane.a, plane.c], [plane.c, plane.b]])
    return lt.paper_problem(plane.rho, pretrain_covariance=old, noise_variance=noise)


def half_digit_off(value: np.ndarray, printed: np.ndarray, digits: int = 4) -> np.ndarray:
    """Where a printed number is not the value rounded; False where none is printed."""
    return np.abs(value - printed) > 0.5 * 10.0**-digits * (1 + 1e-6)


def best_penalty(plane: Plane) -> tuple[float, float]:
    """The ridge λ of least error, and that error: every eigenvalue a of Σ̃ keeps the share 1/(1 + a/λ)."""
    error = lambda log: plane.total(plane.move(1.0, lambda a: 1 / (1 + a * np.exp(-log))))
    grid = np.linspace(-14, 14, 561)
    k = int(error(grid).argmin())
    found: Any = minimize_scalar(
        lambda log: float(error(log)), bounds=(grid[max(k - 1, 0)], grid[min(k + 1, 560)]),
        method="bounded", options={"xatol": 1e-10},
    )  # fmt: skip
    return math.exp(found.x), float(found.fun)


def best_stop_and_average(plane: Plane) -> float:
    """Least error of ωθ* + (1 − ω)y(t): standard gradient flow stopped at t, then averaged with the old model."""

    def at(left: Any) -> Any:
        """At the best ω, of a parabola through ω = 0, ½, 1."""
        u, v = plane.flow(1.0, left)
        zero, half, one = (plane.total((w + (1 - w) * u, (1 - w) * v)) for w in (0.0, 0.5, 1.0))
        bend, slope = 2 * (zero - 2 * half + one), -3 * zero + 4 * half - one
        omega = np.clip(-slope / (2 * bend), 0, 1)
        return zero + slope * omega + bend * omega**2

    grid = np.geomspace(1e-12, 1 - 1e-6, 4001)
    k = int(at(grid).argmin())
    found: Any = minimize_scalar(
        lambda left: float(at(np.float64(left))), bounds=(grid[max(k - 1, 0)], grid[min(k + 1, 4000)]),
        method="bounded", options={"xatol": 1e-12},
    )  # fmt: skip
    return min(float(found.fun), float(plane.total(search.best_average(plane).point)))
