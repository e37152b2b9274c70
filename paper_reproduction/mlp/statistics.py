"""Means over seeds with their standard errors; differences between methods paired by seed; what answers a question.

A seed that is NaN makes the mean NaN: what diverged is not averaged away.
"""

from __future__ import annotations

import numpy as np
import xarray as xr


def error(values: xr.DataArray) -> xr.DataArray:
    """Standard error of the mean over seeds."""
    return values.std("seed", ddof=1, skipna=False) / np.sqrt(values.sizes["seed"])


def sigmas(gap: xr.DataArray) -> xr.DataArray:
    """The mean over seeds in its standard errors."""
    return gap.mean("seed", skipna=False) / error(gap)


def paired(one: xr.DataArray, other: xr.DataArray) -> tuple[float, float]:
    """Mean of one − other over the seeds they share, and its standard error."""
    gap = one - other
    return float(gap.mean("seed", skipna=False)), float(error(gap))


def told(values: xr.DataArray, digits: int = 3) -> str:
    """mean ± s.e. over seeds, for people."""
    text = f"{float(values.mean('seed', skipna=False)):.{digits}f} ± {float(error(values)):.{digits}f}"
    return text.replace("-", "−")


def percent(values: xr.DataArray) -> str:
    """mean ± s.e. over seeds of a share, in per cent."""
    return f"{100 * float(values.mean('seed', skipna=False)):.1f} ± {100 * float(error(values)):.1f}"


def difference(one: xr.DataArray, other: xr.DataArray) -> str:
    """The paired difference of two shares, in points."""
    mean, spread = paired(one, other)
    return f"{100 * mean:+.1f} ± {100 * spread:.1f} points".replace("-", "−")


def points_more(one: xr.DataArray, other: xr.DataArray) -> str:
    """The paired difference of two shares, in words: 1.7 ± 0.6 points more."""
    mean, spread = paired(one, other)
    return f"{abs(100 * mean):.1f} ± {100 * spread:.1f} points {'fewer' if mean < 0 else 'more'}"


APART = 2.0
"""Standard errors from which on a difference between two methods counts as one."""


def ahead(one: xr.DataArray, other: xr.DataArray) -> bool:
    """Whether one − other, paired by seed, is above 0 by :data:`APART` standard errors; not where a seed is NaN."""
    return float(sigmas(one - other)) >= APART


def answer(*parts: bool) -> str:
    """How a result begins: Yes where all parts of the question are so, No where none is, Partly between."""
    return "Yes" if all(parts) else "Partly" if any(parts) else "No"


def sorted_out(*sentences: tuple[bool, str]) -> dict[str, tuple[str, ...]]:
    """The two lists of a verdict, from sentences that each say whether what they tell fits."""
    return {
        "findings": tuple(text for fits, text in sentences if not fits),
        "measured": tuple(text for fits, text in sentences if fits),
    }
