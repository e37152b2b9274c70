"""Left: along each path forgetting grows and target error falls; standard fine-tuning's points lie on their
line, past the diamond of the best for both, and FLOW's points run on beyond the ring in which their line
ends. Right: of ten quantities on real rows (diamonds) nine lie within the band of two standard deviations
around the theory and one at four; those of many Gaussian rows (circles) all lie within one.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from figures.style import COLOURS, figure, label_line, styled, title

SAME_MEAN_STEP = "FLOW, same mean step"


@styled
def draw(dataset: Any) -> Figure:
    """Left: paths in the plane of the two errors. Right: misfits."""
    fig, axes = figure(1, 2, width=12.5, height=6.4, width_ratios=(1, 1.15))
    _paths(axes[0], dataset)
    _misfits(axes[1], dataset)
    title(fig, "Real rows: standard fine-tuning follows the theory exactly, FLOW as far as rows are Gaussian")
    return fig


def _paths(ax: Axes, d: Any) -> None:
    data, theory = d.path_data, d.path_theory
    ax.plot(*d.average.transpose("task", "omega").values, color=COLOURS["averaging"], lw=1.6)
    for run, colour, mark, face in (
        ("standard", COLOURS["standard"], "o", COLOURS["standard"]),
        ("flow", COLOURS["flow"], "s", "white"),
        (SAME_MEAN_STEP, COLOURS["flow"], "o", COLOURS["flow"]),
    ):
        ax.plot(*theory.sel(run=run).transpose("task", "step").values, color=colour, lw=1.8)
        ax.plot(
            *data.sel(run=run).transpose("task", "step").values, mark, color=colour, ms=4, mfc=face, zorder=4
        )
    ax.plot(*d.joint_optimum.values, "D", color=COLOURS["joint_optimum"], ms=8, mec="white", zorder=6)
    best = float(d.joint_optimum.sum("task"))
    ax.plot([0, best], [best, 0], color=COLOURS["uniform"], lw=1.0, zorder=1)
    top = 1.08 * float(max(data.max(), d.average.max()))
    ax.set(xlim=(0, top), ylim=(0, top))
    ax.set_aspect("equal")
    ax.set(xlabel="forgetting  err$_1$", ylabel="target  err$_2$")
    ax.set_title("Points: rows. Lines: theory")
    start, end = data.sel(run="standard").isel(step=0).values, data.sel(run="standard").isel(step=-1).values
    _write(ax, start, r"$\theta^{*}$", COLOURS["theory"], dx=8, dy=2)
    _write(ax, end, "standard", COLOURS["standard"], dx=-4, dy=14, ha="right")
    limit = data.sel(run=SAME_MEAN_STEP).isel(step=-1).values
    ring = theory.sel(run=SAME_MEAN_STEP).isel(step=-1).values
    ax.plot(*ring, "o", ms=13, mfc="none", mec=COLOURS["flow"], mew=1.8, zorder=7)
    text = "FLOW, same mean step\n(open: same rate;\nring: end of the theory)"
    _write(ax, limit, text, COLOURS["flow"], dx=10, dy=34)
    _write(ax, d.joint_optimum.values, "best for both", COLOURS["joint_optimum"], dx=12, dy=12)
    middle = d.average.isel(omega=d.sizes["omega"] // 4).values
    _write(ax, middle, "averaging", COLOURS["averaging"], dx=8, dy=10)


def _write(ax: Axes, point: Any, text: str, colour: str, **options: Any) -> None:
    """A label beside a point (x, y)."""
    label_line(ax, point[0], point[1], text, colour, **options)


def _misfits(ax: Axes, d: Any) -> None:
    kept = [q for q in d.quantity.values if q not in ("aside", "overlap", "spread")]
    for k, name in enumerate(kept):
        one = d.sel(quantity=name)
        many = float(d.off_large.sel(quantity=name))
        ax.plot(many, k, "o", color=COLOURS["theory"], mfc="white", ms=7, mew=1.6, zorder=4)
        ax.plot(float(one.off_surrogate), k, "D", color=COLOURS["simulation"], ms=8, zorder=5)
        text = f"{one.label.values!s}: {float(one.sampled):.2g}, theory {float(one.theory):.2g}"
        text = text.replace("-", "−")
        label_line(ax, -4.8, k - 0.45, text, COLOURS["theory"], dx=0, ha="left", fontsize=12.5)
    ax.axvspan(-2, 2, color="#eef1f5", zorder=0)
    rows = np.arange(len(kept))
    # In pieces, a row each: between them stand the sentences.
    ax.vlines(np.zeros(rows.size), rows - 0.22, rows + 0.3, COLOURS["uniform"], lw=1.4, zorder=1)
    widest = max(5.0, 1.1 * float(abs(d.off_surrogate.sel(quantity=kept)).max()))
    ax.set(xlim=(-5, widest), ylim=(len(kept) - 0.4, -1.5), yticks=[], xticks=range(-4, 5, 2))
    ax.grid(False)
    ax.spines["left"].set_visible(False)
    ax.set_xlabel("standard deviations off the theory")
    ax.set_title("Off the theory, beside Gaussian rows")
    label_line(ax, -4.8, -1.1, "◆ real rows", COLOURS["simulation"], dx=0, ha="left", fontweight="bold")
    label_line(ax, 0.2, -1.1, "○ many Gaussian rows", COLOURS["theory"], dx=0, ha="left")
