"""Left, on logarithmic scales: the distance of a network from the linear closed form falls with its width,
along the guide of slope −1, for standard fine-tuning and for FLOW at the same mean step. Right: it rises with
the distance of the target, along slope 1. Crosses far above, FLOW beside a closed form that forgot its
weights, neither fall nor rise.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from figures.mlp.seeds import error, mean
from figures.style import COLOURS, figure, label_line, styled, title

# Colour, face of the mark and label of each run.
LOOK = {
    "standard": (COLOURS["standard"], COLOURS["standard"], "standard"),
    "flow-same-mean-step": (COLOURS["flow"], "white", "FLOW, same\nmean step"),
}
GREY = COLOURS["uniform"]
DOTS = (0, (2, 2))


@styled
def draw(dataset: Any) -> Figure:
    """Left: against the width. Right: against the distance of the target. Equal decades everywhere."""
    fig, (left, right) = figure(1, 2, width=10.5, height=6.9, sharey=True)
    wide, far = _ladder(dataset, "width", "distance"), _ladder(dataset, "distance", "width")
    lowest = np.log10(0.7 * min(float(mean(one.worst).min()) for one in (wide, far)))
    limits = (10 ** (np.floor(2 * lowest) / 2), 1.0)
    left.set(ylim=limits)
    _points(left, wide, "width", ((-1, "slope −1", "-"), (-0.5, "slope −1/2", DOTS)))
    _points(right, far, "distance", ((1, "slope 1", "-"),))
    left.set(xlabel="width $m$", title=rf"Target at $\delta={float(wide.distance[0]):g}$")
    right.set(xlabel=r"distance of the target $\delta$", title=f"Width $m={int(far.width[0])}$")
    left.set_ylabel("largest distance from the closed form\nover the residual at the start")
    title(
        fig, r"The distance to the linear closed form falls like $1/m$ in the width and grows like $\delta$"
    )
    return fig


def _usual(values: np.ndarray) -> Any:
    """The value that most cells have."""
    found, often = np.unique(values, return_counts=True)
    return found[np.argmax(often)]


def _ladder(d: Any, along: str, fixed: str) -> Any:
    """The cells that differ in ``along`` alone, in its order, with the largest distance over the steps."""
    rows = np.broadcast_to(d.rows.values, d.sizes["cell"])
    same = (d[fixed].values == _usual(d[fixed].values)) & (rows == _usual(rows))
    d = d.isel(cell=np.flatnonzero(same), seed=slice(0, d.attrs["seeds"]))
    d = d.isel(cell=np.unique(d[along].values, return_index=True)[1]).swap_dims(cell=along)
    return d.assign(worst=d.gap.max("step"), without=d.wrong.max("step"))


def _points(ax: Axes, d: Any, along: str, guides: tuple[tuple[float, str, Any], ...]) -> None:
    """Both runs, what a closed form without the weights would give, and lines of the slopes in question."""
    x = d[along].values
    for run, (colour, face, text) in LOOK.items():
        one = d.worst.sel(run=run)
        ax.errorbar(
            x, mean(one), error(one), color=colour, fmt="o", mfc=face, mew=1.6, ms=7.5, lw=1.6, zorder=4
        )
        label_line(ax, x[-1], mean(one)[-1], text, colour, dx=11)
    blue = COLOURS["flow"]
    ax.errorbar(x, mean(d.without), error(d.without), color=blue, fmt="X", mfc="white", ms=9, lw=1.4)
    label_line(ax, x[-1], mean(d.without)[-1], "FLOW, if the closed\nform forgot its\nweights", blue, dx=11)
    start = 3 * float(mean(d.worst).isel({along: 0}).max("run"))
    for slope, text, dashes in guides:
        y = start * (x / x[0]) ** slope
        ax.plot(x, y, color=GREY, lw=1.6, ls=dashes, zorder=1)
        label_line(ax, x[-1], y[-1], text, GREY, dx=7)
    ax.set(xscale="log", yscale="log", xlim=(x[0] / 1.45, x[-1] * 1.45))
    shown = x if len(x) < 5 else x[::2]
    ax.set_xticks(shown, [f"{value:g}" for value in shown])
    ax.minorticks_off()
    ax.set_aspect("equal")  # a decade is a decade: slope 1 is 45 degrees
