"""Deviations in standard errors."""

from __future__ import annotations

from typing import Any

import numpy as np


def in_standard_errors(value: Any, exact: Any, error: Any) -> np.ndarray:
    """|value − exact|/error elementwise; 0/0 is 0, anything else over 0 is infinite, NaN stays NaN."""
    distance = np.abs(np.asarray(value) - np.asarray(exact))
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(distance == 0, 0.0, distance / np.asarray(error))
