"""Left and middle: the share of the shift that remains falls with the step, fastest for standard fine-tuning,
slowest for FLOW; the marks of a network lie on the lines of its linearization when the target is near (left)
and close to them when it is far (middle). Upper right: with label noise FLOW keeps 0.5 to 0.8 of the shift,
standard fine-tuning next to none. Lower right: the gap to the linearization rises with the distance of the
target.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from figures.mlp.seeds import error, mean
from figures.style import COLOURS, figure, ink, label_line, styled, title

# Colour, face of the mark (open: at the other's mean step) and label of each run.
LOOK = {
    "standard": (COLOURS["standard"], COLOURS["standard"], "standard"),
    "standard-same-mean-step": (COLOURS["standard"], "white", "standard, same mean step"),
    "flow-same-mean-step": (COLOURS["flow"], "white", "FLOW, same mean step"),
    "flow": (COLOURS["flow"], COLOURS["flow"], "FLOW"),
}
NEAR, FAR = 0.1, 1.0
DASHES = (0, (4, 2))


@styled
def draw(dataset: Any) -> Figure:
    """Left and middle: a small and a large distance, same axes. Right: label noise above, the gap below."""
    fig, axes = figure(2, 3, width=13, height=6.8, width_ratios=(1.2, 1.2, 1), height_ratios=(1, 1.15))
    grid = axes[0, 0].get_gridspec()
    for ax in axes[:, :2].flat:
        ax.remove()
    left = fig.add_subplot(grid[:, 0])
    middle = fig.add_subplot(grid[:, 1], sharex=left, sharey=left)
    clean = (
        dataset.isel(cell=np.flatnonzero(dataset.noise == 0)).swap_dims(cell="distance").sortby("distance")
    )
    near, far = (clean.sel(distance=d, method="nearest") for d in (NEAR, FAR))
    if float(near.distance) == float(far.distance):  # a quick run has two small ones
        near = clean.isel(distance=0)
    paths(left, near)
    paths(middle, far)
    middle.tick_params(labelleft=False)
    left.set_ylabel("share of the shift that remains")
    name_the_runs(left)
    what_the_lines_are(middle)
    _noise(axes[0, 2], dataset.isel(cell=np.flatnonzero(dataset.noise > 0)))
    _gaps(axes[1, 2], clean)
    fig.set_layout_engine("constrained", hspace=0.08)
    title(fig, "A small tanh network stalls along the shift as its linearization does")
    return fig


def paths(ax: Axes, d: Any) -> None:
    """Share that remains against step for the four runs at one distance."""
    d = d.isel(step=slice(1, None))  # step 0 is 1, and has no place on a logarithmic axis
    for name, (colour, face, _) in LOOK.items():
        one = d.sel(run=name)
        ax.plot(d.step, mean(one.gaussian), ls=DASHES, color=colour, lw=1.3, zorder=2)
        ax.plot(d.step, mean(one.linear), color=colour, lw=1.9, zorder=3)
        ax.errorbar(d.step, mean(one.network), error(one.network), color=colour, fmt="o", ms=5.5, mfc=face,
                    mew=1.3, lw=1.1, capsize=2, zorder=4)  # fmt: skip
    ax.set(xscale="log", xlim=(0.85, 1.25 * float(d.step[-1])), ylim=(0, 1), xlabel="step $K$")
    ax.set_title(rf"target at distance $\delta={float(d.distance):g}$")


def what_the_lines_are(ax: Axes) -> None:
    """What mark and lines are, in the corner that decaying curves leave free."""
    dark = COLOURS["theory"]
    for y, text, how in (
        (0.965, "network, ± s.e.", {"marker": "o", "ls": "", "ms": 6}),
        (0.915, "its linearization", {"ls": "-", "lw": 1.9}),
        (0.865, "Gaussian theory", {"ls": DASHES, "lw": 1.3}),
    ):
        x = [0.565] if "marker" in how else [0.53, 0.60]
        ax.plot(x, [y] * len(x), color=dark, transform=ax.transAxes, **how)
        ax.text(0.63, y, text, transform=ax.transAxes, va="center", color=dark, fontsize=12.5)


def name_the_runs(ax: Axes, x: float = 0.42) -> None:
    """The runs, from the highest curve to the lowest."""
    for k, (colour, face, text) in enumerate(reversed(LOOK.values())):
        y = 0.965 - 0.05 * k
        ax.plot(x, y, "o", color=colour, mfc=face, mew=1.3, ms=6.5, transform=ax.transAxes)
        ax.text(x + 0.03, y, text, transform=ax.transAxes, va="center", color=ink(colour), fontsize=12.5)


def _noise(ax: Axes, d: Any) -> None:
    """Where the runs at the other's mean step end, at the last step, against the noise ratio k."""
    d = d.swap_dims(cell="noise").sortby("noise")
    says = mean(d.limit)
    ax.plot(d.noise, says, ls=DASHES, lw=1.3, color=COLOURS["flow"], marker="_", ms=16, mew=2)
    for name in ("flow-same-mean-step", "standard-same-mean-step"):
        colour, face, _ = LOOK[name]
        one = d.sel(run=name).isel(step=-1)
        ax.plot(d.noise, mean(one.linear), color=colour, lw=1.9)
        ax.errorbar(d.noise, mean(one.network), error(one.network), color=colour, fmt="o", ms=6.5, mfc=face,
                    mew=1.3, lw=1.1, zorder=4)  # fmt: skip
        low = name.startswith("standard")
        place = mean(one.network)[-1]
        label_line(ax, 18, place, LOOK[name][2], colour, dx=-0.1, dy=14 if low else -24, fontsize=12.5)
    ax.set(
        xscale="log", xlim=(0.2, 20), ylim=(0, 1), yticks=(0, 0.5, 1), xlabel="label noise over signal, $k$"
    )
    ax.set_title(rf"Noisy labels, $\delta={float(d.distance[0]):g}$, step {int(d.step[-1])}")
    label_line(ax, 0.24, 0.9, r"limit $1-\frac{(1+k)\,s}{k+s}$", COLOURS["flow"], dx=0.1, fontsize=14)


def _gaps(ax: Axes, d: Any) -> None:
    """Root mean square distance of the path from the linearized one, against the distance of the target."""
    gap = np.sqrt(((d.network - d.linear) ** 2).mean("step"))
    for name, (colour, face, _) in LOOK.items():
        one = gap.sel(run=name)
        ax.errorbar(
            d.distance, mean(one), error(one), color=colour, fmt="o-", ms=6, mfc=face, mew=1.3, lw=1.1
        )
    low = 10 ** (np.floor(4 * np.log10(float(mean(gap).min()))) / 4)
    guide = np.array([0.03, 1.0])
    ax.plot(
        guide, 1.6 * low * guide / guide[0] / 3, ls=(0, (2, 2)), color=COLOURS["uniform"], lw=1.4, zorder=1
    )
    label_line(
        ax, 0.12, 1.6 * low * 0.12 / guide[0] / 3, "slope 1", COLOURS["uniform"], dx=7, dy=-7, fontsize=12.5
    )
    ax.set(xscale="log", yscale="log", xlim=(0.02, 1.6), ylim=(low / 2, 0.12))
    ax.set_aspect("equal")  # a decade is a decade
    ax.set(xlabel=r"distance $\delta$", title="Gap to the linearization")
