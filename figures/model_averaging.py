"""Left: five paths of FLOW from the old model to the new optimum hang below the straight line of model
averages, deep at a high temperature, almost on the line at the lowest. Right, on logarithmic scales: the
distance from that line falls with the temperature along three parallel lines of slope 1, with the points of
stopped paths on them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.figure import Figure

from figures.style import COLOURS, beta_colours, figure, ink, label_line, styled, title

ABOVE = {0.03: 0.55, 0.01: 0.24}  # where along the line the names of the lowest temperatures stand


@styled
def draw(dataset: Any) -> Figure:
    """Left: the paths over the line. Right: their distance from it against the temperature."""
    fig, (left, right) = figure(1, 2, width=11, height=5.2, width_ratios=(1.3, 1))
    left.plot([0, 1], [0, 0], color=COLOURS["averaging"], lw=3)
    label_line(left, 0.9, 0, "model averages", COLOURS["averaging"], dx=-1, dy=12)
    betas = dataset.drawn.values
    temperatures = dataset.drawn_temperature.values
    for path, beta, tau, colour in zip(dataset.path, betas, temperatures, beta_colours(betas), strict=True):
        left.plot(path[:, 0], path[:, 1], "o-", color=colour, ms=4, lw=1.6)
        deepest = int(path[:, 1].values.argmin())
        if beta < 0.1:  # close to the line of averages: named above it
            at = int(np.argmin(abs(path[:, 0].values - ABOVE[beta])))
            left.annotate(
                rf"$\tau = {tau:.2g}\,\Vert e\Vert^2$", path[at].values, (ABOVE[beta], 0.05), color=ink(colour),
                fontsize=12.5, ha="center", arrowprops={"arrowstyle": "-", "color": colour, "lw": 1.0},
            )  # fmt: skip
        else:
            label_line(
                left,
                path[deepest, 0],
                path[deepest, 1],
                rf"$\tau = {tau:.2g}\,\Vert e\Vert^2$",
                colour,
                dx={0.1: -44, 0.3: -28}.get(beta, 0),
                dy=-12,
                ha="center",
            )
    left.plot([1], [0], "o", color=COLOURS["pretrained"], ms=10, mec="white", zorder=5)
    left.plot([0], [0], "s", color=COLOURS["target"], ms=10, mec="white", zorder=5)
    label_line(left, 1, 0, r"$\theta^{*}$", COLOURS["pretrained"], dx=-2, dy=16, fontsize=15)
    label_line(left, 0, 0, r"$\tilde\theta^{*}$", COLOURS["target"], dx=-12, dy=17, fontsize=15, ha="left")
    left.set(xlim=(-0.06, 1.08), ylim=(-0.34, 0.08))
    left.set(xlabel=r"along the shift, $\bar e$", ylabel=r"across, $\bar e_\perp$")
    left.set_title("FLOW's paths, one dot a step")
    norm = dataset.attrs["shift_norm"]
    for omega, colour in zip(dataset.omega.values, beta_colours(dataset.omega.values), strict=True):
        here = dataset.sel(omega=omega)
        right.plot(here.temperature, here.predicted / norm, color=colour, lw=1.8)
        right.plot(here.temperature, here.distance / norm, "o", color=colour, ms=6, mec="white")
        label_line(
            right, here.temperature[-1], here.distance[-1] / norm, rf"$\omega = {omega:g}$", colour, dx=7
        )
    reference = np.array([1e-4, 1e-2])
    right.plot(reference, 3 * reference, color=COLOURS["uniform"], lw=1.4, ls="--")
    label_line(right, 6e-4, 1.8e-3, "slope 1", COLOURS["uniform"], dx=-6, dy=6)
    right.set(xscale="log", yscale="log", xlim=(8e-5, 1.2), ylim=(8e-6, 0.12), aspect="equal")
    right.set(
        xlabel=r"temperature $\tau/\Vert e\Vert^2$", ylabel=r"distance from the line, over $\Vert e\Vert$"
    )
    right.set_title("lines: formula;  points: stopped when\na share $\\omega$ of the shift is left")
    title(fig, "As the temperature falls, FLOW becomes model averaging")
    return fig
