"""What is kept of the old task at the moment when as much has been learned of the new one.

A method that learns less forgets less, whatever it is. Two methods are therefore compared where both have the same
accuracy on the new task, on the way there: along training, or for WiSE-FT along the average from the start to the end.
Each stands at the learning rate that is best for it by this very measure, on the old task's validation rows.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xarray as xr

from paper_reproduction.claim import Table
from paper_reproduction.mlp.methods import AVERAGED, FLOW, label_of
from paper_reproduction.mlp.statistics import percent


def kept(old: xr.DataArray, new: xr.DataArray, level: float, along: str = "mark") -> xr.DataArray:
    """The old accuracy where the new one first reaches ``level`` along a dimension, by straight lines between points.

    Where it is reached is told by the mean of ``new`` over seeds, one place for all of them; what is kept there,
    by each seed. NaN where it is never reached, or where either was not a number before.
    """
    if "seed" in new.dims:
        new = new.mean("seed", skipna=False)
    return xr.apply_ufunc(
        _first_crossing, old, new, input_core_dims=[[along], [along]], kwargs={"level": level}, vectorize=True
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


def at_best_rate(curve: xr.DataArray, level: float, along: str = "mark") -> xr.DataArray:
    """(run, seed): what each run keeps at this level on test rows, at its own best rate on validation rows.

    ``curve`` is an accuracy (run, rate, seed, ``along``, place). Where the level is reached is told by the new task's
    test rows, as it is what makes runs comparable; which rate is best, by the old task's validation rows there. A rate
    at which the level is not reached is not a choice; NaN where no rate is left.
    """
    at_level = lambda place: kept(
        curve.sel(place=place, drop=True), curve.sel(place="target", drop=True), level, along
    ).transpose("run", "rate", "seed")
    test, validation = at_level("pretrain"), at_level("pretrain validation")
    mean = validation.mean("seed", skipna=False)
    best = mean.fillna(-np.inf).argmax("rate")
    return test.isel(rate=best).where(mean.notnull().any("rate")).drop_vars("rate", errors="ignore")


def at_level(cell: xr.Dataset, level: float) -> xr.DataArray:
    """(run, seed): what every run of a comparison keeps at this level: what is trained along training, WiSE along α."""
    found = [at_best_rate(cell.curve.rename(trained="run"), level)]
    if "wise_path" in cell:
        name = {source: run for run, (source, _) in AVERAGED.items()}
        path = cell.wise_path.isel(share=slice(None, None, -1))
        path = path.assign_coords(source=[name[source] for source in path.source.values])
        found.append(at_best_rate(path.rename(source="run"), level, "share"))
    return xr.concat(found, "run")


LEARNED = (0.5, 0.8, 0.9)
"""Of the way from before fine-tuning to what the weakest of the compared runs reaches: the levels compared at."""


def at_each_level(cell: xr.Dataset, runs: Sequence[str]) -> xr.Dataset:
    """``level`` (learned,) of the new task; what is kept of the old one there, ``kept`` (learned, keeper, seed)."""
    levels = [reached(cell, runs, share) for share in LEARNED]
    found = xr.concat([at_level(cell, level) for level in levels], "learned").rename(run="keeper")
    return xr.Dataset({"kept": found.drop_vars(["place", "label"], errors="ignore"), "level": ("learned", levels)},
                      {"learned": list(LEARNED)})  # fmt: skip


def most(kept_there: xr.DataArray) -> str:
    """The run that keeps the most on average."""
    mean = kept_there.mean("seed", skipna=False).fillna(-1.0)
    return str(mean.keeper.values[int(np.argmax(mean.values))])


def reached(cell: xr.Dataset, runs: Sequence[str], share: float) -> float:
    """A level of the new task: ``share`` of the way from before fine-tuning to what the weakest of these runs reaches.

    A run reaches the highest mean over seeds of its curves, over rates and time.
    """
    start = float(cell.before.sel(place="target").mean("seed"))
    new = cell.curve.sel(trained=list(runs), place="target").mean("seed", skipna=False)
    top = float(new.max(["rate", "mark"]).min())
    return start + share * (top - start)


def kept_table(cells: dict[str, xr.Dataset], levels: Sequence[float]) -> Table:
    """What every run keeps at these shares of what can be learned, a column a level of each cell."""
    columns = [
        (f"{name}old at {100 * float(cell.level.sel(learned=one)):.0f} % new", cell.kept.sel(learned=one))
        for name, cell in cells.items()
        for one in levels
    ]
    runs = next(iter(cells.values())).keeper.values
    told = lambda there: percent(there) if bool(there.notnull().all()) else "not reached"
    rows = [
        (
            ("*" if run == FLOW else "") + label_of(str(run)),
            *(told(there.sel(keeper=run)) for _, there in columns),
        )
        for run in runs
    ]
    caption = (
        "Old task in % where the new one is learned as well, each method at the rate that then keeps the most"
    )
    return Table(caption, ("method", *(name for name, _ in columns)), tuple(rows))
