"""The best of each method in the plane (ē, ē⊥), found by numpy and scipy: the second route.

Units of ‖e‖², no noise. A displacement θ − θ̃* is (x₁, x₂) in the basis (ē, ē⊥). With m = μ² the curvature
FLOW sees at η = 1/(2μ) is I − Q = [[m, ρm], [ρm, 1 − ρ²(1−m)]], and m = 1 is standard fine-tuning. Every
family is φ(I − Q)e for a scalar φ of the two eigenvalues: (1 − ra)^K for descent, exp(−sa) for flow.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.optimize import minimize, minimize_scalar

Values = Any  # a float or an array of floats

SMALLEST = 1e-12  # of m = μ²: averaging is reached as τ → 0 only
LARGEST_STEPS = 10**9
DESCENT_STEPS = 40  # standard fine-tuning by gradient descent may take any η and up to this many steps
MEDIAN_MASS2 = 0.18531488  # μ² at the paper's default temperature, whatever the shift

_MASSES2 = np.geomspace(SMALLEST, 1.0, 150)
_LEFT = np.concatenate([np.linspace(0.0, 1.0, 101)[1:-1], 1 - np.geomspace(1e-5, 1e-2, 8)])
_STEPS = np.unique(np.concatenate([np.arange(1, 41), np.geomspace(41, LARGEST_STEPS, 60).round()]))


@dataclass(frozen=True)
class Plane:
    """One problem: ρ, and Σ = [[a, c], [c, b]] in the basis (ē, ē⊥)."""

    rho: float
    a: float
    b: float
    c: float

    def total(self, x: tuple[Values, Values]) -> Values:
        """err_tot, eq. (4), in units of ‖e‖²."""
        u, v = x[0] - 1.0, x[1]
        pretrain = self.a * u * u + 2 * self.c * u * v + self.b * v * v
        return pretrain + x[0] * x[0] + 2 * self.rho * x[0] * v + v * v

    def condition(self, x: tuple[float, float]) -> float:
        """κ of err_tot at x when x is known to eps: its terms and its gradient, in size, over its value."""
        u, v = x[0] - 1.0, x[1]
        terms = self.a * u * u + 2 * abs(self.c * u * v) + self.b * v * v
        terms += x[0] ** 2 + 2 * self.rho * abs(x[0] * v) + v * v
        slope1 = abs(self.a * u) + abs(self.c * v) + abs(x[0]) + self.rho * abs(v)
        slope2 = abs(self.c * u) + abs(self.b * v) + self.rho * abs(x[0]) + abs(v)
        return float((terms + 2 * slope1 + 2 * slope2) / self.total(x))

    def curvatures(self, mass2: Values) -> tuple[Values, Values]:
        """The eigenvalues of I − Q, small and large; the small one from the determinant m(1 − ρ²)."""
        r2 = self.rho * self.rho
        trace, determinant = 1 - r2 + mass2 * (1 + r2), mass2 * (1 - r2)
        large = (trace + (trace * trace - 4 * determinant) ** 0.5) / 2
        return determinant / large, large

    def move(self, mass2: Values, phi: Callable[[Values], Values]) -> tuple[Values, Values]:
        """φ(I − Q)e by Newton's interpolation through the two eigenvalues."""
        small, large = self.curvatures(mass2)
        low, high = phi(small), phi(large)
        slope = (high - low) / np.maximum(large - small, 1e-300)
        excess = mass2 * (large - 1 + self.rho * self.rho) / large  # m − (small eigenvalue)
        return low + slope * excess, slope * self.rho * mass2

    # the families ---------------------------------------------------------------------------------

    def flow(self, mass2: Values, left: Values) -> tuple[Values, Values]:
        """FLOW in continuous time, until ``left`` of the stalled direction is left; m = 1: early stopping."""
        time = -np.log(left) / self.curvatures(mass2)[0]
        return self.move(mass2, lambda a: np.exp(-time * a))

    def flow_descent(self, mass2: Values, steps: Values) -> tuple[Values, Values]:
        """FLOW by gradient descent with η = 1/(2μ)."""
        return self.move(mass2, lambda a: _power(a, steps))

    def descent(self, rate: Values, steps: Values) -> tuple[Values, Values]:
        """Standard fine-tuning by gradient descent with 2η = ``rate``."""
        return self.move(1.0, lambda a: _power(rate * a, steps))

    def joint_optimum(self) -> tuple[float, float]:
        """The best for both: (Σ+Σ̃)x = Σē by Cramer's rule."""
        p, q, r = self.a + 1, self.c + self.rho, self.b + 1
        determinant = p * r - q * q
        return (self.a * r - self.c * q) / determinant, (self.c * p - self.a * q) / determinant


def _power(x: Values, steps: Values) -> Values:
    """(1 − x)^K through log1p: K is up to 10^9."""
    with np.errstate(divide="ignore", over="ignore"):
        logarithm = np.where(x < 0.5, np.log1p(-np.minimum(x, 0.5)), np.log(np.abs(1 - x)))
        magnitude = np.exp(np.minimum(steps * logarithm, 300.0))
    return np.where((x > 1) & (np.asarray(steps) % 2 == 1), -magnitude, magnitude)


@dataclass(frozen=True)
class Best:
    """The best of one family: its total error, where, and with which parameters (NaN: not of this family)."""

    error: float
    point: tuple[float, float]
    mass2: float = math.nan
    steps: float = math.nan
    rate: float = math.nan  # 2η
    left: float = math.nan


def best_early_stop(plane: Plane) -> Best:
    """Standard fine-tuning in continuous time, stopped at its best moment."""
    return _best_left(plane, 1.0)


def _best_left(plane: Plane, mass2: float) -> Best:
    grid = plane.total(plane.flow(mass2, _LEFT))
    left = _refined(lambda g: plane.total(plane.flow(mass2, g)), _LEFT, int(grid.argmin()), (1e-12, 1.0))
    point = plane.flow(mass2, left)
    return Best(float(plane.total(point)), _pair(point), mass2=mass2, left=left)


def best_descent(plane: Plane) -> Best:
    """Standard fine-tuning by gradient descent: every η, every K ≤ 40."""
    rates = np.geomspace(1e-3, 2 / (1 - plane.rho), 160)
    steps = np.arange(1, DESCENT_STEPS + 1)
    return _best_steps(plane, rates, steps, plane.descent, "rate", (1e-4, 4 / (1 - plane.rho)))


def best_flow_descent(plane: Plane) -> Best:
    """FLOW with the paper's step: every τ, every K up to 10^9."""
    return _best_steps(plane, _MASSES2, _STEPS, plane.flow_descent, "mass2", (SMALLEST, 1.0))


def best_default(plane: Plane) -> Best:
    """FLOW with the paper's step at the paper's temperature: only K is chosen."""
    steps = np.arange(1, 401)
    errors = plane.total(plane.flow_descent(MEDIAN_MASS2, steps))
    count = int(steps[errors.argmin()])
    point = plane.flow_descent(MEDIAN_MASS2, count)
    return Best(float(plane.total(point)), _pair(point), mass2=MEDIAN_MASS2, steps=count)


def best_flow(plane: Plane) -> Best:
    """FLOW in continuous time: every τ, every t; its two ends are searched along the edge."""
    grid = plane.total(plane.flow(_MASSES2[:, None], _LEFT[None, :]))
    i, j = np.unravel_index(int(grid.argmin()), grid.shape)
    found = minimize(
        lambda p: float(plane.total(plane.flow(math.exp(p[0]), p[1]))),
        (math.log(_MASSES2[i]), _LEFT[j]),
        method="Nelder-Mead",
        bounds=((math.log(SMALLEST), 0.0), (1e-12, 1 - 1e-12)),
        options={"xatol": 1e-10, "fatol": 1e-15},
    )
    mass2, left = math.exp(found.x[0]), float(found.x[1])
    point = plane.flow(mass2, left)
    inside = Best(float(plane.total(point)), _pair(point), mass2=mass2, left=left)
    return min(inside, _best_left(plane, 1.0), _best_left(plane, SMALLEST), key=lambda best: best.error)


def best_average(plane: Plane) -> Best:
    """ωθ* + (1−ω)θ̃* at its best ω, found numerically: formula (17) is the package's."""
    found: Any = minimize_scalar(
        lambda w: float(plane.total((w, 0.0))), bounds=(0, 1), method="bounded", options={"xatol": 1e-12}
    )
    return Best(float(found.fun), (float(found.x), 0.0), left=float(found.x))


def _best_steps(plane: Plane, values, steps, family, name: str, limits: tuple[float, float]) -> Best:
    """Grid over a parameter and K; the three best K, and the largest, are refined in the parameter."""
    errors = plane.total(family(values[:, None], steps[None, :]))
    found: list[Best] = []
    for k in {*np.argsort(errors.min(axis=0))[:3].tolist(), len(steps) - 1}:
        count = float(steps[k])
        value = _refined(
            lambda v, count=count: plane.total(family(v, count)), values, int(errors[:, k].argmin()), limits
        )
        point = family(value, count)
        parameter: dict[str, float] = {name: value}
        found.append(Best(float(plane.total(point)), _pair(point), steps=count, **parameter))
    return min(found, key=lambda best: best.error)


def _refined(objective, grid: np.ndarray, at: int, limits: tuple[float, float]) -> float:
    """The minimiser between the neighbours of the best grid point (the grid ends included)."""
    low = grid[at - 1] if at > 0 else limits[0]
    high = grid[at + 1] if at + 1 < len(grid) else limits[1]
    low, high = min(low, grid[at]), max(high, grid[at])
    found: Any = minimize_scalar(
        lambda v: float(objective(v)), bounds=(low, high), method="bounded", options={"xatol": 1e-10 * high}
    )
    return float(found.x) if found.fun < objective(grid[at]) else float(grid[at])


def _pair(point: tuple[Values, Values]) -> tuple[float, float]:
    return float(point[0]), float(point[1])
