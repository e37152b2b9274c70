"""What the tests of the claims beyond the paper do to them, weights that are not those of their rows, and ask."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import xarray as xr

import linear_theory as lt

WAYS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "shuffled": lambda weights: np.random.default_rng(0).permutation(weights),  # the same way each time
    "mean": lambda weights: np.full_like(weights, weights.mean()),
    "squared": lambda weights: weights**2,
    "square root": np.sqrt,
}


def failing(claim: ModuleType) -> Callable[[xr.Dataset], list[str]]:
    """Of a claim's dataset the names of the checks that do not hold."""
    return lambda dataset: [check.name for check in claim.verdict(dataset).checks if not check.holds]


def spoil_weights(monkeypatch: pytest.MonkeyPatch, way: str, where: Any = lt) -> None:
    """FLOW's weights in another order, replaced by their mean, or raised to a power, for all who take them there."""
    right = where.flow_weights
    monkeypatch.setattr(where, "flow_weights", lambda *args, **more: WAYS[way](right(*args, **more)))
