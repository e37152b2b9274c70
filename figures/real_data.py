"""Both errors along both paths on real rows, and how far the theory is off."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.figure import Figure

from figures.style import COLOURS, figure, label_line, styled, title

METHODS = {"FLOW": "flow", "vanilla": "vanilla"}


@styled
def draw(dataset: Any) -> Figure:
    """Left: forgetting against what is still to be learned, along both paths. Right: misfits in standard errors."""
    fig, (left, right) = figure(1, 2, width=11, height=5.4, width_ratios=(1.25, 1))
    for run, method in METHODS.items():
        here = dataset.sel(run=run)
        rows, theory = (here.sel(source=source) for source in ("rows", "theory"))
        left.plot(theory.learning, theory.forgetting, color=COLOURS[method], lw=2)
        some = np.unique(np.geomspace(1, dataset.step.size, 22).astype(int)) - 1
        left.plot(rows.learning[some], rows.forgetting[some], "o", color=COLOURS[method], ms=6, mec="white")
        at = dataset.step.size - 1
        dx, dy = (-8, 8) if run == "FLOW" else (24, 4)
        label_line(
            left, rows.learning[at], rows.forgetting[at], f"{run}, step {at}", COLOURS[method], dx=dx, dy=dy
        )
    start = float(dataset.learning[0, 0, 0])
    left.plot([start], [0], "o", color=COLOURS["pretrained"], ms=11, mec="white", zorder=5)
    label_line(left, start, 0, r"pre-trained $\theta^*$", COLOURS["pretrained"], dx=-2, dy=15, ha="right")
    left.set(xlabel="target error, excess over the noise", ylabel="pre-training error (forgetting)")
    left.set(xlim=(-0.03 * start, 1.08 * start), ylim=(-0.04 * float(dataset.corners[0]), None))
    groups = f"{dataset.attrs['first_rows']} women, then {dataset.attrs['second_rows']} men"
    left.set_title(f"lines: Gaussian theory;  points: {groups}")
    y = np.arange(dataset.fact.size)[::-1]
    misfit = (dataset.measured - dataset.predicted) / dataset.measured_error
    control = (dataset.surrogate - dataset.predicted) / dataset.surrogate_error
    right.axvspan(-4, 4, color=COLOURS["uniform"], alpha=0.13, lw=0)
    right.axvline(0, color=COLOURS["uniform"], lw=1)
    right.plot(misfit, y, "o", color=COLOURS["flow"], ms=10, mec="white")
    right.plot(control, y - 0.22, "D", color=COLOURS["simulation"], ms=6, mec="white")
    for place, name in zip(y, dataset.fact.values, strict=True):
        right.text(-8.7, place + 0.24, name, fontsize=12)
    right.set(
        yticks=[],
        ylim=(-0.8, y.max() + 0.8),
        xlim=(-9, 9),
        xlabel="distance from the theory, standard errors",
    )
    right.set_title("● patients   ◆ Gaussian rows, same moments")
    title(fig, "On real rows the paths follow the linear theory, and the misfit has a size")
    return fig
