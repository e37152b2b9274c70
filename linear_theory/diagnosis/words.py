"""Numbers and columns as people read them."""

from __future__ import annotations

import math
from collections.abc import Sequence

from ..errors import reject

__all__ = ["column_names", "number", "percent", "plus_minus", "printable", "some"]


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


def some(count: int, noun: str) -> str:
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
