"""Left and middle: coverage of three intervals against the number of rows, as lines through points with error bars.
Along the shift the corrected one lies on the dashed line of 95 %, the usual one and the textbook's far below it;
across the shift corrected and usual lie on it together. Right: the usual interval's predicted coverage as a curve that
falls to 80 % and rises again as the noise grows beside the shift, with two points above it.
"""

from __future__ import annotations

from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from figures.style import COLOURS, figure, label_line, styled, title

LINES = {
    "corrected": ("flow", "corrected"),
    "usual": ("standard", "usual sandwich"),
    "textbook": ("uniform", "textbook"),
}


@styled
def draw(dataset: Any) -> Figure:
    """Coverage along and across the shift, and how bad it can become."""
    fig, axes = figure(1, 3, width=13.6, height=5.0, sharey=True, width_ratios=(1.1, 1, 1))
    for ax, direction in zip(axes[:2], ("along", "across"), strict=True):
        _coverage(ax, dataset, direction)
    _predicted(axes[2], dataset)
    axes[0].set(ylim=(0.74, 1.0), ylabel="coverage of 95 % intervals")
    title(
        fig,
        "Along the shift the usual standard errors of FLOW's minimiser are too short: they take τ for known",
    )
    return fig


def _coverage(ax: Axes, ds: Any, direction: str) -> None:
    ax.axhline(0.95, color=COLOURS["theory"], ls="--", lw=1.4)
    for shift, (interval, (method, name)) in zip((0.96, 1.0, 1.04), LINES.items(), strict=True):
        share, error = (
            one.sel(direction=direction, interval=interval) for one in (ds.coverage, ds.coverage_error)
        )
        ax.errorbar(ds.n * shift, share, 2 * error, fmt="o-", color=COLOURS[method], lw=1.8, ms=6)
        if direction == "along":
            at = share.isel(n=1)
            dy = {"corrected": 27, "usual": 28, "textbook": -34}[interval]
            label_line(ax, at.n * 1.3, at, name, COLOURS[method], dx=4, dy=dy)
    ax.set(xscale="log", xlabel="rows $n$", xlim=(80, 1.3 * float(ds.n[-1])))
    ax.set_title(
        f"{direction} the shift" + (" (bars: 2 s.e.)" if direction == "along" else ": nothing is lost")
    )


def _predicted(ax: Axes, ds: Any) -> None:
    ax.axhline(0.95, color=COLOURS["theory"], ls="--", lw=1.4)
    ax.plot(ds.share, ds.predicted, color=COLOURS["standard"], lw=2)
    ax.plot(ds.gaussian_share, ds.foretold, "o", color=COLOURS["standard"], ms=8, mec="white")
    for name, share, height in zip(ds.gaussian.values, ds.gaussian_share, ds.foretold, strict=True):
        label_line(ax, share, height, name, COLOURS["standard"], dx=-3, dy=14)
    ax.set(xscale="log", xlabel=r"noise beside the shift, $\sigma^2/v$", xlim=(1e-3, 1e2))
    ax.set_title("usual interval, predicted for $n\\to\\infty$")
