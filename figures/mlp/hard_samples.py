"""Left, on a logarithmic scale: from the easiest to the hardest tenth the squared error of the old model
climbs from below 0.01 to 4, after FLOW it climbs from 0.03 to 0.7, and after standard fine-tuning it stays
near 0.06 and ends at 0.14. Right: accuracy on digits is near 100 % up to the eighth tenth and falls in the
hardest, least for standard fine-tuning (70 %), most for FLOW (10 % at the equal rate).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from figures.mlp.lines import LOOK, NAMES
from figures.mlp.seeds import error, mean
from figures.style import COLOURS, figure, label_line, spread_apart, styled, title

ORANGE, BLUE, GREY = COLOURS["standard"], COLOURS["flow"], COLOURS["uniform"]
DASHES = (0, (4, 2))
FIRST = 6  # tenth from which the methods differ on digits


@styled
def draw(dataset: Any) -> Figure:
    """Left: squared error of the teacher-student network. Right: accuracy on digits."""
    fig, (left, right) = figure(1, 2, width=12.5, height=6.8, width_ratios=(1.15, 1))
    _teacher(left, dataset.isel(distance=-1))
    _digits(right, dataset)
    fig.set_layout_engine("constrained", w_pad=0.1)
    title(fig, "FLOW costs accuracy on the samples that were hard, as the closed form says")
    return fig


def _teacher(ax: Axes, d: Any) -> None:
    whole = d.start.mean("decile")  # a seed's mean squared residual at θ*
    x = d.decile.values
    start, theory = d.start / whole, d.gaussian_start / whole
    ax.plot(x, mean(theory), ls=DASHES, color=GREY, lw=1.4)
    ax.errorbar(x, mean(start), error(start), fmt="s", color=GREY, ms=5.5, lw=1.2)
    label_line(ax, x[2], mean(start)[2], r"start, $\theta^{*}$", GREY, dx=-8, dy=16)
    for run, colour, face, text, (at, offset) in (
        ("standard", ORANGE, ORANGE, "standard", (7, (5, -34))),
        ("flow-same-mean-step", BLUE, "white", "FLOW, same mean step", (1, (8, -30))),
    ):
        ways = d.sel(path=run)
        network, linear, gaussian = (ways[name] / whole for name in ("network", "linear", "gaussian"))
        ax.plot(x, mean(gaussian), ls=DASHES, color=colour, lw=1.4)
        ax.plot(x, mean(linear), color=colour, lw=2.0)
        ax.errorbar(x, mean(network), error(network), color=colour, fmt="o", mfc=face, mew=1.5, ms=6.5, lw=1.2,
                    zorder=4)  # fmt: skip
        label_line(ax, x[at], mean(network)[at], text, colour, dx=offset[0], dy=offset[1])
    _key(ax)
    ax.set(yscale="log", ylim=(0.003, 7), xlim=(0.5, 10.5), xticks=x)
    ax.set(
        xlabel=r"tenth by loss under $\theta^{*}$ (10: the hardest)",
        ylabel=r"squared error over its mean at $\theta^{*}$",
    )
    ax.set_title(rf"Teacher and student, $\delta={float(d.distance):g}$, {int(d.attrs['steps'])} steps")


def _key(ax: Axes) -> None:
    """What marks and lines are, in the corner that is left free."""
    ink = COLOURS["theory"]
    for y, text, how in (
        (0.19, "network, ± s.e.", {"marker": "o", "ls": "", "ms": 6}),
        (0.13, "its linearization", {"ls": "-", "lw": 2.0}),
        (0.07, "Gaussian closed form", {"ls": DASHES, "lw": 1.4}),
    ):
        x = [0.475] if "marker" in how else [0.44, 0.51]
        ax.plot(x, [y] * len(x), color=ink, transform=ax.transAxes, **how)
        ax.text(0.54, y, text, transform=ax.transAxes, va="center", color=ink, fontsize=12)


def _digits(ax: Axes, d: Any) -> None:
    """Filled: the rate that all are compared at. Open: each run's own best."""
    best, equal = d.best, int(np.argmin(abs(d.rate.values - float(d.equal_rate))))
    hard = 100 * d.by_decile.sel(decile=slice(FIRST, None))
    x, labels, floor = hard.decile.values, [], 100.0
    for run, (colour, mark, _, _) in LOOK.items():
        chosen = int(best.sel(run=run))
        same = chosen == equal
        for place, tuned in ((equal, False), (chosen, True)):
            one = hard.sel(run=run).isel(rate=place)
            easy = 100 * d.by_decile.sel(run=run, decile=slice(None, FIRST - 1)).isel(rate=place)
            floor = min(floor, float(mean(easy).min()))
            if same and tuned:
                ax.plot(x, mean(one), mark, ms=13, mfc="none", mec=colour, mew=1.6)
                continue
            ax.errorbar(x, mean(one), error(one), color=colour, fmt=mark, mfc="white" if tuned else colour, mew=1.6,
                        ms=7, lw=1.5, ls=DASHES if tuned else "-")  # fmt: skip
            when = "both" if same else "own best" if tuned else "equal"
            labels.append(
                (float(mean(one)[-1]), f"{NAMES[run]}, {when} ({float(d.rate[place]):.2g})", colour)
            )
    labels.sort()
    heights = spread_apart(np.array([label[0] for label in labels]), 5.5)
    for height, (_, text, colour) in zip(heights, labels, strict=True):
        label_line(ax, x[-1], height, text, colour, dx=11, fontsize=12)
    ax.set(ylim=(0, 103), xlim=(FIRST - 0.4, 10.3), xticks=x)
    ax.set(xlabel="tenth by loss of the probed model", ylabel="right on test digits, %")
    ax.set_title("Digits, clean labels (learning rate)")
    told = (
        f"tenths 1 to {FIRST - 1}: always\nat least {np.floor(floor):.0f} % right\n"
        "same mean step: standard, at FLOW's\nfilled: equal rate, open: own best"
    )
    ax.text(
        0.03,
        0.16,
        told,
        transform=ax.transAxes,
        color=COLOURS["theory"],
        fontsize=12,
        va="bottom",
        linespacing=1.4,
    )
