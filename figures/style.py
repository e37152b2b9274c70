r"""One style for every figure: one colour for each method, letters for the last row, titles that claim.

For the author of a figure (``figures/<claim>.py``), the whole of it in ten lines::

    from figures.style import COLOURS, figure, label_line, styled, title

    @styled  # house style for all that is drawn inside
    def draw(dataset):
        fig, ax = figure(width=8, height=4.5)  # like plt.subplots, without pyplot's global state
        ax.plot(dataset.step, dataset.exact, color=COLOURS["flow"])  # exact: a line
        ax.errorbar(dataset.step, dataset.mean, dataset.error, color=COLOURS["flow"], fmt="o")  # simulated
        label_line(ax, dataset.step[-1], dataset.exact[-1], "FLOW", COLOURS["flow"])  # no legend needed
        ax.set(xlabel="step $K$", ylabel=r"progress along $\bar{e}$")
        title(fig, "Weighting stalls the shift and nothing else")  # says the claim
        return fig

``figure(1, 3, width=12)`` gives an array of axes; extra keywords (``sharey=True``, ``width_ratios=…``) go
to ``Figure.subplots``. A family over β takes ``beta_colours([…])``; a heat map over β ``cmap=beta_map``. A
figure reads arrays and draws them; it computes nothing and never imports ``paper_reproduction``.

Pictures are shown about 8 inches wide, so a width of 8 to 11 keeps the letters large.
"""

from __future__ import annotations

import functools
import textwrap
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ParamSpec

import numpy as np
from matplotlib import patheffects
from matplotlib import style as mpl_style
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LinearSegmentedColormap, to_hex, to_rgb
from matplotlib.figure import Figure
from matplotlib.text import Annotation, Text

P = ParamSpec("P")

HOUSE = Path(__file__).with_name("house.mplstyle")

# Okabe and Ito's palette for the methods, darker companions where it runs out, chosen so that every pair
# stays apart (CIELAB distance above 12) for normal, deuteranopic, protanopic and tritanopic eyes. Their yellow is left
# out: it does not show on a projector.
COLOURS: dict[str, str] = {
    "standard": "#D55E00",  # standard fine-tuning
    "flow": "#0072B2",  # FLOW
    "averaging": "#009E73",  # model averaging
    "early_stopping": "#CC79A7",
    "joint_optimum": "#000000",  # the joint optimum
    "kl_dro": "#5B2A86",  # hard samples up
    "uniform": "#5C6068",  # all weights equal, as a reference
    "simulation": "#E69F00",  # only where no method is being compared
    "theory": "#2E3A4D",  # only where no method is being compared
    "pretrained": "#56B4E9",  # the point θ*
    "target": "#6B4E16",  # the point of the fine-tuning optimum
    "penalty": "#B23AEE",  # pulled back to θ* by ℓ2
    "lora": "#76A659",
    "probe": "#6A1B24",  # only the head is trained
}

#: Colour map for β (small: stalls long, dark; large: near standard fine-tuning, light). Every tone shows on white.
beta_map = LinearSegmentedColormap.from_list("beta", ["#08213F", "#0072B2", "#2F97C1", "#6BBBD3"])


def beta_colours(betas: Sequence[float]) -> list[str]:
    """One colour for each β, from dark (smallest) to light (largest), evenly by rank."""
    ranks = np.argsort(np.argsort(np.asarray(betas, dtype=float)))
    return [to_hex(beta_map(rank / max(1, len(ranks) - 1))) for rank in ranks]


CONTRAST = 4.5
"""Of letters on white, at least: what WCAG asks of text."""


def luminance(colour: Any) -> float:
    """How light a colour is to the eye, from 0 to 1."""
    channels = np.asarray(to_rgb(colour))
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    return float(linear @ (0.2126, 0.7152, 0.0722))


def ink(colour: Any) -> str:
    """The same hue, as dark as letters have to be on white."""
    channels = np.asarray(to_rgb(colour))
    while 1.05 / (luminance(channels) + 0.05) < CONTRAST:
        channels = 0.97 * channels
    return to_hex(tuple(channels.tolist()))


def house() -> Any:
    """Context manager: the house style, whatever the reader's own matplotlib settings say."""
    return mpl_style.context(["default", str(HOUSE)])


def styled(draw: Callable[P, Figure]) -> Callable[P, Figure]:
    """Decorator of every ``draw``: widths and letter sizes are looked up as one draws, so all is inside."""

    @functools.wraps(draw)
    def inside(*args: P.args, **kwargs: P.kwargs) -> Figure:
        with house():
            return draw(*args, **kwargs)

    return inside


def figure(
    nrows: int = 1, ncols: int = 1, *, width: float = 8.0, height: float | None = None, **subplots: Any
) -> tuple[Figure, Any]:
    """A figure and its axes (one, or an array of them as ``plt.subplots`` gives), sizes in inches.

    The default height keeps each panel a little wider than high. No window and no global state: the figure is
    freed when nobody holds it.
    """
    with house():
        tall = 0.62 * width / ncols * nrows + 0.5 if height is None else height
        fig = Figure(figsize=(width, tall))
        FigureCanvasAgg(fig)
        axes = fig.subplots(nrows, ncols, **subplots)
    return fig, axes


def title(fig: Figure, text: str) -> Text:
    """The claim, as a sentence, at the top left; broken into lines that fit the figure."""
    columns = int(fig.get_figwidth() * 7.4)
    lines = textwrap.fill(text, columns, break_long_words=False)
    return fig.suptitle(lines, x=0.01, ha="left", fontsize=16, fontweight="bold", linespacing=1.2)


def label_line(
    ax: Axes, x: Any, y: Any, text: str, colour: str, *, dx: float = 6.0, dy: float = 0.0, **text_options: Any
) -> Annotation:
    """Write ``text`` beside the point (x, y) of a line, in the ink of its colour, ``dx`` and ``dy`` points away.

    A negative ``dx`` puts it to the left. A white rim keeps it readable across other lines.
    """
    options: dict[str, Any] = {
        "ha": "left" if dx >= 0 else "right",
        "va": "center",
        "fontsize": 12.5,
        "path_effects": [patheffects.withStroke(linewidth=3.5, foreground="white")],
        "annotation_clip": False,
        "zorder": 10,
    }
    place = (float(x), float(y))
    return ax.annotate(
        text,
        place,
        xytext=(dx, dy),
        textcoords="offset points",
        color=ink(colour),
        **(options | text_options),
    )


def spread_apart(heights: np.ndarray, least: float) -> np.ndarray:
    """Sorted heights, moved as little as keeps neighbours ``least`` apart."""
    placed = heights.copy()
    for _ in range(500):
        for i in range(len(placed) - 1):
            short = least - (placed[i + 1] - placed[i])
            if short > 0:
                placed[i] -= short / 2
                placed[i + 1] += short / 2
    return placed
