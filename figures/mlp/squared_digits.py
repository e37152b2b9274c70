"""Three panels, digits rotated by 10, 30 and 60 degrees: progress along the shift rises with the step,
highest for standard fine-tuning, lowest for FLOW, from below 0.25 at the first step to between 0.55 and 1.1
at the last. The marks of the network lie on or near the lines of its closed form; standard fine-tuning's rise
above them at 30 and 60 degrees.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from figures.mlp.seeds import error, mean
from figures.style import COLOURS, figure, label_line, spread_apart, styled, title

# Colour, face of the mark (open: at the other's mean step) and label of each run.
LOOK = {
    "standard": (COLOURS["standard"], COLOURS["standard"], "standard"),
    "standard-same-mean-step": (COLOURS["standard"], "white", "standard,\nsame mean step"),
    "flow-same-mean-step": (COLOURS["flow"], "white", "FLOW,\nsame mean step"),
    "flow": (COLOURS["flow"], COLOURS["flow"], "FLOW"),
}
TOLD = 30.0  # degrees: where the wrong prediction is pointed at
MARKED = 22  # the step where it is
TOP = 1.15


@styled
def draw(dataset: Any) -> Figure:
    """One panel an angle, same axes; names at the end of the last."""
    angles = dataset.angle.values
    fig, axes = figure(
        1, len(angles), width=12.5 if len(angles) > 1 else 9.5, height=5.6, sharey=True, squeeze=False
    )
    told = int(np.argmin(abs(angles - TOLD)))
    for k, ax in enumerate(axes[0]):
        _panel(ax, dataset.isel(angle=k, step=slice(1, None)))  # step 0 is 0 for all, and has no place
    axes[0, 0].set_ylabel("progress along the shift")
    _key(axes[0, 0])
    _wrong(axes[0, told], dataset.isel(angle=told))
    _names(axes[0, -1], dataset.isel(angle=-1, step=-1))
    title(
        fig,
        "On digits with squared loss the linearization predicts progress along the shift, "
        "for\N{NO-BREAK SPACE}standard and FLOW",
    )
    return fig


def _panel(ax: Axes, d: Any) -> None:
    for name, (colour, face, _) in LOOK.items():
        one = d.sel(run=name)
        ax.plot(d.step, mean(one.linear), color=colour, lw=1.9, zorder=3)
        ax.errorbar(d.step, mean(one.network), error(one.network), color=colour, fmt="o", ms=6, mfc=face,
                    mew=1.4, lw=1.2, capsize=2, zorder=4)  # fmt: skip
    ax.axhline(1, color=COLOURS["uniform"], lw=1.2, ls=(0, (2, 2)), zorder=1)
    ax.set(xscale="log", xlim=(0.85, 1.25 * float(d.step[-1])), ylim=(0, TOP), xlabel="step $K$")
    ax.set_title(f"digits rotated by {float(d.angle):g}°")


def _key(ax: Axes) -> None:
    """What marks and lines are, where rising curves leave room."""
    ink, grey = COLOURS["theory"], COLOURS["uniform"]
    label_line(ax, 0.9, 1, "the linearized minimiser", grey, dx=0.1, dy=9, fontsize=11.5, zorder=2)
    for y, text, how in (
        (0.12, "network, ± s.e.", {"marker": "o", "ls": "", "ms": 6}),
        (0.06, "closed form", {"ls": "-", "lw": 1.9}),
    ):
        x = [0.545] if "marker" in how else [0.51, 0.58]
        ax.plot(x, [y] * len(x), color=ink, transform=ax.transAxes, **how)
        ax.text(0.61, y, text, transform=ax.transAxes, va="center", color=ink, fontsize=11.5)


def _wrong(ax: Axes, d: Any) -> None:
    """A closed form that did not know the weights has the open blue marks on standard's line."""
    d = d.isel(step=int(np.argmin(abs(d.step.values - MARKED))))
    low, high = (float(mean(d.linear.sel(run=run))) for run in ("flow-same-mean-step", "standard"))
    ink = COLOURS["theory"]
    arrow = {"arrowstyle": "->", "color": ink, "lw": 1.5, "shrinkA": 4, "shrinkB": 1}
    ax.annotate("", (float(d.step), high), (float(d.step), low), arrowprops=arrow, zorder=6)
    note = "without its weights\nthe closed form\nwould have FLOW's\nopen marks on\nstandard's line"
    label_line(ax, 0.9, 0.83, note, ink, dx=0.1, fontsize=11.5, linespacing=1.25)


def _names(ax: Axes, d: Any) -> None:
    """The runs, beside the ends of their lines."""
    runs = sorted(LOOK, key=lambda run: float(mean(d.network.sel(run=run))))
    ends = np.array([float(mean(d.network.sel(run=run))) for run in runs])
    for run, height in zip(runs, spread_apart(ends, 0.125), strict=True):
        colour, _, text = LOOK[run]
        label_line(ax, float(d.step), height, text, colour, dx=13, fontsize=12)
