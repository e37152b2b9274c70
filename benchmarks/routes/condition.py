"""κ of a second route that is itself in float64."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from linear_theory.testing.reference.population import mp
from linear_theory.testing.tolerances import measured_condition, norm_of

STEP = 2.0**-20


def a_millionth(value: float) -> float:
    """A float a millionth larger; zeros and infinities stay."""
    return value * (1 + STEP)


def by_differences(function: Callable[..., Any]) -> Callable[..., Any]:
    """κ of a route in float64: one unit in the last place would be lost in its own rounding, a millionth is not."""

    def measure(*inputs: Any, want: Any) -> Any:
        return norm_of(want), measured_condition(function, *inputs, want=want, move=a_millionth, unit=STEP)

    return measure


def exactly(array: Any) -> Any:
    """A float64 array as an exact matrix."""
    return mp.matrix(np.asarray(array, dtype=float).tolist())
