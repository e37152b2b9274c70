"""One look and one name for each run that is compared; lines of the image experiments, labelled at the right end."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import NullLocator

from figures.mlp.seeds import error, mean
from figures.style import COLOURS, label_line, spread_apart

# Colour, mark, face of the mark and dashes. Open marks and dashes: both controls.
LOOK = {
    "standard": (COLOURS["standard"], "o", COLOURS["standard"], "-"),
    "standard-same-mean-step": (COLOURS["standard"], "D", "white", (0, (4, 2))),
    "flow": (COLOURS["flow"], "o", COLOURS["flow"], "-"),
    "permuted": (COLOURS["flow"], "^", "white", (0, (4, 2))),
}
NAMES = {
    "standard": "standard",
    "standard-same-mean-step": "same mean step",
    "flow": "FLOW",
    "permuted": "weights shuffled",
}


def line(ax: Axes, x: Any, values: Any, run: str) -> tuple[float, float, str]:
    """Values (x, seed) as a line with a band of ± one standard error; its right end, for :func:`label_ends`."""
    colour, mark, face, dashes = LOOK[run]
    height, spread = np.asarray(mean(values)), np.asarray(error(values))
    x = np.asarray(x)
    ax.fill_between(x, height - spread, height + spread, color=colour, alpha=0.15, lw=0, zorder=2)
    ax.plot(x, height, color=colour, ls=dashes, lw=2, marker=mark, mfc=face, ms=6, mew=1.4, zorder=4)
    last = np.flatnonzero(np.isfinite(height))
    return (
        (float(x[last[-1]]), float(height[last[-1]]), run) if last.size else (float("nan"), float("nan"), run)
    )


def label_ends(ax: Axes, ends: list[tuple[float, float, str]], least: float) -> None:
    """The name of each run beside the right end of its line, ``least`` apart in the units of the axis."""
    drawn = sorted((end for end in ends if np.isfinite(end[1])), key=lambda end: end[1])
    right = max(x for x, _, _ in drawn)
    heights = spread_apart(np.array([height for _, height, _ in drawn]), least)
    for height, (_, _, run) in zip(heights, drawn, strict=True):
        label_line(ax, right, height, NAMES[run], LOOK[run][0], dx=10)


def rate_axis(ax: Axes, rates: np.ndarray, room: float) -> None:
    """A logarithmic axis of these learning rates, with ``room`` for labels to their right, as a factor."""
    ax.set(xscale="log", xlabel="learning rate", xlim=(rates[0] / 1.3, rates[-1] * room))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.set_xticks(rates, [f"{rate:g}" for rate in rates])
