"""Four panels, 0 to 40 % of the labels wrong: accuracy on the old task against accuracy on the new one, a
line over the learning rates and a ringed mark at its best rate for each method. Most lines leave the square
of the old model, high on the left, to the right and bend down; at equal rates FLOW's small mark lies left of
and above standard fine-tuning's.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from figures.mlp.seeds import error, mean
from figures.style import COLOURS, figure, ink, label_line, styled, title

EQUAL = 0.1
ORANGE, BLUE, GREEN = COLOURS["standard"], COLOURS["flow"], COLOURS["averaging"]
VIOLET, START = COLOURS["penalty"], COLOURS["pretrained"]
# Colour, mark, face and second half of the face. Open marks: what the paper does not compare with.
LOOK: dict[str, tuple[str, str, str, str | None]] = {
    "standard": (ORANGE, "o", ORANGE, None),
    "standard-same-mean-step": (ORANGE, "o", "white", None),
    "flow": (BLUE, "o", BLUE, None),
    "flow-same-mean-step": (BLUE, "s", "white", None),
    "permuted": (BLUE, "^", "white", None),
    "wise": (GREEN, "D", GREEN, None),
    "flow-wise": (BLUE, "D", BLUE, GREEN),
    "l2": (VIOLET, "v", VIOLET, None),
    "l2-strong": (VIOLET, "P", VIOLET, None),
    "lora": (COLOURS["lora"], "X", COLOURS["lora"], None),
    "probe": (COLOURS["probe"], "*", COLOURS["probe"], None),
}
NAMES = {
    "standard": "standard",
    "standard-same-mean-step": "standard, same mean step",
    "flow": "FLOW",
    "flow-same-mean-step": "FLOW, same mean step",
    "permuted": "FLOW, weights shuffled",
    "wise": "WiSE-FT, α = 1/2",
    "flow-wise": "FLOW + WiSE",
    "l2": r"$\ell_2$ to $\theta^{*}$, $\lambda=0.01$",
    "l2-strong": r"$\ell_2$ to $\theta^{*}$, $\lambda=0.1$",
    "lora": "LoRA, rank 4",
    "probe": "linear probe",
}
LOW, HIGH = 45.0, 99.4  # of the old task, in per cent; what falls below is told
TICKS = (50, 60, 70, 80, 90, 95, 98, 99)
RING = 15


def _forward(accuracy: Any) -> Any:
    """Falling logarithm of the error, so that 99 and 98 % are as far apart as 90 and 80 %."""
    return -np.log(np.maximum(100.0 - np.asarray(accuracy, dtype=float), 1e-3))


def _backward(height: Any) -> Any:
    return 100.0 - np.exp(-np.asarray(height, dtype=float))


@styled
def draw(dataset: Any) -> Figure:
    """One panel a noise level, same limits; a strip on the right tells marks and colours."""
    count = dataset.sizes["noise"]
    rows = (count + 1) // 2
    fig, axes = figure(
        rows, 3, width=12.5, height=(6.3, 9.7)[rows > 1], width_ratios=(1, 1, 0.52), squeeze=False
    )
    strip = fig.add_subplot(axes[0, 2].get_gridspec()[:, 2])
    for ax in axes[:, 2]:
        ax.remove()
    panels = list(axes[:, :2].flat)
    cells = [dataset.isel(noise=k) for k in range(count)]
    edges = _edges(cells)
    for ax, cell in zip(panels, cells, strict=False):
        _panel(ax, cell, edges)
    for ax in panels[count:]:
        ax.set_visible(False)
    for k, ax in enumerate(panels[:count]):
        ax.tick_params(labelleft=k % 2 == 0, labelbottom=k + 2 >= count)
        ax.set_ylabel("accuracy on the old task, %" if k % 2 == 0 else "")
        ax.set_xlabel("accuracy on the new task, %" if k + 2 >= count else "")
    _strip(strip, rows, float(cells[0].rate[_equal(cells[0])]))
    title(fig, "On digits FLOW forgets and learns less; standard at the same mean step does as well")
    return fig


def _places(cell: Any) -> dict[str, int]:
    """Where on the grid of rates each run is best."""
    best = cell.best
    return {run: int(best.sel(run=run)) for run in LOOK}


def _point(cell: Any, run: str, place: int) -> tuple[Any, Any, Any, Any]:
    """New and old task in per cent, and their standard errors."""
    one = 100 * cell.accuracy.sel(run=run).isel(rate=place)
    new, old = one.sel(place="target"), one.sel(place="pretrain")
    return mean(new), mean(old), error(new), error(old)


def _equal(cell: Any) -> int:
    """The place of the rate that all are compared at."""
    return int(np.argmin(abs(cell.rate.values - EQUAL)))


def _edges(cells: list[Any]) -> tuple[float, float]:
    """Limits of the new task that hold every mark of every panel."""
    seen = [float(_point(cell, run, place)[0]) for cell in cells for run, best in _places(cell).items()
            for place in (best, _equal(cell))]  # fmt: skip
    seen += [100 * float(mean(cell.before.sel(place="target"))) for cell in cells]
    return float(np.floor(min(seen) - 1)), float(np.ceil(max(seen) + 1))


def _panel(ax: Axes, cell: Any, edges: tuple[float, float]) -> None:
    best = _places(cell)
    wise = 100 * cell.wise_path.sel(source="standard").isel(rate=best["standard"])
    ax.plot(mean(wise.sel(task="target")), mean(wise.sel(task="pretrain")), color=GREEN, lw=7, alpha=0.25,
            solid_capstyle="round", zorder=1)  # fmt: skip
    below = []
    for run, (colour, mark, face, other) in LOOK.items():
        path = _path(cell, run, edges)
        ax.plot(*path, color=colour, lw=1.2, alpha=0.6, gapcolor=other, ls="--" if other else "-", zorder=2)
        for place, large in ((_equal(cell), False), (best[run], True)):
            x, y, dx, dy = _point(cell, run, place)
            look = _marker(colour, mark, face, other, large)
            if float(y) < LOW:
                below.append((run, float(x), float(y)))
                continue
            ax.errorbar(x, y, dy, dx, ecolor=colour, elinewidth=0.9, capsize=0, zorder=3, ls="")
            ax.plot(x, y, zorder=6 if large else 5, **look)
            if large:
                ax.plot(x, y, "o", ms=RING, mfc="none", mec=colour, mew=1.5, zorder=6)
    for run, x, y in below:
        colour, mark, face, other = LOOK[run]
        ax.plot(x, LOW + 2.5, zorder=6, **_marker(colour, mark, face, other, True))
        label_line(ax, x, LOW + 2.5, f"{y:.0f} % ↓", colour, dx=-9, fontsize=11)
    x, y = (100 * float(mean(cell.before.sel(place=place))) for place in ("target", "pretrain"))
    ax.plot(x, y, "s", color=START, ms=11, mec=ink(START), mew=1.4, zorder=4)
    ax.set_yscale("function", functions=(_forward, _backward))
    ax.set(xlim=edges, ylim=(LOW, HIGH))
    ax.set_xticks([x for x in range(0, 101, 5) if edges[0] <= x <= edges[1]])
    ax.set_yticks(TICKS, [str(tick) for tick in TICKS])
    note = "lines end before a rate\nthat leaves the panel"
    ax.text(0.02, 0.03, note, transform=ax.transAxes, color=COLOURS["uniform"], fontsize=11, va="bottom")
    ax.set_title(f"{100 * float(cell.noise):.0f} % of the labels wrong")


def _path(cell: Any, run: str, edges: tuple[float, float]) -> tuple[np.ndarray, np.ndarray]:
    """New and old task over the rates, up to the last before one that leaves the panel."""
    one = 100 * mean(cell.accuracy.sel(run=run))
    new, old = one.sel(place="target").values, one.sel(place="pretrain").values
    inside = (new >= edges[0]) & (old >= LOW)
    end = len(new) if inside.all() else int(np.argmin(inside))
    return new[:end], old[:end]


def _marker(colour: str, mark: str, face: str, other: str | None, large: bool) -> dict[str, Any]:
    look: dict[str, Any] = {
        "marker": mark,
        "ls": "",
        "ms": {"*": 11, "X": 8, "P": 8}.get(mark, 7) if large else {"*": 8}.get(mark, 5.5),
        "mec": colour,
        "mew": 1.3,
        "color": face,
    }
    if other:
        look |= {"fillstyle": "left", "markerfacecoloralt": other, "mew": 0.8}
    return look


def _strip(ax: Axes, rows: int, equal: float) -> None:
    """Colours and marks of all panels."""
    ax.set(xlim=(0, 1), ylim=(0, 1))
    ax.axis("off")
    step = 0.047 if rows > 1 else 0.044
    y = 0.985
    dark = COLOURS["theory"]
    lines: list[tuple[str, str, str]] = [("title", dark, "methods"), *((r, *_ink(r)) for r in (
        "standard", "flow", "wise", "flow-wise", "l2", "l2-strong", "lora", "probe"))]  # fmt: skip
    lines += [
        ("title", dark, "beside the paper's"),
        *((r, *_ink(r)) for r in ("standard-same-mean-step", "flow-same-mean-step", "permuted")),
    ]
    for name, colour, text in lines:
        if name == "title":
            y -= 0.35 * step
            ax.text(0.0, y, text, color=colour, va="center", fontsize=12.5, fontweight="bold")
        else:
            ax.plot(0.05, y, **_marker(*LOOK[name], True))
            ax.text(0.12, y, text, color=colour, va="center", fontsize=12)
        y -= step
    y -= 0.35 * step
    ax.text(0.0, y, "points and lines", color=dark, va="center", fontsize=12.5, fontweight="bold")
    y -= step
    ax.plot(0.05, y, "s", color=START, ms=11, mec=ink(START), mew=1.4)
    ax.text(0.12, y, "start: head probed", color=dark, va="center", fontsize=12)
    y -= step
    ax.plot(0.05, y, "o", color=dark, ms=5.5)
    ax.text(0.12, y, f"equal rate, {equal:.2g}", color=dark, va="center", fontsize=12)
    y -= step
    ax.plot(0.05, y, "o", color=dark, ms=7)
    ax.plot(0.05, y, "o", ms=RING, mfc="none", mec=dark, mew=1.5)
    ax.text(0.12, y, "own best (alone: both)", color=dark, va="center", fontsize=12)
    y -= step
    ax.plot([0.01, 0.09], [y, y], color=dark, lw=1.0, alpha=0.7)
    ax.text(0.12, y, "over learning rates", color=dark, va="center", fontsize=12)
    y -= step
    ax.plot([0.01, 0.09], [y, y], color=GREEN, lw=7, alpha=0.25, solid_capstyle="round")
    ax.text(0.12, y, "WiSE, α from 0 to 1", color=GREEN, va="center", fontsize=12)
    y -= 0.7 * step
    note = "bars: ± s.e. over seeds\nold task: error on log scale"
    ax.text(0.0, y, note, color=dark, va="top", fontsize=11)


def _ink(run: str) -> tuple[str, str]:
    """Colour and words."""
    return LOOK[run][0], NAMES[run]
