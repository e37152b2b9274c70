"""Four standard errors, made fair to many comparisons at once. Also: a deviation in standard errors."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from scipy import stats

_TAIL = float(stats.norm.sf(4.0))


def four_sigma(comparisons: int, degrees_of_freedom: float = math.inf) -> float:
    """What the largest of so many |deviations| may reach as rarely as a single one reaches 4 (Bonferroni).

    ``degrees_of_freedom`` belongs to the standard error, where that comes from few replicates: the quantile is
    then Student's instead of the normal one.
    """
    tail = _TAIL / max(1, comparisons)
    finite = math.isfinite(degrees_of_freedom)
    return float(stats.t.isf(tail, degrees_of_freedom) if finite else stats.norm.isf(tail))


def in_standard_errors(value: Any, exact: Any, error: Any) -> np.ndarray:
    """|value − exact|/error elementwise; 0/0 is 0, anything else over 0 is infinite, NaN stays NaN."""
    distance = np.abs(np.asarray(value) - np.asarray(exact))
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(distance == 0, 0.0, distance / np.asarray(error))
