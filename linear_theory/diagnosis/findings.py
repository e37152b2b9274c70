"""What the numbers come to, in a few sentences: what to do, the price of the end, what is slow, what to doubt."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from scipy import special

from ..arrays import Array
from ..propagator.powers import steps_to_halve
from ..significance import SIGMAS
from .checks import equal_weights
from .comparison import MIN_GAIN, Candidate, Comparison, Gain
from .few_rows import few_rows, few_rows_in_short, gain_on_new_rows
from .measured import ROUNDING_SHARE, Measured, mean
from .paths import METHODS, Paths, best_average, half_learned, overlap, shift_ratio, slowest
from .report import (
    eigenvalue_rounding,
    named,
    number,
    percent,
    plural,
    plus_minus,
    steps_of_the_slowest,
)

__all__ = ["by_how_much", "doubts", "findings", "headline"]

FAR_FROM_ZERO, FAR_ERRORS = 0.5, 4.0
"""A mean this many standard deviations from 0 is far, if it is beyond so many standard errors."""

ROUNDING_RATIO = 1e-12
"""A column this small beside the largest may be what rounding left of it; honest units may be as small."""

CONSTANT_ULPS = 8
"""A spread of so many units in the last place is none."""

FEW = 10
"""With fewer rows to spare than this, two standard errors are too little: the noise is Student's."""

CHANCE = 0.05
"""A shift that noise alone would make as often as this is none to learn from."""

SAME_OPTIMUM = 1e-6
"""Optima this near to each other, beside the shift, are one."""

SLOWED = 0.8
"""Curvature that the weights lower by more than to this share is a stall of their making."""

ALONG = 0.7
"""A direction of this overlap with the shift is the shift's."""

NO_REASON = ": these rows give no reason to fine-tune"

SAME_MEAN_STEP = "standard fine-tuning at the same mean step"

CERTAIN = 2 * float(special.ndtr(-SIGMAS))
"""A shift that noise alone would make so rarely needs no word."""


def findings(comparison: Comparison, labels: Sequence[str]) -> list[str]:
    """What the columns are, whether rows are few, the headline with its numbers, the end, the stall, what to doubt."""
    m = comparison.measured
    equal = (
        ["The weights of all rows are equal: FLOW is standard fine-tuning here."] if equal_weights(m) else []
    )
    return [
        *_remarks(m, labels),
        *equal,
        *few_rows(comparison.new_rows),
        ". ".join([headline(comparison), *_totals(comparison)]) + ".",
        *_trained_to_the_end(m, comparison.paths),
        *_stall(m),
        *_chance_warning(m),
    ]


# ------------------------------------------------------------------------- columns that are not what they seem


def _remarks(m: Measured, labels: Sequence[str]) -> list[str]:
    """What to know of the columns before anything else is read."""
    v = m.sample_weight
    counted = v > 0
    X, residual = (rows if counted.all() else rows[counted] for rows in (m.rows.X, m.rows.residual))
    far = _far("row", X, residual, v[counted], [*labels, "the residual y − X·start"])
    old = m.pretrain_rows
    old = [] if old is None else _far("old row", old, None, np.ones(len(old)), labels)
    centring = [
        f"Far from centred: {columns}. The theory is of rows around 0, and here a mean counts as one more direction. "
        "Unless that is meant (an intercept), subtract their means from the columns of X, from y − X·start, and from "
        "the old rows theirs."
        for columns in [", ".join([*far, *old])]
        if columns
    ]
    return [*centring, *_rounding(X, labels)]


def _far(kind: str, X: Array, residual: Array | None, counts: Array, labels: Sequence[str]) -> list[str]:
    """The columns whose mean is far from 0, the furthest first; one row alone has a mean, but no spread."""
    if len(X) < 2:
        return []
    parts = [X] if residual is None else [X, residual[:, None]]  # one by one, without a copy of all rows
    of_each = lambda figure: np.concatenate([figure(part) for part in parts])
    n = float(counts.sum())
    means = of_each(lambda part: mean(counts, part))
    spread = of_each(lambda part: np.sqrt(mean(counts, (part - mean(counts, part)) ** 2)))
    constant = of_each(_constant)
    far = np.where(
        constant,
        means != 0,
        (abs(means) > FAR_FROM_ZERO * spread) & (abs(means) * n**0.5 > FAR_ERRORS * spread),
    )
    far[: X.shape[1]] &= ~rounding_columns(X)  # of these something else is said
    order: list[int] = np.flatnonzero(far).tolist()
    order.sort(key=lambda k: -np.inf if constant[k] else -abs(means[k]) / spread[k])

    def sentence(k: int) -> str:
        if constant[k]:
            return f"{labels[k]} is {number(float(means[k]))} in every {kind}"
        beside, where = number(float(abs(means[k]) / spread[k])), " in the old rows" * (kind == "old row")
        return f"{labels[k]} has mean {number(float(means[k]))}, {beside} of its standard deviations{where}"

    if len(order) <= 3:
        return list(map(sentence, order))
    return [*map(sentence, order[:2]), f"and so have {len(order) - 2} more columns"]


def _constant(columns: Array) -> Array:
    """Whether each column is one number, as far as rounding lets it."""
    size = abs(columns).max(axis=0)
    return np.ptp(columns, axis=0) <= CONSTANT_ULPS * np.finfo(float).eps * size


def rounding_columns(X: Array) -> Array:
    """Whether each column of X may be nothing but rounding: 0 < max ``|x|`` ≤ 1e-12 of the largest column's."""
    size = abs(X).max(axis=0)
    return (size > 0) & (size <= ROUNDING_RATIO * size.max())


def _rounding(X: Array, labels: Sequence[str]) -> list[str]:
    few = np.flatnonzero(rounding_columns(X)).tolist()
    if not few:
        return []
    named = ", ".join([labels[k] for k in few[:3]]) + f" and {len(few) - 3} more" * (len(few) > 3)
    return [
        f"{named}: no entry is beyond {number(ROUNDING_RATIO)} of the largest of the other columns. If that is what "
        "centring left of a constant, drop it, or give column_scale, the magnitudes before centring. Left as it is it "
        "is fitted like any other, and its parameter is rounding over rounding."
    ]


# ------------------------------------------------------------------------------------------ the headline


def headline(comparison: Comparison) -> str:
    """What an engineer should do, and by how much that is better than the best alternative."""
    m = comparison.measured
    nothing = _nothing_to_learn(m)
    if nothing.endswith(NO_REASON) and (gain := gain_on_new_rows(comparison.new_rows)):
        # The test is of all directions at once; what is learned along some of them may be beyond noise.
        return f"{nothing.removesuffix(NO_REASON)}; {gain} all the same"
    return nothing or _no_verdict(m) or _ranking(comparison)


def _nothing_to_learn(m: Measured) -> str:
    if not m.spectrum[0, -1] > 0:
        return "Every feature is 0 in every row: there is nothing to learn from them"
    seen = ROUNDING_SHARE**2 * mean(m.sample_weight, m.rows.residual**2)
    if not m.target_errors[0] > seen or m._start_fits:
        return "The start already fits these rows as well as any line: there is nothing to learn"
    ratio, above, below = shift_ratio(m)
    p = _chance_of_shift(ratio, above, below)
    if p > CHANCE:
        return (
            f"A shift as large as this one may be sampling noise (F({number(above)}, {number(below)}) = "
            f"{number(ratio)}, p = {number(p, 2)}){NO_REASON}"
        )
    return ""


def _no_verdict(m: Measured) -> str:
    if math.isnan(shift_ratio(m)[0]):
        return f"Too few rows for a verdict: {_too_few(m)}"
    if m.pretrain_covariance is None:
        return (
            "No verdict: which method is best depends on the old rows, and nothing is known of these; give "
            "pretrain_rows, or pretrain_covariance"
        )
    return ""


def _too_few(m: Measured) -> str:
    n, rank = float(m.sample_weight.sum()), m._rank
    counted = "" if (m.sample_weight == 1).all() else f" (of total weight {number(n)})"
    return (
        f"{plural(int((m.sample_weight > 0).sum()), 'row')}{counted} for {plural(rank, 'direction')}, so that none is "
        "left over to tell shift from noise"
    )


def _ranking(comparison: Comparison) -> str:
    """Who is ahead; a difference within noise, or of less than a hundredth, is a tie."""
    start, flow, early, average = comparison.start, comparison.flow, comparison.early, comparison.average
    best = min((flow, early, average), key=lambda one: one.total)
    gained = comparison.gain(best, start)
    if gained.tie:
        return (
            f"A tie with the start: the best, {named(best)}, lowers its total error by {_gained(gained)}, "
            f"{_why_a_tie(comparison, gained)}: no reason to fine-tune"
        )
    other, third = sorted((early, average), key=lambda one: one.total)
    lead = comparison.gain(flow, other)
    if not lead.tie and lead.share > 0:
        return f"FLOW helps here: a total error {_gained(lead)} below the best alternative's, {named(other)}"
    if not lead.tie:
        also = f", and {named(third)} ties with it" if comparison.gain(third, other).tie else ""
        behind = comparison.gain(other, flow)
        return f"FLOW does not pay here: {named(other)} has a total error {_gained(behind)} lower{also}"
    lead_on_early = comparison.gain(flow, early)
    if other is average and not lead_on_early.tie and lead_on_early.share > 0:
        return f"FLOW gains {_gained(lead_on_early)} on {named(early)}, and averaging with the start gains as much"
    tied_with = [other, third] if comparison.gain(flow, third).tie else [other]
    names = " and ".join([", ".join(["FLOW", *(named(one) for one in tied_with[:-1])]), named(tied_with[-1])])
    if lead.none:
        return f"A tie between {names}: their total errors are the same{_at_the_ends(comparison)}"
    lower, higher = (flow, other) if lead.share > 0 else (other, flow)
    apart = comparison.gain(lower, higher)
    return (
        f"A tie between {names}: {named(lower)} has a total error {_gained(apart)} below that of {named(higher)}, "
        f"{_why_a_tie(comparison, apart)}{_at_the_ends(comparison)}"
    )


def _at_the_ends(comparison: Comparison) -> str:
    """What is left to say for FLOW where stopping in time is as good."""
    lower, higher = sorted(comparison.ends, key=lambda one: one.total)
    gain = comparison.gain(lower, higher)
    if gain.tie or equal_weights(comparison.measured):
        return ""
    return f"; trained to the end, {named(lower)} has one {_gained(gain)} below that of {named(higher)}"


def _gained(gain: Gain) -> str:
    return plus_minus(gain.share, gain.error)


def _why_a_tie(comparison: Comparison, gain: Gain) -> str:
    """Why it is a tie."""
    if not math.isfinite(gain.error):
        return "with no telling how sure that is, as there is one old row"
    scarce = " of so few rows" * (shift_ratio(comparison.measured)[2] < FEW)
    return f"within the noise{scarce}" if gain.noise else "too little to matter"


def _totals(comparison: Comparison) -> list[str]:
    """The totals behind the headline, where there are any."""
    m = comparison.measured
    if m.pretrain_covariance is None or _nothing_to_learn(m):
        return []
    keep = percent(best_average(m)[0])

    def total_of(one: Candidate, name: str = "") -> str:
        gain = comparison.gain(one, comparison.start)
        total = number(one.total if one.total > ROUNDING_SHARE * comparison.start.total else 0.0)
        return f"{name or named(one)} {total} ({plus_minus(-gain.share, gain.error, sign=True)})"

    return [
        f"Total error (forgetting + target), each method at its best, beside the start's "
        f"{number(comparison.start.total)}: {total_of(comparison.flow)}; {total_of(comparison.early)}; "
        f"{total_of(comparison.average, f'averaging (keep {keep} of the start)')}"
    ]


def _chance_of_shift(ratio: float, above: float, below: float) -> float:
    """How often noise alone makes a shift as large; 0 where there is no telling."""
    return float(special.fdtrc(above, below, ratio)) if math.isfinite(ratio) else 0.0


# ------------------------------------------------------------------------------------ FLOW at the same mean step


def by_how_much(comparison: Comparison) -> str:
    """What the weights alone do, beside standard fine-tuning with the same mean step; "" where there is no telling.

    Both where they stop: at the lowest total error, or where Σ is unknown with half of the way to learn behind them.
    """
    m, paths = comparison.measured, comparison.paths
    if _nothing_to_learn(m):
        return ""
    if equal_weights(m):
        return "The weights of all rows are equal: FLOW is standard fine-tuning here"
    known = m.pretrain_covariance is not None
    flow, same = (paths.best(name) if known else half_learned(paths, name) for name in METHODS[1:])
    if math.isnan(flow.steps) or math.isnan(same.steps):
        never = [name for name, one in (("FLOW", flow), (SAME_MEAN_STEP, same)) if math.isnan(one.steps)]
        return f"Half of what there is to learn is never learned by {' nor by '.join(never)}"
    gain = float(m.target_errors[0])
    forgotten, learned = (
        _amounts(one, by, ROUNDING_SHARE * comparison.start.total)
        for one, by in (
            (flow.forgetting, same.forgetting),
            (gain - flow.target_error, gain - same.target_error),
        )
    )
    if not (forgotten and learned):  # one of them is best not begun
        return ""
    beside = f"{forgotten} {'as' if forgotten.endswith('as much') else 'than'} {SAME_MEAN_STEP} and learns {learned}"
    if known:
        return f"Each stopped at its best, FLOW forgets {beside}"
    return f"With half of it learned, FLOW moves its predictions (mean square) {beside}"


def _amounts(one: float, other: float, floor: float) -> str:
    """How much the first is beside the second; "" where either is nothing."""
    if min(one, other) <= floor:
        return ""
    ratio = one / other
    if abs(ratio - 1) < MIN_GAIN:
        return "as much"
    if ratio >= 2:
        return f"{number(ratio)} times as much"
    return f"{percent(abs(ratio - 1))} {'less' if ratio < 1 else 'more'}"


# ---------------------------------------------------------------------------------------------- other findings


def _trained_to_the_end(m: Measured, paths: Paths) -> list[str]:
    gain, cost = float(m.target_errors[0]), float(m.forgetting[2])
    if not (gain > 0 and cost > 0) or _nothing_to_learn(m):
        return []
    share, forgot = float(m.target_errors[1]) / gain, float(m.forgetting[1])
    ratio = forgot / cost
    known = m.pretrain_covariance is not None
    verb = "forgets" if known else "moves its predictions on these rows by a mean square of"
    if share < SAME_OPTIMUM**2 and abs(ratio - 1) < SAME_OPTIMUM:
        if slowest(m)[0] > slowest(m, 0)[0]:  # by weights so small that no number of steps gets there
            return []
        both = "forget" if known else "move their predictions on these rows by a mean square of"
        way = ": the weights change the way, not the end" if _another_way(m, paths) else ""
        return [
            f"Trained to the end, FLOW and standard fine-tuning reach the same optimum and {both} {number(cost)}{way}."
        ]
    forgetting = (
        "as much as"
        if abs(ratio - 1) < MIN_GAIN
        else f"{percent(1 - ratio)} less than"
        if ratio < 1
        else f"{number(ratio)} times as much as"
    )
    learned = (
        "leaves as much to learn as the start, where standard fine-tuning leaves nothing"
        if abs(share - 1) < MIN_GAIN
        else f"leaves {percent(share)} of the start's target error unlearned, where standard fine-tuning leaves none"
        if share < 1
        else f"ends with {number(share)} times the target error of the start"
    )
    return [
        f"Trained to the end, FLOW {verb} {number(forgot)}, {forgetting} standard fine-tuning ({number(cost)}), "
        f"and {learned}."
    ]


def _another_way(m: Measured, paths: Paths) -> bool:
    """Whether FLOW and the same mean step are ever a hundredth of the start's target error apart."""
    apart = abs(paths.target_errors[1] - paths.target_errors[2]).max()
    return not equal_weights(m) and bool(apart > MIN_GAIN * m.target_errors[0])


def _stall(m: Measured) -> list[str]:
    unreached, v, x = slowest(m)
    unreached_sentence = []
    if unreached:
        whose = "row" if int((m.spectrum[0] <= 0).sum()) == unreached else "row with any weight"
        them = "it" if unreached == 1 else "them"
        them += " beyond rounding" * bool(rounding_columns(m.rows.X).any())
        unreached_sentence = [
            f"Along {unreached} of {plural(len(v), 'direction')} nothing moves at all: no {whose} reaches {them}."
        ]
    if unreached == len(v):
        return unreached_sentence
    that = " that moves" * bool(unreached)
    steps, without = float(steps_to_halve(np.float64(x))), float(steps_to_halve(np.float64(slowest(m, 0)[2])))
    slow = f"the slowest takes {number(without)}" if without > 1 else "all do so within one"
    beside = f"under {SAME_MEAN_STEP} {slow}"
    if steps <= 1:
        as_well = f", as under {SAME_MEAN_STEP}" if without <= 1 else f"; {beside}"
        return [
            *unreached_sentence,
            f"Under FLOW every direction{that} halves its error within a step{as_well}.",
        ]
    return [
        *unreached_sentence,
        f"The slowest direction{that} halves its error in {steps_of_the_slowest(m)} under FLOW; {beside}: "
        f"{_why_slow(m, v, x)}.",
    ]


def _why_slow(m: Measured, v: Array, x: float) -> str:
    """Whether it is the step, the weights or the features that make the slowest direction v slow."""
    if x > 1:
        return "the step overshoots it, the steepest of all, so that a smaller learning rate would be faster"
    unweighted, weighted = float(v @ m.covariances[0] @ v), max(float(v @ m.covariances[1] @ v), 0.0)
    rounding = eigenvalue_rounding(m)
    curvature = f"below {number(rounding)}" if weighted <= rounding else number(weighted)
    if equal_weights(m) or weighted > SLOWED * unweighted:
        without = number(unweighted)
        return f"it is not the weights that make it slow (curvature {curvature} with them, {without} without)"
    along_shift = float(overlap(v, m.shift))
    stalled = "the shift" if along_shift >= ALONG else "it, but it is not the direction of the shift"
    lowered = f"the weights lower its curvature from {number(unweighted)} to {curvature}"
    return f"{lowered} and so stall {stalled} (overlap {number(along_shift, 2)})"


def doubts(comparison: Comparison) -> list[str]:
    """What else stands between these rows and any claim about new ones."""
    m, new = comparison.measured, comparison.new_rows
    if new.none_to_spare:
        return [f"{_too_few(m)}: these errors say nothing of new rows."]
    return [*few_rows_in_short(new), *_chance_warning(m)]


def _chance_warning(m: Measured) -> list[str]:
    ratio, above, below = shift_ratio(m)
    p = _chance_of_shift(ratio, above, below)
    if not CERTAIN < p <= CHANCE:
        return []
    return [
        f"Beware: sampling noise alone makes a shift as large as this one with probability {number(p, 2)} "
        f"(F({number(above)}, {number(below)}) = {number(ratio)})."
    ]
