"""Left: over eight tasks the mean squared distance to all optima so far jumps highest for standard training; a ridge
and FLOW at one temperature stay below, FLOW at harmonic temperatures lowest, with points of sampled rows on every line.
Middle: on few rows the distance to the second optimum drops at that task and then rises, points of sampled tasks on
both lines. Right, on a logarithmic scale: two tasks in turn forget along a straight falling line where both rows have
norm 1, and along a zigzag above it where one has norm 2.
"""

from __future__ import annotations

from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from figures.style import COLOURS, figure, label_line, styled, title

LINES = {"standard": "standard", "ridge": "penalty", "FLOW": "flow", "FLOW, harmonic": "averaging"}


@styled
def draw(dataset: Any) -> Figure:
    """Many noisy tasks, tasks of few rows, and two tasks in turn."""
    fig, (left, middle, right) = figure(1, 3, width=13.6, height=5.2, width_ratios=(1.2, 1, 1))
    _many(left, dataset)
    _few(middle, dataset)
    _cycle(right, dataset)
    title(fig, "Over many tasks FLOW is a moving average of their optima, and can be their mean")
    return fig


def _many(ax: Axes, ds: Any) -> None:
    for name, colour in LINES.items():
        here = ds.sel(training=name)
        ax.plot(ds.task, here.distance, color=COLOURS[colour])
        ax.errorbar(ds.task, here.sampled_distance, 4 * here.sampled_distance_error, fmt="o", color=COLOURS[colour],
                    ms=5, mec="white", mew=0.6)  # fmt: skip
        text = {"FLOW": r"FLOW, one $\tau$", "FLOW, harmonic": "FLOW, harmonic:\nthe mean"}.get(name, name)
        label_line(ax, ds.task[-1], here.distance[-1], text, COLOURS[colour], dx=8)
    ax.set(xlabel="tasks so far", xlim=(0.7, 12.2), ylim=(-0.3, None))
    ax.set_xticks([2, 4, 6, 8])
    ax.set_title("mean squared distance to their optima")


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
