"""What a figure of networks may work out for itself: means, standard errors, and what both tasks choose."""

from __future__ import annotations

from typing import Any

from linear_theory.significance import standard_error


def mean(values: Any) -> Any:
    """The mean over seeds; NaN if one of them diverged."""
    return values.mean("seed", skipna=False)


def error(values: Any) -> Any:
    """The standard error of :func:`mean`.

    Seeds that split one data set again share its rows: a dataset of such says by how much in its coordinate
    ``overlap``; without it seeds are independent.
    """
    overlap = float(values.coords["overlap"]) if "overlap" in values.coords else 0.0
    return values.reduce(standard_error, "seed", overlap=overlap)


def chosen(values: Any, along: str) -> Any:
    """The values at the place of ``along`` where the mean of both validation accuracies is best, seed by seed."""
    return values.isel({along: chosen_place(values, along)})


def chosen_place(values: Any, along: str) -> Any:
    """For each seed, the place that :func:`chosen` takes."""
    seen = values.sel(place=["pretrain validation", "target validation"]).mean("place", skipna=False)
    return seen.fillna(-1.0).argmax(along)
