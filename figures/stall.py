"""Left: standard fine-tuning zigzags from the old model to the optimum of the new task; FLOW's paths turn
towards it along a straight line, nearer to the model averages and in shorter steps the lower the temperature.
Upper right: what is left along the stalled direction falls from 1 to 0, some ten to a thousand steps later at
lower temperatures. Lower right, on logarithmic scales: the half-life rises along straight lines as the
temperature falls.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure

from figures.style import COLOURS, beta_colours, label_line, styled, title
from figures.style import figure as new_figure

GROUND = LinearSegmentedColormap.from_list("ground", ["#fffdf5", "#f1eee2", "#dfdfe0", "#c9ccd3"])
SAME_MEAN_STEP = "standard, same mean step"
LEVELS = (0.47, 0.55, 0.7, 1.0, 1.4, 2.0, 2.8)


@styled
def draw(dataset: Any) -> Figure:
    """Left: the plane. Right: progress against step, and half-life against temperature."""
    fig, axes = new_figure(2, 2, width=13.6, height=6.4, width_ratios=(1.55, 1))
    plane = fig.add_subplot(axes[0, 0].get_gridspec()[:, 0])
    axes[0, 0].remove()
    axes[1, 0].remove()
    flow = [float(beta) for beta in dataset.path_beta[:-1]]
    colours = dict(zip(flow, beta_colours(flow), strict=True))
    _plane(plane, dataset, colours)
    _progress(axes[0, 1], dataset, colours)
    _law(axes[1, 1], dataset)
    fig.set_layout_engine("constrained", w_pad=0.08, hspace=0.05)
    title(fig, "Standard fine-tuning runs to the new optimum; FLOW turns into one direction and stalls")
    return fig


def _plane(ax: Axes, ds: Any, colours: dict[float, str]) -> None:
    steps = int(ds.attrs["ring"])
    ground = GROUND(np.linspace(0, 1, len(LEVELS) + 1))
    ax.contourf(ds.x, ds.y, ds.error, levels=[0, *LEVELS, 9], colors=ground)
    ax.contour(ds.x, ds.y, ds.error, levels=LEVELS, colors="#9a9aa3", linewidths=0.7)
    ax.plot([0, 1], [0, 0], color=COLOURS["averaging"], lw=8, alpha=0.45, solid_capstyle="butt", zorder=2)
    label_line(ax, 0.64, 0, "model averages", COLOURS["averaging"], dx=2, dy=14)
    for beta, colour in colours.items():
        along, across = ds.direction.sel(path_beta=beta).values
        far = min(1.25, 0.61 * along / abs(across))  # where its dotted line is still in the picture
        ax.plot([0, far], [0, far * across / along], ":", color=colour, lw=1.5, zorder=2)
        path = ds.path.sel(path_beta=beta).values
        ax.plot(path[:, 0], path[:, 1], "-o", color=colour, lw=1.9, ms=3.8, zorder=4, rasterized=True)
        ax.plot(*path[steps], "o", ms=12, mfc="none", mec=colour, mew=2.4, zorder=7)
        label_line(ax, far, far * across / along, _temperature(ds, beta), colour, dx=5)
    standard = ds.path.isel(path_beta=-1).values
    ax.plot(standard[:, 0], standard[:, 1], "-o", color=COLOURS["standard"], lw=2.0, ms=5, zorder=3)
    for k, text, dx, dy in (
        (1, "standard, 1 step", 13, 2),
        (2, "2 steps", -42, 15),
        (3, "3 steps", -9, 0),
    ):
        label_line(
            ax,
            standard[k, 0],
            standard[k, 1],
            text,
            COLOURS["standard"],
            dx=dx,
            dy=dy,
            ha="left" if k < 3 else "right",
        )
    ring = ds.path.sel(path_beta=ds.attrs["main_beta"], step=steps).values
    label_line(ax, ring[0], ring[1], f"rings: FLOW\nafter {steps} steps", "#1f1f24", dx=30, dy=-52,
               arrowprops={"arrowstyle": "-", "color": "#1f1f24", "lw": 0.9, "shrinkB": 7})  # fmt: skip
    label_line(ax, 0.4, -0.645, "grey: total error on both tasks", "#5a5a64", dx=0.1, fontsize=12)
    _landmarks(ax, ds)
    ax.set(xlim=(-0.3, 1.42), ylim=(-0.71, 0.38), aspect="equal")
    ax.set(xlabel=r"along the shift, $\bar{e}$", ylabel=r"across, $\bar{e}_\perp$")
    ax.grid(False)


def _temperature(ds: Any, beta: float) -> str:
    """τ in units of ‖e‖²."""
    tau = float(ds.path_temperature.sel(path_beta=beta))
    return rf"$\tau={tau:.2g}\,\Vert e\Vert^2$"


def _landmarks(ax: Axes, ds: Any) -> None:
    for name, text, marker, size, offset in (
        ("pretrained", "pre-trained\nmodel " + r"$\theta^{*}$", "s", 12, (6, 34)),
        ("target", "optimum of the\nnew task " + r"$\tilde{\theta}^{*}$", "s", 12, (-60, 36)),
        ("joint_optimum", "best for both", "*", 20, (10, -42)),
        ("average", "best average", "D", 9, (-46, 36)),
    ):
        colour = COLOURS["averaging" if name == "average" else name]
        x, y = ds.corner.sel(landmark=name).values
        ax.plot(x, y, marker, color=COLOURS.get(name, colour), ms=size, mec="white", mew=1.3, zorder=8)
        label_line(ax, x, y, text, colour, dx=offset[0], dy=offset[1], ha="left")


def _progress(ax: Axes, ds: Any, colours: dict[float, str]) -> None:
    """Solid: η = 1/(2μ) for FLOW, 1/2 for standard; dashed: μ times as much, the small weights' mean step."""
    main, standard = colours[ds.attrs["main_beta"]], COLOURS["standard"]
    lines = {f"flow {beta:g}": (colour, "-") for beta, colour in colours.items() if beta < 0.5}
    lines |= {"flow fixed": (main, "--"), "standard": (standard, "-"), SAME_MEAN_STEP: (standard, "--")}
    for run, (colour, dash) in lines.items():
        ax.plot(ds["count"], ds.left.sel(run=run), dash, color=colour, lw=2.2)
        if run != "standard":
            ax.plot(ds.few, ds.left_loop.sel(run=run), "o", color=colour, ms=4.5, mec="white", mew=0.7)
    ax.axhline(0.5, color=COLOURS["uniform"], lw=1, ls=":")
    arrow = lambda colour: {"arrowprops": {"arrowstyle": "-", "color": colour, "lw": 0.9}}
    for run, at, text, (dx, dy), more in (
        ("flow 0.02", 25, _temperature(ds, 0.02), (-4, 42), arrow(main)),
        ("flow 0.1", 30, "0.13", (8, 0), {}),
        ("flow fixed", 300, r"0.026, $\eta=1/2$", (10, 0), {}),
        ("standard", 2, "standard", (9, -12), {"ha": "left"}),
    ):
        place = ds.left.sel(run=run).sel(count=at, method="nearest")
        label_line(ax, place["count"], place, text, lines[run][0], dx=dx, dy=dy, **more)
    label_line(
        ax,
        9e3,
        1.05,
        "orange dashes:\nstandard, same\nmean step",
        standard,
        dx=-1,
        fontsize=12,
    )
    ax.set(xscale="log", xlim=(1, 1e4), ylim=(-0.05, 1.3), xlabel="step $K$")
    ax.set_yticks([0, 0.5, 1])
    ax.set_title("share left along the stalled direction")


def _law(ax: Axes, ds: Any) -> None:
    for rate, dash, name, dy in (
        ("same mean step", "-", r"$1/(2\mu)$", -22),
        ("fixed", "--", r"$\eta=1/2$", 22),
    ):
        ax.plot(ds.ratio, ds.limit.sel(rate=rate), ":", color=COLOURS["uniform"], lw=1.4)
        ax.plot(ds.ratio, ds.half_life.sel(rate=rate), dash, color=COLOURS["flow"])
        ax.errorbar(ds.few_ratio, ds.sampled.sel(rate=rate), ds.sampled_error.sel(rate=rate),
                    fmt="o", ms=5, color=COLOURS["simulation"], mec="white", mew=0.6, zorder=5)  # fmt: skip
        at = ds.half_life.sel(rate=rate).sel(ratio=2e-4, method="nearest")
        text = rf"{name}: $\tau^{{{float(ds.exponent.sel(rate=rate)):.2f}}}$"
        label_line(ax, at.ratio, at, text, COLOURS["flow"], dx=-58 if dy < 0 else -8, dy=dy, ha="left")
    ax.set(xscale="log", yscale="log", xlim=(1e-6, 2), ylim=(0.6, 1e10), aspect=0.5)
    ax.set_xticks(10.0 ** np.arange(-6, 1, 2))
    ax.set_yticks(10.0 ** np.arange(0, 11, 2))
    ax.set(xlabel=r"temperature $\tau/\Vert e\Vert^2$")
    ax.set_title("half-life in steps; dots: sampled")
