"""The diagnosis drawn: both errors against the step, against each other, and the assumptions."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib import patheffects
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from matplotlib.style import context as style_context
from matplotlib.ticker import FuncFormatter

from ..risk import model_average, pretrain_error, target_error
from .checks import Check
from .comparison import Comparison
from .findings import by_how_much, doubts, headline
from .measured import Measured
from .paths import METHODS, Paths, best_of_flow, gradient_flow_path, joint_optimum_point
from .report import number

__all__ = ["Figure", "draw"]

# Okabe and Ito's palette: one colour for each method; the same mean step is standard fine-tuning, too.
STANDARD, FLOW, AVERAGING, BEST_FOR_BOTH, GREY = "#D55E00", "#0072B2", "#009E73", "#000000", "#5C6068"
INK = "#2E3A4D"
LETTERS = {STANDARD: "#c25600", AVERAGING: "#008460"}  # where the colour of a line is too pale for its name
LINES = ((STANDARD, "-"), (FLOW, "-"), (STANDARD, (0, (4, 2))))
DASHED = (0, (2, 2))  # averaging often lies on another line
STYLE = {
    "font.size": 14,
    "axes.titlesize": 15,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#e3e6ea",
    "axes.axisbelow": True,
    "lines.linewidth": 2.6,
    "svg.hashsalt": "linear_theory",
}


SMALL = 13.5
MOVED = "How far predictions on these rows move"

NUMBERS = FuncFormatter(lambda value, _: number(value))


def draw(comparison: Comparison, checks: Sequence[Check]) -> Figure:
    """Left: target error and forgetting, step by step. Middle: one against the other. Right: the assumptions."""
    style: Any = STYLE
    m, paths = comparison.measured, comparison.paths
    known = m.pretrain_covariance is not None
    with style_context(["default", style]):
        fig = Figure(figsize=(16, 8), layout=ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.08))
        FigureCanvasAgg(fig)
        grid = fig.add_gridspec(2, 3, width_ratios=(1.2, 1.2, 0.8))
        top = fig.add_subplot(grid[0, 0])
        below = fig.add_subplot(grid[1, 0], sharex=top)
        _steps(top, below, paths, known)
        _plane(fig.add_subplot(grid[:, 1]), m, paths)
        _assumptions(fig.add_subplot(grid[:, 2]), checks)
        _legend(fig, comparison, known)
        sentences = filter(None, (by_how_much(comparison), headline(comparison)))
        lines = [line for sentence in sentences for line in _evenly_wrapped(f"{sentence}.")]
        size = min(20, 1800 / max(map(len, lines)))  # the longest must fit the width
        fig.suptitle("\n".join(lines), x=0.01, ha="left", fontsize=size, fontweight="bold")
    return fig


def _evenly_wrapped(sentence: str) -> list[str]:
    """In as few lines of about the same length as a title may have."""
    return textwrap.wrap(sentence, math.ceil(len(sentence) / math.ceil(len(sentence) / 130)) + 8)


def _annotate(
    ax: Any, x: float, y: float, text: str, colour: str, dx: float, dy: float, **options: Any
) -> None:
    """A label beside a point, with a white rim so that it is readable across lines."""
    rim = [patheffects.withStroke(linewidth=3.5, foreground="white")]
    options = {
        "ha": "left" if dx >= 0 else "right",
        "va": "center",
        "path_effects": rim,
        "zorder": 10,
    } | options
    ax.annotate(text, (x, y), xytext=(dx, dy), textcoords="offset points", color=colour, **options)


def _one_line_is_both(paths: Paths) -> bool:
    """Whether standard fine-tuning is shown at the same mean step, so that one line is both."""
    return bool(np.isclose(paths.learning_rates[0], paths.learning_rates[2], rtol=1e-2))


def _steps_shown(paths: Paths) -> int:
    """How many of the recorded steps: until no line has more than a hundredth of its way before it."""
    both = np.concatenate([paths.forgetting, paths.target_errors])
    span = np.ptp(both, axis=1, keepdims=True)
    moving = (abs(both - both[:, -1:]) > 0.01 * np.where(span > 0, span, 1.0)).any(axis=0)
    last = int(np.flatnonzero(moving).max(initial=0)) + 2
    return min(len(paths.steps), max(last, 11))


def _steps(top: Any, below: Any, paths: Paths, known: bool) -> None:
    shown = _steps_shown(paths)
    steps = np.where(paths.steps == 0, 0.5, paths.steps)[:shown]  # the start, left of the first step
    for k in (2, 0, 1):
        if k == 2 and _one_line_is_both(paths):
            continue
        colour, dash = LINES[k]
        for ax, errors in ((top, paths.target_errors[k]), (below, paths.forgetting[k])):
            ax.plot(steps, errors[:shown], color=colour, ls=dash)
        best = int(np.searchsorted(paths.steps, paths.best(METHODS[k]).steps))
        if known and best < shown:
            for ax, errors in ((top, paths.target_errors[k]), (below, paths.forgetting[k])):
                ax.plot(steps[best], errors[best], "o", color=colour, ms=9, mec="white", zorder=5)
    for ax in (top, below):
        ax.set_xscale("log")
        ax.set_ylim(bottom=-0.03 * ax.get_ylim()[1])
        ax.yaxis.set_major_formatter(NUMBERS)
        ax.set_xlim(0.45, steps[-1] * 1.02)
        ticks = [0.5, *(10.0**p for p in range(math.ceil(math.log10(steps[-1] * 1.01))))]
        ax.set_xticks(
            ticks, ["0", *(f"{t:.0f}" if t < 1e5 else f"$10^{{{round(math.log10(t))}}}$" for t in ticks[1:])]
        )
        ax.minorticks_off()
    top.set_title("Target error left to learn")
    top.tick_params(labelbottom=False)
    below.set_title("Forgetting" if known else MOVED)
    below.set_xlabel("step\ndot: where to stop, with steps of this size" if known else "step")


def _legend(fig: Figure, comparison: Comparison, known: bool) -> None:
    """The names in their colours, once for all panels, below whatever there is to doubt."""
    paths = comparison.paths
    warnings = doubts(comparison)
    standard = f"standard fine-tuning{', at the same mean step' if _one_line_is_both(paths) else ''}"
    line = lambda colour, label, **how: Line2D([], [], color=colour, label=label, **how)
    handles = [line(STANDARD, standard), line(FLOW, METHODS[1])]
    if not _one_line_is_both(paths):
        handles.insert(1, line(STANDARD, METHODS[2], ls=LINES[2][1]))
    handles.append(line(AVERAGING, "averaging with the start", ls=DASHED))
    if known:
        handles.append(line(BEST_FOR_BOTH, "best for both (the joint optimum)", marker="D", ls=""))
    lines = [str(handle.get_color()) for handle in handles]
    colours = [LETTERS.get(line, line) for line in lines]
    fig.legend(
        handles=handles, loc="outside lower left", ncols=len(handles), labelcolor=colours, frameon=False,
        title=textwrap.fill(" ".join(warnings), 130) or None, alignment="left",
        title_fontproperties={"weight": "bold", "size": 14},
    )  # fmt: skip


def _plane(ax: Any, m: Measured, paths: Paths) -> None:
    """Lines: small steps. Dots: the steps of FLOW and the same mean step; the largest: where to stop."""
    known = m.pretrain_covariance is not None
    averages = model_average(m._problem, np.linspace(1, 0, 101))
    ax.plot(
        pretrain_error(m._problem, averages),
        target_error(m._problem, averages),
        color=AVERAGING,
        ls=DASHED,
        zorder=3.5,
    )
    for weighted, row in ((False, 2), (True, 1)):
        colour = LINES[row][0]
        _, *errors = gradient_flow_path(m, weighted)
        ax.plot(*errors, color=colour, zorder=3)
        ax.plot(paths.forgetting[row], paths.target_errors[row], "o", color=colour, ms=5, zorder=4)
        if known:
            best = best_of_flow(m, weighted)
            ax.plot(
                best.forgetting, best.target_error, "o", color=colour, ms=13, mec="white", mew=1.5, zorder=5
            )
    if known:
        lowest = joint_optimum_point(m)
        ax.plot(lowest.forgetting, lowest.target_error, "D", color=BEST_FOR_BOTH, ms=7, mec="white", zorder=6)
    right = float(max(paths.forgetting.max(), m.forgetting.max())) or 1.0
    high = float(max(paths.target_errors.max(), m.target_errors.max())) or 1.0
    ax.set(xlim=(-0.03 * right, 1.1 * right), ylim=(-0.04 * high, 1.1 * high))
    ax.set(
        xlabel=f"{'forgetting' if known else 'moved'}  {m.forgetting_measure}",
        ylabel="target error left to learn",
    )
    mark = lambda label, **how: Line2D([], [], color=GREY, label=label, **how)
    how = (mark("small steps"), mark("steps", marker="o", ls="", ms=5))
    stop = [mark("where to stop", marker="o", ls="", ms=13)] if known else []
    ax.legend(handles=[*how, *stop], loc="best", labelcolor=GREY)
    ax.xaxis.set_major_formatter(NUMBERS)
    ax.yaxis.set_major_formatter(NUMBERS)
    ax.set_title("What is gained, what is lost")
    _annotate(ax, 0, float(m.target_errors[0]), "start", GREY, 8, 8)


def _assumptions(ax: Any, checks: Sequence[Check]) -> None:
    """The deviate of each check beside the band in which it holds; beyond the frame, an arrow with its number."""
    limit = checks[0].limit
    edge = 2.5 * limit
    ax.axvspan(-limit, limit, color="#e9eef4", zorder=0)
    free = [
        k for k, check in enumerate(checks) if check.verdict == "holds"
    ]  # elsewhere words stand on the zero
    ax.vlines([0] * len(free), [k - 0.5 for k in free], [k + 0.5 for k in free], color=GREY, lw=1.2, zorder=1)
    for k, check in enumerate(checks):
        broken = check.verdict == "broken"
        colour, weight = (INK, "bold") if broken else (GREY, "normal")
        outside = {"xycoords": ax.get_yaxis_transform(), "fontsize": SMALL, "weight": weight}
        _annotate(ax, 0, k, check.name, colour, -8, 0, **outside)
        if math.isnan(check.sigmas):
            _annotate(ax, 0, k, "not judged", GREY, 0, 0, fontsize=SMALL, ha="center")
            continue
        far = abs(check.sigmas) > 0.9 * edge
        place = math.copysign(0.9 * edge, check.sigmas) if far else check.sigmas
        mark = (">" if place > 0 else "<") if far else "X" if broken else "o"
        ax.plot(place, k, mark, color=colour, ms=10, zorder=5)
        figures = f"{number(check.figure)}, not {number(check.expected)}"
        if broken:
            _annotate(ax, place, k, figures, colour, -11 if place > 0 else 11, 0, fontsize=SMALL)
    ax.set(xlim=(-edge, edge), ylim=(len(checks) - 0.5, -0.5), yticks=[], xticks=range(-10, 11, 5))
    ax.grid(False)
    ax.spines["left"].set_visible(False)
    ax.set_xlabel("standard deviations off\n(band: holds)")
    verdicts = [check.verdict for check in checks]
    judged = len(verdicts) - verdicts.count("not judged")
    ax.set_title(f"{verdicts.count('broken')} of {judged} assumptions broken", loc="right")
