"""Left: along training, standard fine-tuning comes to reproduce nearly all wrong labels, at the same mean step too;
with FLOW fewer, also than with its weights shuffled. Middle: meanwhile accuracy on the new task rises and falls.
Right: what is kept of the old task where the new one is learned as well, against the learning rate.
"""

from __future__ import annotations

from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from figures.mlp.lines import NAMES, label_ends, line
from figures.style import figure, styled, title

LEVEL = 0.8


@styled
def draw(dataset: Any) -> Figure:
    """At the highest noise: wrong labels by heart and the new task along training; the old one at equal learning."""
    fig, (left, middle, right) = figure(1, 3, width=14.5, height=5.6)
    cell = dataset.isel(noise=-1)
    _along(left, cell, "wrong labels", "wrong labels known by heart, %", 7.0)
    _along(middle, cell, "target", "accuracy on the new task, %", 3.0)
    _kept(right, cell)
    left.set_title(f"{100 * float(cell.noise):.0f} % wrong labels, rate {float(cell.equal_rate):.2g}")
    title(fig, "FLOW's weights keep a network from learning wrong labels by heart; shuffled ones do not")
    return fig


def _along(ax: Axes, cell: Any, place: str, label: str, least: float) -> None:
    curve = 100 * cell.curve.sel(rate=float(cell.equal_rate), method="nearest").sel(place=place)
    curve = curve.isel(mark=slice(1, None)).transpose("trained", "mark", "seed")
    ends = [line(ax, curve.mark, curve.sel(trained=run), run) for run in NAMES]
    label_ends(ax, ends, least)
    ax.set(xscale="log", xlabel="step", ylabel=label)
    ax.set_xlim(1, float(curve.mark[-1]) * 60)
    ax.set_xticks([1, 10, 100])


def _kept(ax: Axes, cell: Any) -> None:
    level = 100 * float(cell.level.sel(learned=LEVEL))
    kept = 100 * cell.kept_by_rate.sel(learned=LEVEL).transpose("trained", "rate", "seed")
    ends = [line(ax, cell.rate, kept.sel(trained=run), run) for run in NAMES]
    label_ends(ax, ends, 3.0)
    ax.set(xscale="log", xlabel="learning rate", ylabel="accuracy on the old task, %")
    ax.set_xlim(float(cell.rate[0]) / 1.3, float(cell.rate[-1]) * 6)
    ax.set_title(f"Where {level:.0f} % of the new task is right")
