"""At which learning rate a method is judged: the same for all, or its own best on validation rows; and when.

Three choices of the rate are told side by side, as each favours another method. Fixed is what a recipe copied from
elsewhere does. Chosen on the new task alone is what one has in practice; it sits one step before the collapse of the
old task. Chosen on both tasks needs rows of the old one.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xarray as xr

from paper_reproduction.mlp.statistics import error, percent

NEW = ("target validation",)
BOTH = ("pretrain validation", "target validation")
"""The validation rows that a choice sees."""

TESTED = ("pretrain", "target")


def own_best(d: xr.Dataset, on: Sequence[str] = NEW) -> xr.DataArray:
    """For each run the place of its own best rate: the smallest within one standard error of the best of all.

    Best is by the mean accuracy on the validation rows ``on``. Those of the new task have the noise of the training
    labels. Several rates learn the new task equally well as far as so few rows can tell, and forget very differently;
    among them the smallest is taken (the one-standard-error rule), the error being that of the difference paired by
    seed. A rate at which any seed diverged is never chosen.
    """
    return tied(d, on).argmax("rate")


def tied(d: xr.Dataset, on: Sequence[str] = NEW) -> xr.DataArray:
    """(run, rate): whether a rate is within one standard error of the best."""
    seen = d.accuracy.sel(place=list(on)).mean("place", skipna=False)
    mean = seen.mean("seed", skipna=False).fillna(-1.0)
    best = seen.isel(rate=mean.argmax("rate")).drop_vars("rate")
    short = best - seen
    return (short.mean("seed", skipna=False) <= error(short)) | (mean == mean.max("rate"))


def from_edge(d: xr.Dataset, on: Sequence[str] = NEW) -> int:
    """How many places the own best rate nearest to an end of the grid is away from it: 0 is on the edge.

    Without the probe: fine-tuning begins from it, so that no step at all is as good a choice as any.
    """
    best = own_best(d, on)
    best = best.sel(run=[run for run in best.run.values if run != "probe"])
    return int(np.minimum(best, d.sizes["rate"] - 1 - best).min())


def at(values: xr.DataArray, run: str, best: xr.DataArray | None = None) -> xr.DataArray:
    """One run at its ``best`` rate, or at the rate that all are compared at."""
    one = values.sel({"run" if "run" in values.dims else "trained": run})
    if best is None:
        return one.sel(rate=float(values.equal_rate), method="nearest")
    return one.isel(rate=int(best.sel(run=run)))


def both(cell: xr.Dataset, run: str, best: xr.DataArray | None = None) -> xr.DataArray:
    """The mean of the accuracies on the old and on the new task, (seed,)."""
    return mean_of_both(at(cell.accuracy, run, best))


def mean_of_both(accuracy: xr.DataArray) -> xr.DataArray:
    """The mean over both tasks' test rows."""
    return accuracy.sel(place=list(TESTED)).mean("place", skipna=False)


def peak(curve: xr.DataArray, along: Sequence[str], on: Sequence[str] = BOTH) -> xr.DataArray:
    """(seed, place): where the mean over seeds of the validation rows ``on`` is highest along these dimensions.

    The end of training alone flatters a method that has not yet had the time to get worse.
    """
    flat = curve.stack(chosen=list(along), create_index=False)
    seen = flat.sel(place=list(on)).mean("place", skipna=False).mean("seed", skipna=False)
    return flat.isel(chosen=int(np.argmax(seen.fillna(-1.0).values)))


def outcomes(cell: xr.Dataset, run: str) -> dict[str, xr.DataArray]:
    """Each way to choose rate and time for one trained run: the accuracies there, (seed, place)."""
    curve = cell.curve.sel(trained=run)
    found = {
        "equal rate": at(cell.accuracy, run),
        "rate by the new task": at(cell.accuracy, run, own_best(cell.sel(run=[run]))),
        "rate by both": at(cell.accuracy, run, own_best(cell.sel(run=[run]), BOTH)),
        "equal rate, best time": peak(at(cell.curve, run), ["mark"]),
        "best rate and time": peak(curve, ["rate", "mark"]),
    }
    if "wise_path" in cell and run in cell.source.values:
        path = cell.wise_path.sel(source=run)
        equal = path.sel(rate=float(cell.equal_rate), method="nearest")
        found["equal rate, best share"] = peak(equal, ["share"])
        found["best rate and share"] = peak(path, ["rate", "share"])
    return {name: one.sel(place=list(TESTED)) for name, one in found.items()}


PLATEAU = 0.02
_FINE = 50  # points between two rates of the grid


def plateau(accuracy: xr.DataArray, short: float = PLATEAU) -> xr.DataArray:
    """(seed,): log₁₀ of the factor of rates over which the mean of both tasks stays within ``short`` of its best.

    The stretch around the best rate, between the rates of the grid by straight lines in the logarithm. A method that
    only takes shorter steps has another best rate and the same width: this tells robustness from a moved axis.
    """
    values = mean_of_both(accuracy).transpose("seed", "rate")
    logs = np.log10(values.rate.values)
    fine = np.linspace(logs[0], logs[-1], _FINE * (len(logs) - 1) + 1)
    widths = [
        _stretch(fine, np.interp(fine, logs, np.nan_to_num(one, nan=0.0)), short) for one in values.values
    ]
    return xr.DataArray(widths, dims="seed").assign_coords(
        {name: values.coords[name] for name in ("overlap",) if name in values.coords}
    )


def _stretch(x: np.ndarray, y: np.ndarray, short: float) -> float:
    """The length of the interval around the maximum of y on which y is not more than ``short`` below it."""
    top = int(np.argmax(y))
    low = np.flatnonzero(y < y[top] - short)
    left, right = low[low < top], low[low > top]
    begin = x[left[-1] + 1] if left.size else x[0]
    end = x[right[0] - 1] if right.size else x[-1]
    return float(end - begin)


def row(d: xr.Dataset, run: str, best: xr.DataArray | None = None) -> tuple[str, ...]:
    """Old task, new task and their mean, in per cent, for one run."""
    return row_before(at(d.accuracy, run, best))


def row_before(before: xr.DataArray) -> tuple[str, ...]:
    """The same of accuracies (seed, place)."""
    old, new = before.sel(place="pretrain"), before.sel(place="target")
    return percent(old), percent(new), percent((old + new) / 2)
