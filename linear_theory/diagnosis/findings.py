"""What the numbers come to, in a few sentences: the verdict, the price of the end, what is slow, what to doubt."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from scipy import special

from ..arrays import Array
from .checks import equal_weights
from .columns import remarks, rounding_columns
from .contest import WORTH
from .paths import half_life, safe_step, slowest
from .theory import rank_of, shift_ratio
from .verdict import CHANCE, few, headline, nothing_to_learn, tail, totals
from .words import number, percent, some

if TYPE_CHECKING:
    from .result import Diagnosis

__all__ = ["doubts", "findings", "overlap_with", "told_steps"]

SAME = 1e-6
"""Optima this near to each other, beside the shift, are one."""

SLOWED = 0.8
"""Curvature that the weights lower by more than to this share is a stall of their making."""

ALONG = 0.7
"""A direction of this overlap with the shift is the shift's."""

CERTAIN = 2 * float(special.ndtr(-4.0))
"""A shift that noise alone would make so rarely needs no word."""


def findings(d: Diagnosis, labels: Sequence[str]) -> list[str]:
    """What the columns are, the headline with its numbers, the price of the end, the stall, and what to doubt."""
    equal = (
        ["The weights of all rows are equal: FLOW is standard fine-tuning here."] if equal_weights(d) else []
    )
    return [
        *remarks(d, labels),
        *equal,
        ". ".join([headline(d), *totals(d)]) + ".",
        *_to_the_end(d),
        *_stall(d),
        *_beware(d),
    ]


# ---------------------------------------------------------------------------------------------- other findings


def _to_the_end(d: Diagnosis) -> list[str]:
    gain, cost = float(d.target_errors[0]), float(d.forgetting[2])
    if not (gain > 0 and cost > 0) or nothing_to_learn(d):
        return []
    kept, forgot = float(d.target_errors[1]) / gain, float(d.forgetting[1])
    ratio = forgot / cost
    known = d.pretrain_covariance is not None
    verb = "forgets" if known else "moves its predictions on these rows by a mean square of"
    if kept < SAME**2 and abs(ratio - 1) < SAME:
        if slowest(d)[0] > slowest(d, 0)[0]:  # by weights so small that no number of steps gets there
            return []
        both = "forget" if known else "move their predictions on these rows by a mean square of"
        way = ": the weights change the way, not the end" if _another_way(d) else ""
        return [
            f"Trained to the end, FLOW and standard fine-tuning reach the same optimum and {both} {number(cost)}{way}."
        ]
    price = (
        "as much as"
        if abs(ratio - 1) < WORTH
        else f"{percent(1 - ratio)} less than"
        if ratio < 1
        else f"{number(ratio)} times as much as"
    )
    left = (
        "leaves as much to learn as the start, where standard fine-tuning leaves nothing"
        if abs(kept - 1) < WORTH
        else f"leaves {percent(kept)} of the start's target error unlearned, where standard fine-tuning leaves none"
        if kept < 1
        else f"ends with {number(kept)} times the target error of the start"
    )
    return [
        f"Trained to the end, FLOW {verb} {number(forgot)}, {price} standard fine-tuning ({number(cost)}), "
        f"and {left}."
    ]


def _another_way(d: Diagnosis) -> bool:
    """Whether FLOW and the control, in the same steps, are ever a hundredth of the start's target error apart."""
    apart = abs(d.paths.target_errors[1] - d.paths.target_errors[2]).max()
    return not equal_weights(d) and bool(apart > WORTH * d.target_errors[0])


def overlap_with(d: Diagnosis, direction: Array) -> float:
    """``|cosine|`` with the shift; 0 where there is none."""
    length = float(np.linalg.norm(d.shift))
    return abs(float(direction @ d.shift)) / length if length > 0 else 0.0


def _stall(d: Diagnosis) -> list[str]:
    idle, v, x = slowest(d)
    still = []
    if idle:
        whose = "row" if int((d.spectrum[0] <= 0).sum()) == idle else "row with any weight"
        them = "it" if idle == 1 else "them"
        them += " beyond rounding" * bool(rounding_columns(d.rows.X).any())
        still = [
            f"Along {idle} of {some(len(v), 'direction')} nothing moves at all: no {whose} reaches {them}."
        ]
    if idle == len(v):
        return still
    that = " that moves" * bool(idle)
    steps, without = float(half_life(np.float64(x))), float(half_life(np.float64(slowest(d, 0)[2])))
    slow = f"the slowest takes {number(without)}" if without > 1 else "all do so within one"
    beside = f"without weights, in steps of the same size, {slow}"
    if steps <= 1:
        as_well = ", as it does without weights" if without <= 1 else f"; {beside}"
        return [*still, f"Under FLOW every direction{that} halves its error within a step{as_well}."]
    return [
        *still,
        f"The slowest direction{that} halves its error in {told_steps(d)} under FLOW; {beside}: {_why(d, v, x)}.",
    ]


def _why(d: Diagnosis, v: Array, x: float) -> str:
    """Whether it is the step, the weights or the features that make the slowest direction v slow."""
    if x > 1:
        return "the step overshoots it, the steepest of all, so that a smaller learning rate would be faster"
    plain, weighted = float(v @ d.covariances[0] @ v), max(float(v @ d.covariances[1] @ v), 0.0)
    told = f"below {number(_rounding(d))}" if weighted <= _rounding(d) else number(weighted)
    if equal_weights(d) or weighted > SLOWED * plain:
        return (
            f"it is not the weights that make it slow (curvature {told} with them, {number(plain)} without)"
        )
    lapped = overlap_with(d, v)
    stalled = "the shift" if lapped >= ALONG else "it, but it is not the direction of the shift"
    lowered = f"the weights lower its curvature from {number(plain)} to {told}"
    return f"{lowered} and so stall {stalled} (overlap {number(lapped, 2)})"


def _rounding(d: Diagnosis) -> float:
    """Eigenvalues of C below this are known not to be larger, and no more."""
    return 16 * len(d.shift) * float(np.finfo(float).eps) * float(d.spectrum[1, -1])


def told_steps(d: Diagnosis) -> str:
    """The half-life of the slowest direction that moves; at least that of an eigenvalue which is all rounding."""
    x = slowest(d)[2]
    unit = 2 * float(safe_step(d.spectrum))
    known = x >= unit * _rounding(d)
    count = number(float(half_life(np.float64(x if known else unit * _rounding(d)))))
    return f"{'' if known else 'at least '}{count} step{'s' * (count != '1')}"


def doubts(d: Diagnosis) -> list[str]:
    """What else stands between these rows and any claim about new ones."""
    return [f"{few(d)}: these errors say nothing of new rows."] if _overfitted(d) else _beware(d)


def _overfitted(d: Diagnosis) -> bool:
    return rank_of(d) > 0 and math.isnan(shift_ratio(d)[0])


def _beware(d: Diagnosis) -> list[str]:
    ratio, above, below = shift_ratio(d)
    p = tail(ratio, above, below)
    if not CERTAIN < p <= CHANCE:
        return []
    return [
        f"Beware: sampling noise alone makes a shift as large as this one with probability {number(p, 2)} "
        f"(F({number(above)}, {number(below)}) = {number(ratio)})."
    ]
