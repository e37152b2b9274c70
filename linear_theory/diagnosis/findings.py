"""What the numbers come to, in a few sentences: does FLOW help here, what does it cost, when to stop."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from scipy import stats

from ..arrays import Array
from .paths import Paths, Point, averaged, gentle_best, half_life, safe_step, slowest
from .theory import shift_ratio
from .words import number, percent

if TYPE_CHECKING:
    from .result import Diagnosis

__all__ = ["WORTH", "doubts", "findings", "headline", "overlap_with"]

WORTH = 0.01
"""A total error lower by less than this share is not worth a change of method."""

SAME = 1e-6
"""Optima this near to each other, beside the shift, are one."""


def findings(d: Diagnosis, paths: Paths) -> list[str]:
    """The headline with its numbers, the price of training to the end, the stall, and what to doubt."""
    return [
        f"{headline(d, paths)}. {_contest(d, paths)}",
        *_to_the_end(d),
        *_stall(d),
        *doubts(d),
    ]


def rivals(d: Diagnosis, paths: Paths) -> tuple[Point, Point, Point]:
    """FLOW and standard fine-tuning, in whichever steps, and averaging, each at its best."""
    cheapest = lambda *points: min(points, key=lambda point: point.total)
    flow = cheapest(paths.best("FLOW"), gentle_best(d, weighted=True))
    standard = cheapest(
        *map(paths.best, ("standard", "step-matched control")), gentle_best(d, weighted=False)
    )
    return flow, standard, averaged(d)[1]


def headline(d: Diagnosis, paths: Paths) -> str:
    """Which of them an engineer should take."""
    points = rivals(d, paths)
    start, best = float(d.target_errors[0]), min(point.total for point in points)
    if not start > 0:
        return "The start already fits these rows best: there is nothing to learn"
    if best >= (1 - WORTH) * start:
        return "Nothing beats the start here: do not fine-tune"
    flow, standard, average = (point.total * (1 - WORTH) <= best for point in points)
    large = min(paths.best(name).total for name in ("standard", "step-matched control"))
    early = "early stopping" + " in small steps" * (large * (1 - WORTH) > best)
    if flow and standard:
        same = f"FLOW, {early} and averaging" if average else f"FLOW and {early}"
        ends = d.forgetting + d.target_errors
        forgives = ends[1] <= (1 - WORTH) * ends[2]
        return f"Stopped in time, {same} come to the same" + (
            "; trained to the end, FLOW loses less" if forgives else ": no need for FLOW here"
        )
    if flow:
        return "FLOW helps here" + (", as much as averaging with the start" if average else "")
    others = {early: standard, "averaging with the start": average}
    helpful = [name for name, helps in others.items() if helps]
    return f"FLOW does not pay here: {' and '.join(helpful)} {'do' if len(helpful) > 1 else 'does'} better"


def _contest(d: Diagnosis, paths: Paths) -> str:
    flow, standard, average = rivals(d, paths)
    return (
        f"Lowest total error (forgetting + target), each in its best steps and stopped in time: FLOW "
        f"{number(flow.total)}, standard fine-tuning {number(standard.total)}; averaging {number(average.total)} (keep "
        f"{percent(averaged(d)[0])} of the start); the start itself {number(float(d.target_errors[0]))}."
    )


def _to_the_end(d: Diagnosis) -> list[str]:
    gain, cost = float(d.target_errors[0]), float(d.forgetting[2])
    if not (gain > 0 and cost > 0):
        return []
    kept, forgot = float(d.target_errors[1]) / gain, float(d.forgetting[1])
    ratio = forgot / cost
    if kept < SAME**2 and abs(ratio - 1) < SAME:
        return [
            f"Trained to the end, FLOW and standard fine-tuning reach the same optimum and forget {number(cost)}: "
            "here the weights change the way, not the end."
        ]
    price = (
        "as much as"
        if abs(ratio - 1) < WORTH
        else f"{percent(1 - ratio)} less than"
        if ratio < 1
        else f"{number(ratio)} times as much as"
    )
    left = (
        f"leaves {percent(kept)} of the start's target error unlearned, where standard fine-tuning leaves none"
        if kept <= 1
        else f"ends with {number(kept)} times the target error of the start: its easy rows teach another task"
    )
    return [
        f"Trained to the end, FLOW forgets {number(forgot)}, {price} standard fine-tuning ({number(cost)}), "
        f"and {left}."
    ]


def overlap_with(d: Diagnosis, direction: Array) -> float:
    """``|cosine|`` with the shift; 0 where there is none."""
    length = float(np.linalg.norm(d.shift))
    return abs(float(direction @ d.shift)) / length if length > 0 else 0.0


def _stall(d: Diagnosis) -> list[str]:
    idle, v, with_weights = slowest(d)
    still = []
    if idle:
        whose = "row" if (d.spectrum[0] <= 0).sum() == idle else "row with any weight"
        still = [f"Along {idle} of {len(v)} directions nothing moves at all: no {whose} reaches them."]
    if math.isinf(with_weights):
        return still
    plain = float(v @ d.covariances[0] @ v)
    without = float(half_life(np.float64(2 * safe_step(d.spectrum) * plain)))
    slower = with_weights / without if without > 0 else math.inf
    tale = (
        f"The slowest direction{' that moves' * bool(idle)} halves its error in {number(with_weights)} steps under "
        f"FLOW and in {number(without)} without weights and with the same steps"
    )
    lapped = overlap_with(d, v)
    if slower < 1.25:
        why = "it is slow because its features are small or collinear, not because of the weights"
    elif lapped < 0.7:
        why = f"the weights stall it, but it is not the direction of the shift (overlap {number(lapped, 2)})"
    else:
        why = f"the weights stall the shift (overlap {number(lapped, 2)})"
    return [*still, f"{tale}: {why}."]


def doubts(d: Diagnosis) -> list[str]:
    ratio, above, below = shift_ratio(d)
    if math.isnan(ratio):
        return ["There are no more rows than columns: these errors say nothing of new rows."]
    tail = float(stats.f.sf(ratio, above, below)) if math.isfinite(ratio) else 0.0
    if tail > 2 * stats.norm.sf(4.0):
        return [
            f"Beware: a shift like this one could be sampling noise (F({above}, {below}) = {number(ratio)}, "
            f"p = {number(tail, 2)}). Get more rows before trusting any of it."
        ]
    return []
