"""Left: the error on the old task rises with the steps, far less for FLOW than for standard fine-tuning. Middle: that
on the new task falls, less far for FLOW. Points of sampled runs lie on all solid lines, above the dashed lines of the
mean paths. Right, on logarithmic scales: the error after long training falls as the learning rate grows, then shoots up
at dotted walls, those of FLOW close behind those of standard fine-tuning, and both at a quarter in four times as many
dimensions.
"""

from __future__ import annotations

from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from figures.style import COLOURS, figure, label_line, styled, title

LINES = {"FLOW": "flow", "standard, same mean step": "standard"}


@styled
def draw(dataset: Any) -> Figure:
    """Both errors against the step, and the second against the learning rate."""
    fig, (left, middle, right) = figure(1, 3, width=13.6, height=5.2, width_ratios=(1, 1, 1.15))
    _path(left, dataset, "err1", "forgotten: error on the old task")
    _path(middle, dataset, "err2", "error on the new task")
    _wall(right, dataset)
    title(
        fig,
        "SGD's errors are known exactly, and small weights hardly move the wall beyond which they explode",
    )
    return fig


def _path(ax: Axes, ds: Any, error: str, text: str) -> None:
    for method, colour in LINES.items():
        here = ds.sel(training=method, error=error)
        ax.plot(ds.step, here.mean_path, "--", color=COLOURS[colour], lw=1.4)
        ax.plot(ds.step, here.exact, color=COLOURS[colour])
        ax.errorbar(ds.few, here.sampled, 4 * here.sampled_error, fmt="o", color=COLOURS[colour], ms=5,
                    mec="white", mew=0.6, lw=1.4)  # fmt: skip
    top = float(ds.exact.sel(error=error).max())
    flow, standard = (ds.exact.sel(training=method, error=error) for method in LINES)
    if error == "err1":
        label_line(
            ax, 62, standard.sel(step=62), "standard,\nsame mean step", COLOURS["standard"], dx=0.1, dy=-40
        )
        label_line(ax, 90, flow.sel(step=90), "FLOW", COLOURS["flow"], dx=0.1, dy=20)
    else:
        label_line(ax, 60, flow.sel(step=60), "FLOW", COLOURS["flow"], dx=0.1, dy=20)
        label_line(ax, 45, 0.24 * top, "dashed: the mean path", COLOURS["theory"], dx=0.1)
    ax.set(xlabel="step $K$", xlim=(-2, 123), ylim=(-0.04 * top, 1.12 * top))
    ax.set_title(text)


def _wall(ax: Axes, ds: Any) -> None:
    for dim in ds.wall.values:
        for weighted, colour in (("FLOW", "flow"), ("standard", "standard")):
            here = ds.sel(wall=dim, weighted=weighted)
            ax.plot(ds.share * here.limit, here.after.clip(max=50), color=COLOURS[colour])
            ax.axvline(here.limit, ls=":", color=COLOURS[colour], lw=1.6)
        edge = ds.limit.sel(wall=dim, weighted="standard")
        label_line(ax, edge, 2.2, f"$d={int(dim)}$", COLOURS["theory"], dx=-7, ha="right")
    for weighted, colour, dy, at in (("FLOW", "flow", 12, 0.01), ("standard", "standard", -16, 0.055)):
        here = ds.sel(wall=ds.wall.values[-1], weighted=weighted).sel(share=at, method="nearest")
        label_line(ax, here.share * here.limit, here.after, weighted, COLOURS[colour], dx=2, dy=dy)
    ax.minorticks_off()
    ax.set(xscale="log", yscale="log", ylim=(0.02, 4), xlim=(2.5e-4, 0.3))
    ax.minorticks_off()
    ax.set_yticks([0.03, 0.1, 0.3, 1, 3], ["0.03", "0.1", "0.3", "1", "3"])
    ax.set(xlabel=r"learning rate $\eta$")
    ax.set_title("on the new task, long training")
