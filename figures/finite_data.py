"""Left, on logarithmic scales: seven deviations of sampled rows from the theory fall along parallel lines,
each a hundredfold or more from 100 rows to a million, with the slope −1/2 of a grey guide. Right: the seven
fitted slopes with their intervals lie about the line at −0.5, and none touches those at −0.4 and −0.6.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from figures.style import COLOURS, figure, label_line, spread_apart, styled, title

# Colour, mark and label of each quantity: the methods in their colours, what they share in greys.
LOOK = {
    "standard": (COLOURS["standard"], "D", "standard iterate"),
    "covariance": (COLOURS["theory"], "s", "weighted covariance"),
    "recipe": (COLOURS["flow"], "v", "FLOW iterate, own temperature"),
    "flow": (COLOURS["flow"], "o", "FLOW iterate"),
    "mass": (COLOURS["theory"], "^", "weight mass"),
    "temperature": (COLOURS["uniform"], "P", "median temperature"),
    "error": (COLOURS["flow"], "X", "FLOW total error"),
}
SLOPES = (-0.4, -0.5, -0.6)


@styled
def draw(dataset: Any) -> Figure:
    """Left: RMS deviation against n, equal decades on both axes. Right: fitted slopes."""
    fig, (left, right) = figure(1, 2, width=12.5, height=6.4, width_ratios=(1.45, 1))
    _deviations(left, dataset)
    _slopes(right, dataset)
    title(fig, r"On $n$ sampled rows everything is within a constant times $n^{-1/2}$ of the theory")
    return fig


def _deviations(ax: Axes, d: Any) -> None:
    n = d.n.values
    for name, (colour, mark, _) in LOOK.items():
        one = d.sel(quantity=name)
        ax.errorbar(
            n, one.rms, one.rms_error, color=colour, fmt=mark, ms=6, lw=1.4, capsize=2, mfc=_face(name)
        )
        if np.isfinite(float(one.constant)):
            ax.plot(n, np.sqrt(float(one.constant) / n), color=colour, lw=1.5)
    last = d.isel(n=-1).rms
    names = sorted(LOOK, key=lambda name: float(last.sel(quantity=name)))
    # Labels keep the order of the lines and a distance of their own.
    heights = np.log10([float(last.sel(quantity=name)) for name in names])
    heights = spread_apart(heights, 0.17)
    for name, height in zip(names, heights, strict=True):
        colour, _, text = LOOK[name]
        label_line(ax, n[-1], 10**height, text, colour, dx=14)
    x = np.array([2.0, 4.0])
    for slope in SLOPES:
        y = -0.05 + slope * (x - 2.0)
        dashes = "-" if slope == -0.5 else (0, (2, 2))
        ax.plot(10**x, 10**y, color=COLOURS["uniform"], lw=1.4, ls=dashes, zorder=1)
        label_line(
            ax, 10 ** x[1], 10 ** y[1], "−1/2" if slope == -0.5 else f"−{-slope:g}", COLOURS["uniform"], dx=5
        )
    low = np.floor(2 * np.log10(float(d.rms.min()))) / 2
    ax.set(xscale="log", yscale="log", xlim=(10**1.8, n[-1] * 10**0.15), ylim=(10**low, 10**0.1))
    ax.set_aspect("equal")  # a decade is a decade: −1/2 is the angle it should be
    ax.set(xlabel="rows $n$", ylabel="root mean square deviation")
    ax.set_title("Points: sampled rows. Lines: delta method")


def _face(name: str) -> str:
    """Open marks for the one iterate to which no line belongs."""
    return "white" if name == "recipe" else LOOK[name][0]


def _slopes(ax: Axes, d: Any) -> None:
    names = list(LOOK)
    for k, name in enumerate(names):
        colour, mark, text = LOOK[name]
        one = d.sel(quantity=name)
        ax.errorbar(
            float(one.slope),
            k,
            xerr=1.96 * float(one.slope_error),
            fmt=mark,
            color=colour,
            ms=8,
            lw=2,
            mfc=_face(name),
        )
        label_line(ax, -0.605, k - 0.42, text, colour, dx=0, ha="left", fontsize=12)
    rows = np.arange(len(names))
    for slope in SLOPES:
        dashes = "-" if slope == -0.5 else (0, (2, 2))
        # In pieces, a row each: between them stand the names.
        ax.vlines(
            np.full(rows.size, slope),
            rows - 0.22,
            rows + 0.36,
            COLOURS["uniform"],
            lw=1.2,
            ls=dashes,
            zorder=1,
        )
    ax.set(xlim=(-0.62, -0.38), ylim=(len(names) - 0.5, -0.7), yticks=[], xticks=SLOPES)
    ax.grid(False)
    ax.spines["left"].set_visible(False)
    ax.set_xlabel(f"slope for $n \\geq {int(d.attrs['asymptotic'])}$, 95 % interval")
    ax.set_title(r"$-1/2$, and neither $-0.4$ nor $-0.6$")
