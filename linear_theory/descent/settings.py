"""What the solver objects' settings must be."""

from __future__ import annotations

import math
from typing import Any

from ..arrays import bounded, namespace


def check_settings(solver: Any) -> None:
    """``learning_rate`` > 0 or None, ``momentum`` in [0, 1) or None, ``tolerance`` ≥ 0; set as arrays."""
    rules = {
        "learning_rate": (
            lambda v: (v > 0) & (v < math.inf),
            "must be finite and > 0, or None for a safe one",
        ),
        "momentum": (lambda v: (v >= 0) & (v < 1), "must be in [0, 1), or None for the fastest"),
        "tolerance": (lambda v: (v >= 0) & (v < math.inf), "must be finite and ≥ 0 (0: take every step)"),
    }
    for name, (accept, remedy) in rules.items():
        value = getattr(solver, name, None)
        if value is not None or (name == "tolerance" and hasattr(solver, name)):
            checked = bounded(namespace(value), name, value, accept, remedy)
            object.__setattr__(solver, name, checked)
