"""How many times as long as ours every package takes, and its peak memory, against rows and columns."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator

from figures.style import COLOURS, figure, label_line, spread_apart, styled, title

from .packages import OURS
from .report import MIB, short

LOOK = {
    OURS: (COLOURS["flow"], "o", 3.4),
    "scikit-learn LinearRegression": (COLOURS["standard"], "s", 1.8),
    "scikit-learn Ridge": ("#E69F00", "s", 1.8),
    "statsmodels WLS": (COLOURS["kl_dro"], "D", 1.8),
    "numpy lstsq": (COLOURS["theory"], "^", 1.8),
    "scipy lsqr": (COLOURS["averaging"], "v", 1.8),
    "scipy lsmr": ("#5E8C31", "P", 1.8),
    "lineax QR": (COLOURS["early_stopping"], "X", 1.8),
    "lineax normal equations": ("#A3476F", "X", 1.8),
}
"""Colour, mark and width of each package."""


SIZE = 13.5
"""Of the letters, in points."""


@styled
def draw(results: dict[str, Any]) -> Figure:
    """Above: time over ours. Below: memory beyond the inputs. Against the rows, and against the columns."""
    fig, axes = figure(2, 2, width=14.4, height=7.6, sharey="row")
    times, memory = axes
    drawn = []
    for column, (axis, one) in enumerate(results["sweep"].items()):
        along, other = ("rows", "columns") if axis == "n" else ("columns", "rows")
        ours = np.array([v[1] for v in one["time"][OURS]])
        ratios = {name: np.array([v[1] for v in of]) / ours for name, of in one["time"].items()}
        # A resident set is counted in pages: less is nothing, which a logarithmic axis cannot show.
        mebibytes = {name: np.maximum(np.array(of) / MIB, 0.25) for name, of in one["memory"].items()}
        for ax, what, lines in ((times[column], "Time", ratios), (memory[column], "Memory", mebibytes)):
            _lines(ax, one["sizes"], lines)
            ax.set_title(f"{what}, {_whole(one['fixed'])} {other}", fontsize=15)
            drawn.append((ax, one["sizes"], lines))
        memory[column].set_xlabel(along)
    for ax, sizes, lines in drawn:  # when all have their limits
        _names(ax, sizes[-1], lines)
    times[0].yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    times[0].yaxis.set_major_formatter(lambda ratio, _: f"{ratio:g}×" if ratio >= 1 else f"1/{1 / ratio:g}×")
    memory[0].yaxis.set_major_formatter(lambda size, _: f"{size:g} MiB")
    times[0].set_ylabel("times as long\nas linear_theory")
    memory[0].set_ylabel("memory beyond\nthe inputs")
    title(fig, _claim(results))
    return fig


def _claim(results: dict[str, Any]) -> str:
    others = {name: one["slower"][1] for name, one in results["packages"].items() if name != OURS}
    best, worst = min(others, key=others.__getitem__), max(others, key=others.__getitem__)
    n, d = (_whole(size) for size in results["sizes"]["solve"])
    if others[best] <= 1:
        return f"With {n} rows and {d} columns {best} takes {short(others[best])} of our time"
    return (
        f"A weighted solve with {n} rows and {d} columns takes {short(others[best])} times as long as ours in {best}, "
        f"{short(others[worst])} times in {worst}"
    )


def _whole(size: float) -> str:
    """A whole number, its thousands apart."""
    return f"{size:,.0f}".replace(",", " ")


def _lines(ax: Axes, sizes: list[int], lines: dict[str, np.ndarray]) -> None:
    """A line a package."""
    ax.set(xscale="log", yscale="log")
    ax.xaxis.set_major_formatter(lambda size, _: _whole(size))
    ax.tick_params(labelsize=SIZE)
    for name, values in lines.items():
        colour, mark, width = LOOK[name]
        ax.plot(sizes, values, color=colour, marker=mark, lw=width, ms=5.5, zorder=5 if name == OURS else 3)


def _names(ax: Axes, size: int, lines: dict[str, np.ndarray]) -> None:
    """The name of each line beside its end, at a distance from the next one."""
    names = sorted(lines, key=lambda name: lines[name][-1])
    low, high = np.log10(ax.get_ylim())
    places = spread_apart(np.log10([lines[name][-1] for name in names]), (high - low) / 10.5)
    for name, place in zip(names, places, strict=True):
        weight = "bold" if name == OURS else "normal"
        label_line(ax, size, 10**place, name, LOOK[name][0], dx=9, fontsize=SIZE, fontweight=weight)
