"""Left: along training, standard fine-tuning comes to reproduce nearly all wrong labels, at the same mean step too;
with FLOW fewer, also than with its weights shuffled. Middle: meanwhile accuracy on the new task rises and falls.
Right: at the end FLOW has more of the new task right where labels are wrong, and less where all are right.
"""

from __future__ import annotations

from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from figures.mlp.lines import NAMES, label_ends, line
from figures.style import figure, styled, title


@styled
def draw(dataset: Any) -> Figure:
    """At the highest noise: wrong labels by heart and the new task along training; the new task by noise."""
    fig, (left, middle, right) = figure(1, 3, width=14.5, height=5.6)
    cell = dataset.isel(noise=-1)
    _along(left, cell, "wrong labels", "wrong labels known by heart, %", 7.0)
    _along(middle, cell, "target", "accuracy on the new task, %", 3.0)
    _by_noise(right, dataset)
    left.set_title(f"{100 * float(cell.noise):.0f} % wrong labels, rate {float(cell.equal_rate):.2g}")
    title(
        fig,
        "FLOW's weights delay learning wrong labels by heart; a smaller step and shuffled weights do so less",
    )
    return fig


def _along(ax: Axes, cell: Any, place: str, label: str, least: float) -> None:
    curve = 100 * cell.curve.sel(rate=float(cell.equal_rate), method="nearest").sel(place=place)
    curve = curve.transpose("trained", "mark", "seed")
    label_ends(ax, [line(ax, curve.mark, curve.sel(trained=run), run) for run in NAMES], least)
    last = int(curve.mark[-1])
    ax.set(xlabel="step", ylabel=label, xlim=(-0.02 * last, 1.75 * last))
    ax.set_xticks([0, last // 2, last])


def _by_noise(ax: Axes, d: Any) -> None:
    """The end of training at each share of wrong labels."""
    end = d.accuracy.sel(place="target").sel(rate=float(d.equal_rate), method="nearest")
    end = 100 * end.transpose("run", "noise", "seed")
    label_ends(ax, [line(ax, 100 * d.noise, end.sel(run=run), run) for run in NAMES], 2.6)
    ax.set(xlabel="share of wrong labels, %", xlim=(-2, 72), ylabel="accuracy on the new task, %")
    ax.set_xticks(100 * d.noise.values)
    ax.set_title("At the end, by the share of wrong labels")
