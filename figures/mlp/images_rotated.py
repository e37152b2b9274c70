"""Left: as accuracy on the turned images rises, accuracy on the upright ones falls, and at one rate FLOW's path lies
above those of standard fine-tuning, of the same mean step and of shuffled weights. Right: what is kept of the upright
ones where the turned ones are learned as well, against the learning rate: FLOW falls later; at small rates they meet.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from figures.mlp.lines import LOOK, NAMES, label_ends, line
from figures.mlp.seeds import mean
from figures.style import COLOURS, figure, ink, label_line, styled, title

LEVEL = 0.8
GREEN, START = COLOURS["averaging"], COLOURS["pretrained"]


@styled
def draw(dataset: Any) -> Figure:
    """Left: paths through both accuracies at the equal rate. Right: kept at equal learning, by rate."""
    fig, (left, right) = figure(1, 2, width=12.5, height=6.4, width_ratios=(1.2, 1))
    _paths(left, dataset)
    _kept(right, dataset)
    title(
        fig,
        "On turned images FLOW forgets less than shuffled weights at the same rate; a small rate does as much",
    )
    return fig


def _paths(ax: Axes, d: Any) -> None:
    rate = float(d.equal_rate)
    curve = 100 * d.curve.sel(rate=rate, method="nearest")
    if "wise_path" in d:
        _average(ax, 100 * mean(d.wise_path.sel(source="standard").sel(rate=rate, method="nearest")))
    ends = []
    for run, (colour, mark, face, dashes) in LOOK.items():
        new, old = (np.asarray(mean(curve.sel(trained=run, place=place))) for place in ("target", "pretrain"))
        ax.plot(new, old, color=colour, ls=dashes, lw=2, marker=mark, mfc=face, ms=6, mew=1.4, zorder=4)
        ends.append((float(new[-1]), float(old[-1]), run))
    label_ends(ax, ends, 5.5)
    new, old = (100 * float(mean(d.before.sel(place=place))) for place in ("target", "pretrain"))
    ax.plot(new, old, "s", color=START, ms=11, mec=ink(START), mew=1.4, zorder=5)
    label_line(ax, new, old, r"$\theta^{*}$", START, dx=10, dy=8)
    ax.set(xlim=(0, 122), ylim=(0, 100), xlabel="accuracy on the turned images, %")
    ax.set_xticks(range(0, 101, 20))
    ax.set_ylabel("accuracy on the upright images, %")
    ax.set_title(f"Along training, rate {rate:.2g}")


def _average(ax: Axes, path: Any) -> None:
    """WiSE's path from the end of standard fine-tuning back to the start."""
    new, old = path.sel(place="target"), path.sel(place="pretrain")
    ax.plot(new, old, color=GREEN, lw=7, alpha=0.3, solid_capstyle="round", zorder=1)
    middle = path.sizes["share"] // 2
    label_line(ax, new[middle], old[middle], "WiSE", GREEN, dx=10, dy=8)


def _kept(ax: Axes, d: Any) -> None:
    level = 100 * float(d.level.sel(learned=LEVEL))
    kept = 100 * d.kept_by_rate.sel(learned=LEVEL)
    label_ends(ax, [line(ax, d.rate, kept.sel(trained=run), run) for run in NAMES], 4.0)
    ax.set(xscale="log", xlabel="learning rate", ylabel="accuracy on the upright images, %")
    ax.set_xlim(float(d.rate[0]) / 1.3, float(d.rate[-1]) * 5)
    ax.set_title(f"Where {level:.0f} % of the turned ones are right")
