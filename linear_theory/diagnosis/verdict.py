"""The headline: what to do, by how much that is better than the best alternative, and how sure that is."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from scipy import special

from .checks import equal_weights
from .contest import UNSEEN, Contender, Contest, Gain
from .paths import averaged
from .prior import mean
from .theory import rank_of, shift_ratio
from .words import number, percent, plus_minus, some

if TYPE_CHECKING:
    from .result import Diagnosis

__all__ = ["CHANCE", "few", "headline", "nothing_to_learn", "tail", "totals"]

FEW = 10
"""With fewer rows to spare than this, two standard errors are too little: the noise is Student's."""

CHANCE = 0.05
"""A shift that noise alone would make as often as this is none to learn from."""


def headline(d: Diagnosis) -> str:
    """What an engineer should do, and by how much that is better than the best alternative."""
    return nothing_to_learn(d) or _nothing_to_tell(d) or _ranking(d._contest)


def nothing_to_learn(d: Diagnosis) -> str:
    if not d.spectrum[0, -1] > 0:
        return "Every feature is 0 in every row: there is nothing to learn from them"
    if not d.target_errors[0] > UNSEEN**2 * mean(d.sample_weight, d.rows.residual**2) or _fits(d):
        return "The start already fits these rows as well as any line: there is nothing to learn"
    ratio, above, below = shift_ratio(d)
    p = tail(ratio, above, below)
    if p > CHANCE:
        return (
            f"A shift as large as this one may be sampling noise (F({number(above)}, {number(below)}) = "
            f"{number(ratio)}, p = {number(p, 2)}): these rows give no reason to fine-tune"
        )
    return ""


def _fits(d: Diagnosis) -> bool:
    """Whether what the start leaves of y is rounding."""
    size = float((abs(d.rows.X) @ abs(d.rows.start)).max())
    return float(abs(d.rows.residual).max()) <= 8 * len(d.shift) * np.finfo(float).eps * size


def _nothing_to_tell(d: Diagnosis) -> str:
    if math.isnan(shift_ratio(d)[0]):
        return f"Too few rows for a verdict: {few(d)}"
    if d.pretrain_covariance is None:
        return (
            "No verdict: which method is best depends on the old rows, and nothing is known of these; give "
            "pretrain_rows, or pretrain_covariance"
        )
    return ""


def few(d: Diagnosis) -> str:
    n, rank = float(d.sample_weight.sum()), rank_of(d)
    counted = "" if (d.sample_weight == 1).all() else f" (of total weight {number(n)})"
    return (
        f"{some(int((d.sample_weight > 0).sum()), 'row')}{counted} for {some(rank, 'direction')}, so that none is left "
        "over to tell shift from noise"
    )


def _ranking(contest: Contest) -> str:
    """Who is ahead; a difference within noise, or of less than a hundredth, is a tie."""
    start, flow, early, average = contest[:4]
    best = min((flow, early, average), key=lambda one: one.total)
    gained = contest.gain(best, start)
    if gained.tie:
        return (
            f"A tie with the start: the best, {best.name}, lowers its total error by {_tell(gained)}, "
            f"{_small(contest, gained)}: no reason to fine-tune"
        )
    other, third = sorted((early, average), key=lambda one: one.total)
    lead = contest.gain(flow, other)
    if not lead.tie and lead.share > 0:
        return f"FLOW helps here: a total error {_tell(lead)} below the best alternative's, {other.name}"
    if not lead.tie:
        also = f", and {third.name} ties with it" if contest.gain(third, other).tie else ""
        behind = contest.gain(other, flow)
        return f"FLOW does not pay here: {other.name} has a total error {_tell(behind)} lower{also}"
    on_early = contest.gain(flow, early)
    if other is average and not on_early.tie and on_early.share > 0:
        return f"FLOW gains {_tell(on_early)} on {early.name}, and averaging with the start gains as much"
    alike = [other, third] if contest.gain(flow, third).tie else [other]
    names = " and ".join([", ".join(["FLOW", *(one.name for one in alike[:-1])]), alike[-1].name])
    if lead.none:
        return f"A tie between {names}: their total errors are the same{_at_the_ends(contest)}"
    lower, higher = (flow, other) if lead.share > 0 else (other, flow)
    apart = contest.gain(lower, higher)
    return (
        f"A tie between {names}: {lower.name} has a total error {_tell(apart)} below that of {higher.name}, "
        f"{_small(contest, apart)}{_at_the_ends(contest)}"
    )


def _at_the_ends(contest: Contest) -> str:
    """What is left to say for FLOW where stopping in time is as good."""
    lower, higher = sorted(contest.ends, key=lambda one: one.total)
    gain = contest.gain(lower, higher)
    if gain.tie or equal_weights(contest.d):
        return ""
    return f"; trained to the end, {lower.name} has one {_tell(gain)} below that of {higher.name}"


def _tell(gain: Gain) -> str:
    return plus_minus(gain.share, gain.error)


def _small(contest: Contest, gain: Gain) -> str:
    """Why it is a tie."""
    if not math.isfinite(gain.error):
        return "with no telling how sure that is, as there is one old row"
    scarce = " of so few rows" * (shift_ratio(contest.d)[2] < FEW)
    return f"within the noise{scarce}" if gain.noise else "too little to matter"


def totals(d: Diagnosis) -> list[str]:
    """The totals behind the headline, where there are any."""
    if d.pretrain_covariance is None or nothing_to_learn(d):
        return []
    contest, keep = d._contest, percent(averaged(d)[0])

    def told(one: Contender, name: str) -> str:
        gain = contest.gain(one, contest.start)
        total = number(one.total if one.total > UNSEEN * contest.start.total else 0.0)
        return f"{name} {total} ({plus_minus(-gain.share, gain.error, sign=True)})"

    return [
        f"Total error (forgetting + target), each method at its best, beside the start's "
        f"{number(contest.start.total)}: {told(contest.flow, contest.flow.name)}; "
        f"{told(contest.early, contest.early.name)}; {told(contest.average, f'averaging (keep {keep} of the start)')}"
    ]


def tail(ratio: float, above: float, below: float) -> float:
    """How often noise alone makes a shift as large; 0 where there is no telling."""
    return float(special.fdtrc(above, below, ratio)) if math.isfinite(ratio) else 0.0
