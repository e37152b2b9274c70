"""Left: as code takes fewer and fewer bits a byte (from the right to the left), prose takes more; lowest lies the
green band of averages with the pre-trained parameters, then FLOW per byte, and standard fine-tuning rises the most,
with FLOW's weights shuffled beside it. Right: one mark a method for the bits of prose lost where code takes as many;
the averages lie furthest left.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullFormatter

from figures.mlp.seeds import error, mean
from figures.style import COLOURS, figure, ink, label_line, styled, title

EQUAL = 1e-3
ORANGE, BLUE, GREEN, VIOLET = (COLOURS[name] for name in ("standard", "flow", "averaging", "penalty"))
START, INK = COLOURS["pretrained"], COLOURS["theory"]
# Colour, mark, face, second half of the face, dashes.
LOOK: dict[str, tuple[str, str, str, str | None, Any]] = {
    "standard": (ORANGE, "o", ORANGE, None, "-"),
    "flow": (BLUE, "o", BLUE, None, "-"),
    "permuted": (BLUE, "^", "white", None, (0, (1, 1.5))),
    "flow-sequence": (BLUE, "s", BLUE, None, (0, (5, 2))),
    "permuted-sequence": (BLUE, "v", "white", None, (0, (1, 1.5))),
    "l2": (VIOLET, "v", VIOLET, None, "-"),
    "l2-strong": (VIOLET, "P", VIOLET, None, "-"),
    "wise": (GREEN, "D", GREEN, None, "-"),
    "flow-wise": (GREEN, "D", GREEN, BLUE, "-"),
    "flow-sequence-wise": (GREEN, "D", GREEN, BLUE, "-"),
}
NAMES = {
    "standard": "standard",
    "flow": "FLOW, per byte",
    "permuted": "weights shuffled",
    "flow-sequence": "FLOW, per sequence",
    "permuted-sequence": "weights shuffled",
    "l2": r"$\ell_2$, $\lambda=0.01$",
    "l2-strong": r"$\ell_2$, $\lambda=0.1$",
    "wise": "WiSE-FT",
    "flow-wise": "FLOW + WiSE",
    "flow-sequence-wise": "FLOW + WiSE",
}
BLOCKS = (
    ("standard", "permuted", "flow", "wise", "flow-wise"),
    ("standard", "permuted-sequence", "flow-sequence", "l2", "l2-strong", "wise", "flow-sequence-wise"),
)
DRAWN = ("standard", "permuted", "flow-sequence", "flow")
FINE = 11.5


@styled
def draw(dataset: Any) -> Figure:
    """Left: both texts along training and along the average. Right: prose at equal learning of code."""
    fig, (left, right) = figure(1, 2, width=12.5, height=6.78, width_ratios=(1.3, 1))
    _plane(left, dataset)
    _equal(right, dataset)
    title(
        fig, "A language model keeps more of its old text under FLOW, and most where parameters are averaged"
    )
    return fig


def _pair(values: Any) -> tuple[Any, Any]:
    """Bits of code and of prose, means over seeds."""
    return mean(values.sel(place="target")), mean(values.sel(place="pretrain"))


def _plane(ax: Axes, d: Any) -> None:
    rate = int(np.argmin(abs(d.rate.values - EQUAL)))
    bits, averaged = d.bits.isel(rate=rate), d.averaged.isel(rate=rate)
    ax.plot(
        *_pair(averaged.sel(average="wise")), color=GREEN, lw=7, alpha=0.3, solid_capstyle="round", zorder=1
    )
    for run in DRAWN:
        colour, mark, face, _, dashes = LOOK[run]
        ax.plot(
            *_pair(bits.sel(run=run)), color=colour, ls=dashes, lw=1.8, marker=mark, mfc=face, ms=6, zorder=3
        )
    x, y = (float(one) for one in _pair(bits.sel(run="standard").isel(step=0)))
    ax.plot(x, y, "s", color=START, ms=10, mec=ink(START), mew=1.4, zorder=5)
    label_line(ax, x, y, "pre-trained", START, dx=0.1, dy=-17, ha="center")
    low, high = ax.get_ylim()
    ax.set_ylim(low - 0.09 * (high - low), high)
    ax.set_xscale("log")
    ax.set_xticks(range(3, 11), [str(tick) for tick in range(3, 11)])
    ax.xaxis.set_minor_formatter(NullFormatter())
    ax.set(xlabel="code, bits a byte (learned to the left)", ylabel="prose, bits a byte (forgotten upwards)")
    ax.set_title(f"Along {int(d.step[-1])} steps at rate {float(d.rate[rate]):g}")
    _key(ax)


def _key(ax: Axes) -> None:
    """What each line is, in the corner that is left free: nobody forgets before having learned."""
    rows = [
        *((run, NAMES[run]) for run in ("standard", "flow", "permuted", "flow-sequence")),
        ("wise", "WiSE-FT"),
    ]
    for place, (run, text) in enumerate(rows):
        colour, mark, face, _, dashes = LOOK[run]
        y = 0.95 - 0.055 * place
        at: dict[str, Any] = {"transform": ax.transAxes, "color": colour}
        if run == "wise":
            ax.plot([0.52, 0.61], [y, y], lw=7, alpha=0.3, solid_capstyle="butt", **at)
            text = "WiSE-FT of standard"
        else:
            ax.plot([0.52, 0.565, 0.61], [y, y, y], ls=dashes, lw=1.8, marker=mark, mfc=face, ms=6, **at)
        text = f"FLOW per byte, {text}" if run == "permuted" else text
        ax.text(0.63, y, text, color=ink(colour), transform=ax.transAxes, va="center", fontsize=FINE)


def _equal(ax: Axes, d: Any) -> None:
    """Rows of marks, one block for each level of code."""
    lost = d.kept - d.bits.sel(run="standard", place="pretrain").isel(step=0, rate=0)
    ticks, height = [], 0.0
    for level, ways in enumerate(BLOCKS):
        height -= 1.2
        text = f"code at {float(d.level[level]):.2f} bits a byte"
        ticks.append((height, text, INK))
        for way in ways:
            height -= 1.0
            one = lost.sel(way=way).isel(level=level)
            colour, mark, face, other, _ = LOOK[way]
            ticks.append((height, NAMES[way], colour))
            if bool(one.isnull().any()):
                ax.text(0.02, height, "does not get there", color=ink(colour), va="center", fontsize=FINE)
                continue
            ax.errorbar(mean(one), height, xerr=error(one), color=colour, lw=1.6, capsize=0, ls="", zorder=2)
            look: dict[str, Any] = {"mfc": face, "mec": colour, "ms": 9, "mew": 1.4, "zorder": 3}
            if other:
                look |= {"fillstyle": "left", "markerfacecoloralt": other}
            ax.plot(mean(one), height, mark, **look)
    ax.axvline(0, color=START, lw=1.5, zorder=1)
    ax.set_yticks([tick[0] for tick in ticks], [tick[1] for tick in ticks])
    for label, (_, text, colour) in zip(ax.get_yticklabels(), ticks, strict=True):
        label.set(color=ink(colour), fontsize=12, fontweight="bold" if text.startswith("code") else "normal")
    ax.tick_params(axis="y", length=0)
    ax.set(ylim=(height - 0.8, -0.5), xlabel="bits a byte of prose lost, ± s.e.")
    ax.xaxis.set_major_locator(MaxNLocator(5))
    ax.set_title("Where as much code is learned")
    ax.grid(axis="y", visible=False)
