"""How numbers are written for people: in the terminal's tables and in the report."""

from __future__ import annotations

import math

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
