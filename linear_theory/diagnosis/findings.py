"""What the numbers come to, in a few sentences: does FLOW help here, what does it cost, when to stop."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from scipy import stats

from .paths import Paths, Point, averaged, gentle_best, half_life, safe_step
from .theory import shift_ratio
from .words import number, percent

if TYPE_CHECKING:
    from .result import Diagnosis

__all__ = ["WORTH", "findings", "headline"]

WORTH = 0.01
"""A total error lower by less than this share is not worth a change of method."""


def findings(d: Diagnosis, paths: Paths) -> list[str]:
    """The headline with its numbers, the price of training to the end, the stall, and what to doubt."""
    return [
        f"{headline(d, paths)}. {_contest(d, paths)}",
        *_to_the_end(d),
        *_stall(d),
        *_doubt(d),
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
    if flow and standard:
        same = "FLOW, early stopping and averaging" if average else "FLOW and early stopping"
        ends = d.forgetting + d.target_errors
        forgives = ends[1] <= (1 - WORTH) * ends[2]
        return f"Stopped in time, {same} come to the same" + (
            "; trained to the end, FLOW loses less" if forgives else ": FLOW does not help here"
        )
    if flow:
        return "FLOW helps here" + (", as much as averaging with the start" if average else "")
    others = {"early stopping": standard, "averaging with the start": average}
    helpful = [name for name, helps in others.items() if helps]
    return f"FLOW does not help here, {' and '.join(helpful)} {'do' if len(helpful) > 1 else 'does'}"


def _contest(d: Diagnosis, paths: Paths) -> str:
    flow, standard, average = rivals(d, paths)
    return (
        f"Lowest total error, each in its best steps and stopped in time: FLOW {number(flow.total)}, standard "
        f"fine-tuning {number(standard.total)}; averaging {number(average.total)} (keep "
        f"{percent(averaged(d)[0])} of the start); the start itself {number(float(d.target_errors[0]))}."
    )


def _to_the_end(d: Diagnosis) -> list[str]:
    gain, cost = float(d.target_errors[0]), float(d.forgetting[2])
    if not (gain > 0 and cost > 0):
        return []
    kept, forgot = float(d.target_errors[1]) / gain, float(d.forgetting[1])
    less = (
        f"{percent(1 - forgot / cost)} less" if forgot <= cost else f"{number(forgot / cost)} times as much"
    )
    left = (
        f"leaves {percent(kept)} of the start's target error unlearned, where standard fine-tuning leaves none"
        if kept <= 1
        else f"ends with {number(kept)} times the target error of the start: its easy rows teach another task"
    )
    than = "than" if forgot <= cost else "as"
    return [
        f"Trained to the end, FLOW forgets {number(forgot)}, {less} {than} standard fine-tuning "
        f"({number(cost)}), and {left}."
    ]


def _stall(d: Diagnosis) -> list[str]:
    v = d.stalled_direction
    plain = float(v @ d.covariances[0] @ v)
    with_weights = float(d.half_life)
    without = float(half_life(np.float64(2 * safe_step(d.spectrum) * plain)))
    if math.isinf(with_weights):
        return ["Some directions do not move at all: no row with any weight has a component along them."]
    slower = with_weights / without if without > 0 else math.inf
    tale = (
        f"The slowest direction halves its error in {number(with_weights)} steps under FLOW and in "
        f"{number(without)} without weights and with the same steps"
    )
    overlap = f"overlap {number(float(d.overlap), 2)}"
    if slower < 1.25:
        return [
            f"{tale}: it is slow because its features are small or collinear, not because of the weights."
        ]
    if d.overlap < 0.7:
        return [f"{tale}: the weights stall it, but it is not the direction of the shift ({overlap})."]
    return [f"{tale}: the weights stall the shift ({overlap})."]


def _doubt(d: Diagnosis) -> list[str]:
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
