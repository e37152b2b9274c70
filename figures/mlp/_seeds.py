"""What a figure of networks may work out for itself: means, standard errors, and what both tasks choose."""

from __future__ import annotations

from typing import Any

import numpy as np


def mean(values: Any) -> Any:
    """The mean over seeds; NaN if one of them diverged."""
    return values.mean("seed", skipna=False)


def error(values: Any) -> Any:
    """The standard error of :func:`mean`."""
    return values.std("seed", ddof=1, skipna=False) / np.sqrt(values.sizes["seed"])


def chosen(values: Any, along: str) -> Any:
    """The values at the place of ``along`` where the mean of both validation accuracies is best, seed by seed."""
    return values.isel({along: chosen_place(values, along)})


def chosen_place(values: Any, along: str) -> Any:
    """For each seed, the place that :func:`chosen` takes."""
    seen = values.sel(place=["pretrain validation", "target validation"]).mean("place", skipna=False)
    return seen.fillna(-1.0).argmax(along)
