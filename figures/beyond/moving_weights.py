"""Left: standard fine-tuning's path is a curve from the old model to the new optimum; points of the path with moving
weights lie on it, those of the path with static weights leave it towards the straight line between the two models.
Right: the distance that is left falls from 1 to 0 along three curves, at once for standard fine-tuning, later and then
as fast for moving weights, while with static weights most of it stays.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from figures.style import COLOURS, figure, label_line, styled, title

MOVING = COLOURS["early_stopping"]


@styled
def draw(dataset: Any) -> Figure:
    """Left: the plane. Right: the clocks."""
    fig, (plane, clocks) = figure(1, 2, width=12.6, height=5.2, width_ratios=(1.15, 1))
    _plane(plane, dataset)
    _clocks(clocks, dataset)
    title(fig, "Weights that move with the model change the clock, not the path")
    return fig


def _plane(ax: Axes, ds: Any) -> None:
    ax.plot([0, 1], [0, 0], color=COLOURS["averaging"], lw=1.4, ls="--")
    ax.plot(ds.curve[:, 0], ds.curve[:, 1], color=COLOURS["standard"], lw=2.4)
    ax.plot(ds.static_path[:, 0], ds.static_path[:, 1], color=COLOURS["flow"], lw=2.4)
    ax.plot(
        ds.static_path[::4, 0], ds.static_path[::4, 1], "o", color=COLOURS["flow"], ms=5, mec="white", mew=0.6
    )
    ax.plot(ds.solved[::2, 0], ds.solved[::2, 1], "o", color=MOVING, ms=7, mec="white", mew=0.8, zorder=4)
    for x, text, colour, dx in (
        (1, r"$\theta^\ast$", "pretrained", 8),
        (0, r"$\tilde\theta^\ast$", "target", -8),
    ):
        ax.plot(x, 0, "D", color=COLOURS[colour], ms=8, zorder=5, clip_on=False)
        label_line(ax, x, 0, text, COLOURS[colour], dx=dx, dy=14)
    label_line(ax, 0.5, 0, "model averages", COLOURS["averaging"], dx=0.1, dy=13)
    low = int(np.argmin(ds.curve[:, 1].values))
    label_line(
        ax,
        ds.curve[low, 0],
        ds.curve[low, 1],
        "standard fine-tuning,\nmoving weights on it",
        MOVING,
        dx=0.1,
        dy=-26,
        ha="center",
    )
    bend = ds.static_path.isel(time=-1)
    label_line(ax, bend[0], bend[1], "static weights", COLOURS["flow"], dx=-6, dy=2, ha="right")
    ax.set(
        xlim=(-0.1, 1.1), ylim=(-0.36, 0.07), xlabel=r"along the shift, in $\Vert e\Vert$", ylabel="across"
    )
    ax.set_title(r"one path", loc="left")


def _clocks(ax: Axes, ds: Any) -> None:
    ax.plot(ds.late, ds.standard_left, color=COLOURS["standard"], lw=2.4)
    ax.plot(ds.late, ds.static_left, color=COLOURS["flow"], lw=2.4)
    left = np.linalg.norm(ds.solved, axis=1)
    ax.plot(ds.clock[1:], left[1:], "o-", color=MOVING, lw=1.6, ms=5, mec="white", mew=0.6)
    place = lambda name, at: (ds.late[int(np.abs(ds[name].values - at).argmin())], at)
    label_line(ax, *place("standard_left", 0.6), "standard", COLOURS["standard"], dx=-14, dy=-4, ha="right")
    label_line(ax, *place("static_left", 0.6), "static weights", COLOURS["flow"], dx=8, dy=12)
    label_line(ax, ds.clock[6], left[6], "moving\nweights", MOVING, dx=-14, dy=-10, ha="right")
    ax.set(
        xscale="log",
        xlim=(0.01, 1e3),
        ylim=(0, 1.05),
        xlabel="time of gradient flow",
        ylabel=r"distance left, in $\Vert e\Vert$",
    )
    ax.set_title("two clocks, and a brake", loc="left")
