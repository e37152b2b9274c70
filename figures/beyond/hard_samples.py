"""Left: the error against the hardest share of the samples, down to half a per cent. FLOW's line rises steeply towards
the hardest, together with that of a model average; standard fine-tuning with the same mean error rises less than half
as far, and after as many steps lies at 0. Points of models trained on rows lie on the lines. Right, on a logarithmic
scale: the error falls with the steps, for FLOW slowly, in two parallel lines, the hardest tenth above the mean.
"""

from __future__ import annotations

from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from figures.style import COLOURS, figure, label_line, styled, title

METHODS = {
    "FLOW": "flow",
    "model average": "averaging",
    "same mean error": "early_stopping",
    "standard": "standard",
}


@styled
def draw(dataset: Any) -> Figure:
    """Left: who pays on which share. Right: when."""
    fig, (left, right) = figure(1, 2, width=12.6, height=5.2, width_ratios=(1.2, 1))
    _shares(left, dataset)
    _steps(right, dataset)
    title(fig, "FLOW pays on the hard samples: what it has not learned is just what they needed")
    return fig


def _shares(ax: Axes, ds: Any) -> None:
    for method, colour in METHODS.items():
        dashed = "--" if method == "model average" else "-"
        ax.plot(100 * ds.share, ds.error.sel(model=method), dashed, color=COLOURS[colour], lw=2.4)
    for kind, colour in (("FLOW", "flow"), ("standard", "standard")):
        here = ds.sel(kind=kind)
        ax.errorbar(100 * ds.place, here.sampled, 4 * here.sampled_error, fmt="o", color=COLOURS[colour], ms=6,
                    mec="white", mew=0.7, zorder=4)  # fmt: skip
    at = ds.error.isel(share=20)
    place = float(100 * ds.share[20])
    label_line(ax, place, at.sel(model="FLOW"), "FLOW", COLOURS["flow"], dx=-8, dy=-16)
    label_line(ax, place, at.sel(model="model average"), "model average", COLOURS["averaging"], dx=10, dy=12)
    text = "standard, stopped at\nthe same mean error"
    label_line(ax, place, at.sel(model="same mean error"), text, COLOURS["early_stopping"], dx=-8, dy=-24)
    label_line(ax, place, 0, "standard, as many steps", COLOURS["standard"], dx=0.1, dy=13, ha="center")
    ax.set(xscale="log", xlim=(0.45, 110), xlabel="hardest share of the samples, in %")
    ax.set(
        ylim=(-0.02 * float(ds.error.max()), 1.1 * float(ds.error.max())),
        ylabel=r"error, in $\Vert e\Vert^2$",
    )
    ax.set_xticks([1, 10, 100], ["1", "10", "100"])
    ax.set_title("who pays", loc="left")


def _steps(ax: Axes, ds: Any) -> None:
    for path, colour in (("FLOW", "flow"), ("standard", "standard")):
        for which, line in (("hardest tenth", "-"), ("all", ":")):
            ax.plot(ds.step, ds.step_error.sel(path=path, which=which), line, color=COLOURS[colour], lw=2.4)
    flow = ds.step_error.sel(path="FLOW")
    standard = ds.step_error.sel(path="standard")
    for which, step, text, dx, dy in (
        ("hardest tenth", 12, "FLOW, hardest tenth", 8, 10),
        ("all", 20, "FLOW, all", -8, -12),
    ):
        label_line(ax, step, flow.sel(which=which, step=step), text, COLOURS["flow"], dx=dx, dy=dy)
    label_line(
        ax, 8, standard.sel(which="hardest tenth", step=8), "standard", COLOURS["standard"], dx=10, dy=8
    )
    ax.set(
        xlim=(0, 30), ylim=(1e-5, 10), yscale="log", xlabel="step $K$", ylabel=r"error, in $\Vert e\Vert^2$"
    )
    ax.set_title("when", loc="left")
