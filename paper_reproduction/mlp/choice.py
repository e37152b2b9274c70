"""At which learning rate a method is judged: the same for all, or its own best on the validation rows."""

from __future__ import annotations

import numpy as np
import xarray as xr

from paper_reproduction.mlp.comparison import EQUAL
from paper_reproduction.mlp.statistics import percent


def own_best(d: xr.Dataset) -> xr.DataArray:
    """For each run the place of the rate with the best mean accuracy on the *fine-tuning* validation rows.

    Those have the noise of the training labels and nothing of the old task, which is what one has in practice. A
    rate at which any seed diverged is not chosen.
    """
    seen = d.accuracy.sel(place="target validation").mean("seed", skipna=False)
    return seen.fillna(-1.0).argmax("rate")


def from_edge(d: xr.Dataset, best: xr.DataArray) -> int:
    """How many places the chosen rate nearest to an end of the grid is away from it: 0 is on the edge."""
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


def plain(before: xr.DataArray) -> tuple[str, ...]:
    """The same of the model before fine-tuning, (seed, place)."""
    old, new = before.sel(place="pretrain"), before.sel(place="target")
    return percent(old), percent(new), percent((old + new) / 2)
