"""The diagnosis in words: what is gained, what is lost, when to stop, and how far the theory may be trusted."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from ..arrays import Array, reject
from ..weights import Flow
from .checks import Check
from .findings import findings, overlap_with
from .paths import METHODS, Paths, Point, averaged, gentle_best, joint_optimum, slowest
from .theory import compared
from .words import column_names, number

if TYPE_CHECKING:
    from .result import Diagnosis

__all__ = ["NARROWEST", "written"]

NARROWEST = 72

Fill = Callable[[str], str]  # a paragraph, broken into lines


def written(
    d: Diagnosis, paths: Paths, checks: Sequence[Check], width: int, names: Sequence[str] | None
) -> str:
    """The report, in lines of at most ``width`` where its tables allow."""
    if width < NARROWEST:
        reject("width", width, f"must be at least {NARROWEST}, or the tables do not fit")
    labels = column_names(len(d.shift), names)
    fill = lambda text: textwrap.fill(text, width)
    bullet = lambda text: textwrap.fill(f"- {text}", width, subsequent_indent="  ")
    sections = [
        ("In short", "\n".join(map(bullet, findings(d, paths)))),
        ("What you gain, what you lose, when to stop", _errors(d, paths, fill)),
        ("The weights, on these rows and in the theory", _weights(d, fill)),
        ("The stall", _stall(d, labels, fill)),
        ("What the theory assumes", _assumptions(checks, labels, fill)),
    ]
    n, columns = d.rows.X.shape
    head = f"FLOW on {n} rows and {columns} column{'s' * (columns != 1)}"
    return "\n\n".join([head, *(f"{title}\n{'─' * len(title)}\n{body}" for title, body in sections)])


def table(rows: Iterable[Sequence[str]], right: str) -> str:
    """Columns two spaces apart; those marked ``>`` in ``right`` end, the others begin, in one place."""
    lines = [list(map(str, row)) for row in rows]
    widths = [max(len(line[k]) for line in lines) for k in range(len(right))]
    place = lambda cell, width, side: cell.rjust(width) if side == ">" else cell.ljust(width)
    return "\n".join("  ".join(map(place, line, widths, right)).rstrip() for line in lines)


def _errors(d: Diagnosis, paths: Paths, fill: Fill) -> str:
    omega, average = averaged(d)
    start, flow, standard = map(Point, (0.0, math.inf, math.inf), d.forgetting, d.target_errors)
    points = {
        "start": start,
        "standard, to the end": standard,
        "FLOW, to the end": flow,
        **{f"{name}, stopped": paths.best(name) for name in METHODS},
        "standard in small steps, stopped": gentle_best(d, weighted=False),
        "FLOW in small steps, stopped": gentle_best(d, weighted=True),
        f"average, {number(omega)} of the start": average,
        "oracle, the lowest possible": joint_optimum(d),
    }
    header = ("", "step", "forgetting", "target", "total")
    rounding = 1e-20 * float(d.target_errors[0])
    plain = lambda value: number(value if value > rounding else 0.0)
    rows = [(name, number(p.steps, absent=""), *map(plain, (*p[1:], p.total))) for name, p in points.items()]
    rates = zip(METHODS, paths.learning_rates, _reasons(paths), strict=True)
    units = "" if d.pretrain_covariance is not None else " (no pre-training covariance given: Σ = I)"
    notes = (
        f"Learning rates: {'; '.join(f'{name} {number(rate)} ({why})' for name, rate, why in rates)}.",
        f"Forgetting is {d.forgetting_measure}{units}, target the mean squared error on these rows above their "
        "best fit, total their sum. Stopped: at the first step whose total is within a thousandth of the smallest. "
        "Small steps: too small to jump over the best place; their number is given in steps of the control. FLOW's "
        "weights also shrink its steps: only the step-matched control shows what is due to the weights themselves.",
    )
    return "\n".join([table([header, *rows], "<>>>>"), "", *map(fill, notes)])


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
    median = float(np.median(d.rows.residual**2))
    kind = ", the median loss of the start" if tau == median else ""
    if not kind and median > 0 and tau < math.inf:
        kind = f", {number(tau / median)} times the median loss of the start"
    rule = f"Temperature {number(tau)}{kind}." if isinstance(d.rule, Flow) else f"Rule {d.rule}."
    rows = [(what, number(value), number(theory)) for what, value, theory in compared(d)]
    share = f"The {n} rows are worth {number(float(d.effective_samples))} equally weighted ones."
    return "\n".join([fill(f"{rule} {share}"), "", table([("", "rows", "theory"), *rows], "<>>")])


def _stall(d: Diagnosis, labels: Sequence[str], fill: Fill) -> str:
    kinds = ("unweighted", "weighted")
    spectra = [
        (f"curvature, {kind}", *map(number, row)) for kind, row in zip(kinds, _few(d.spectrum), strict=True)
    ]
    length = float(np.linalg.norm(d.shift))
    lines = [table(spectra, "<" + ">" * (len(spectra[0]) - 1)), ""]
    if len(spectra[0]) <= len(d.shift):
        lines.append(
            fill(f"Eigenvalues: the three lowest, the middle and the two highest of {len(d.shift)}.")
        )
    idle, direction, steps = slowest(d)
    if idle:
        lines.append(fill(f"Nothing moves along {idle} of {len(d.shift)} directions; of the others:"))
    if idle < len(d.shift):
        lines.append(
            fill(f"Stalled direction: {_direction(direction, labels)}; half-life {number(steps)} steps.")
        )
    if length > 0:
        lines.append(fill(f"Shift, of length {number(length)}: {_direction(d.shift / length, labels)}."))
        lines.append(fill(f"Their overlap (|cosine|) is {number(overlap_with(d, direction))}."))
    return "\n".join(lines)


def _few(spectrum: Array) -> list[list[float]]:
    """Every eigenvalue, or where they are many the lowest, the middle and the highest."""
    d = spectrum.shape[1]
    chosen = range(d) if d <= 7 else (0, 1, 2, d // 2, d - 2, d - 1)
    return [[float(row[k]) for k in chosen] for row in spectrum]


def _direction(vector: Array, labels: Sequence[str]) -> str:
    """Its largest components by name, the first positive: a direction has no sign."""
    order = np.argsort(-abs(vector), kind="stable")[:4]
    sign = 1.0 if vector[order[0]] >= 0 else -1.0
    shown = [k for k in order if abs(vector[k]) > 0.1]
    return ", ".join(f"{number(sign * float(vector[k]), 2)} {labels[k]}" for k in shown) + (
        ", …" if len(shown) < np.count_nonzero(abs(vector) > 0.1) else ""
    )


def _assumptions(checks: Sequence[Check], labels: Sequence[str], fill: Fill) -> str:
    header = ("", "rows", "theory", "sigma", "verdict")
    rows = [(c.name, number(c.figure), _expected(c), _sigma(c.sigmas), c.verdict) for c in checks]
    lines = [table([header, *rows], "<>>><"), ""]
    limit = number(checks[0].limit, 2)
    lines.append(
        fill(
            f"Sigma is the deviation in standard errors, or the normal deviate of an F test's probability; a check "
            f"fails beyond {limit}, which is 4 for one check made fair to all of them."
        )
    )
    for check in checks:
        if check.verdict == "broken":
            lines.append("")
            lines.append(fill(f"{check.name}: {_figure(check, labels)}. {check.meaning}"))
    return "\n".join(lines)


def _figure(check: Check, labels: Sequence[str]) -> str:
    """What the figure is, and of which column."""
    if check.culprit is None:
        return f"{check.what} {number(check.figure)}"
    column = "the residual" if check.culprit < 0 else labels[check.culprit]
    return f"{check.what} {number(check.figure)}, most in {column}"


def _expected(check: Check) -> str:
    error = "" if math.isnan(check.error) else f" ± {number(check.error, 2)}"
    return f"{number(check.expected)}{error}"


def _sigma(sigmas: float) -> str:
    return (
        "–"
        if math.isnan(sigmas)
        else "certain"
        if math.isinf(sigmas)
        else f"{sigmas:+z.1f}".replace("-", "−")
    )
