"""Columns that are not what they seem: weights among the features, means beside spreads, rounding for values."""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..arrays import Array
from .measured import Measured
from .prior import mean
from .report import number

__all__ = ["FAR_FROM_ZERO", "remarks", "rounding_columns", "warn_of_weights", "weight_like"]

FAR_FROM_ZERO, FAR_ERRORS = 0.5, 4.0
"""A mean this many standard deviations from 0 is far, if it is beyond so many standard errors."""

ROUNDING_RATIO = 1e-12
"""A column this small beside the largest may be what rounding left of it; honest units may be as small."""

CONSTANT_ULPS = 8
"""A spread of so many units in the last place is none."""

WEIGHT = re.compile(
    r"((sample|case|prior|row|obs(ervation)?|freq(uency)?|importance)[ _.-]?)?weights?", re.IGNORECASE
)


def weight_like(names: Sequence[Any]) -> list[str]:
    """Names under which people keep weights of rows: weight, weights, sample_weight, ..."""
    return [name for name in map(str, names) if WEIGHT.fullmatch(name.strip())]


def warn_of_weights(argument: str, given: Any) -> None:
    """Say that a named column of an array's is a feature, whatever its name."""
    names = getattr(given, "columns", None)
    for name in [] if names is None else weight_like(list(names)):
        advice = "is taken for a feature; if it is a weight of rows, drop it and pass it as sample_weight="
        warnings.warn(f"the column {name!r} of {argument} {advice}", stacklevel=4)


def remarks(m: Measured, labels: Sequence[str]) -> list[str]:
    """What to know of the columns before anything else is read."""
    v = m.sample_weight
    counted = v > 0
    X, residual = (rows if counted.all() else rows[counted] for rows in (m.rows.X, m.rows.residual))
    far = _far("row", X, residual, v[counted], [*labels, "the residual y − X·start"])
    old = m.pretrain_rows
    old = [] if old is None else _far("old row", old, None, np.ones(len(old)), labels)
    centring = [
        f"Far from centred: {columns}. The theory is of rows around 0, and here a mean counts as one more direction. "
        "Unless that is meant (an intercept), subtract their means from the columns of X, from y − X·start, and from "
        "the old rows theirs."
        for columns in [_join([*far, *old])]
        if columns
    ]
    return [*centring, *_rounding(X, labels)]


def _far(kind: str, X: Array, residual: Array | None, counts: Array, labels: Sequence[str]) -> list[str]:
    """The columns whose mean is far from 0, the furthest first; one row alone has a mean, but no spread."""
    if len(X) < 2:
        return []
    parts = [X] if residual is None else [X, residual[:, None]]  # one by one, without a copy of all rows
    of_each = lambda figure: np.concatenate([figure(part) for part in parts])
    n = float(counts.sum())
    means = of_each(lambda part: mean(counts, part))
    spread = of_each(lambda part: np.sqrt(mean(counts, (part - mean(counts, part)) ** 2)))
    constant = of_each(_constant)
    far = np.where(
        constant,
        means != 0,
        (abs(means) > FAR_FROM_ZERO * spread) & (abs(means) * n**0.5 > FAR_ERRORS * spread),
    )
    far[: X.shape[1]] &= ~rounding_columns(X)  # of these something else is said
    order: list[int] = np.flatnonzero(far).tolist()
    order.sort(key=lambda k: -np.inf if constant[k] else -abs(means[k]) / spread[k])

    def sentence(k: int) -> str:
        if constant[k]:
            return f"{labels[k]} is {number(float(means[k]))} in every {kind}"
        beside, where = number(float(abs(means[k]) / spread[k])), " in the old rows" * (kind == "old row")
        return f"{labels[k]} has mean {number(float(means[k]))}, {beside} of its standard deviations{where}"

    if len(order) <= 3:
        return list(map(sentence, order))
    return [*map(sentence, order[:2]), f"and so have {len(order) - 2} more columns"]


def _constant(columns: Array) -> Array:
    """Whether each column is one number, as far as rounding lets it."""
    size = abs(columns).max(axis=0)
    return np.ptp(columns, axis=0) <= CONSTANT_ULPS * np.finfo(float).eps * size


def rounding_columns(X: Array) -> Array:
    """Whether each column of X may be nothing but rounding: 0 < max ``|x|`` ≤ 1e-12 of the largest column's."""
    size = abs(X).max(axis=0)
    return (size > 0) & (size <= ROUNDING_RATIO * size.max())


def _rounding(X: Array, labels: Sequence[str]) -> list[str]:
    few = np.flatnonzero(rounding_columns(X)).tolist()
    if not few:
        return []
    named = _join([labels[k] for k in few[:3]]) + f" and {len(few) - 3} more" * (len(few) > 3)
    return [
        f"{named}: no entry is beyond {number(ROUNDING_RATIO)} of the largest of the other columns. If that is what "
        "centring left of a constant, drop it, or give column_scale, the magnitudes before centring. Left as it is it "
        "is fitted like any other, and its parameter is rounding over rounding."
    ]


def _join(parts: Sequence[str]) -> str:
    return ", ".join(parts)
