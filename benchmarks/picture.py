"""Time and peak memory of every package against n and d, on logarithmic axes."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

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


@styled
def draw(results: dict[str, Any]) -> Figure:
    """Above: time, in products of the limit. Below: memory beyond the inputs. Against n, and against d."""
    sweep = results["sweep"]
    fig, axes = figure(2, 2, width=14, height=10.6, sharey="row")
    side, count = results["machine"]["side"], results["machine"]["cores"]
    for column, (axis, one) in enumerate(sweep.items()):
        sizes, fixed = np.array(one["sizes"]), one["fixed"]
        n, d = (sizes, fixed) if axis == "n" else (fixed, sizes)
        letter = "rows $n$" if axis == "n" else "columns $d$"
        beside = f"$d = {fixed}$" if axis == "n" else f"$n = {fixed}$"
        above, below = axes[:, column]
        floor = np.asarray(n * d**2 / (2.0 * side**3 * count))
        _panel(above, sizes, {name: [v[1] for v in of] for name, of in one["time"].items()})
        _reference(above, sizes, floor, r"limit: $n\,d^2$ flops")
        _panel(below, sizes, {name: np.array(of) / MIB for name, of in one["memory"].items()})
        _reference(below, sizes, np.asarray(8.0 * n * d / MIB), "the rows themselves")
        above.set_title(f"Time, {beside}")
        below.set_title(f"Memory, {beside}")
        below.set_xlabel(letter)
    for low_left in axes[:, 0]:  # room for the words under the lowest line
        low, high = low_left.get_ylim()
        low_left.set_ylim(low / 3, high)
    axes[0, 0].set_ylabel(f"time, in {side}³ products on each core")
    axes[1, 0].set_ylabel("peak beyond the inputs, MiB")
    title(fig, _claim(results))
    return fig


def _claim(results: dict[str, Any]) -> str:
    others = {name: one["slower"][1] for name, one in results["packages"].items() if name != OURS}
    best, worst = min(others, key=others.__getitem__), max(others, key=others.__getitem__)
    n, d = results["sizes"]["solve"]
    if others[best] <= 1:
        return f"At n = {n}, d = {d}, {best} takes {short(others[best])} of our time"
    return (
        f"The same weighted solve (n = {n}, d = {d}) takes {short(others[best])} times as long in {best}, "
        f"{short(others[worst])} times in {worst}"
    )


def _panel(ax: Axes, sizes: np.ndarray, lines: dict[str, Any]) -> None:
    """A line a package, and its name beside its end, at a distance from the next one."""
    lowest = 0.25  # a resident set is counted in pages: less is "nothing"
    lines = {name: np.maximum(np.asarray(of, dtype=float), _floor(of, lowest)) for name, of in lines.items()}
    ax.set(xscale="log", yscale="log")
    for name, values in lines.items():
        colour, mark, width = LOOK[name]
        top = 5 if name == OURS else 3
        ax.plot(sizes, values, color=colour, marker=mark, lw=width, ms=5.5, zorder=top)
    names = sorted(lines, key=lambda name: lines[name][-1])
    ends = np.log10([lines[name][-1] for name in names])
    low, high = np.log10(min(v.min() for v in lines.values())), np.log10(max(v.max() for v in lines.values()))
    places = spread_apart(ends, (high - low) / 15)
    for name, place in zip(names, places, strict=True):
        weight = "bold" if name == OURS else "normal"
        label_line(ax, sizes[-1], 10**place, name, LOOK[name][0], dx=9, fontsize=11.5, fontweight=weight)


def _floor(values: Any, lowest: float) -> float:
    """Memory can be nothing, which a logarithmic axis cannot show; times never are."""
    return lowest if min(values) <= 0 else 0.0


def _reference(ax: Axes, sizes: np.ndarray, values: np.ndarray, text: str) -> None:
    """What one would compare with: dashed and grey, its name at its beginning."""
    ax.plot(sizes, values, color=COLOURS["uniform"], lw=1.6, ls=(0, (4, 3)), zorder=1)
    label_line(ax, sizes[0], values[0], text, COLOURS["uniform"], dx=0, dy=-13, ha="left", fontsize=11.5)
