"""Means over seeds with their standard errors; differences between methods paired by seed; what answers a question.

A seed that is NaN makes the mean NaN: what diverged is not averaged away. Errors are those of
:func:`figures.mlp.seeds.error`, which knows of seeds that share rows.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import TypeVar

import numpy as np
import xarray as xr
from scipy import stats

from figures.mlp.seeds import error
from linear_theory.significance import holm
from paper_reproduction.claim import Check

Key = TypeVar("Key", bound=Hashable)


def sigmas(gap: xr.DataArray) -> xr.DataArray:
    """The mean over seeds in its standard errors."""
    return gap.mean("seed", skipna=False) / error(gap)


def apart(gap: xr.DataArray) -> float:
    """From how many standard errors on a mean is not 0, at 5 per cent: Student's quantile for so many seeds."""
    return float(stats.t.isf(0.025, gap.sizes["seed"] - 1))


def survivors(gaps: Mapping[Key, xr.DataArray]) -> dict[Key, bool]:
    """Which of these differences, each (seed,), are not 0 at 5 per cent for the whole family (Holm)."""
    deviates = np.array([abs(float(sigmas(gap))) for gap in gaps.values()])
    freedom = np.array([gap.sizes["seed"] - 1 for gap in gaps.values()])
    return dict(zip(gaps, holm(2 * stats.t.sf(deviates, freedom)).tolist(), strict=True))


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


def ahead(one: xr.DataArray, other: xr.DataArray) -> bool:
    """Whether one − other, paired by seed, is above 0 beyond error (:func:`apart`); not where a seed is NaN."""
    return float(sigmas(one - other)) >= apart(one - other)


def beyond(name: str, gap: xr.DataArray) -> Check:
    """Whether a difference (…, seed) is above 0 beyond error (:func:`apart`), the least of what else it runs over."""
    return Check.at_least(f"{name}, in standard errors", float(sigmas(gap).min(skipna=False)), apart(gap))


def answer(*parts: bool) -> str:
    """How a result begins: Yes where all parts of the question are so, No where none is, Partly between."""
    return "Yes" if all(parts) else "Partly" if any(parts) else "No"


def sorted_out(*sentences: tuple[bool, str]) -> dict[str, tuple[str, ...]]:
    """The two lists of a verdict, from sentences that each say whether what they tell fits."""
    return {
        "findings": tuple(text for fits, text in sentences if not fits),
        "measured": tuple(text for fits, text in sentences if fits),
    }
