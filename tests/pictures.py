"""What the last row of a lecture hall needs of a picture, looked at by measuring it.

A picture is judged as a slide: fitted into 1920 × 1080 with room for a line below. No letter is then smaller than 2 %
of the height and no exponent or index smaller than 1.4 % (Matplotlib sets them at 0.7 times the letters), no label
lies on another label or on a line, none leaves the picture, every letter stands out from the ground, and no quarter
of the picture is empty.
"""

from __future__ import annotations

from itertools import cycle
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection
from matplotlib.colors import to_hex
from matplotlib.contour import ContourSet
from matplotlib.figure import Figure
from matplotlib.mathtext import MathTextParser
from matplotlib.path import Path
from matplotlib.text import Annotation, Text
from matplotlib.transforms import Bbox

from figures.style import CONTRAST, luminance

SLIDE = (1920, 1080)
FOR_PICTURE = 0.86
"""Of the height of a slide, beside the line that says what is claimed."""

SMALLEST_LETTER = 0.02
SMALLEST_INDEX = 0.014
EMPTY = 0.25
PALE = 2.0
"""Below this contrast with white a line belongs to a grid."""


def faults(fig: Figure) -> list[str]:
    """What is wrong with this picture, each as a sentence."""
    canvas = FigureCanvasAgg(fig)
    canvas.draw()
    hidden = _undrawn(fig)
    texts = [(t, box) for t in fig.findobj(Text) if t not in hidden and (box := _box(t)) is not None]
    return [*_small(fig, texts), *_faint(texts), *_outside(fig, texts), *_overlapping(texts), *_crossed(fig, texts),
            *_empty(fig, canvas)]  # fmt: skip


def _box(text: Text) -> Bbox | None:
    """Where its letters are, in pixels; nothing for what is not drawn."""
    if not text.get_visible() or not text.get_text().strip():
        return None
    axes = text.axes
    if axes is not None and not axes.get_visible():
        return None
    if isinstance(text, Annotation):
        text.update_positions(text.figure.canvas.get_renderer())
        box = Text.get_window_extent(text)
    else:
        box = text.get_window_extent()
    return box if box.width > 0 else None


def _undrawn(fig: Figure) -> set[Text]:
    """Labels of ticks outside the range of their axis, which Matplotlib keeps and does not draw."""
    found: set[Text] = set()
    for ax in fig.axes:
        for axis in (ax.xaxis, ax.yaxis):
            drawn = axis._update_ticks()  # type: ignore[attr-defined]
            ticks = [
                tick
                for tick in (*axis.majorTicks, *axis.minorTicks)
                if tick not in drawn or not ax.get_visible()
            ]
            found |= {label for tick in ticks for label in (tick.label1, tick.label2)}
    return found


def _small(fig: Figure, texts: list[tuple[Text, Bbox]]) -> list[str]:
    width, height = fig.get_size_inches()
    pixels = min(SLIDE[0] / width, FOR_PICTURE * SLIDE[1] / height) / 72  # a point of letters on the slide
    share = lambda points: points * pixels / SLIDE[1]
    letters = [
        f"{_short(text)} has letters of {100 * share(text.get_fontsize()):.2f} % of a slide's height"
        for text, _ in texts
        if share(text.get_fontsize()) < SMALLEST_LETTER
    ]
    return letters + [
        f"{_short(text)} has an index of {100 * share(smallest):.2f} % of a slide's height"
        for text, _ in texts
        if share(smallest := smallest_glyph(text)) < min(SMALLEST_INDEX, share(text.get_fontsize()))
    ]


def smallest_glyph(text: Text) -> float:
    """In points: that of the smallest exponent or index as Matplotlib sets it, or else that of the letters."""
    sizes = [text.get_fontsize()]
    for line in text.get_text().split("\n"):
        if text._preprocess_math(line)[1] is True:  # type: ignore[attr-defined]
            glyphs = MathTextParser("path").parse(line, 72, text.get_fontproperties()).glyphs
            sizes += [size for _, size, *_ in glyphs]
    return min(sizes)


def _short(text: Text) -> str:
    return repr(" ".join(text.get_text().split())[:40])


def _faint(texts: list[tuple[Text, Bbox]]) -> list[str]:
    """Letters whose colour hardly differs from white, the ground and the rim of every label."""
    contrast = lambda text: 1.05 / (luminance(text.get_color()) + 0.05)
    inside = [text for text, _ in texts if luminance(text.get_color()) < 0.9]  # white letters lie on a colour
    return [
        f"{_short(text)} stands out {contrast(text):.1f} times"
        for text in inside
        if contrast(text) < CONTRAST
    ]


def _outside(fig: Figure, texts: list[tuple[Text, Bbox]]) -> list[str]:
    whole = fig.bbox.padded(1)
    return [f"{_short(text)} leaves the picture" for text, box in texts if not _within(box, whole)]


def _within(box: Bbox, whole: Bbox) -> bool:
    return box.x0 >= whole.x0 and box.y0 >= whole.y0 and box.x1 <= whole.x1 and box.y1 <= whole.y1


def _overlapping(texts: list[tuple[Text, Bbox]]) -> list[str]:
    found = []
    for i, (one, first) in enumerate(texts):
        for other, second in texts[i + 1 :]:
            shared = Bbox.intersection(_letters(first), _letters(second))
            if shared is not None and shared.width > 1 and shared.height > 1 and one is not other:
                found.append(f"{_short(one)} lies on {_short(other)}")
    return found


def _letters(box: Bbox) -> Bbox:
    """A text's box without the room above and below its letters."""
    return Bbox.from_extents(box.x0, box.y0 + 0.15 * box.height, box.x1, box.y1 - 0.15 * box.height)


def _crossed(fig: Figure, texts: list[tuple[Text, Bbox]]) -> list[str]:
    """Labels that a line runs through, of whatever colour, width or dashes; a grid's pale lines apart."""
    found = []
    for ax in fig.axes:
        lines = [*_curves(ax), *_bars(ax)]
        for text, box in texts:
            if text.axes is not ax or not _is_label(ax, text):
                continue
            inner = Bbox.from_extents(
                box.x0 + 0.06 * box.width, box.y0 + 0.28 * box.height, box.x1 - 0.06 * box.width,
                box.y1 - 0.28 * box.height,
            )  # fmt: skip
            found += [
                f"{_short(text)} lies on a line of colour {colour}"
                for path, colour in lines
                if path.intersects_bbox(inner, filled=False)
            ][:1]
    return found


def _is_label(ax: Axes, text: Text) -> bool:
    ticks = [label for axis in (ax.xaxis, ax.yaxis) for label in axis.get_ticklabels(which="both")]
    return text not in (*ticks, ax.title, ax._left_title, ax._right_title, ax.xaxis.label, ax.yaxis.label)  # type: ignore[attr-defined]


def _curves(ax: Axes) -> list[tuple[Path, str]]:
    """The lines of a panel in pixels, with their colours."""
    drawn = [
        line for line in ax.lines if line.get_visible() and line.get_linestyle() not in ("None", "", " ")
    ]
    return [
        (line.get_path().transformed(line.get_transform()), to_hex(line.get_color()))
        for line in drawn
        if not _is_pale(line.get_color())
    ]


def _bars(ax: Axes) -> list[tuple[Path, str]]:
    """The same of straight pieces that are drawn together."""
    return [
        (path.transformed(pieces.get_transform()), to_hex(colour))
        for pieces in ax.collections
        if isinstance(pieces, LineCollection) and not isinstance(pieces, ContourSet)
        for path, colour in zip(pieces.get_paths(), cycle(pieces.get_colors()), strict=False)
        if not _is_pale(colour)
    ]


def _is_pale(colour: Any) -> bool:
    """Whether it is a grid's: paler than any ink or curve."""
    return 1.05 / (luminance(colour) + 0.05) < PALE


def _empty(fig: Figure, canvas: FigureCanvasAgg) -> list[str]:
    """The largest rectangle without a mark, by cells of a fortieth of the width."""
    pixels = np.asarray(canvas.buffer_rgba())[..., :3].astype(int)
    side = max(1, pixels.shape[1] // 40)
    rows, columns = pixels.shape[0] // side, pixels.shape[1] // side
    blocks = pixels[: rows * side, : columns * side].reshape(rows, side, columns, side, 3)
    flat = (blocks.max(axis=(1, 3)) - blocks.min(axis=(1, 3))).max(axis=-1) < 40  # the grid's grey is no mark
    best, heights = 0, np.zeros(columns, dtype=int)
    for row in flat:
        heights = np.where(row, heights + 1, 0)
        for left in range(columns):
            lowest = rows
            for right in range(left, columns):
                lowest = min(lowest, heights[right])
                if lowest == 0:
                    break
                best = max(best, lowest * (right - left + 1))
    share = best / (rows * columns)
    return [f"{100 * share:.0f} % of the picture is one empty rectangle"] if share > EMPTY else []
