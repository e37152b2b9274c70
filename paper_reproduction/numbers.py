"""How numbers are written for people: in the terminal's tables and in the report."""

from __future__ import annotations

import math
import re
from typing import Any

from markupsafe import Markup

from paper_reproduction.claim import Check


def plain(check: Check) -> tuple[str, str]:
    """Figure and bound of a check as short as they can be and still tell which one is larger."""
    for digits in range(3, 18):
        figure, bound = f"{check.figure:.{digits}g}", f"{check.bound:.{digits}g}"
        if figure != bound or check.figure == check.bound:
            return figure, bound
    return repr(check.figure), repr(check.bound)


def html(text: str) -> Markup:
    """A plain number as print sets it: 3.2e-13 becomes 3.2 × 10 with a raised −13."""
    mantissa, mark, exponent = text.replace("inf", "∞").partition("e")
    mantissa = mantissa.replace("-", "−")
    if not mark or not exponent.lstrip("+-").isdigit():
        return Markup("{}").format(mantissa + mark + exponent)
    power = str(int(exponent)).replace("-", "−")
    times = "" if mantissa == "1" else f"{mantissa}\u2009×\u2009"
    return Markup("{}10<sup>{}</sup>").format(times, power)


def seconds(value: float) -> str:
    """A duration: 0.4, 12, 140; a dash where there is none."""
    if math.isnan(value):
        return "–"
    return f"{value:.1f}" if value < 9.95 else f"{value:.0f}"


_FORMULA = re.compile(r"\$([^$]+)\$")
_FLOAT = re.compile(r"(?<![\w.\\])(\d+(?:\.\d+)?)e([+-]?)0*(\d+)(?![\w.]*\w)")
_POWER = re.compile(r"(?<![\w.^])(\d+)\^(-?\d+)(?!\w)")
_MATRIX = re.compile(r"\[\[[^][$]*\](?:,\s*\[[^][$]*\])*\]")


def spelled(text: str) -> str:
    """The same text with ``1e+12``, ``10^12`` and ``[[1, 2], [3, 4]]`` as LaTeX between dollars."""
    text = _outside(text, _MATRIX, lambda found: f"${_matrix(found.group())}$")
    text = _outside(text, _FLOAT, lambda found: f"${_scientific(found)}$")
    text = _outside(text, _POWER, r"$\1^{\2}$")
    return _FORMULA.sub(lambda found: f"${_FLOAT.sub(_scientific, found.group(1))}$", text)


def _outside(text: str, pattern: re.Pattern[str], new: Any) -> str:
    """Replace what is outside all formulas."""
    parts = _FORMULA.split(text)
    return "".join(f"${part}$" if i % 2 else pattern.sub(new, part) for i, part in enumerate(parts))


def _scientific(number: re.Match[str]) -> str:
    mantissa, sign, exponent = number.groups()
    power = f"10^{{{sign.replace('+', '')}{exponent}}}"
    return power if mantissa == "1" else rf"{mantissa} \times {power}"


def _matrix(written: str) -> str:
    rows = re.findall(r"\[([^][]*)\]", written[1:-1])
    body = r"\\".join(" & ".join(cell.strip() for cell in row.split(",")) for row in rows)
    return rf"\begin{{pmatrix}}{body}\end{{pmatrix}}"
