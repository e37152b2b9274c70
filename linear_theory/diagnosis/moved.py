"""Which parameters FLOW has moved beyond their errors, trained to the end on these rows."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from scipy import special

from ..arrays import Array
from ..errors import InvalidValueError
from ..inference import standard_errors
from ..significance import holm
from ..weights import Flow
from .checks import at_the_median
from .measured import Measured

__all__ = ["Moved", "moved"]

NO_NOISE = 1e-10
"""Residuals of this share of the labels' are rounding, and so is an error made of them."""


class Moved(NamedTuple):
    """Of each parameter: how far from the start FLOW ends, the standard error of that, and the p-value of no move.

    ``beyond``: the moves that Holm's test at 5 % tells from none, of all parameters together.
    """

    distance: Array
    error: Array
    p: Array
    beyond: Array


def moved(m: Measured) -> Moved | None:
    """By the standard errors of FLOW's minimiser; None where they cannot be told.

    Rows with prior weights are not counted one by one, and other rules' weights are not FLOW's. From few rows, from
    rows without noise, and where directions have no row, nothing is told.
    """
    if not isinstance(m.rule, Flow) or not (m.sample_weight == 1).all():
        return None
    X, residual = m.rows.X, m.rows.residual
    temperature = None if at_the_median(m) else float(m.temperature)
    try:
        found = standard_errors(X, residual, np.zeros(X.shape[1]), temperature)
    except InvalidValueError:
        return None
    if abs(residual - X @ found.theta).max() <= NO_NOISE * abs(residual).max():
        return None
    error = found.standard_errors
    p = special.erfc(abs(found.theta) / error / math.sqrt(2))
    return Moved(found.theta, error, p, holm(p))
