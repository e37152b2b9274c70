"""Left: as accuracy on the turned images rises, accuracy on the upright ones falls, and FLOW's path lies above those of
standard fine-tuning, of the same mean step and of shuffled weights; WiSE's band, from the end of standard fine-tuning
back to the start, lies above or below. Right: what is kept of the upright ones where the turned ones are learned as
well, against the learning rate.
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
    title(fig, "On turned images FLOW's weights forget less than shuffled ones at equal learning")
    return fig


def _paths(ax: Axes, d: Any) -> None:
    rate = float(d.equal_rate)
    curve = 100 * d.curve.sel(rate=rate, method="nearest")
    old, new = (
        (lambda run: mean(curve.sel(trained=run, place="pretrain"))),
        (lambda run: mean(curve.sel(trained=run, place="target"))),
    )
    path = 100 * mean(d.wise_path.sel(source="standard").sel(rate=rate, method="nearest"))
    ax.plot(path.sel(place="target"), path.sel(place="pretrain"), color=GREEN, lw=7, alpha=0.3,
            solid_capstyle="round", zorder=1)  # fmt: skip
    middle = path.isel(share=path.sizes["share"] // 2)
    label_line(ax, middle.sel(place="target"), middle.sel(place="pretrain"), "WiSE", GREEN, dx=10, dy=8)
    level = 100 * float(d.level.sel(learned=LEVEL))
    ax.axvline(level, color="#BFC1CA", lw=1.2, ls=(0, (5, 3)), zorder=0)
    ends = []
    for run, (colour, mark, face, dashes) in LOOK.items():
        x, y = np.asarray(new(run)), np.asarray(old(run))
        ax.plot(x, y, color=colour, ls=dashes, lw=2, marker=mark, mfc=face, ms=6, mew=1.4, zorder=4)
        ends.append((float(x[-1]), float(y[-1]), run))
    label_ends(ax, ends, 5.5)
    ax.plot(new("flow")[0], old("flow")[0], "s", color=START, ms=11, mec=ink(START), mew=1.4, zorder=5)
    label_line(ax, new("flow")[0], old("flow")[0], r"$\theta^{*}$", START, dx=10, dy=8)
    ax.set(xlim=(0, 118), ylim=(0, 100), xlabel="accuracy on the turned images, %")
    ax.set_xticks(range(0, 101, 20))
    ax.set_ylabel("accuracy on the upright images, %")
    ax.set_title(f"Along training, rate {rate:.2g}")


def _kept(ax: Axes, d: Any) -> None:
    level = 100 * float(d.level.sel(learned=LEVEL))
    ends = [line(ax, d.rate, 100 * d.kept_by_rate.sel(trained=run), run) for run in NAMES]
    label_ends(ax, ends, 4.0)
    ax.set(xscale="log", xlabel="learning rate", ylabel="accuracy on the upright images, %")
    ax.set_xlim(float(d.rate[0]) / 1.3, float(d.rate[-1]) * 4.5)
    ax.set_title(f"Where {level:.0f} % of the turned ones are right")
