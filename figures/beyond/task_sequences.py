"""Above, left: over eight tasks the mean squared distance to all optima so far jumps highest for standard training; a
ridge and FLOW at one temperature stay below, FLOW at harmonic temperatures lowest, with points of sampled rows on every
line. Above, right: the same with two rows for each dimension, on a logarithmic scale, where the ridge is lowest,
standard training and FLOW at one temperature lie close together, and FLOW at harmonic temperatures climbs far above
all, while in the population, dashed, it would be lowest. Below, left: on few rows the distance to the second optimum
drops at that task and then rises, points of sampled tasks on both lines. Below, right, on a logarithmic scale: two
tasks in turn forget along a straight falling line where both rows have norm 1, and along a zigzag above it where one
has norm 2.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from figures.style import COLOURS, figure, label_line, spread_apart, styled, title

LINES = {"standard": "standard", "ridge": "penalty", "FLOW": "flow", "FLOW, harmonic": "averaging"}
NAMES = {"FLOW": r"FLOW, one $\tau$"}


@styled
def draw(dataset: Any) -> Figure:
    """Many noisy tasks, the same with two rows a dimension, tasks of fewer rows, and two tasks in turn."""
    fig, axes = figure(2, 2, width=13.0, height=7.0)
    for panel, ax in zip((_many, _two_rows, _few, _cycle), axes.flat, strict=True):
        panel(ax, dataset)
    title(fig, "Over many tasks FLOW is a moving average of their optima, and can be their mean")
    return fig


def _many(ax: Axes, ds: Any) -> None:
    for name, colour in LINES.items():
        here = ds.sel(training=name)
        ax.plot(ds.task, here.distance, color=COLOURS[colour])
        ax.errorbar(ds.task, here.sampled_distance, 4 * here.sampled_distance_error, fmt="o", color=COLOURS[colour],
                    ms=5, mec="white", mew=0.6)  # fmt: skip
        text = "FLOW, harmonic: the mean" if name == "FLOW, harmonic" else NAMES.get(name, name)
        label_line(ax, ds.task[-1], here.distance[-1], text, COLOURS[colour], dx=8)
    ax.set(xlabel="tasks so far", xlim=(0.7, 12.8), ylim=(-0.3, None))
    ax.set_xticks([2, 4, 6, 8])
    ax.set_title("mean squared distance to their optima")


def _two_rows(ax: Axes, ds: Any) -> None:
    so_far = lambda square: square.where(ds.on <= ds.wide_task).mean("on")
    here = ds.sel(ratio=0.5)
    ends = {}
    for name, colour in LINES.items():
        line = so_far(here.wide.sel(training=name))
        ax.plot(ds.wide_task, line, color=COLOURS[colour])
        points, error = (
            so_far(here.wide_sampled.sel(training=name)),
            here.wide_so_far_error.sel(training=name),
        )
        ax.errorbar(
            ds.wide_task, points, 4 * error, fmt="o", color=COLOURS[colour], ms=5, mec="white", mew=0.6
        )
        ends[NAMES.get(name, name)] = float(line[-1]), COLOURS[colour]
    harmonic = "FLOW, harmonic"
    population = so_far(ds.wide_population.sel(training=harmonic))
    ax.plot(ds.wide_task, population.where(population > 0), "--", color=COLOURS[LINES[harmonic]])
    ends["harmonic, n → ∞"] = float(population[-1]), COLOURS[LINES[harmonic]]
    low, high = 0.25, 2.5 * max(float(so_far(values).max()) for values in (here.wide, here.wide_sampled))
    upwards = sorted(ends.items(), key=lambda each: each[1][0])
    heights = spread_apart(np.log([end for _, (end, _) in upwards]), 0.09 * np.log(high / low))
    for (text, (_, colour)), height in zip(upwards, np.exp(heights), strict=True):
        label_line(ax, 5, height, text, colour, dx=8)
    ax.set(xlabel="tasks so far", xlim=(0.7, 6.6), yscale="log", ylim=(low, high))
    ax.minorticks_off()
    ax.set_xticks([1, 2, 3, 4, 5])
    ax.set_yticks([0.5, 1, 2, 5, 10], ["0.5", "1", "2", "5", "10"])
    ax.set_title("the same, two rows for each dimension")


def _few(ax: Axes, ds: Any) -> None:
    for k, text in enumerate(("30 rows,\nd = 60", "40 rows,\nd = 200")):
        here = ds.isel(few=k)
        ax.plot(ds.few_task, here.few_exact, color=COLOURS["standard"])
        ax.errorbar(ds.few_task, here.few_sampled, 4 * here.few_error, fmt="o", color=COLOURS["standard"], ms=5,
                    mec="white", mew=0.6)  # fmt: skip
        label_line(ax, 5, here.few_exact[-1], text, COLOURS["standard"], dx=8)
    ax.set(xlabel="tasks so far", xlim=(0.7, 6.4))
    ax.set_xticks([1, 2, 3, 4, 5])
    ax.set_title("few rows: distance to the 2nd optimum")


def _cycle(ax: Axes, ds: Any) -> None:
    ax.plot(ds.visit, ds.cycle_law, color=COLOURS["theory"])
    for norm, marker, colour in ((2.0, "s", "simulation"), (1.0, "o", "theory")):
        ax.plot(ds.visit, ds.cycle.sel(norm=norm), f"{marker}:", color=COLOURS[colour], ms=5, lw=1.2)
    label_line(ax, 4, ds.cycle.sel(norm=2.0, visit=4), "norms 2 and 1", COLOURS["simulation"], dx=6, dy=10)
    at = ds.cycle_law.sel(visit=8)
    label_line(ax, 8, at, "norms 1 and 1", COLOURS["theory"], dx=-12, dy=-18, ha="right")
    ax.minorticks_off()
    ax.set(yscale="log", xlabel="visits $k$ of the two tasks in turn")
    ax.set_xticks([2, 4, 6, 8, 10, 12])
    ax.set_title("two tasks of one row: $F_k$")
