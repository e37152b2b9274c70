"""The stall: paths in the plane, the error that is left, and how long it stays."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba_array
from matplotlib.figure import Figure

from figures.style import COLOURS, beta_colours, figure, label_line, styled, title

RUNS = {  # colour, dash, name, and where the name begins
    "FLOW, η = 1/(2μ)": ("flow", "-", "FLOW", (17, 0.36)),
    "FLOW, η = 1/2": ("flow", "--", r"FLOW, $\eta = \frac{1}{2}$", (57, 0.56)),
    "vanilla, η = 1/2": ("vanilla", "-", "vanilla", (2.15, 0.36)),
    "vanilla, η = μ/2": ("vanilla", "--", "vanilla,\n" r"$\eta = \frac{\mu}{2}$", (1.03, 0.57)),
}


@styled
def draw(dataset: Any) -> Figure:
    """Left: the plane. Right, above: error left along the stalled direction. Below: half-life against τ."""
    fig, axes = figure(2, 2, width=11, height=6.3, width_ratios=(1.72, 1))
    plane = fig.add_subplot(axes[0, 0].get_gridspec()[:, 0])
    axes[0, 0].remove()
    axes[1, 0].remove()
    _plane(plane, dataset)
    _progress(axes[0, 1], dataset)
    _half_life(axes[1, 1], dataset)
    title(fig, "FLOW turns into one direction and stalls there; standard fine-tuning runs to the new optimum")
    return fig


def _plane(ax: Axes, ds: Any) -> None:
    levels = float(ds.error.min()) + np.array([0.02, 0.06, 0.14, 0.3, 0.6, 1.0, 1.5])
    shades = to_rgba_array([str(0.99 - 0.035 * k) for k in range(levels.size + 1)])
    ax.contourf(ds.x, ds.y, ds.error, levels=[0, *levels, 99], colors=shades)
    ax.contour(ds.x, ds.y, ds.error, levels=levels, colors="white", linewidths=1)
    ax.plot([0, 1], [0, 0], color=COLOURS["averaging"], lw=2.2)
    label_line(ax, 0.25, 0.0, "model averages", COLOURS["averaging"], dx=0, dy=10, ha="left")
    flow = ds.path[:-1]
    for path, beta, colour in zip(flow, ds.beta.values, beta_colours(ds.beta.values), strict=True):
        ax.plot(path[:, 0], path[:, 1], "o-", color=colour, ms=4.5, lw=1.8, zorder=4)
        x, y = path.values[path.values[:, 1].argmin()]
        if beta < 0.2:  # below the others' labels there is no room: beside the path's first steps
            label_line(ax, 1.11, -0.085, rf"FLOW, $\beta = {beta:g}$", colour, dx=0, ha="right")
        else:
            label_line(ax, x, y, rf"$\beta = {beta:g}$", colour, dx=2, dy=-12, ha="center")
    vanilla = ds.path[-1]
    ax.plot(vanilla[:, 0], vanilla[:, 1], "o-", color=COLOURS["vanilla"], ms=5, lw=1.6, zorder=3)
    label_line(ax, vanilla[1, 0], vanilla[1, 1], "vanilla, step 1", COLOURS["vanilla"], dx=9, dy=2)
    for point, name, colour, marker, place in (
        ((1, 0), r"pre-trained $\theta^*$", COLOURS["pretrained"], "o", (34, 16, "right")),
        ((0, 0), r"$\tilde\theta^*$ new optimum", COLOURS["target"], "s", (-22, 17, "left")),
        (ds.oracle.values, "oracle", COLOURS["oracle"], "*", (10, -3, "left")),
        (ds.average.values, "best average", COLOURS["averaging"], "D", (0, 15, "center")),
    ):
        ax.plot(*point, marker, color=colour, ms=13 if marker == "*" else 9, mec="white", zorder=6)
        label_line(ax, point[0], point[1], name, colour, dx=place[0], dy=place[1], ha=place[2])
    ax.set(xlim=(-0.12, 1.12), ylim=(-0.62, 0.14), aspect="equal")
    ax.set(xlabel=r"along the shift, $\bar e$", ylabel=r"across, $\bar e_\perp$")
    ax.set_title("one dot a step, over the total error (light: small)")
    ax.grid(False)


def _progress(ax: Axes, ds: Any) -> None:
    for run, (method, dash, name, place) in RUNS.items():
        ax.plot(ds.fine[1:], np.abs(ds.remains.sel(run=run)[1:]), dash, color=COLOURS[method], lw=2.4)
        label_line(ax, place[0], place[1], name, COLOURS[method], dx=0)
    ax.axhline(0.5, color=COLOURS["uniform"], lw=1, ls=":", zorder=1)
    ax.set(xscale="log", xlim=(1, 500), ylim=(0, 1.05), xlabel="step $K$")
    ax.set_title(rf"error left in the stalled direction, $\beta = {ds.attrs['main_beta']:g}$", fontsize=12.5)


def _half_life(ax: Axes, ds: Any) -> None:
    for rate, name in (("matched", r"$\eta = 1/(2\mu)$"), ("fixed", r"$\eta = 1/2$")):
        dash = "-" if rate == "matched" else "--"
        ax.plot(ds.tau, ds.half_life_exact.sel(rate=rate), dash, color=COLOURS["flow"], lw=2.2)
        ax.plot(ds.tau, ds.half_life.sel(rate=rate), "o", color=COLOURS["flow"], ms=6, mec="white")
        middle = ds.tau.size // 2
        text = rf"{name}: $\tau^{{{ds.exponent.sel(rate=rate).values[0]:.2f}}}$"
        label_line(
            ax, ds.tau[middle], ds.half_life.sel(rate=rate)[middle], text, COLOURS["flow"], dx=8, dy=10
        )
    ax.set(xscale="log", yscale="log", xlim=(8e-4, 2.5e-2), ylim=(60, 2e5))
    ax.set(xlabel=r"temperature $\tau/\Vert e\Vert^2$")
    ax.set_title("half-life in steps (line: law, points: run)", fontsize=12.5)
