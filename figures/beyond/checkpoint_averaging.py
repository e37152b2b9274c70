"""Left: standard fine-tuning's checkpoints bend from the old model to the new optimum, each a point as large as its
weight; FLOW's path lies on the straight side of that curve, its end in the shaded hull of the checkpoints, while the
path of KL-DRO, hard samples up, lies outside. Middle: bars of the weights, all above zero for FLOW, many below it for
KL-DRO. Right: the least weight at the paper's longer step falls below zero where β passes a dotted line.
"""

from __future__ import annotations

from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from figures.style import COLOURS, beta_colours, figure, label_line, styled, title

RULES = {"FLOW": "flow", "KL-DRO": "kl_dro"}


@styled
def draw(dataset: Any) -> Figure:
    """The plane, the weights under it, and when one turns negative."""
    fig, axes = figure(2, 3, width=13.6, height=5.8, width_ratios=(1.35, 1, 1))
    plane, least = (fig.add_subplot(axes[0, 0].get_gridspec()[:, column]) for column in (0, 2))
    for column in (0, 2):
        for row in (0, 1):
            axes[row, column].remove()
    _plane(plane, dataset)
    for ax, rule in zip(axes[:, 1], RULES, strict=True):
        _bars(ax, dataset, rule)
    _least(least, dataset)
    title(
        fig,
        "FLOW is an average of checkpoints that standard fine-tuning passes; KL-DRO extrapolates beyond them",
    )
    return fig


def _plane(ax: Axes, ds: Any) -> None:
    standard, last = ds.standard.values, int(ds.attrs["steps"])
    ax.fill(*standard.T, color=COLOURS["standard"], alpha=0.13, lw=0)
    ax.plot(*standard.T, color=COLOURS["standard"], lw=1.6)
    ax.scatter(
        *standard.T, s=20 + 900 * ds.weight.sel(rule="FLOW").values, color=COLOURS["standard"], zorder=4, lw=0
    )
    for rule, method in RULES.items():
        path = ds.path.sel(rule=rule).values
        ax.plot(*path.T, "-", color=COLOURS[method], lw=1.8, zorder=5)
        ax.plot(*path[-1], "*", color=COLOURS[method], ms=19, mec="white", mew=1.1, zorder=7)
    flow, far = ds.path.sel(rule="FLOW").values, ds.path.sel(rule="KL-DRO").values
    label_line(
        ax, flow[-1, 0], flow[-1, 1], f"FLOW after\n{last} steps", COLOURS["flow"], dx=-4, dy=32, ha="center"
    )
    label_line(ax, far[3, 0], far[3, 1], "KL-DRO", COLOURS["kl_dro"], dx=12, dy=-8)
    label_line(ax, 0.47, -0.17, "standard,\nsame mean step", COLOURS["standard"], dx=0.1, ha="center")
    ax.plot(1, 0, "o", color=COLOURS["pretrained"], ms=10, mec="white", zorder=8)
    ax.plot(0, 0, "s", color=COLOURS["target"], ms=10, mec="white", zorder=8)
    label_line(ax, 1, 0, r"$\theta^{*}$", COLOURS["pretrained"], dx=2, dy=17, fontsize=15)
    label_line(ax, 0, 0, r"$\tilde\theta^{*}$", COLOURS["target"], dx=-2, dy=17, fontsize=15)
    ax.set(
        xlabel=r"along the shift, $\bar e$",
        ylabel=r"across, $\bar e_\perp$",
        xlim=(-0.1, 1.1),
        ylim=(-0.36, 0.1),
    )
    ax.set_title("points: checkpoints, as large as FLOW's weight")


def _bars(ax: Axes, ds: Any, rule: str) -> None:
    colour = COLOURS[RULES[rule]]
    ax.bar(ds.k, ds.weight.sel(rule=rule), color=colour, width=0.75)
    ax.axhline(0, color=COLOURS["theory"], lw=1)
    ax.set(xlim=(-0.7, ds.attrs["steps"] + 0.7), xticks=range(0, ds.attrs["steps"] + 1, 4))
    if rule == "FLOW":
        ax.set(ylim=(-0.06, 0.68), xticklabels=[])
        ax.set_title("weight of each checkpoint")
        ax.text(0.5, 0.7, "FLOW", transform=ax.transAxes, color=colour, ha="center", fontsize=13)
    else:
        ax.set(ylim=(-0.5, 1.85), xlabel="checkpoint of standard fine-tuning")
        ax.text(0.5, 0.7, "KL-DRO", transform=ax.transAxes, color=colour, ha="center", fontsize=13)


def _least(ax: Axes, ds: Any) -> None:
    ax.axhline(0, color=COLOURS["theory"], lw=1)
    for steps, colour in zip(ds.long.values, reversed(beta_colours(ds.long.values)), strict=True):
        here = ds.least_long.sel(long=steps)
        ax.plot(ds.beta, here, color=colour, lw=2)
    ax.axvline(float(ds.threshold), ls=":", color=COLOURS["uniform"], lw=1.6)
    label_line(
        ax,
        float(ds.threshold),
        -0.11,
        f"β = {float(ds.threshold):.2f}:\nthe first below 0\n(K ≥ 3)",
        COLOURS["uniform"],
        dx=-6,
    )
    for steps, beta, dx, dy in ((2, 0.85, 8, 10), (3, 0.5, -4, 14), (5, 0.5, -4, 14), (10, 0.5, -4, -20)):
        at = ds.least_long.sel(long=steps).sel(beta=beta, method="nearest")
        label_line(ax, at.beta, at, f"K = {steps}", COLOURS["flow"], dx=dx, dy=dy)
    ax.set(xlabel=r"$\beta$ (warmer to the right)", xlim=(0.1, 1.6), ylim=(-0.2, 0.32))
    ax.set_title(r"least weight at the step $1/(2\mu)$")
