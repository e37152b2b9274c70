"""Left: against the learning rate the mean accuracy on both tasks rises a little and collapses, at a tenfold
larger rate for FLOW than for standard fine-tuning. Middle: where the new task is learned as well, the old one
is kept at 96 to 98 % by all, FLOW not above the others and WiSE-FT highest at each share of wrong labels. Right:
in a long training with 40 % wrong labels accuracy on the new task rises to nearly 90 % for all and falls again,
to 63 % with standard fine-tuning and hardly with FLOW.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from figures.mlp.lines import LOOK, NAMES
from figures.mlp.seeds import error, mean
from figures.style import COLOURS, figure, ink, label_line, spread_apart, styled, title

GREEN = COLOURS["averaging"]
LOOKS = LOOK | {"wise": (GREEN, "s", GREEN, "-")}
NAMED = NAMES | {"wise": "WiSE-FT"}
ASIDE = 0.13  # between the marks of one share of wrong labels
MIDDLE = 0.2  # share of wrong labels in the left panel


@styled
def draw(dataset: Any) -> Figure:
    """Left: over rates. Middle: at equal learning. Right: along a long training."""
    fig, (left, middle, right) = figure(1, 3, width=13.5, height=6.0, width_ratios=(1, 1, 1.05))
    cell = dataset.isel(noise=int(np.argmin(abs(dataset.noise.values - MIDDLE))))
    _rates(left, cell)
    _equal_learning(middle, dataset)
    _long(right, dataset)
    fig.set_layout_engine("constrained", w_pad=0.08)
    title(
        fig, "FLOW resists learning wrong labels by heart; at equal learning it keeps no more of the old task"
    )
    return fig


def _both(accuracy: Any) -> Any:
    """Mean of both test accuracies in per cent, seed by seed."""
    return 100 * accuracy.sel(place=["pretrain", "target"]).mean("place", skipna=False)


def _look(run: str) -> dict[str, Any]:
    colour, mark, face, _ = LOOKS[run]
    return {"color": colour, "marker": mark, "mfc": face, "mew": 1.5, "ms": 6.5}


def _rates(ax: Axes, cell: Any) -> None:
    x = cell.rate.values
    for place, run in enumerate(("standard", "standard-same-mean-step", "permuted", "flow")):
        values = _both(cell.accuracy.sel(run=run))
        ax.errorbar(x, mean(values), error(values), lw=1.6, capsize=0, zorder=3, **_look(run))
        # The names stand in the corner that the curves leave free.
        height = 0.33 - 0.075 * place
        ax.plot(0.06, height, transform=ax.transAxes, ls="", **_look(run))
        ax.text(
            0.1,
            height,
            NAMED[run],
            transform=ax.transAxes,
            va="center",
            color=ink(LOOKS[run][0]),
            fontsize=12.5,
        )
    start = float(mean(_both(cell.before)))
    ax.axhline(start, color=COLOURS["pretrained"], lw=1.6, zorder=1)
    label_line(ax, x[0], start, "before fine-tuning", COLOURS["pretrained"], dx=2, dy=-10)
    ax.set(xscale="log", ylim=(40, 100), xlabel="learning rate", ylabel="mean of both accuracies, %")
    ax.set_title(f"Over rates, {100 * float(cell.noise):.0f} % wrong labels")


def _equal_learning(ax: Axes, d: Any) -> None:
    kept = 100 * d.kept.sel(learned=0.8)
    places = np.arange(d.sizes["noise"])
    labels = []
    for k, run in enumerate(LOOKS):
        values = kept.sel(keeper=run)
        at = places + ASIDE * (k - (len(LOOKS) - 1) / 2)
        ax.errorbar(at, mean(values), error(values), ls="", lw=1.5, capsize=0, **_look(run))
        labels.append((float(mean(values)[-1]), NAMED[run], LOOKS[run][0]))
    labels.sort()
    low, high = ax.get_ylim()
    heights = spread_apart(np.array([one[0] for one in labels]), 0.055 * (high - low))
    for height, (_, text, colour) in zip(heights, labels, strict=True):
        label_line(ax, places[-1] + 0.33, height, text, colour, dx=2)
    ax.set(
        xlim=(-0.45, places[-1] + 1.55),
        xlabel="share of wrong labels, %",
        ylabel="accuracy on the old task, %",
    )
    ax.set_xticks(places, [f"{100 * noise:.0f}" for noise in d.noise.values])
    ax.set_title("Where the new task is learned as well")


def _long(ax: Axes, d: Any) -> None:
    curve = 100 * d.long_curve.isel(long_rate=int(d.attrs["long_rate_place"]))
    x, ends = d.long_mark.values, []
    for run in ("standard", "standard-same-mean-step", "permuted", "flow"):
        new = curve.sel(long_run=run, place="target")
        ax.errorbar(x, mean(new), error(new), lw=1.6, capsize=0, **_look(run))
        heart = float(mean(curve.sel(long_run=run, place="wrong labels"))[-1])
        name = NAMED[run]
        ends.append((float(mean(new)[-1]), f"{name}:\n{heart:.0f} % by heart", LOOKS[run][0]))
    ends.sort()
    low, high = ax.get_ylim()
    heights = spread_apart(np.array([end[0] for end in ends]), 0.11 * (high - low))
    for height, (_, text, colour) in zip(heights, ends, strict=True):
        label_line(ax, x[-1], height, text, colour, dx=9, multialignment="left", linespacing=1.05)
    ax.set_xscale("symlog", linthresh=1.0)
    ax.set(xlim=(-0.3, 60 * x[-1]), xlabel="step", ylabel="accuracy on the new task, %")
    ax.set_xticks([0, 1, 10, 100, 1000])
    ax.set_title(f"Long training, {100 * float(d.attrs['long_noise']):.0f} % wrong labels")
