"""Who wins, exactly: FLOW in continuous time reaches the convex hull of the early-stopping curve, in the plane."""

from __future__ import annotations

import math

import numpy as np
import xarray as xr

import linear_theory as lt
from paper_reproduction.beyond._planes import (
    CELLS,
    PLANES,
    best_penalty,
    best_stop_and_average,
    half_digit_off,
    problem,
)
from paper_reproduction.beyond._who_wins import COUNTER, counter_example, drawn, hull, more_dimensions
from paper_reproduction.claim import Check, Claim, Settings, Table, Verdict
from paper_reproduction.claims import _plane_search as search
from paper_reproduction.claims._plane_search import Plane

CLAIM = Claim(
    name="who-wins",
    title="FLOW wins between early stopping and averaging, and three inequalities say where",
    question="Is there a rule for who wins?",
    statement=(
        r"Take the plane of the shift and give FLOW the best temperature and time, in continuous time. The points that "
        r"it reaches are the convex hull of the early-stopping curve, so its best is averaging where "
        r"$\Sigma_{12}\geq\rho\,\Sigma_{11}$, else the joint optimum where that lies in the hull, and else early "
        r"stopping, with label noise or without. Ridge regression, and any average of an early-stopped model with the "
        r"old one, stay in the hull: none is below FLOW. Gradient descent with long steps leaves it, and in three "
        r"dimensions ridge can win."
    ),
    equation="beyond the paper",
    formula=r"\left\{\, q^{(1+\rho)/(1-\rho)} \le p \le q \le 1 \,\right\}, \qquad p = a + b,\; q = a - b, \qquad "
    r"\theta - \tilde{\theta}^\ast = a\,e + b\,\lVert e\rVert\,\bar{e}_\perp",
    functions=(
        "best_flow",
        "best_early_stop",
        "best_model_average",
        "best_temperature",
        "ridge_optimum",
        "joint_optimum",
        "gradient_flow",
        "iterate",
        "total_error",
    ),
    seconds=30,
    quick_seconds=4,
    order=30,
)

METHODS = ("early_stopping", "early_time", "ridge", "averaging", "flow", "flow_descent", "joint_optimum")
WINNERS = ("early stopping", "averaging", "joint optimum")
SEARCH = math.sqrt(np.finfo(float).eps)
"""How far from its least value a search that compares values may stop, relative: it knows its parameters to √ε."""
POWER = 1e3


def compute(settings: Settings) -> xr.Dataset:
    """The table, random planes by rule and by search, the hull, the counter-example, and more dimensions."""
    rng, size = settings.rng("planes"), 24 if settings.quick else 240
    return xr.merge(
        [
            _table(),
            _ensemble(rng, size),
            hull(),
            counter_example(),
            more_dimensions(settings.rng("dimensions"), 3 if settings.quick else 100),
            drawn(24 if settings.quick else 72),
        ],
        combine_attrs="no_conflicts",
    )


def _table() -> xr.Dataset:
    value, flipped, winner = [], [], []
    for plane in PLANES:
        ridge, _ = best_penalty(plane)
        discrete = _fewest_steps(plane)
        of = problem(plane)
        stop, flow = lt.best_early_stop(of), lt.best_flow(of)
        thetas = (
            stop.theta, lt.ridge_optimum(of, ridge), lt.best_model_average(of), flow.theta,
            lt.best_temperature(of, discrete).theta, lt.joint_optimum(of),
        )  # fmt: skip
        errors = [float(lt.total_error(of, theta)) for theta in thetas]
        value.append([errors[0], float(stop.time), *errors[1:]])
        turned = [float(plane.total((x[0], -x[1]))) for x in thetas]  # ē⊥ the other way round
        flipped.append([turned[0], float(stop.time), *turned[1:]])
        winner.append(WINNERS.index(flow.winner))
    dims = ("cell", "approach")
    return xr.Dataset(
        {
            "value": (dims, value, {"long_name": "total error of the package's best, and the time to stop"}),
            "printed": (dims, [cell[4:11] for cell in CELLS], {"long_name": "worked out beforehand"}),
            "flipped": (dims, flipped, {"long_name": "with the wrong sign of ē⊥"}),
            "winner": ("cell", winner),
            "printed_winner": ("cell", [WINNERS.index(cell[11]) for cell in CELLS]),
            "cell_plane": (("cell", "entry"), [cell[:4] for cell in CELLS]),
        },
        {"approach": list(METHODS), "entry": ["rho", "a", "b", "c"]},
    )


def _fewest_steps(plane: Plane) -> int:
    """The K ≤ 60 with which FLOW at the step 1/(2μ) does best, by a search over μ² and K."""
    steps = np.arange(1, 61)
    return int(
        steps[plane.total(plane.flow_descent(np.geomspace(1e-5, 1, 4000)[:, None], steps)).min(0).argmin()]
    )


def _ensemble(rng: np.random.Generator, size: int) -> xr.Dataset:
    """Σ with log-uniform eigenvalues in [0.1, 10], turned at random; every second problem with label noise."""
    rows: list[tuple[float, ...]] = []
    for k in range(size):
        angle, (d1, d2) = rng.uniform(0, math.pi), 10 ** rng.uniform(-1, 1, 2)
        cos, sin = math.cos(angle), math.sin(angle)
        plane = Plane(
            rng.uniform(0.05, 0.95),
            d1 * cos**2 + d2 * sin**2,
            d1 * sin**2 + d2 * cos**2,
            (d1 - d2) * cos * sin,
        )
        best = lt.best_flow(problem(plane, (k % 2) * 10 ** rng.uniform(-2, 1)))
        found = search.best_flow(plane)
        early, joint = search.best_early_stop(plane).error, plane.joint_optimum()
        ends = early, search.best_average(plane).error, float(plane.total(joint))
        p, q, power = joint[0] + joint[1], joint[0] - joint[1], (1 + plane.rho) / (1 - plane.rho)
        inside = 2 if q > 0 and p >= q**power else 0
        rows.append((
            float(best.total_error), found.error, WINNERS.index(best.winner),
            ends[1 if plane.c >= 0 else inside],  # ρA left out
            ends[1 if p >= q else 2 if q > 0 and p >= q ** (1 / (1 - plane.rho)) else 0],  # another curve
            best_penalty(plane)[1], best_stop_and_average(plane), early,
            64 * np.finfo(float).eps * plane.condition(found.point),
        ))  # fmt: skip
    names = (
        "rule",
        "search",
        "won",
        "without_rho",
        "other_curve",
        "ridge",
        "stop_and_average",
        "early",
        "rounding",
    )
    return xr.Dataset({f"plane_{n}": ("plane", np.array(rows)[:, k]) for k, n in enumerate(names)})


def verdict(dataset: xr.Dataset) -> Verdict:
    """The rule against a search, the hull from both sides, printed digits, and where the rule ends."""
    d = dataset
    below = (d.plane_rule / d.plane_search - 1) / d.plane_rounding
    near = lambda error: float(np.abs(error / d.plane_search - 1).max()) / SEARCH
    off = half_digit_off(d.value.values, d.printed.values)
    flipped = half_digit_off(d.flipped.values, d.printed.values)
    known = ~np.isnan(d.printed.values)
    counter = half_digit_off(d.counter.values, d.counter_printed.values, 6)
    checks = (
        Check("printed cells that the package does not round to", int((off | (np.isnan(d.value) & known)).sum()), 0),
        Check.at_least("the same with ē⊥ turned round", int(flipped.sum()), 40),
        Check("cells whose winner is another", int((d.winner != d.printed_winner).sum()), 0),
        Check("the rule above a search over τ and t, in units of rounding errors (ε) times the condition number",
              float(below.max(skipna=False)), 1),
        Check("the rule against that search, in units of √ε", near(d.plane_rule), 1),
        Check.at_least("averaging wherever Σ₁₂ ≥ 0 would show, in units of √ε", near(d.plane_without_rho), POWER),
        Check.at_least("a hull under another curve would show, in units of √ε", near(d.plane_other_curve), POWER),
        Check("FLOW above ridge at its best λ, relative, in units of √ε",
              _above(d.plane_rule, d.plane_ridge), 1),
        Check("FLOW against the best average of an early-stopped model with the old one, in units of √ε",
              float(np.abs(d.plane_rule / d.plane_stop_and_average - 1).max(skipna=False)) / SEARCH, 1),
        Check("FLOW's points outside the hull, in units of rounding error (ε) times its exponent",
              float(d.outside.max(skipna=False)), 16),
        Check.at_least("points of gradient descent outside the hull, in the same units",
                       float(d.descent_outside.min(skipna=False)), 1e6),
        Check("printed digits of the counter-example that are not met",
              int((counter | np.isnan(d.counter.values)).sum()), 0),
        Check.at_least("in three dimensions FLOW on a fine grid is above ridge, in per cent",
                       100 * float(d.solid_grid / d.solid_ridge - 1), 1),
        Check("in three dimensions FLOW's search above that grid", float(d.solid_flow - d.solid_grid), 0),
        Check("map: points where the picture's winner is not the package's", int((d.map_won != d.map_asked).sum()), 0),
    )  # fmt: skip
    return Verdict(checks, _findings(d), _headline(d), _measured(d))


def _above(one: xr.DataArray, other: xr.DataArray) -> float:
    return max(float((one / other - 1).max(skipna=False)), 0.0) / SEARCH


def _share(condition: xr.DataArray) -> str:
    return f"{100 * float(condition.mean()):.0f} %"


def _headline(d: xr.Dataset) -> str:
    worst = float(np.abs(d.plane_rule / d.plane_search - 1).max())
    return (
        f"Yes: in the plane three inequalities name the winner, and agree with a search over temperature and time in "
        f"{d.sizes['plane']} random problems to {worst:.0e} of the error. In more dimensions there is none."
    )


def _findings(d: xr.Dataset) -> tuple[str, ...]:
    ridge, wise = ((d.deep_flow / other - 1).clip(0) for other in (d.deep_ridge, d.deep_wise))
    many = d.deep_flow.size
    return (
        f"In three dimensions the rule ends: of {many} random problems ridge at its best λ is below FLOW by more than "
        f"0.05 % in {_share(ridge > 5e-4)}, at most by {100 * float(ridge.max()):.1f} %, and an early-stopped model "
        f"averaged with the old one in {_share(wise > 5e-4)}, at most by {100 * float(wise.max()):.1f} %. In one "
        f"problem written out ridge has {float(d.solid_ridge):.4f} and FLOW {float(d.solid_flow):.4f}.",
        f"The hull is for continuous time. With the step 1/(2μ), at ρ = {COUNTER.rho:g} and Σ = [[{COUNTER.a:g}, "
        f"{COUNTER.c:g}], [{COUNTER.c:g}, {COUNTER.b:g}]], FLOW has at best {float(d.counter[2]):.4f} (one step), "
        f"early stopping {float(d.counter[0]):.4f}, FLOW in continuous time {float(d.counter[7]):.4f}.".replace(
            "-", "−"
        ),
    )


def _measured(d: xr.Dataset) -> tuple[str, ...]:
    won = [_share(d.plane_won == k) for k in range(3)]
    both = d.plane_ridge < d.plane_early * (1 - 1e-6)
    return (
        f"Of {d.sizes['plane']} random planes, Σ with eigenvalues from 0.1 to 10, early stopping wins {won[0]}, "
        f"averaging {won[1]}, and FLOW reaches the joint optimum in {won[2]}. Ridge is below early "
        f"stopping in {_share(both)}.",
        "Long steps leave the hull: with one step of gradient descent standard fine-tuning has "
        f"{float(d.long_step):.4f} at ρ = 0.9 and Σ = [[5, −1.3], [−1.3, 1.5]], where FLOW in continuous time has "
        f"{float(d.value.sel(approach='flow')[10]):.4f}.",
    )


def tables(dataset: xr.Dataset) -> tuple[Table, ...]:
    """Every cell to four digits; bold where nothing but the joint optimum is lower."""
    shown = ("early_stopping", "ridge", "averaging", "flow", "flow_descent", "joint_optimum")
    rows = []
    for k, (rho, a, b, c) in enumerate(dataset.cell_plane.values):
        values = [float(dataset.value[k].sel(approach=name)) for name in shown]
        least = min(values[:-1])
        cells = [f"{'*' if v <= least * (1 + 1e-9) else ''}{v:.4f}" for v in values[:-1]] + [
            f"{values[-1]:.4f}"
        ]
        place = f"({a:g}, {b:g}, {c:g})".replace("-", "−")
        rows.append((f"{rho:g}", place, *cells, WINNERS[int(dataset.winner[k])]))
    header = ("ρ", "Σ₁₁, Σ₂₂, Σ₁₂", "early stopping", "ridge", "averaging", "FLOW, continuous", "FLOW, step 1/(2μ)",
              "joint optimum", "wins")  # fmt: skip
    note = "FLOW with the step 1/(2μ) takes at most 60 steps. Bold: the least of the methods."
    return (
        Table("Best total error of each method, in units of the squared shift", header, tuple(rows), note),
    )
