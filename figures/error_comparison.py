"""Left and middle: what is left to learn falls as forgetting grows, along one curve a method, averaging's the
highest. On the left FLOW's curve touches the lowest total, the diamond of the best for both; in the middle
its one step ends above the curve of early stopping. Right: the share of random problems within an excess over
the best for both rises towards 100 %, from 40 % on for FLOW in continuous time, from 0 and last for FLOW at
the median temperature.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from figures.style import COLOURS, figure, ink, label_line, styled, title

COLOUR = {
    "early_stopping": COLOURS["early_stopping"],
    "descent": COLOURS["standard"],
    "averaging": COLOURS["averaging"],
    "flow_descent": COLOURS["flow"],
    "flow": COLOURS["flow"],
    "flow_default": COLOURS["flow"],
    "joint_optimum": COLOURS["joint_optimum"],
}
# What each panel shows: its window, and for each path its label and where that stands, looked at by eye.
CASES = {
    "win": (
        ((0.0, 0.62), (0.0, 0.78)),
        {
            "early_stopping": ("early stopping", (0.31, 0.38)),
            "averaging": ("averaging", (0.31, 0.44)),
            "flow_descent": ("FLOW", (0.015, 0.1)),
            "joint_optimum": ("best for both", (0.015, 0.04)),
        },
    ),
    "loss": (
        ((0.04, 0.34), (0.56, 0.937)),
        {
            "early_stopping": ("early stopping", (0.185, 0.655)),
            "averaging": ("averaging", (0.1, 0.9)),
            "flow_descent": ("FLOW, one step", (0.17, 0.685)),
            "joint_optimum": ("best for both", (0.048, 0.588)),
        },
    ),
}
# Names of the curves, in the first panel for both.
NAMES = {
    "averaging": ("averaging", {}),
    "early_stopping": ("early stopping", {}),
    "flow": ("FLOW, continuous time", {}),
    "flow_descent": (r"FLOW, step $1/(2\mu)$", {"marker": "o", "mfc": "white", "ls": ""}),
    "joint_optimum": ("best for both, as one\nor the other counts more", {"lw": 1.4, "ls": (0, (4, 2))}),
}
# FLOW is one colour: continuous time solid, the paper's step dashed, the paper's temperature dotted. Last, where a name
# stands: on the right at a point; on the left above its curve, from one excess to another.
CURVES = {
    "flow": ("FLOW,\ncontinuous time", "-", (1.5e-5, 1.5e-3)),
    "flow_descent": ("FLOW, step\n$1/(2\\mu)$", (0, (5, 1.5)), (1.5e-5, 2e-4)),
    "descent": ("standard, best rate", "-", (0.1, 0.36)),
    "early_stopping": ("early stopping", "-", (0.1, 0.29)),
    "averaging": ("averaging", "-", (0.1, 0.22)),
    "flow_default": (r"FLOW, median $\tau$", (0, (1, 1)), (0.1, 0.15)),
}


@styled
def draw(dataset: Any) -> Figure:
    """Left and middle: err₁ against err₂ along each family. Right: excess over the best for both, as shares."""
    fig, axes = figure(1, 3, width=14.4, height=5.9, width_ratios=(1, 1, 1.25))
    for ax, case in zip(axes[:2], CASES, strict=True):
        _frontier(ax, dataset, case)
    axes[0].set_title("FLOW reaches the best for both")
    axes[1].set_title("One step of FLOW loses to stopping")
    _names(axes[0])
    _excess(axes[2], dataset)
    title(
        fig,
        "FLOW reaches averaging, and often the best for both; its discrete step can lose to early stopping",
    )
    return fig


def _frontier(ax: Axes, dataset: Any, case: str) -> None:
    window, labels = CASES[case]
    panel = dataset.frontier.sel(case=case)
    for path in ("joint_optimum", "early_stopping", "averaging", "flow"):
        curve = panel.sel(path=path)
        style = {"lw": 1.4, "ls": (0, (4, 2))} if path == "joint_optimum" else {}
        ax.plot(*curve.transpose("task", "point").values, color=COLOUR[path], **style)
    dots = panel.sel(path="flow_descent").values
    ax.plot(dots[:, 0], dots[:, 1], "o", ms=5, color=COLOUR["flow"], mfc="white", mew=1.4)
    for path, (text, place) in labels.items():
        points = panel.sel(path=path).values
        x, y = points[np.nanargmin(points.sum(axis=1))]
        value = float(points.sum(axis=1).min())
        filled = COLOUR[path]
        ax.plot(
            x, y, "D" if path == "joint_optimum" else "o", ms=8, color=filled, mec="white", mew=1.0, zorder=6
        )
        ax.annotate(f"{text} {value:.3f}", (x, y), place, color=ink(filled), fontsize=12, va="center", zorder=10,
                    arrowprops={"arrowstyle": "-", "color": filled, "lw": 1.0, "shrinkA": 1, "shrinkB": 4})  # fmt: skip
    best = float(panel.sel(path="joint_optimum").sum("task").min())
    ax.plot([0, best], [best, 0], color=COLOURS["uniform"], lw=1.0, zorder=1)
    ax.set(
        xlim=window[0],
        ylim=window[1],
        xlabel=r"forgetting, err$_1/\|e\|^2$",
        ylabel=r"left to learn, err$_2/\|e\|^2$",
    )
    ax.set_aspect("equal")


def _names(ax: Axes) -> None:
    """The curves of both panels, in the corner that falling curves leave free."""
    for name, (text, look) in NAMES.items():
        ax.plot([], [], color=COLOUR[name], label=text, **look)
    ax.plot([], [], color=COLOURS["uniform"], lw=1.0, label="the same total")
    ax.legend(loc="upper right", fontsize=12, handlelength=1.3, borderaxespad=0.0)


def _excess(ax: Axes, dataset: Any) -> None:
    """For each method, the share of random problems whose best is within so much of the best for both."""
    error = dataset.search_error
    best = error.sel(approach="joint_optimum")
    for name, (label, dashes, (x, y)) in CURVES.items():
        excess = np.sort(np.maximum(error.sel(approach=name).values / best.values - 1, 1e-12))
        share = np.arange(1, excess.size + 1) / excess.size
        ax.plot(excess, share, color=COLOUR[name], ls=dashes, drawstyle="steps-post")
        if x < 0.1:  # above its curve, from one excess to another
            above = float((excess <= y).mean()) + 0.065
            label_line(ax, x, above, label, COLOUR[name], dx=0, ha="left", fontsize=12)
        else:  # where the curves are close together, with a line that leads from the curve to its name
            level = y + 0.05
            here = (excess[int(level * excess.size)], level)
            ax.annotate(label, here, (x, y), color=ink(COLOUR[name]), fontsize=12, va="center",
                        arrowprops={"arrowstyle": "-", "color": COLOUR[name], "lw": 1.0}, zorder=10)  # fmt: skip
    ax.set(xscale="log", xlim=(1e-5, 3), ylim=(0, 1), xlabel="excess over the total of the best for both")
    ax.set_xticks([1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1], ["0.001 %", "0.01 %", "0.1 %", "1 %", "10 %", "100 %"])
    ax.minorticks_off()
    ax.yaxis.set_major_formatter(PercentFormatter(1.0, symbol=" %"))
    ax.set_title(f"Share of {error.sizes['draw']} random problems within an excess")
    flow, early = error.sel(approach="flow_descent"), error.sel(approach="early_stopping")
    wins = float((flow < early * (1 - 1e-9)).mean())
    default = float((error.sel(approach="flow_default") < early).mean())
    ax.text(
        1.3e-5, 0.985,
        f"better than early stopping: FLOW {100 * wins:.0f} %,\nat its default temperature {100 * default:.0f} %",
        fontsize=12, va="top", color=COLOURS["theory"],
    )  # fmt: skip
