"""The picture that opens everything, and the same in motion: no symbol, so that it needs no text."""

from __future__ import annotations

from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from PIL import Image

from figures.stall import GROUND
from figures.style import COLOURS, figure, house, ink, label_line, styled, title

LEVELS = (0.7, 0.85, 1.2, 2.0, 3.2)
SIZE = 14


@styled
def draw(dataset: Any) -> Figure:
    """Two paths from the old model: one leaves it at once, the other stalls between old and new."""
    fig, ax = figure(width=10, height=5.4)
    _ground(ax, dataset)
    steps = int(dataset.attrs["steps"])
    standard, flow = (dataset.path.sel(run=run).values[: steps + 1] for run in ("standard", "flow"))
    ax.plot(
        *standard[:5].T, "-o", color=COLOURS["standard"], lw=2.4, ms=7, markevery=slice(1, None), zorder=4
    )
    _shared(ax, dataset)
    # Above the star of the best for both, in which the last step ends: it would not be seen below.
    dots = {"markevery": slice(1, None), "mec": "white", "mew": 0.7}  # none on the old model
    ax.plot(*flow.T, "-o", color=COLOURS["flow"], lw=2.4, ms=7, zorder=7, **dots)
    write = lambda point, *said, **where: label_line(ax, point[0], point[1], *said, fontsize=SIZE, **where)
    write(standard[1], "standard fine-tuning\nafter 1 step", COLOURS["standard"], dx=14, dy=-6)
    write(standard[2], "2 steps", COLOURS["standard"], dx=2, dy=16, ha="left")
    write(flow[-1], f"FLOW after\n{steps} steps", COLOURS["flow"], dx=-10, dy=-30, ha="right")
    ax.plot(*flow[-1], "o", ms=27, mfc="none", mec=COLOURS["flow"], mew=2, zorder=8)
    title(fig, "FLOW is slow in one direction: time to stop between old and new")
    return fig


def _ground(ax: Axes, dataset: Any) -> None:
    """What both share: the error of both tasks together in grey, the landmarks, the stalled direction."""
    colours = GROUND(np.linspace(0, 1, len(LEVELS) + 1))
    ax.contourf(dataset.x, dataset.y, dataset.error, levels=[0, *LEVELS, 99], colors=colours)
    ax.contour(dataset.x, dataset.y, dataset.error, levels=LEVELS, colors="#9a9aa3", linewidths=0.8)
    at = {str(place.item()): dataset.landmark.sel(place=place).values for place in dataset.place}
    direction = at["stalled"]
    ax.plot(*np.outer((-0.35, 1.5), direction).T, ":", color=COLOURS["flow"], lw=2.2, zorder=2)
    label_line(
        ax,
        1.24 * direction[0],
        1.24 * direction[1],
        "the stalled\ndirection",
        COLOURS["flow"],
        dx=2,
        dy=-34,
        fontsize=SIZE,
    )
    for name, text, marker, size, colour, (dx, dy), side in (
        ("pretrained", "the old model", "s", 13, ink(COLOURS["pretrained"]), (14, 14), "left"),
        ("target", "what the new\ntask asks for", "s", 13, COLOURS["target"], (-6, 38), "center"),
        ("average", "best average\nof the two", "D", 11, COLOURS["averaging"], (-26, 44), "center"),
        ("best_for_both", "best for both", "*", 26, COLOURS["joint_optimum"], (12, 24), "left"),
    ):
        above = 6 if name == "best_for_both" else 7.5
        ax.plot(*at[name], marker, color=colour, ms=size, mec="white", mew=1.4, zorder=above)
        label_line(ax, at[name][0], at[name][1], text, colour, dx=dx, dy=dy, ha=side, fontsize=SIZE)
    ax.set(xlim=(-0.32, 1.5), ylim=(-0.72, 0.26), aspect="equal", xticks=[], yticks=[])
    ax.grid(False)
    label_line(
        ax, 1.47, -0.69, "darker: larger error on both tasks together", "#5a5a64", dx=-1, dy=4, fontsize=12
    )


def _shared(ax: Axes, dataset: Any) -> Line2D:
    """The stretch on which both leave the old model: standard fine-tuning shows on both sides of FLOW."""
    both = dataset.path.sel(run="flow").values[:2]
    (line,) = ax.plot(*both.T, color=COLOURS["standard"], lw=8, solid_capstyle="butt", zorder=3)
    return line


def animate(dataset: Any, file: Path | BinaryIO) -> None:
    """An animated picture into a file: both paths step by step, with what is forgotten and still to learn."""
    with house():
        _animate(dataset, file)


def _animate(dataset: Any, file: Path | BinaryIO) -> None:
    fig, ax = figure(width=10, height=5.4)
    _ground(ax, dataset)
    title(fig, "Both arrive in the end: the weights only make the way along the shift long")
    lines = {"standard": ("standard", COLOURS["standard"], -0.57), "flow": ("FLOW", COLOURS["flow"], -0.49)}
    drawn, shared = {}, _shared(ax, dataset)
    for run, (_, colour, y) in lines.items():
        behind = 4 if run == "standard" else 7
        (path_drawn,) = ax.plot([], [], "-o", color=colour, lw=2, ms=5, zorder=behind)
        (head,) = ax.plot([], [], "o", color=colour, ms=14, mec="white", mew=1.5, zorder=8)
        drawn[run] = path_drawn, head, label_line(ax, 0.72, y, "", colour, fontsize=SIZE)
    count = label_line(ax, 0.72, -0.41, "", COLOURS["theory"], fontsize=SIZE, fontweight="bold")
    steps = [*range(11), *range(12, 31, 2), *range(35, int(dataset.step[-1]) + 1, 5)]
    frames = []
    for step in steps:
        count.set_text(f"step {step}")
        shared.set_visible(step > 0)
        for run, (name, _, _) in lines.items():
            path_drawn, head, text = drawn[run]
            so_far = dataset.path.sel(run=run).values[: step + 1]
            path_drawn.set_data(*so_far.T)
            head.set_data(*so_far[-1:].T)
            forgotten, to_learn = (
                float(dataset[error].sel(run=run, step=step)) for error in ("forgotten", "to_learn")
            )
            text.set_text(f"{name}: {forgotten:.2f} forgotten, {to_learn:.2f} to learn")
        frames.append(_as_image(fig))
    palette = _palette(frames[-1])  # one for all, so that only what moves is stored again
    first, *rest = (frame.quantize(palette=palette, dither=Image.Dither.NONE) for frame in frames)
    lasts = [500, *[170] * (len(rest) - 1), 1500]  # milliseconds
    first.save(file, "GIF", save_all=True, append_images=rest, duration=lasts, loop=0, optimize=True)


def _palette(frame: Image.Image) -> Image.Image:
    """The colours of the house, which a reduction would mix where few points have them, and what a frame has most."""
    ground = GROUND(np.linspace(0, 1, len(LEVELS) + 1))
    house_colours = [*COLOURS.values(), *map(ink, COLOURS.values()), *ground, "white"]
    kept = np.array([255 * np.asarray(to_rgb(colour)) for colour in house_colours])
    found = np.asarray(frame.quantize(96).getpalette()).reshape(-1, 3)
    other = (
        abs(found[:, None] - kept).max(axis=-1).min(axis=1) > 12
    )  # what is nearly a kept one would take its place
    palette = Image.new("P", (1, 1))
    palette.putpalette(np.rint(np.concatenate([kept, found[other]])).astype(int).ravel().tolist())
    return palette


def _as_image(fig: Figure) -> Image.Image:
    canvas: Any = fig.canvas
    fig.set_dpi(100)
    canvas.draw()
    return Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")
