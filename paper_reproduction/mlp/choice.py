"""At which learning rate a method is judged: the same for all, or its own best on the validation rows."""

from __future__ import annotations

import numpy as np
import xarray as xr

from paper_reproduction.mlp.comparison import EQUAL
from paper_reproduction.mlp.statistics import error, percent


def own_best(d: xr.Dataset) -> xr.DataArray:
    """For each run the place of its own best rate: the smallest within one standard error of the best of all.

    Best is by mean accuracy on the *fine-tuning* validation rows. Those have the noise of the training labels and
    nothing of the old task, which is what one has in practice. Several rates learn the new task equally well as far
    as so few rows can tell, and forget very differently; among them the smallest is taken (the one-standard-error
    rule), the error being that of the difference paired by seed. A rate at which any seed diverged is never chosen.
    """
    return tied(d).argmax("rate")


def tied(d: xr.Dataset) -> xr.DataArray:
    """(run, rate): whether a rate is within one standard error of the best."""
    seen = d.accuracy.sel(place="target validation")
    mean = seen.mean("seed", skipna=False).fillna(-1.0)
    best = seen.isel(rate=mean.argmax("rate")).drop_vars("rate")
    short = best - seen
    return (short.mean("seed", skipna=False) <= error(short)) | (mean == mean.max("rate"))


def from_edge(d: xr.Dataset) -> int:
    """How many places the own best rate nearest to an end of the grid is away from it: 0 is on the edge.

    Without the probe: fine-tuning begins from it, so that no step at all is as good a choice as any.
    """
    best = own_best(d)
    best = best.sel(run=[run for run in d.run.values if run != "probe"])
    return int(np.minimum(best, d.sizes["rate"] - 1 - best).min())


def at(values: xr.DataArray, run: str, best: xr.DataArray | None = None) -> xr.DataArray:
    """One run at its ``best`` rate, or at the rate that all are compared at."""
    one = values.sel(run=run)
    return one.sel(rate=EQUAL, method="nearest") if best is None else one.isel(rate=int(best.sel(run=run)))


def both(cell: xr.Dataset, run: str, best: xr.DataArray | None = None) -> xr.DataArray:
    """The mean of the accuracies on the old and on the new task, (seed,)."""
    return at(cell.accuracy, run, best).sel(place=["pretrain", "target"]).mean("place", skipna=False)


def row(d: xr.Dataset, run: str, best: xr.DataArray | None = None) -> tuple[str, ...]:
    """Old task, new task and their mean, in per cent, for one run."""
    one = at(d.accuracy, run, best)
    old, new = one.sel(place="pretrain"), one.sel(place="target")
    return percent(old), percent(new), percent((old + new) / 2)


def row_before(before: xr.DataArray) -> tuple[str, ...]:
    """The same of the model before fine-tuning, (seed, place)."""
    old, new = before.sel(place="pretrain"), before.sel(place="target")
    return percent(old), percent(new), percent((old + new) / 2)
