"""What is kept of the old task at the moment when as much has been learned of the new one.

A method that learns less forgets less, whatever it is. Two methods are therefore compared where both have the same
accuracy on the new task, on the way there; each at the learning rate that is best for it by this very measure, on
validation rows.
"""

from __future__ import annotations

import numpy as np
import xarray as xr


def kept(old: xr.DataArray, new: xr.DataArray, level: float) -> xr.DataArray:
    """The old accuracy where the new one first reaches ``level`` along ``epoch``, between epochs by a straight line.

    NaN where it is never reached, or where either was not a number before.
    """
    return xr.apply_ufunc(
        _first_crossing, old, new, input_core_dims=[["epoch"], ["epoch"]], kwargs={"level": level}, vectorize=True
    )


def _first_crossing(old: np.ndarray, new: np.ndarray, level: float) -> float:
    reached = np.flatnonzero(new >= level)
    if not reached.size:
        return np.nan
    place = int(reached[0])
    if not (np.isfinite(old[: place + 1]).all() and np.isfinite(new[: place + 1]).all()):
        return np.nan
    if place == 0:
        return float(old[0])
    before, after = new[place - 1], new[place]
    share = (level - before) / (after - before)
    return float(old[place - 1] + share * (old[place] - old[place - 1]))


def at_best_rate(curve: xr.DataArray, level: float) -> xr.DataArray:
    """(run, seed): what each run keeps at this level on test rows, at its own best rate on validation rows.

    ``curve`` is an accuracy (run, rate, seed, epoch, place). A rate at which any seed does not reach the level, on test
    or on validation rows, is not a choice; NaN where no rate is left.
    """
    of = lambda which: kept(
        curve.sel(place=f"pretrain{which}"), curve.sel(place=f"target{which}"), level
    ).transpose("run", "rate", "seed")
    test, validation = of(""), of(" validation")
    mean = validation.mean("seed", skipna=False).where(test.notnull().all("seed"))
    best = mean.fillna(-np.inf).argmax("rate")
    return test.isel(rate=best).where(mean.notnull().any("rate")).drop_vars("rate", errors="ignore")
