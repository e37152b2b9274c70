"""What is left to learn falls as forgetting grows, along one curve a method: averages highest, below them early
stopping and ridge, below them diagonal EWC. FLOW's curve touches that of EWC, the lowest, where a dashed line of one
total lies under both; a point marks the best of each, with its total error.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.figure import Figure

from figures.style import COLOURS, figure, ink, label_line, styled, title

LOOK = {
    "averaging": (COLOURS["averaging"], "-", "averaging"),
    "early_stopping": (COLOURS["early_stopping"], "-", "early stopping"),
    "ridge": (COLOURS["penalty"], "-", "ridge"),
    "diagonal_ewc": (COLOURS["penalty"], (0, (4, 1.5)), "diagonal EWC"),
    "ewc": (COLOURS["joint_optimum"], (0, (1, 1)), "EWC, all of $\\Sigma$"),
    "flow": (COLOURS["flow"], "-", "FLOW"),
}
PLACES = {
    "averaging": (0.3, 0.45),
    "early_stopping": (0.42, 0.36),
    "ridge": (0.47, 0.28),
    "diagonal_ewc": (0.53, 0.2),
    "flow": (0.03, 0.12),
    "ewc": (0.03, 0.05),
}


@styled
def draw(dataset: Any) -> Figure:
    """Forgetting against what is left to learn, all methods."""
    fig, ax = figure(width=9.6, height=6.6)
    totals = dataset.frontier.sum("task")
    for name, (colour, dashes, text) in LOOK.items():
        curve = dataset.frontier.sel(path=name).values
        ax.plot(curve[:, 0], curve[:, 1], color=colour, ls=dashes, lw=2.4, zorder=5 if name == "ewc" else 3)
        best = int(np.argmin(totals.sel(path=name).values))
        ax.plot(*curve[best], "o", color=colour, ms=9, mec="white", zorder=6)
        ax.annotate(f"{text} {float(totals.sel(path=name)[best]):.3f}", curve[best], PLACES[name], color=ink(colour),
                    fontsize=13, va="center", zorder=10,
                    arrowprops={"arrowstyle": "-", "color": colour, "lw": 1.0, "shrinkB": 5})  # fmt: skip
    least = float(totals.min())
    ax.plot([0, least], [least, 0], "--", color=COLOURS["uniform"], lw=1.2, zorder=1)
    rho, a, b, c = dataset.cell_plane.values[dataset.attrs["shown"]]
    old = rf"$\Sigma_{{11}} = {a:g}$, $\Sigma_{{22}} = {b:g}$, $\Sigma_{{12}} = {c:g}$"
    label_line(ax, 0.82, 0.72, rf"$\rho = {rho:g}$, {old}", COLOURS["theory"], dx=-1)
    label_line(ax, 0.82, 0.66, "numbers: the least total error", COLOURS["theory"], dx=-1)
    ax.set(xlim=(0, 0.83), ylim=(0, 0.78))
    ax.set(xlabel=r"forgetting, err$_1/\Vert e\Vert^2$", ylabel=r"left to learn, err$_2/\Vert e\Vert^2$")
    title(fig, "EWC with all of Σ is the best for both; FLOW meets it once")
    return fig
