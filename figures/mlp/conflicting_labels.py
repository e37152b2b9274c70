"""Left: as accuracy on the new digits rises from 20 to over 90 %, accuracy on the old ones falls from 99 % to
65 % with FLOW and 42 % with standard fine-tuning; the stars of the best times to stop and the diamonds of the best
averages lie on the way, at 73 to 80 % of the old. Right: against the step, accuracy on the old digits falls
and on the new ones rises, both later with FLOW.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from figures.mlp.lines import LOOK, NAMES
from figures.mlp.seeds import chosen, chosen_place, error, mean
from figures.style import COLOURS, figure, ink, label_line, spread_apart, styled, title

EVERY = 2
ORANGE, BLUE, GREEN, GREY = (COLOURS[name] for name in ("standard", "flow", "averaging", "uniform"))
INK, START = COLOURS["theory"], COLOURS["pretrained"]
STAR, DIAMOND = 14, 8.5
LIMITS = (15, 103)
FINE = 11.5


@styled
def draw(dataset: Any) -> Figure:
    """Left: paths through both accuracies, in equal units. Right: both against the epoch at the equal rate."""
    fig, (left, right) = figure(1, 2, width=12.5, height=6.78, width_ratios=(1.5, 1))
    rate = int(np.argmin(abs(dataset.rate.values - float(dataset.equal_rate))))
    equal = 100 * dataset.curve.isel(rate=rate).rename(trained="run")
    _plane(left, dataset, equal)
    _key(left, float(dataset.rate[rate]))
    _curves(right, equal)
    left.set_title("Along training and along the average", pad=26)
    right.set_title(f"Along training, rate {float(dataset.rate[rate]):.2g}", pad=26)
    title(
        fig,
        "With one head and conflicting labels everything forgets; stopping early or averaging keeps far more",
    )
    return fig


def _pair(one: Any) -> tuple[Any, Any]:
    """New and old task."""
    return one.sel(place="target"), one.sel(place="pretrain")


def _plane(ax: Axes, d: Any, equal: Any) -> None:
    rate = int(np.argmin(abs(d.rate.values - float(d.equal_rate))))
    ax.set(xlim=LIMITS, ylim=LIMITS)
    _levels(ax)
    ends = []
    for run, (colour, _, face, _) in LOOK.items():
        new, old = (mean(one) for one in _pair(equal.sel(run=run)))
        ax.plot(new, old, color=colour, lw=1.8, zorder=3)
        ax.plot(new[EVERY::EVERY], old[EVERY::EVERY], "o", color=colour, mfc=face, ms=6, mew=1.4, zorder=4)
        ends.append((float(new[-1]), float(old[-1]), NAMES[run], colour))
        _best(ax, chosen(equal.sel(run=run), "mark"), "*", colour, face)
        if run not in d.source.values:
            continue
        wise = 100 * d.wise_path.sel(source=run).isel(rate=rate)
        other = {"standard": GREEN, "flow": BLUE}[run]
        _best(ax, chosen(wise, "share"), "D", GREEN, other)
        new, old = (mean(one) for one in _pair(wise))
        _band(ax, new, old, other)
        ends.append((float(new[0]), float(old[0]), f"{NAMES[run]} + WiSE", other))
    new, old = (float(mean(one)) for one in _pair(equal.sel(run="standard").isel(mark=0)))
    ax.plot(new, old, "s", color=START, ms=10, mec=ink(START), mew=1.4, zorder=5)
    label_line(ax, new, old, r"$\theta^{*}$", START, dx=0.1, dy=-15, ha="center")
    ends.sort(key=lambda end: end[1])
    heights = spread_apart(np.array([end[1] for end in ends]), 4.5)
    for height, (x, _, text, colour) in zip(heights, ends, strict=True):
        label_line(ax, x, height, text, colour, dx=9)
    ax.set_aspect("equal")  # a point of one task is a point of the other
    ax.set(xlabel="accuracy on the new digits, %", ylabel="accuracy on the old digits, %")


def _band(ax: Axes, new: Any, old: Any, other: str) -> None:
    """The path of WiSE: green, with the colour of the other method between."""
    look: dict[str, Any] = {"lw": 6, "alpha": 0.28, "zorder": 2}
    if other == GREEN:
        ax.plot(new, old, color=GREEN, solid_capstyle="round", **look)
    else:
        ax.plot(new, old, color=GREEN, ls=(0, (1.2, 1.2)), dash_capstyle="butt", gapcolor=other, **look)


def _levels(ax: Axes) -> None:
    """Lines of equal mean of both accuracies, told above the panel."""
    top = LIMITS[1]
    for level in (60, 70, 80, 90):
        ax.axline((level, level), slope=-1, color="#BFC1CA", lw=1.1, ls=(0, (5, 3)), zorder=0)
        text = f"{level} % mean of both" if level == 90 else f"{level} %"
        ax.text(2 * level - top - 2, top + 0.8, text, color=GREY, va="bottom", fontsize=FINE)


def _key(ax: Axes, rate: float) -> None:
    """Marks and bands, in the corner that is left free."""
    rows = (
        ("o", INK, f"along training at rate {rate:.2g}"),
        ("*", INK, "best time to stop there"),
        ("band", GREEN, "WiSE, from the end at this"),
        ("", GREEN, r"rate (share 0) to $\theta^{*}$ (1)"),
        ("D", GREEN, "best share"),
        ("", INK, "best: on validation rows of both"),
        ("", INK, "tasks, seed by seed; bars ± s.e."),
        ("", INK, "open: the same mean step of either"),
    )
    for k, (mark, colour, text) in enumerate(rows):
        y = 0.385 - 0.05 * k
        if mark == "band":
            ax.plot([0.02, 0.075], [y, y], color=GREEN, lw=6, alpha=0.28, transform=ax.transAxes)
        elif mark:
            size = {"*": STAR, "D": DIAMOND}.get(mark, 6)
            ax.plot(0.048, y, mark, color=colour, ms=size, transform=ax.transAxes)
        ax.text(0.1, y, text, color=ink(colour), transform=ax.transAxes, va="center", fontsize=FINE)


def _best(ax: Axes, one: Any, mark: str, colour: str, face: str) -> None:
    """Where validation rows of both tasks stop, seed by seed."""
    new, old = _pair(one)
    ax.errorbar(mean(new), mean(old), error(old), error(new), color=colour, fmt=mark, mfc=face, mew=1.4,
                ms=STAR if mark == "*" else DIAMOND, lw=1.2, capsize=0, zorder=6)  # fmt: skip


def _curves(ax: Axes, equal: Any) -> None:
    x = equal.mark.values
    ends = []
    for run in ("standard", "flow"):
        one = equal.sel(run=run)
        colour, best = LOOK[run][0], chosen(one, "mark")
        stop = one.mark.isel(mark=chosen_place(one, "mark")).assign_coords(overlap=one.overlap)
        for task, values, at, mark, dashes in (
            ("new", _pair(one)[0], _pair(best)[0], "s", (0, (4, 2))),
            ("old", _pair(one)[1], _pair(best)[1], "o", "-"),
        ):
            ax.errorbar(x, mean(values), error(values), color=colour, fmt=mark, ms=4.5, lw=1.1, capsize=0)
            ax.plot(x, mean(values), color=colour, lw=1.4, ls=dashes)
            ax.errorbar(stop.mean(), mean(at), error(at), error(stop), color=colour,
                        fmt="*", ms=STAR, lw=1.2, capsize=0, zorder=6)  # fmt: skip
            ends.append((float(mean(values)[-1]), f"{NAMES[run]}, {task}", colour))
    note = "★ best times,\nchosen as on\nthe left; means\nover seeds ± s.e."
    label_line(ax, 0, 66, note, INK, dx=5, fontsize=FINE, multialignment="left", linespacing=1.3)
    ends.sort()
    heights = spread_apart(np.array([end[0] for end in ends]), 4.5)
    for height, (_, text, colour) in zip(heights, ends, strict=True):
        label_line(ax, x[-1], height, text, colour, dx=8)
    ax.set_xscale("symlog", linthresh=1.0)
    ax.set(ylim=LIMITS, xlim=(-0.2, 1.15 * x[-1]), xlabel="step", ylabel="test accuracy, %")
    ax.set_xticks([0, 1, 10, 100], ["0", "1", "10", "100"])
