"""Left: the total error falls to a deep minimum as the temperature rises, then climbs to a shelf with a second, shallow
minimum; the median of the losses stands on the slope before the first, and points of steps really taken lie on the
line. Right: for each of 1, 10 and 100 steps the share of random problems within an excess rises to 100 %, far to the
left for one step, and only at an excess of several hundred per cent for 100.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from figures.style import COLOURS, beta_colours, figure, label_line, styled, title


@styled
def draw(dataset: Any) -> Figure:
    """Left: total error against temperature. Right: what the median costs."""
    fig, (left, right) = figure(1, 2, width=13.2, height=5.6, width_ratios=(1.1, 1))
    _curve(left, dataset)
    _cost(right, dataset)
    title(fig, "The best temperature depends on the number of steps; the median does not")
    return fig


def _curve(ax: Axes, ds: Any) -> None:
    flow, grey = COLOURS["flow"], COLOURS["uniform"]
    ax.plot(ds.tau, ds.curve, color=flow)
    ax.plot(ds.few, ds.walked, "o", color=COLOURS["simulation"], ms=6, mec="white", zorder=4)
    ax.axhline(float(ds.joint), color=COLOURS["joint_optimum"], lw=1.2, ls="--")
    label_line(ax, 1900, float(ds.joint), "best for both", COLOURS["joint_optimum"], dx=-2, dy=-13)
    texts = (("best", (12, 0), "left"), ("second minimum", (0.1, 50), "center"))
    for (tau, error), (text, (dx, dy), ha) in zip(ds.minimum.values, texts, strict=True):
        ax.plot(tau, error, "o", ms=13, mfc="none", mec=flow, mew=2.4, zorder=6)
        words = rf"{text}, $\tau = {tau:.3g}$: {error:.3f}"
        label_line(ax, tau, error, words, flow, dx=dx, dy=dy - 8, ha=ha)
    tau, error = ds["median"].values
    ax.plot(tau, error, "D", color=grey, ms=9, mec="white", zorder=6)
    label_line(ax, tau, error, f"median of\nthe losses: {error:.3f}", grey, dx=-12, dy=-6)
    ax.set(
        xscale="log",
        ylim=(0.35, 1.0),
        xlabel=r"temperature $\tau/\Vert e\Vert^2$",
        ylabel=r"total error, over $\Vert e\Vert^2$",
    )
    ax.set_title(rf"$K = {ds.attrs['curve_steps']}$, $\rho = {ds.attrs['curve_rho']:g}$; dots: steps taken")


def _cost(ax: Axes, ds: Any) -> None:
    steps = ds.steps.values
    for k, colour, level in zip(steps, beta_colours(steps[::-1]), (0.8, 0.55, 0.3), strict=True):
        excess = np.sort(np.maximum(ds.cost.sel(steps=k).values, 1e-5))
        share = np.arange(1, excess.size + 1) / excess.size
        ax.plot(excess, share, color=colour, drawstyle="steps-post")
        at = excess[min(int(level * excess.size), excess.size - 1)]
        text = "one step" if k == 1 else f"{k} steps"
        label_line(ax, at, level, text, colour, dx=-12)
    ax.set(
        xscale="log", xlim=(5e-5, 12), ylim=(0, 1.02), xlabel="excess of the median over the best temperature"
    )
    ax.set_xticks([1e-4, 1e-3, 1e-2, 0.1, 1, 10], ["0.01 %", "0.1 %", "1 %", "10 %", "100 %", "1000 %"])
    ax.yaxis.set_major_formatter(PercentFormatter(1.0, symbol=" %"))
    ax.set_title(f"share of {ds.sizes['problem']} random problems within an excess")
