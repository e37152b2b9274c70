"""Left: a straight line of averages and below it the curve of early stopping, with all between them shaded. Of three
stars, the best for both, one lies inside; dots of FLOW's best lie on it, on the line and on the curve. Dots of gradient
descent with long steps lie below the curve. Right: a map over the two correlations falls into three regions, averaging
above a rising straight line, early stopping at the lower right, and between them FLOW, whose gain rises to the left.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure

from figures.style import COLOURS, figure, label_line, styled, title

TINT = ("#F3DDE8", "#D5EEE6", "#E3EFF8")  # early stopping, averaging, FLOW alone
LEVELS = (0.0, 0.01, 0.03, 0.1, 0.3)
GAIN = ("#E3EFF8", "#B5D5EC", "#7DB5DD", "#3C93CB")


@styled
def draw(dataset: Any) -> Figure:
    """Left: what FLOW reaches in the plane. Right: who wins."""
    fig, (left, right) = figure(1, 2, width=13.6, height=6.0, width_ratios=(1.15, 1))
    _hull(left, dataset)
    _map(right, dataset)
    title(fig, "FLOW reaches the hull of the early-stopping curve: that decides who wins")
    return fig


def _hull(ax: Axes, ds: Any) -> None:
    curve = ds.curve.values
    ax.fill(curve[:, 0], curve[:, 1], color=COLOURS["flow"], alpha=0.16, lw=0)
    ax.plot(curve[:, 0], curve[:, 1], color=COLOURS["early_stopping"], lw=3)
    ax.plot([0, 1], [0, 0], color=COLOURS["averaging"], lw=3)
    ax.plot(*ds.descent.values.T, "o", color=COLOURS["standard"], ms=6, mec="white")
    label_line(ax, 0.3, 0, "averages", COLOURS["averaging"], dx=0.1, dy=13)
    label_line(ax, 0.24, -0.1, "FLOW reaches\nall of this", COLOURS["flow"], dx=0.1)
    on = curve[np.argmin(abs(curve[:, 0] - 0.9))]
    label_line(ax, on[0], on[1], "early\nstopping", COLOURS["early_stopping"], dx=10, dy=-14)
    step = ds.descent.values[3]
    label_line(
        ax,
        step[0],
        step[1],
        "gradient descent,\nlong steps: outside",
        COLOURS["standard"],
        dx=-8,
        dy=-16,
        ha="right",
    )
    for k in range(3):
        reached, joint = ds.reached.values[k], ds.joint.values[k]
        ax.plot(*np.stack([reached, joint]).T, ":", color=COLOURS["joint_optimum"], lw=1.6)
        ax.plot(*joint, "*", color=COLOURS["joint_optimum"], ms=17, mec="white", zorder=6)
        ax.plot(*reached, "o", mfc="none", mec=COLOURS["flow"], ms=19, mew=2.6, zorder=7)
        if k == 1:
            label_line(ax, joint[0], joint[1], "best for both", COLOURS["joint_optimum"], dx=10, dy=6)
            label_line(ax, reached[0], reached[1], "FLOW's best", COLOURS["flow"], dx=16, dy=-20)
    for x, text, colour, dx in (
        (1, r"$\theta^{*}$", "pretrained", 8),
        (0, r"$\tilde\theta^{*}$", "target", -20),
    ):
        ax.plot(x, 0, "s", color=COLOURS[colour], ms=10, mec="white", zorder=5)
        label_line(ax, x, 0, text, COLOURS[colour], dx=dx, dy=12, ha="left", fontsize=15)
    ax.set(xlabel=r"along the shift, $\bar e$", ylabel=r"across, $\bar e_\perp$")
    ax.set_title(rf"the plane at $\rho = {ds.attrs['drawn_rho']:g}$, three old tasks")


def _map(ax: Axes, ds: Any) -> None:
    ax.pcolormesh(ds.rho, ds.ratio, ds.won.T, cmap=ListedColormap(TINT), vmin=0, vmax=2, rasterized=True)
    gain = np.where(ds.won == 2, ds.gain, np.nan).T
    filled = ax.contourf(ds.rho, ds.ratio, gain, levels=LEVELS, colors=GAIN)
    ax.plot(ds.rho, ds.rho, color=COLOURS["averaging"], lw=2.5)
    label_line(ax, 0.1, 0.9, "averaging wins", COLOURS["averaging"], dx=0.1)
    label_line(ax, 0.42, -1.15, "early stopping wins", COLOURS["early_stopping"], dx=0.1)
    label_line(
        ax,
        0.33,
        0.06,
        "FLOW reaches the best for both,\nbelow averaging and early stopping\nby the share on the right",
        COLOURS["flow"],
        dx=0.1,
    )
    ax.set(
        xlabel=r"correlation of the new task, $\rho$",
        ylabel=r"coupling of the old task, $\Sigma_{12}/\Sigma_{11}$",
    )
    bar = ax.figure.colorbar(filled, ax=ax, pad=0.02)
    bar.set_ticks(LEVELS, labels=[f"{100 * level:g} %" for level in LEVELS])
    ax.grid(False)
    ax.set_title(
        "who wins, old task with\n"
        + rf"$\Sigma_{{11}} = {ds.attrs['old_along']:g}$, $\Sigma_{{22}} = {ds.attrs['old_across']:g}$"
    )
