"""κ of a second route that is itself in float64."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import fields, is_dataclass, replace
from typing import Any

import numpy as np

from linear_theory.testing.reference.population import mp
from linear_theory.testing.tolerances import norm_of

STEP = 2.0**-20


def moved_by(item: Any) -> Iterator[Any]:
    """Everything that is the item with one float a millionth larger; matrices stay symmetric."""
    if isinstance(item, float) and item and math.isfinite(item):
        yield item * (1 + STEP)
    elif isinstance(item, tuple):
        matrix = bool(item) and isinstance(item[0], tuple)
        for i, entry in enumerate(item):
            for j, part in enumerate(entry[: i + 1]) if matrix else [(-1, entry)]:
                for value in moved_by(part):
                    rows = [list(row) for row in item] if matrix else list(item)
                    if matrix:
                        rows[i][j] = rows[j][i] = value
                    else:
                        rows[i] = value
                    yield tuple(map(tuple, rows)) if matrix else tuple(rows)
    elif is_dataclass(item):
        for field in fields(item):
            for value in moved_by(getattr(item, field.name)):
                yield replace(item, **{field.name: value})  # pyright: ignore[reportArgumentType]


def by_differences(function: Callable[..., Any]) -> Callable[..., Any]:
    """κ of a route in float64: one unit in the last place would be lost in its own rounding, a millionth is not."""

    def measure(*inputs: Any, want: Any) -> Any:
        size, total = norm_of(want), mp.mpf(0)
        for k, item in enumerate(inputs):
            for moved in moved_by(item):
                total += norm_of(function(*inputs[:k], moved, *inputs[k + 1 :]) - want)
        return size, total / (size * STEP) if size else mp.mpf(0)

    return measure


def exactly(array: Any) -> Any:
    """A float64 array as an exact matrix."""
    return mp.matrix(np.asarray(array, dtype=float).tolist())
