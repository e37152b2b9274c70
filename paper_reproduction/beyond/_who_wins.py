"""The hull and what leaves it, one counter-example in full digits, more dimensions, and the map of winners."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import xarray as xr

import linear_theory as lt
from paper_reproduction.beyond._planes import problem
from paper_reproduction.claims._plane_search import Plane

__all__ = ["COUNTER", "counter_example", "drawn", "hull", "more_dimensions"]

EPS = float(np.finfo(float).eps)
COUNTER = Plane(0.3, 13.0, 160.0, -37.0)
# Early stopping and its time; FLOW in K = 1, 2, 3 and 399 steps; averaging; FLOW in continuous time.
COUNTER_PRINTED = (0.803515, 0.104535, 0.816368, 0.829936, 0.867999, math.nan, 0.928571, 0.796849)
COUNTER_STEPS = (1, 2, 3, 399)
MAP_A, MAP_B = 2.0, 4.0  # Σ₁₁ and Σ₂₂ of the map; Σ₁₂ and ρ are its axes
DRAWN = (Plane(0.6, 1.0, 1.0, 0.0), Plane(0.6, 1.5, 5.0, 1.3), Plane(0.6, 5.0, 1.5, -1.3))  # one of each kind


def _shares(theta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """p and q of points in the plane."""
    return theta[..., 0] + theta[..., 1], theta[..., 0] - theta[..., 1]


def hull() -> xr.Dataset:
    """How far FLOW's points are outside {q^k ≤ p ≤ q}, and how far inside of outside those of gradient descent."""
    outside, descent = [], []
    for rho in (0.05, 0.3, 0.6, 0.9, 0.99):
        power = (1 + rho) / (1 - rho)
        for noise in (0.0, 0.4):
            one = lt.paper_problem(rho, noise_variance=noise)
            for tau in (*np.geomspace(1e-4, 1e3, 10), math.inf):
                times = np.geomspace(1e-3, 1e3, 40) / float(lt.weight_mass(one, tau))
                p, q = _shares(lt.gradient_flow(one, times, tau))
                outside.append(np.maximum(np.maximum(q, 0) ** power - p, p - q).max() / (power * EPS))
        steps = np.arange(1, 4)
        for share in (0.25, 0.5, 0.9):  # of the step at which the fast part is gone at once
            p, q = _shares(lt.iterate(lt.paper_problem(rho), steps, share / (2 * (1 + rho))))
            descent.append((q**power - p).min() / (power * EPS))
    one_step = Plane(0.9, 5.0, 1.5, -1.3)
    rates = np.linspace(0, 1 / 1.9, 2001)[1:]
    rate = float(rates[one_step.total(one_step.descent(rates, 1)).argmin()])
    return xr.Dataset(
        {
            "outside": (
                "flow_path",
                outside,
                {"long_name": "FLOW outside the hull, in ε times the exponent"},
            ),
            "descent_outside": ("descent_path", descent, {"long_name": "gradient descent outside the hull"}),
            "long_step": (
                (),
                float(lt.total_error(problem(one_step), lt.iterate(problem(one_step), 1, rate / 2))),
            ),
        }
    )


def counter_example() -> xr.Dataset:
    of = problem(COUNTER)
    stop = lt.best_early_stop(of)
    steps = [float(lt.best_temperature(of, count).total_error) for count in COUNTER_STEPS]
    ends = float(lt.total_error(of, lt.best_model_average(of))), float(lt.best_flow(of).total_error)
    values = [float(stop.total_error), float(stop.time), *steps, *ends]
    return xr.Dataset(
        {
            "counter": ("counter_entry", values, {"long_name": "of the counter-example"}),
            "counter_printed": ("counter_entry", list(COUNTER_PRINTED)),
        }
    )


def _penalty(of: lt.FineTuningProblem) -> float:
    """Ridge at its best λ: each eigenvalue a of Σ̃, a diagonal, keeps λ/(a + λ), in NumPy alone."""
    values, ridges = np.diag(of.target_covariance), np.geomspace(1e-5, 1e5, 20001)
    moved = -(values / (values + ridges[:, None])) * of.shift
    return _least(of, moved)


def _wise(of: lt.FineTuningProblem) -> float:
    """The best of ωθ* + (1 − ω)y(t), ω from a parabola."""
    values, times = np.diag(of.target_covariance), np.geomspace(1e-4, 1e4, 20001)
    moved = np.expm1(-2 * times[:, None] * values) * of.shift
    both = np.asarray(of.pretrain_covariance) + np.diag(values)
    square, line = ((moved @ both) * moved).sum(axis=1), moved @ (values * of.shift)
    return _least(of, np.clip(-line / square, 0, 1)[:, None] * moved)


def _least(of: lt.FineTuningProblem, moved: np.ndarray) -> float:
    left, values = of.shift + moved, np.diag(of.target_covariance)
    return float(
        (((moved @ np.asarray(of.pretrain_covariance)) * moved).sum(1) + (left * left) @ values).min()
    )


def more_dimensions(rng: np.random.Generator, size: int) -> xr.Dataset:
    """Random problems in three dimensions, and one in which ridge wins, on a fine grid of temperatures and times."""
    rows = []
    for _ in range(size):
        values, shift = 10 ** rng.uniform(-1.5, 1, 3), rng.standard_normal(3)
        factor = rng.standard_normal((3, 3)) * 10 ** rng.uniform(-1.5, 0.7, 3)
        of = lt.FineTuningProblem(shift, np.zeros(3), np.diag(values), factor @ factor.T)
        rows.append((float(lt.best_flow(of).total_error), _penalty(of), _wise(of)))
    old = np.array([[0.0045, 0.004, 0.011], [0.004, 0.0045, 0.0055], [0.011, 0.0055, 0.3]])
    solid = lt.FineTuningProblem(np.array([-1.0, -1.2, 0.65]), np.zeros(3), np.diag([0.2, 4.0, 0.5]), old)
    grid = min(
        float(lt.total_error(solid, lt.gradient_flow(solid, np.geomspace(1e-2, 1e5, 500), tau)).min())
        for tau in np.geomspace(1e-3, 1e5, 60)
    )
    names = ("flow", "ridge", "wise")
    return xr.Dataset(
        {f"deep_{name}": ("problem", np.array(rows)[:, k]) for k, name in enumerate(names)}
        | {
            "solid_grid": ((), grid, {"long_name": "FLOW's least error on a grid"}),
            "solid_flow": ((), float(lt.best_flow(solid).total_error)),
            "solid_ridge": ((), _penalty(solid)),
        }
    )


def drawn(size: int) -> xr.Dataset:
    """The hull with three joint optima, and the map of winners over ρ and Σ₁₂/Σ₁₁ with FLOW's gain over both ends."""
    rho = DRAWN[0].rho
    left = np.concatenate([[0.0], np.geomspace(1e-8, 1, 400)])
    curve = np.stack(
        [(left ** ((1 + rho) / (1 - rho)) + left) / 2, (left ** ((1 + rho) / (1 - rho)) - left) / 2], -1
    )
    best = [lt.best_flow(problem(one)) for one in DRAWN]
    descent = lt.iterate(lt.paper_problem(rho), np.arange(9), 0.35 / (1 + rho))
    rhos, ratio = np.linspace(0.01, 0.97, size), np.linspace(-1.35, 1.35, size)
    rho_axis: Any = rhos[:, None, None]
    coupling: Any = ratio[None, :, None] * MAP_A
    plane = Plane(rho_axis, MAP_A, MAP_B, coupling)
    early = plane.total(plane.flow(1.0, np.linspace(0, 1, 1502)[1:-1])).min(axis=-1)
    average = np.full_like(early, MAP_A / (MAP_A + 1))
    u, v = (x[..., 0] for x in np.broadcast_arrays(*plane.joint_optimum()))
    joint = plane.total((u[..., None], v[..., None]))[..., 0]
    p, q = u + v, u - v
    power = (1 + rhos[:, None]) / (1 - rhos[:, None])
    reached = (q > 0) & (p >= np.maximum(q, 0) ** power)
    won = np.where(p >= q, 1, np.where(reached, 2, 0))
    ends = np.minimum(early, average)
    asked = np.argwhere(np.ones_like(won))[:: max(1, won.size // 40)]
    by_package = [
        ("early stopping", "averaging", "joint optimum").index(
            lt.best_flow(problem(Plane(float(rhos[i]), MAP_A, MAP_B, float(ratio[j]) * MAP_A))).winner
        )
        for i, j in asked
    ]
    return xr.Dataset(
        {
            "curve": (
                ("curve_point", "axis"),
                curve,
                {"long_name": "the early-stopping curve", "units": "‖e‖"},
            ),
            "reached": (
                ("kind", "axis"),
                np.stack([one.theta for one in best]),
                {"long_name": "FLOW's best"},
            ),
            "joint": (("kind", "axis"), np.stack([lt.joint_optimum(problem(one)) for one in DRAWN])),
            "descent": (("descent_step", "axis"), descent, {"long_name": "gradient descent with long steps"}),
            "gain": (
                ("rho", "ratio"),
                np.where(won == 2, 1 - joint / ends, 0.0),
                {"long_name": "FLOW below both ends"},
            ),
            "won": (("rho", "ratio"), won),
            "map_won": ("asked", [won[i, j] for i, j in asked]),
            "map_asked": ("asked", by_package),
        },
        {"rho": rhos, "ratio": ("ratio", ratio, {"long_name": "Σ₁₂/Σ₁₁"}), "axis": ["along", "across"]},
        {"drawn_rho": rho, "old_along": MAP_A, "old_across": MAP_B},
    )
