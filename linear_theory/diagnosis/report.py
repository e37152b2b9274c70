"""The diagnosis in words: what is gained, what is lost, when to stop, and how far the theory may be trusted."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from ..arrays import Array
from ..errors import reject
from ..propagator.powers import steps_to_halve
from ..weights import Flow
from .checks import Check, at_the_median, equal_weights
from .comparison import MIN_GAIN, Candidate, Comparison
from .measured import Measured
from .moved import moved
from .new_rows import NewRows, Predicted
from .paths import (
    METHODS,
    Paths,
    Point,
    best_average,
    best_of_flow,
    compare_with_theory,
    half_learned,
    joint_optimum_point,
    overlap,
    safe_step,
    slowest,
)

__all__ = [
    "NARROWEST",
    "column_names",
    "eigenvalue_rounding",
    "format_report",
    "named",
    "number",
    "percent",
    "plural",
    "plus_minus",
    "printable",
    "steps_of_the_slowest",
]

NARROWEST = 60

WIDE = 76
"""From here on tables have room for the standard errors of what is expected."""

Fill = Callable[[str], str]  # a paragraph, broken into lines


def number(value: float, digits: int = 3, absent: str = "–") -> str:
    """With so many significant digits: 0.0123, 1.23e−8, 12300, ∞; ``absent`` for NaN."""
    if math.isnan(value):
        return absent
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    if value and (abs(value) < 1e-3 or abs(value) >= 1e6):
        mantissa, power = f"{value:.{digits - 1}e}".split("e")
        mantissa = mantissa.rstrip("0").rstrip(".") if "." in mantissa else mantissa
        return f"{mantissa}e{int(power)}".replace("-", "−")
    decimals = max(0, digits - 1 - (math.floor(math.log10(abs(value))) if value else 0))
    text = f"{value:.{decimals}f}"
    return (text.rstrip("0").rstrip(".") if "." in text else text).replace("-", "−")


def percent(share: float) -> str:
    """A share in percents: two digits of it, and where it is nearly all as many as tell it from all."""
    short = 1 - share if 0.99 < share < 1 else 1.0
    digits = min(6, 1 - math.floor(math.log10(short))) if share >= 0.995 and short < 1 else 2
    return f"{number(100 * share, max(digits, 3 if abs(share) >= 0.995 else 2))} %"


def plus_minus(share: float, error: float, sign: bool = False) -> str:
    """A share and its standard error in percents, to two digits of the error: 1.52 ± 0.41 %; without the error where
    there is none to tell (∞, or below a two-hundredth percent).
    """
    value = 100 * share
    if not math.isfinite(error) or 100 * error < 0.005:
        text = percent(share if abs(value) >= 0.005 else 0.0)
        return f"+{text}" if sign and value >= 0.005 else text
    decimals = min(max(0, 1 - math.floor(math.log10(100 * error))), 4)
    value = round(value, decimals) + 0.0  # not −0
    head = f"{value:+.{decimals}f}" if sign and value else f"{value:.{decimals}f}"
    return f"{head} ± {100 * error:.{decimals}f} %".replace("-", "−")


def named(one: Candidate | Predicted) -> str:
    """The method, and its learning rate where that was chosen for it."""
    if math.isnan(one.rate):
        return one.name
    rate = f"the learning rate {number(one.rate)}" if one.rate < math.inf else "its best learning rate"
    return f"{one.name} at {rate}"


def plural(count: int, noun: str) -> str:
    """1 row, 2 rows."""
    return f"{count} {noun}{'s' * (count != 1)}"


def column_names(count: int, names: Sequence[str] | None) -> list[str]:
    """The names given, or column 0, 1, …"""
    if names is None:
        return [f"column {k}" for k in range(count)]
    if len(names) != count:
        reject("names", names, f"has {len(names)} entries, must have {count}: one a column of X")
    return [printable(str(name)) for name in names]


def printable(text: str) -> str:
    """``text`` with all that would steer a terminal instead of being seen written out: controls, escape sequences,
    line ends, marks that turn the direction of writing, bytes that are no text.
    """
    return "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in text)


# ------------------------------------------------------------------------------------------------ sections


def format_report(
    comparison: Comparison,
    checks: Sequence[Check],
    findings: Sequence[str],
    labels: Sequence[str],
    width: int,
) -> str:
    """The report, in lines of at most ``width`` where its tables allow; the ``findings`` are its first section."""
    if width < NARROWEST:
        reject("width", width, f"must be at least {NARROWEST}, or the tables do not fit")
    m = comparison.measured
    fill = lambda text: _fill_lines(text, width)
    bullet = lambda text: _fill_lines(f"- {text}", width, subsequent_indent="  ")
    sections = [
        ("In short", "\n".join(map(bullet, findings))),
        _errors(comparison, fill),
        *_on_new_rows(comparison.new_rows, fill),
        ("The weights, on these rows and in the theory", _weights(m, fill)),
        ("The slowest direction", _slowest(m, labels, width, fill)),
        *_moved(m, labels, fill),
        ("What the theory assumes", _assumptions(m, checks, labels, width, fill)),
    ]
    head = f"FLOW on {_rows(m)} and {plural(m.rows.X.shape[1], 'column')}"
    return "\n\n".join([head, *(f"{title}\n{'─' * len(title)}\n{body}" for title, body in sections)])


def _rows(m: Measured) -> str:
    """How many rows there are, and what they count as."""
    rows = plural(len(m.sample_weight), "row")
    total = float(m.sample_weight.sum())
    return rows if (m.sample_weight == 1).all() else f"{rows} of total weight {number(total)}"


def _fill_lines(text: str, width: int, subsequent_indent: str = "") -> str:
    """A paragraph in lines; what belongs to a number stays beside it."""
    together = text.replace(" %", "\0%").replace(" ± ", "\0±\0")
    return textwrap.fill(together, width, subsequent_indent=subsequent_indent).replace("\0", " ")


def table(rows: Iterable[Sequence[str]], right: str) -> str:
    """Columns two spaces apart; those marked ``>`` in ``right`` end, the others begin, in one place."""
    lines = [list(map(str, row)) for row in rows]
    widths = [max(len(line[k]) for line in lines) for k in range(len(right))]
    place = lambda cell, width, side: cell.rjust(width) if side == ">" else cell.ljust(width)
    return "\n".join("  ".join(map(place, line, widths, right)).rstrip() for line in lines)


def _errors(comparison: Comparison, fill: Fill) -> tuple[str, str]:
    """The title and the table of what each method gains and loses; totals where Σ is known."""
    m, paths = comparison.measured, comparison.paths
    start, flow, standard = map(Point, (0.0, math.inf, math.inf), m.forgetting, m.target_errors)
    ends = {"start": start, "standard, to the end": standard, "FLOW, to the end": flow}
    rates = zip(METHODS, paths.learning_rates, _reasons(paths), strict=True)
    learning_rates = (
        f"Learning rates: {'; '.join(f'{name} {number(rate)} ({why})' for name, rate, why in rates)}."
    )
    if m.pretrain_covariance is None:
        points = ends | {f"{name}, half learned": half_learned(paths, name) for name in METHODS}
        table_ = _points(m, points, ("", "step", "moved", "target"))
        notes = (
            learning_rates,
            f"Moved is {m.forgetting_measure}, the mean square by which predictions on these rows move; those on the "
            "old rows, of which nothing is known, may move more or less. Target is the mean squared error on these "
            "rows above their best fit. Half learned: the first recorded step that leaves half of the start's; – "
            "where none does.",
        )
        return "What you gain, how far you move", "\n".join([table_, "", *map(fill, notes)])
    omega, average = best_average(m)
    tuned = comparison.tuned
    points = {
        **ends,
        **{f"{name}, stopped": paths.best(name) for name in METHODS},
        "standard, small steps": best_of_flow(m, weighted=False),
        "FLOW, small steps": best_of_flow(m, weighted=True),
        "standard, best rate": tuned[1].point,
        "FLOW, best rate": tuned[0].point,
        f"average, {number(omega)} of start": average,
        "best for both": joint_optimum_point(m),
    }
    notes = (
        f"{learning_rates[:-1]}; best, for at most 40 steps and within 95 % of where they diverge: standard "
        f"{number(tuned[1].rate)}, FLOW {number(tuned[0].rate)}.",
        f"Forgetting is {m.forgetting_measure}{_source(m)}, target the mean squared error on these rows above their "
        "best fit, total their sum. Stopped: at the first step whose total is within a thousandth of the smallest. "
        "Small steps: too small to jump over the best place; their number is given in units of the same mean step. "
        "Same mean step: standard fine-tuning with its rate times the mean weight, beside which alone a difference is "
        "due to the weights and not to the smaller step. Best for both: the joint optimum, whose total nothing beats.",
        "± is one standard error, from sampling new rows like these; a difference is a tie where noise alone exceeds "
        f"it one time in twenty, or below {percent(MIN_GAIN)}.",
    )
    table_ = _points(m, points, ("", "step", "forgetting", "target", "total"))
    return "What you gain, what you lose, when to stop", "\n".join([table_, "", *map(fill, notes)])


def _on_new_rows(new: NewRows, fill: Fill) -> list[tuple[str, str]]:
    """The section on rows that were not fitted, where those that were are few and can tell."""
    if not (new.few and new.told):
        return []
    how = lambda one: "small steps" if math.isnan(one.rate) else "best rate"
    methods = {
        "start": new.start,
        f"standard, {how(new.early)}": new.early,
        f"FLOW, {how(new.flow)}": new.flow,
        f"average, {number(new.kept)} of start": new.average,
    }
    rows = [
        (
            name,
            number(one.steps, absent=""),
            *([number(one.forgetting)] if new.known else []),
            number(new.shown(one.target_error)),
            *([number(new.shown(one.total))] if new.known else []),
        )
        for name, one in methods.items()
    ]
    header = ("", "step", "forgetting", "target", "total") if new.known else ("", "step", "target")
    least, most = (number(new.shown(end(one.error for one in methods.values())), 2) for end in (min, max))
    notes = (
        "Every row is predicted by training on the others, and each method stopped where that is best. Target is the "
        "mean squared error of these predictions less the noise variance, "
        f"{number(new.shown(new.noise_variance))}, which is estimated from {number(new.rows - new.directions, 6)} rows "
        f"to spare. One standard error of it is {least} to {most}, most of which all methods have in common.",
    )
    table_ = table([header, *rows], "<" + ">" * (len(header) - 1))
    return [("On new rows", "\n".join([table_, "", *map(fill, notes)]))]


def _points(m: Measured, points: dict[str, Point], header: Sequence[str]) -> str:
    rounding = 1e-20 * float(m.target_errors[0])
    shown = lambda value: number(0.0 if value <= rounding else value)
    rows = [
        (name, number(p.steps, absent=""), *map(shown, (*p[1:], p.total)))[: len(header)]
        for name, p in points.items()
    ]
    return table([header, *rows], "<" + ">" * (len(header) - 1))


def _source(m: Measured) -> str:
    return "" if m.pretrain_rows is None else f" on the {plural(len(m.pretrain_rows), 'old row')}"


def _reasons(paths: Paths) -> tuple[str, str, str]:
    """How each learning rate was chosen."""
    standard, flow, _ = paths.curtailed
    return (
        "a safe one: at FLOW's it would diverge" if standard else "as FLOW",
        "a safe one: 1/(2 mean w) diverges, with these weights or without" if flow else "1/(2 mean w)",
        "FLOW's times the mean weight",
    )


def _weights(m: Measured, fill: Fill) -> str:
    tau, n = float(m.temperature), len(m.rows.residual)
    middle = m._median_loss
    kind = ", the median loss of the start" if at_the_median(m) else ""
    if not kind and middle > 0 and tau < math.inf:
        kind = f", {number(tau / middle)} times the median loss of the start"
    rule = f"Temperature {number(tau)}{kind}." if isinstance(m.rule, Flow) else f"Rule {_named(m.rule)}."
    rows = [(what, number(value), number(theory)) for what, value, theory in compare_with_theory(m)]
    worth = f"are worth {number(float(m.effective_samples))}" if n != 1 else "is worth 1"
    share = f"The {_rows(m)} {worth} equally weighted ones." if n != 1 else ""
    return "\n".join([fill(f"{rule} {share}"), "", table([("", "rows", "theory"), *rows], "<>>")])


def _named(rule: Any) -> str:
    """What a rule says of itself, or where it says nothing but its address, its class."""
    return type(rule).__name__ if type(rule).__repr__ is object.__repr__ else str(rule)


def _slowest(m: Measured, labels: Sequence[str], width: int, fill: Fill) -> str:
    kinds, head = ("unweighted", "weighted"), "curvature, unweighted"
    spectra = [
        (f"curvature, {kind}", *map(number, row))
        for kind, row in zip(kinds, _evenly_chosen(m.spectrum, (width - len(head)) // 10), strict=True)
    ]
    length = math.hypot(*m.shift)
    lines = [table(spectra, "<" + ">" * (len(spectra[0]) - 1)), ""]
    if len(spectra[0]) <= len(m.shift):
        lines.append(fill(f"Some eigenvalues of {len(m.shift)}, the lowest and the highest among them."))
    unreached, direction, _ = slowest(m)
    if unreached:
        others = "; of the others:" if unreached < len(m.shift) else "."
        lines.append(fill(f"Nothing moves along {unreached} of {plural(len(m.shift), 'direction')}{others}"))
    if unreached < len(m.shift):
        lines.append(
            fill(f"Slowest direction: {_direction(direction, labels)}; half-life {steps_of_the_slowest(m)}.")
        )
    if length > 0:
        lines.append(fill(f"Shift, of length {number(length)}: {_direction(m.shift / length, labels)}."))
        if unreached < len(m.shift):
            lines.append(fill(f"Their overlap (|cosine|) is {number(float(overlap(direction, m.shift)))}."))
    return "\n".join(lines)


def _moved(m: Measured, labels: Sequence[str], fill: Fill) -> list[tuple[str, str]]:
    """The section on FLOW's parameters, where their errors can be told."""
    known = moved(m)
    if known is None:
        return []
    order = np.argsort(known.p, kind="stable")
    rows = [
        (labels[k], *map(number, (known.distance[k], known.error[k])), _chance(float(known.p[k])))
        for k in map(int, order[:MOST_PARAMETERS])
    ]
    more = f" The table has the {MOST_PARAMETERS} surest." if len(order) > MOST_PARAMETERS else ""
    how = "known beforehand"
    if at_the_median(m):
        how = "the median loss of these rows, and its own error is counted"
    notes = (
        f"FLOW has moved {int(known.beyond.sum())} of {plural(len(order), 'parameter')} beyond what noise explains "
        f"(Holm's test of all of them at 5 %).{more}",
        "The error is that of where FLOW ends, trained on ever more rows like these: under label noise on the way to "
        f"the new optimum, and not there. The temperature is {how}.",
    )
    table_ = table([("", "moved by", "std. error", "p-value"), *rows], "<>>>")
    return [("What FLOW has moved, trained to the end", "\n".join([table_, "", *map(fill, notes)]))]


MOST_PARAMETERS = 10
"""Of which the report tells."""


def _chance(p: float) -> str:
    return f"<{number(SMALLEST_CHANCE)}" if p < SMALLEST_CHANCE else number(p, 2)


SMALLEST_CHANCE = 1e-16


def eigenvalue_rounding(m: Measured) -> float:
    """Eigenvalues of C below this are known not to be larger, and no more."""
    return 16 * len(m.shift) * float(np.finfo(float).eps) * float(m.spectrum[1, -1])


def steps_of_the_slowest(m: Measured) -> str:
    """The half-life of the slowest direction that moves; at least that of an eigenvalue which is all rounding."""
    x = slowest(m)[2]
    unit = 2 * float(safe_step(m.spectrum))
    known = x >= unit * eigenvalue_rounding(m)
    count = number(float(steps_to_halve(np.float64(x if known else unit * eigenvalue_rounding(m)))))
    return f"{'' if known else 'at least '}{count} step{'s' * (count != '1')}"


def _evenly_chosen(spectrum: Array, room: int) -> list[list[float]]:
    """Every eigenvalue, or where they are many as many as there is room for, evenly from the lowest to the highest."""
    d = spectrum.shape[1]
    chosen = np.unique(np.linspace(0, d - 1, min(d, max(room, 2))).round().astype(int))
    return [[float(row[k]) for k in chosen] for row in spectrum]


def _direction(vector: Array, labels: Sequence[str]) -> str:
    """Its largest components by name, the first positive: a direction has no sign."""
    order = np.argsort(-abs(vector), kind="stable")[:4]
    sign = 1.0 if vector[order[0]] >= 0 else -1.0
    shown = [k for k in order if abs(vector[k]) > 0.1]
    return ", ".join(f"{number(sign * float(vector[k]), 2)} {labels[k]}" for k in shown) + (
        ", …" if len(shown) < np.count_nonzero(abs(vector) > 0.1) else ""
    )


def _assumptions(m: Measured, checks: Sequence[Check], labels: Sequence[str], width: int, fill: Fill) -> str:
    header = ("", "rows", "theory", "sigma", "verdict")
    rows = [
        (c.name, number(c.figure), _expected(c, width >= WIDE), _sigma(c.sigmas), c.verdict) for c in checks
    ]
    limit = number(checks[0].limit, 2)
    fails = f"a check fails beyond {limit}, which is 4 for one check made fair to all of them."
    if width >= WIDE:
        lines = [table([header, *rows], "<>>><"), ""]
        of = "Sigma is the deviation in standard errors, or the normal deviate of an F test's probability"
        lines.append(fill(f"{of}; {fails}"))
    else:
        lines = [table([(*row[:3], row[4]) for row in (header, *rows)], "<>><"), ""]
        lines.append(fill(f"Of deviations in standard errors {fails}"))
    equal = equal_weights(m)
    for check in checks:
        if check.verdict == "broken":
            lines.append("")
            meaning = "" if equal else f" {check.meaning}"
            lines.append(fill(f"{check.name}: {_figure(check, labels)}.{meaning}"))
    if equal:
        lines += [
            "",
            fill("As the weights of all rows are equal, nothing of this matters to what FLOW does here."),
        ]
    return "\n".join(lines)


def _figure(check: Check, labels: Sequence[str]) -> str:
    """What the figure is, and of which column."""
    if check.culprit is None:
        return f"{check.what} {number(check.figure)}"
    column = "the residual" if check.culprit < 0 else labels[check.culprit]
    return f"{check.what} {number(check.figure)}, most in {column}"


def _expected(check: Check, wide: bool) -> str:
    error = "" if math.isnan(check.error) or not wide else f" ± {number(check.error, 2)}"
    return f"{number(check.expected)}{error}"


def _sigma(sigmas: float) -> str:
    return (
        "–"
        if math.isnan(sigmas)
        else "certain"
        if math.isinf(sigmas)
        else f"{sigmas:+z.1f}".replace("-", "−")
    )
