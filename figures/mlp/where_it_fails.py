"""Left and middle, a row for each of thirteen methods, sorted by the mean accuracy on both tasks at their own
best rates: with inverted digits FLOW's row is in the middle, at the line of the model before fine-tuning,
and with clean labels the last, left of that line. Right: three ratios for cross-entropy lie at 0.5 to 0.65,
between the Gaussian theory's 0.185 and 1; a fourth, for comparison, lies above 1.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MultipleLocator

from figures.mlp.seeds import error, mean
from figures.style import COLOURS, figure, ink, label_line, styled, title

GAUSSIAN = 0.185  # the stall factor s of squared loss and Gaussian residuals
ORANGE, BLUE, GREEN, INK = (COLOURS[name] for name in ("standard", "flow", "averaging", "theory"))
# Colour, mark and name of each method.
LOOK = {
    "standard": (ORANGE, "o", "standard"),
    "flow": (BLUE, "o", "FLOW"),
    "l2": (COLOURS["penalty"], "o", r"$\ell_2$ to $\theta^{*}$, $\lambda=0.01$"),
    "l2-strong": (COLOURS["penalty"], "o", r"$\ell_2$ to $\theta^{*}$, $\lambda=0.1$"),
    "wise": (GREEN, "o", r"WiSE-FT, $\alpha=1/2$"),
    "flow-wise": (GREEN, "o", "FLOW + WiSE"),
    "lora": (COLOURS["lora"], "o", "LoRA, rank 4"),
    "probe": (COLOURS["probe"], "o", "linear probe"),
    "flow-l2": (COLOURS["penalty"], "s", r"FLOW + $\ell_2$, $\lambda=0.01$"),
    "flow-lora": (COLOURS["lora"], "s", "FLOW + LoRA"),
    "standard-same-mean-step": (ORANGE, "D", "standard,\nsame mean step"),
    "flow-same-mean-step": (BLUE, "D", "FLOW,\nsame mean step"),
    "permuted": (BLUE, "D", "FLOW, weights\nshuffled"),
}
SETTINGS = {"inverted": "Inverted digits, same head", "clean": "Clean labels"}
KINDS = {
    "fisher": "curvature of\ncross-entropy,\nalong the way",
    "along": "gradient\nalong the way",
    "gradient": "norm of\nthe gradient",
    "curvature": "for comparison:\ncurvature of\nsquared loss",
}
GAP = 0.17  # between the two marks of a row


@styled
def draw(dataset: Any) -> Figure:
    """Left and middle: one row a method, the best at the top. Right: the ratios of cross-entropy."""
    fig, axes = figure(1, 3, width=13, height=6.9, width_ratios=(1, 1, 0.95))
    for ax, name in zip(axes, SETTINGS, strict=False):
        cell = dataset.sel(setting=name)
        _dots(ax, cell)
        ax.set_title(f"{SETTINGS[name]}, rate {float(cell.rate[_equal(cell)]):.2g}")
    _key(axes[0])
    _ratios(axes[2], dataset.ratio)
    fig.set_layout_engine("constrained", w_pad=0.08)
    title(
        fig,
        "Where all samples are equally hard weights only shorten the steps; with clean labels they cost",
    )
    return fig


def _equal(d: Any) -> int:
    return int(np.argmin(abs(d.rate.values - float(d.equal_rate))))


def _both(accuracy: Any) -> Any:
    """Mean of both test accuracies in per cent, seed by seed."""
    return 100 * accuracy.sel(place=["pretrain", "target"]).mean("place", skipna=False)


def _dots(ax: Axes, cell: Any) -> None:
    best, both = cell.best, _both(cell.accuracy)
    runs = [run for run in LOOK if run in cell.run.values]
    tuned = {run: both.sel(run=run).isel(rate=int(best.sel(run=run))) for run in runs}
    order = sorted(runs, key=lambda run: float(mean(tuned[run])))
    before, free = float(mean(_both(cell.before))), []
    for y, run in enumerate(order):
        colour, mark, _ = LOOK[run]
        same = both.sel(run=run).isel(rate=_equal(cell))
        if run == "flow":
            ax.axhspan(y - 0.5, y + 0.5, color=BLUE, alpha=0.1, lw=0, zorder=0)
        if max(float(mean(one) + error(one)) for one in (same, tuned[run])) < before + 0.5:
            free.append(y)
        for one, at, face in ((same, y + GAP, colour), (tuned[run], y - GAP, "white")):
            ax.errorbar(mean(one), at, xerr=error(one), color=colour, fmt=mark, mfc=face, mew=1.6,
                        ms=7.5 if mark == "o" else 6.5, lw=1.5, capsize=2.5, zorder=4)  # fmt: skip
    ax.set(ylim=(-0.6, len(order) - 0.4), xlabel="mean of both accuracies, %")
    ax.set_yticks(range(len(order)), [LOOK[run][2] for run in order], fontsize=12)
    for tick, run in zip(ax.get_yticklabels(), order, strict=True):
        tick.set(color=ink(LOOK[run][0]), fontweight="bold" if run == "flow" else "normal")
    ax.tick_params(axis="y", length=0)
    ax.grid(axis="y", visible=False)
    ax.xaxis.set_major_locator(MultipleLocator(5))
    _before(ax, before, min(free, default=0))


def _before(ax: Axes, value: float, free: float) -> None:
    """The start, told where sorted rows leave room: left of the best, or right of a row that ends before it."""
    ax.axvline(value, color=COLOURS["pretrained"], lw=2, zorder=1)
    high = value > sum(ax.get_xlim()) / 2
    y = ax.get_ylim()[1] - 1.0 if high else free
    label_line(ax, value, y, "before\nfine-tuning", COLOURS["pretrained"], dx=-7 if high else 7, fontsize=12)


def _key(ax: Axes) -> None:
    """What the marks are, right of the worst."""
    for y, text, face in ((0.105, "equal rate", INK), (0.065, "own best rate,", "white")):
        ax.plot(0.36, y, "o", color=INK, mfc=face, mew=1.6, ms=7.5, transform=ax.transAxes)
        ax.text(0.41, y, text, transform=ax.transAxes, va="center", color=INK, fontsize=12)
    ax.text(0.41, 0.03, "rows sorted by it", transform=ax.transAxes, va="center", color=INK, fontsize=12)


def _ratios(ax: Axes, ratio: Any) -> None:
    kinds = list(reversed(KINDS))
    for y, kind in enumerate(kinds):
        one = ratio.sel(kind=kind)
        ax.errorbar(mean(one), y, xerr=error(one), color=BLUE, fmt="o", ms=9, lw=2)
        label_line(
            ax,
            mean(one),
            y,
            f"{float(mean(one)):.2f}",
            BLUE,
            dx=-3,
            dy=17,
            ha="left" if mean(one) > 1 else "center",
        )
    for x, y, text in (
        (1.0, 2, "only the\nshorter step\n(left: slower)"),
        (GAUSSIAN, 2.6, f"Gaussian\ntheory,\n$s={GAUSSIAN:g}$"),
    ):
        ax.axvline(x, color=INK, lw=1.6, ls=(0, (4, 2)), zorder=1)
        label_line(ax, x, y, text, INK, dx=6, fontsize=12, linespacing=1.3)
    ax.set(ylim=(-0.5, 3.5), xlim=(0, 1.4), xticks=(0, 0.5, 1))
    ax.set_xlabel("with weights over without,\nover the mean weight")
    ax.set_yticks(range(len(kinds)), [KINDS[kind] for kind in kinds], fontsize=12)
    ax.tick_params(axis="y", length=0)
    ax.grid(axis="y", visible=False)
    ax.set_title("Cross-entropy at the start")
