"""Four panels. Top left, over d/n: errors on the new task rise towards a peak at d = n for the converged fit and stay
low for a ridge and for early stopping, with points of sampled rows on every line. Top right: the share of the way rises
with d/n from the population's towards 1, the lower the temperature the lower. Bottom left: along training FLOW falls
below standard fine-tuning with ten rows a dimension and stays above it with two. Bottom right: the converged fit leaves
the floor behind, a ridge stays near it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from figures.style import COLOURS, figure, label_line, styled, title

LOOK = {"converged": ("flow", "o"), "ridge": ("penalty", "s"), "flow 2": ("early_stopping", "^")}


@styled
def draw(dataset: Any) -> Figure:
    """Errors, the share of the way, the flip and the floor."""
    fig, axes = figure(2, 2, width=13.0, height=7.0)
    _errors(axes[0, 0], dataset)
    _share(axes[0, 1], dataset)
    _flip(axes[1, 0], dataset)
    _floor(axes[1, 1], dataset)
    title(fig, "With few rows a dimension the weights flatten, and the default temperature may hurt")
    return fig


def _errors(ax: Axes, d: Any) -> None:
    x = d.line_ratio.values
    names = {"converged": "converged", "ridge": "ridge 0.1", "flow 2": "stopped at μt = 2"}
    for name, (colour, mark) in LOOK.items():
        line = d.line.sel(training=name, quantity="target error").values
        sides = (x < 1, x > 1) if name == "converged" else (x > 0,)
        for side in sides:
            ax.plot(x[side], line[side], color=COLOURS[colour])
        rows = d.sampled.sel(training=name, quantity="target error")
        error = rows.std("draw", ddof=1) / np.sqrt(d.sizes["draw"])
        ax.errorbar(
            d.ratio, rows.mean("draw"), 4 * error, fmt=mark, color=COLOURS[colour], ms=6, mec="white", mew=0.6
        )
        at = {"converged": (1.4, 10, 10), "ridge": (2.2, 8, 8), "flow 2": (2.2, 8, -10)}[name]
        height = float(np.interp(at[0], x, line))
        label_line(ax, at[0], height, names[name], COLOURS[colour], dx=at[1], dy=at[2])
    ax.set(xlabel="$d/n$", yscale="log", xlim=(0, 3.2), ylim=(0.38, 12))
    ax.set_xticks([0, 0.5, 1, 1.5, 2])
    ax.minorticks_off()
    ax.set_yticks([0.5, 1, 2, 5, 10], ["0.5", "1", "2", "5", "10"])
    ax.set_title("mean error on the new task (FLOW, median)")


def _share(ax: Axes, d: Any) -> None:
    texts = {1.0: r"$\tau$ = median", 0.1: "a tenth of it"}
    for relative, text in texts.items():
        line = d.kappa.sel(relative=relative)
        ax.plot(d.below, line, color=COLOURS["flow"], lw=2.2 if relative == 1 else 1.6)
        at = 0.75 if relative == 1 else 0.38
        label_line(ax, at, np.interp(at, d.below, line), text, COLOURS["flow"], dx=0, dy=13, ha="right")
        ax.plot(
            [0],
            [d.population_kappa.sel(relative=relative)],
            "D",
            color=COLOURS["theory"],
            ms=6,
            clip_on=False,
        )
    ax.plot(d.below, d.kappa_cut, color=COLOURS["uniform"], ls="--")
    height = np.interp(0.55, d.below, d.kappa_cut)
    label_line(ax, 0.55, height, r"$\tau \to 0$: the $d$ easiest rows", COLOURS["uniform"], dx=6, dy=-16)
    label_line(ax, 0, d.population_kappa[0], "population", COLOURS["theory"], dx=10, dy=22)
    ax.set(xlabel="$d/n$", xlim=(0, 1), ylim=(0, 0.95))
    ax.set_title(r"share of the way, $\kappa$")


def _flip(ax: Axes, d: Any) -> None:
    for rows, dashes in ((10, "-"), (2, "--")):
        for name, colour in (("standard", "standard"), ("FLOW", "flow")):
            here = {"rows_per_dimension": rows, "stopped": name}
            ax.plot(d.progress, d.flip_curve.sel(here), color=COLOURS[colour], ls=dashes)
            values = d.flip_sampled.sel(here)
            error = 4 * float(values.std("flip_draw", ddof=1)) / np.sqrt(d.sizes["flip_draw"])
            ax.errorbar(float(d.flip_time.sel(here)), float(values.mean()), error, fmt="o", color=COLOURS[colour], ms=7,
                        mec="white", mew=0.6)  # fmt: skip
    curve = lambda rows, name, at: np.interp(
        at, d.progress, d.flip_curve.sel(rows_per_dimension=rows, stopped=name)
    )
    label_line(ax, 30, curve(10, "FLOW", 30), "FLOW, $n = 10d$", COLOURS["flow"], dx=8)
    label_line(ax, 30, curve(2, "FLOW", 30), "FLOW, $n = 2d$", COLOURS["flow"], dx=8)
    label_line(
        ax,
        0.2,
        curve(10, "standard", 0.2),
        "standard, $n = 10d$",
        COLOURS["standard"],
        dx=0,
        dy=-14,
        ha="center",
    )
    label_line(ax, 1.5, curve(2, "standard", 1.5), "standard, $n = 2d$", COLOURS["standard"], dx=-8, dy=12)
    ax.set(xlabel=r"time $\times\ \mu$", xscale="log", ylim=(0.4, 1.25), xlim=(0.015, 400))
    ax.minorticks_off()
    ax.set_xticks([0.1, 1, 10], ["0.1", "1", "10"])
    ax.set_title("total error along training")


def _floor(ax: Axes, d: Any) -> None:
    ax.plot(d.below, d.floor_line, color=COLOURS["joint_optimum"])
    for name, (colour, mark) in {
        "best ridge": ("penalty", "s"),
        "FLOW to convergence": ("flow", "o"),
    }.items():
        ax.plot(d.floor_ratio, d.floor.sel(floor_method=name), mark, color=COLOURS[colour], ms=8)
    last = d.floor.isel(floor_ratio=-1)
    x = float(d.floor_ratio[-1])
    label_line(
        ax,
        x,
        last.sel(floor_method="FLOW to convergence"),
        "FLOW to convergence",
        COLOURS["flow"],
        dx=-14,
        ha="right",
    )
    label_line(
        ax, x, last.sel(floor_method="best ridge"), "best ridge", COLOURS["penalty"], dx=0, dy=15, ha="center"
    )
    label_line(ax, d.below[-1], d.floor_line[-1], "floor", COLOURS["joint_optimum"], dx=6, dy=-6)
    ax.set(xlabel="$d/n$", yscale="log", xlim=(0, 1.05), ylim=(0.4, 14))
    ax.minorticks_off()
    ax.set_yticks([0.5, 1, 2, 5, 10], ["0.5", "1", "2", "5", "10"])
    ax.set_title("best total error, random shift, white inputs")
