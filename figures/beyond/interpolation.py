"""Left, two paths in the plane through start and end: standard fine-tuning's orange curve and FLOW's blue one part at
once, bend away from each other and meet at one point. Right, how far each is from that end: three curves fall
to nothing, standard fine-tuning first and FLOW last, and a dashed line where half of the rows weigh 0 levels off.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.figure import Figure

from figures.style import COLOURS, figure, ink, label_line, styled, title

METHODS = {"standard": "standard", "FLOW": "flow", "FLOW, shuffled": "uniform"}


@styled
def draw(dataset: Any) -> Figure:
    """The paths in a plane, and their distance from the end against the step."""
    fig, (plane, far) = figure(1, 2, width=11, height=4.8)
    for law, colour in METHODS.items():
        here, shade = dataset.sel(law=law), COLOURS[colour]
        if law != "FLOW, shuffled":
            plane.plot(*here.seen.values.T, color=shade, lw=2)
        far.plot(dataset.step, here.far, color=shade, lw=2)
    far.plot(dataset.step, dataset.far_dropped, "--", color=COLOURS["theory"], lw=1.8)
    plane.plot(0, 0, "s", color=COLOURS["pretrained"], ms=11, mec="white", zorder=5)
    plane.plot(1, 0, "o", color=COLOURS["target"], ms=11, mec="white", zorder=5)
    label_line(plane, 0, 0, r"start, $\theta^*$", COLOURS["pretrained"], dx=2, dy=-22, ha="center")
    label_line(plane, 1, 0, "the one end", COLOURS["target"], dx=14)
    for law, side in (("FLOW", 1), ("standard", -1)):
        along, across = dataset.seen.sel(law=law).values.T
        turn = int(np.argmax(side * across))
        label_line(
            plane, along[turn], across[turn], law, COLOURS[METHODS[law]], dx=0, dy=13 * side, ha="center"
        )
    plane.set(xlabel="along the way to the end", ylabel="across it", aspect="equal")
    plane.set(xlim=(-0.2, 1.45), ylim=(-0.45, 0.55))
    plane.set_title("one sample, in units of the whole way", fontsize=12.5)
    far.set(
        xscale="log",
        ylim=(-0.04, 1.1),
        xlabel="step $K$, all of one mean length",
        ylabel="distance from the one end",
    )
    far.set_title("how far they have to go", fontsize=12.5)
    for law, share, dx in (("standard", 0.25, -8), ("FLOW", 0.5, 8)):
        left = dataset.far.sel(law=law).values
        at = int(np.argmax(left < share))
        label_line(
            far,
            dataset.step[at],
            left[at],
            law,
            COLOURS[METHODS[law]],
            dx=dx,
            dy=0,
            ha="right" if dx < 0 else "left",
        )
    shuffled = dataset.far.sel(law="FLOW, shuffled").values
    at = int(np.argmax(shuffled < 0.17))
    colour = COLOURS["uniform"]
    far.annotate(
        "FLOW, shuffled", (float(dataset.step[at]), shuffled[at]), (1.5e3, 0.3), color=ink(colour), fontsize=12.5,
        arrowprops={"arrowstyle": "-", "color": colour, "lw": 1.0},
    )  # fmt: skip
    level = dataset.far_dropped[-1]
    label_line(far, 3e3, level, "half of the rows weigh 0", COLOURS["theory"], dx=0, dy=-14, ha="center")
    rows, dim = dataset.attrs["rows"], dataset.attrs["dim"]
    title(fig, f"Two paths, one end: {rows} rows in {dim} dimensions leave the weights nothing to choose")
    return fig
