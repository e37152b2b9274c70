"""Left: points of two labels; the boundary of FLOW lies between those of the old model and of the labels' law, on the
dashed line of the logit average. Middle: where both models agree, FLOW's curve of actual against claimed probability
lies off the diagonal, the more the colder; divided by 1 + 1/τ it lies on it. Right: exponents of the old model fitted
to sampled rows of three laws of x rise along the diagonal 1/τ, below zero too; those of shuffled weights lie at 0.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from figures.style import COLOURS, figure, label_line, styled, title

FLOW, DARK, GREY = (COLOURS[name] for name in ("flow", "theory", "uniform"))
LINES = {"old model": ("pretrained", "-"), "labels' law": ("target", "-"), "FLOW": ("flow", "-")}
MARKS = {"discrete": "o", "Student t3": "s", "exponential": "^"}


@styled
def draw(dataset: Any) -> Figure:
    """Boundaries, calibration, exponents."""
    fig, (left, middle, right) = figure(1, 3, width=14, height=5.4)
    _boundaries(left, dataset)
    _calibration(middle, dataset)
    _exponents(right, dataset)
    title(
        fig,
        "A weighted classifier is the product of two experts: the average's guess, with too much confidence",
    )
    return fig


def _boundaries(ax: Axes, d: Any) -> None:
    for label, mark, face in ((1, "o", DARK), (0, "o", "white")):
        here = d.x.values[d.label.values == label]
        ax.plot(*here.T, mark, color=DARK, mfc=face, ms=4, mew=0.8, alpha=0.45, zorder=1)
    across = np.array([-2.6, 2.6])
    for name, (colour, dash) in LINES.items():
        bias, first, second = d.boundary.sel(line=name).values
        if abs(second) < 1e-9:
            ax.axvline(-bias / first, color=COLOURS[colour], ls=dash, lw=2.6)
        else:
            ax.plot(across, -(bias + first * across) / second, dash, color=COLOURS[colour], lw=2.6)
    bias, first, second = (
        d.boundary.sel(line="old model") + d.boundary.sel(line="labels' law")
    ).values  # ω = 1/2, at τ = 1
    ax.plot(
        across, -(bias + first * across) / second, ls=(0, (2, 3)), color=COLOURS["averaging"], lw=4, zorder=4
    )
    ax.set(xlim=(-2.6, 2.6), ylim=(-2.6, 2.6), xlabel="$x_1$", ylabel="$x_2$", aspect="equal")
    label_line(ax, -0.33, -2.2, "old model", COLOURS["pretrained"], dx=7)
    label_line(ax, -2.5, 0.875, "labels' law", COLOURS["target"], dx=0.1, dy=14)
    label_line(ax, 0.62, -0.72, "FLOW, and the\nlogit average", FLOW, dx=8)
    ax.set_title("where both classes are as likely, τ = 1")


def _calibration(ax: Axes, d: Any) -> None:
    claimed = np.linspace(0.5, 0.9995, 400)
    logits = np.log(claimed / (1 - claimed))
    for tau, colour, dy in ((0.5, "#08213F", -24), (2.0, FLOW, -16)):
        actual = 1 / (1 + np.exp(-logits / float(d.sharpening.sel(temperature=tau))))
        ax.plot(claimed, actual, color=colour, lw=2.4)
        label_line(ax, claimed[270], actual[270], rf"$\tau = {tau:g}$", colour, dx=0.1, dy=dy)
    ax.plot([0.5, 1], [0.5, 1], color=COLOURS["averaging"], lw=2.4, ls=(0, (2, 2)))
    label_line(
        ax,
        0.78,
        0.78,
        "divided by $1 + 1/\\tau$:\ncalibrated",
        COLOURS["averaging"],
        dx=-10,
        dy=26,
        ha="right",
    )
    ax.set(xlim=(0.5, 1), ylim=(0.5, 1), xlabel="probability that FLOW claims", ylabel="actual probability")
    ax.set_title("over-confidence where both agree")


def _exponents(ax: Axes, d: Any) -> None:
    ends = np.array([-0.6, 2.2])
    ax.plot(ends, ends, color=FLOW, lw=1.6, zorder=1)
    ax.axhline(0, color=GREY, lw=1.2, zorder=0)
    for k, (law, mark) in enumerate(MARKS.items()):
        for weights, face in (("FLOW", None), ("shuffled", "white")):
            one = d.exponents.sel(law=law, weights=weights)
            error = 4 * one.std("repeat", skipna=False, ddof=1) / np.sqrt(d.sizes["repeat"])
            for power in d.power.values:
                colour = COLOURS["kl_dro"] if power < 0 else FLOW
                ax.errorbar(
                    power + 0.035 * (k - 1), float(one.sel(power=power).mean("repeat")), float(error.sel(power=power)),
                    fmt=mark, color=colour, mfc=face or colour, ms=7, mew=1.4, lw=1.2,
                )  # fmt: skip
        ax.plot(-0.5, 2.0 - 0.2 * k, mark, color=FLOW, ms=7)
        ax.text(-0.4, 2.0 - 0.2 * k, law.replace("t3", "$t_3$"), va="center", color=DARK, fontsize=12.5)
    label_line(ax, 1.25, 1.25, r"$1/\tau$", FLOW, dx=8, dy=-10, fontsize=14)
    label_line(ax, 1.2, 0, "weights shuffled", FLOW, dx=0.1, dy=-14, ha="center")
    label_line(ax, -0.2, -0.2, "hard samples up", COLOURS["kl_dro"], dx=10, dy=-14)
    ax.set(
        xlim=(-0.6, 2.2),
        ylim=(-0.6, 2.2),
        xlabel=r"$1/\tau$ of the weights",
        ylabel="exponent of the old model",
    )
    ax.set_title("fits to sampled rows, by law of $x$")
