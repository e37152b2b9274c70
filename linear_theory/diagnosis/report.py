"""The diagnosis in words: what is gained, what is lost, when to stop, and how far the theory may be trusted."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from ..arrays import Array
from ..errors import reject
from ..weights import Flow
from .checks import Check, at_the_median, equal_weights
from .contest import WORTH
from .findings import findings, overlap_with, told_steps
from .paths import METHODS, Paths, Point, averaged, gentle_best, joint_optimum, slowest
from .theory import compared
from .words import column_names, number, percent, some

if TYPE_CHECKING:
    from .result import Diagnosis

__all__ = ["NARROWEST", "written"]

NARROWEST = 60

WIDE = 76
"""From here on tables have room for the standard errors of what is expected."""

Fill = Callable[[str], str]  # a paragraph, broken into lines


def written(d: Diagnosis, width: int, names: Sequence[str] | None) -> str:
    """The report, in lines of at most ``width`` where its tables allow."""
    if width < NARROWEST:
        reject("width", width, f"must be at least {NARROWEST}, or the tables do not fit")
    labels = column_names(len(d.shift), names)
    fill = lambda text: _filled(text, width)
    bullet = lambda text: _filled(f"- {text}", width, subsequent_indent="  ")
    sections = [
        ("In short", "\n".join(map(bullet, findings(d, labels)))),
        _errors(d, fill),
        ("The weights, on these rows and in the theory", _weights(d, fill)),
        ("The slowest direction", _slowest(d, labels, width, fill)),
        ("What the theory assumes", _assumptions(d, labels, width, fill)),
    ]
    head = f"FLOW on {_rows(d)} and {some(d.rows.X.shape[1], 'column')}"
    return "\n\n".join([head, *(f"{title}\n{'─' * len(title)}\n{body}" for title, body in sections)])


def _rows(d: Diagnosis) -> str:
    """How many rows there are, and what they count as."""
    rows = some(len(d.sample_weight), "row")
    total = float(d.sample_weight.sum())
    return rows if (d.sample_weight == 1).all() else f"{rows} of total weight {number(total)}"


def _filled(text: str, width: int, subsequent_indent: str = "") -> str:
    """A paragraph in lines; what belongs to a number stays beside it."""
    together = text.replace(" %", "\0%").replace(" ± ", "\0±\0")
    return textwrap.fill(together, width, subsequent_indent=subsequent_indent).replace("\0", " ")


def table(rows: Iterable[Sequence[str]], right: str) -> str:
    """Columns two spaces apart; those marked ``>`` in ``right`` end, the others begin, in one place."""
    lines = [list(map(str, row)) for row in rows]
    widths = [max(len(line[k]) for line in lines) for k in range(len(right))]
    place = lambda cell, width, side: cell.rjust(width) if side == ">" else cell.ljust(width)
    return "\n".join("  ".join(map(place, line, widths, right)).rstrip() for line in lines)


def _errors(d: Diagnosis, fill: Fill) -> tuple[str, str]:
    """The title and the table of what each method gains and loses; totals where Σ is known."""
    start, flow, standard = map(Point, (0.0, math.inf, math.inf), d.forgetting, d.target_errors)
    ends = {"start": start, "standard, to the end": standard, "FLOW, to the end": flow}
    rates = zip(METHODS, d.paths.learning_rates, _reasons(d.paths), strict=True)
    learning_rates = (
        f"Learning rates: {'; '.join(f'{name} {number(rate)} ({why})' for name, rate, why in rates)}."
    )
    if d.pretrain_covariance is None:
        points = ends | {f"{name}, half learned": _half(d, k) for k, name in enumerate(SHORT)}
        table_ = _points(d, points, ("", "step", "moved", "target"))
        notes = (
            learning_rates,
            f"Moved is {d.forgetting_measure}, the mean square by which predictions on these rows move; those on the "
            "old rows, of which nothing is known, may move more or less. Target is the mean squared error on these "
            "rows above their best fit. Half learned: the first recorded step that leaves half of the start's; – "
            "where none does.",
        )
        return "What you gain, how far you move", "\n".join([table_, "", *map(fill, notes)])
    omega, average = averaged(d)
    tuned = d._contest.tuned
    points = {
        **ends,
        **{f"{short}, stopped": d.paths.best(name) for name, short in zip(METHODS, SHORT, strict=True)},
        "standard, small steps": gentle_best(d, weighted=False),
        "FLOW, small steps": gentle_best(d, weighted=True),
        "standard, best rate": tuned[1].point,
        "FLOW, best rate": tuned[0].point,
        f"average, {number(omega)} of start": average,
        "oracle, the lowest": joint_optimum(d),
    }
    notes = (
        f"{learning_rates[:-1]}; best, for at most 40 steps and within 95 % of where they diverge: standard "
        f"{number(tuned[1].rate)}, FLOW {number(tuned[0].rate)}.",
        f"Forgetting is {d.forgetting_measure}{_source(d)}, target the mean squared error on these rows above their "
        "best fit, total their sum. Stopped: at the first step whose total is within a thousandth of the smallest. "
        "Small steps: too small to jump over the best place; their number is given in steps of the control. The "
        "control takes FLOW's steps without its weights: only beside it is a difference due to the weights alone.",
        "± is one standard error, from sampling new rows like these; a difference is a tie where noise alone exceeds "
        f"it one time in twenty, or below {percent(WORTH)}.",
    )
    table_ = _points(d, points, ("", "step", "forgetting", "target", "total"))
    return "What you gain, what you lose, when to stop", "\n".join([table_, "", *map(fill, notes)])


SHORT = ("standard", "FLOW", "control")


def _points(d: Diagnosis, points: dict[str, Point], header: Sequence[str]) -> str:
    rounding = 1e-20 * float(d.target_errors[0])
    plain = lambda value: number(0.0 if value <= rounding else value)
    rows = [
        (name, number(p.steps, absent=""), *map(plain, (*p[1:], p.total)))[: len(header)]
        for name, p in points.items()
    ]
    return table([header, *rows], "<" + ">" * (len(header) - 1))


def _half(d: Diagnosis, row: int) -> Point:
    """Where half of the start's target error is learned, if it ever is."""
    target = d.paths.target_errors[row]
    enough = target <= target[0] / 2
    k = int(np.argmax(enough))
    if not enough.any():
        return Point(math.nan, math.nan, math.nan)
    return Point(float(d.paths.steps[k]), float(d.paths.forgetting[row, k]), float(target[k]))


def _source(d: Diagnosis) -> str:
    return "" if d.pretrain_rows is None else f" on the {some(len(d.pretrain_rows), 'old row')}"


def _reasons(paths: Paths) -> tuple[str, str, str]:
    """How each learning rate was chosen."""
    standard, flow, _ = paths.curtailed
    return (
        "a safe one: FLOW's diverges without weights" if standard else "as FLOW",
        "a safe one: 1/(2 mean w) diverges, with these weights or without" if flow else "1/(2 mean w)",
        "FLOW's times the mean weight",
    )


def _weights(d: Diagnosis, fill: Fill) -> str:
    tau, n = float(d.temperature), len(d.rows.residual)
    middle = d._median
    kind = ", the median loss of the start" if at_the_median(d) else ""
    if not kind and middle > 0 and tau < math.inf:
        kind = f", {number(tau / middle)} times the median loss of the start"
    rule = f"Temperature {number(tau)}{kind}." if isinstance(d.rule, Flow) else f"Rule {d.rule}."
    rows = [(what, number(value), number(theory)) for what, value, theory in compared(d)]
    worth = f"are worth {number(float(d.effective_samples))}" if n != 1 else "is worth 1"
    share = f"The {_rows(d)} {worth} equally weighted ones." if n != 1 else ""
    return "\n".join([fill(f"{rule} {share}"), "", table([("", "rows", "theory"), *rows], "<>>")])


def _slowest(d: Diagnosis, labels: Sequence[str], width: int, fill: Fill) -> str:
    kinds, head = ("unweighted", "weighted"), "curvature, unweighted"
    spectra = [
        (f"curvature, {kind}", *map(number, row))
        for kind, row in zip(kinds, _few(d.spectrum, (width - len(head)) // 10), strict=True)
    ]
    length = float(np.linalg.norm(d.shift))
    lines = [table(spectra, "<" + ">" * (len(spectra[0]) - 1)), ""]
    if len(spectra[0]) <= len(d.shift):
        lines.append(fill(f"Some eigenvalues of {len(d.shift)}, the lowest and the highest among them."))
    idle, direction, _ = slowest(d)
    if idle:
        others = "; of the others:" if idle < len(d.shift) else "."
        lines.append(fill(f"Nothing moves along {idle} of {some(len(d.shift), 'direction')}{others}"))
    if idle < len(d.shift):
        lines.append(fill(f"Slowest direction: {_direction(direction, labels)}; half-life {told_steps(d)}."))
    if length > 0:
        lines.append(fill(f"Shift, of length {number(length)}: {_direction(d.shift / length, labels)}."))
        if idle < len(d.shift):
            lines.append(fill(f"Their overlap (|cosine|) is {number(overlap_with(d, direction))}."))
    return "\n".join(lines)


def _few(spectrum: Array, room: int) -> list[list[float]]:
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


def _assumptions(d: Diagnosis, labels: Sequence[str], width: int, fill: Fill) -> str:
    checks = d.checks
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
    equal = equal_weights(d)
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
