"""What the lessons draw again and again: the plane of the two tasks, with places and paths in it. Arrays in.

For a lesson (``paper_reproduction/notebooks``)::

    fig, ax = figure(width=8, height=4.2)
    plane(ax, x, y, lt.total_error(problem, grid), levels=(0.6, 0.8, 1, 2))
    path(ax, lt.iterate(problem, np.arange(20)), COLOURS["standard"])
    place(ax, problem.pretrained, "pretrained", r"$\\theta^*$")
    Picture(fig, "Contours around a square at the right, and an orange path that zigzags to the left.")
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from figures.stall import GROUND
from figures.style import COLOURS, label_line

MARKERS = {"pretrained": "s", "target": "s", "joint_optimum": "*", "averaging": "D"}

RESULTS = Path(__file__).resolve().parents[1] / "paper_reproduction" / "mlp" / "results" / "cpu"


def stored(name: str) -> xr.Dataset:
    """The stored result of a network experiment, wholly in memory: the arrays that the report shows."""
    return xr.load_dataset(RESULTS / f"{name}.nc", engine="h5netcdf")


class Picture:
    """A figure and the words for who cannot see it: a cell's last line, stored by Jupyter as image and alt text.

    The words say what is seen, shapes and numbers; what follows from it is the title's to say.
    """

    def __init__(self, figure: Figure, alt: str) -> None:
        self.figure, self.alt = figure, alt

    def __repr__(self) -> str:
        return self.alt

    def _repr_png_(self) -> tuple[bytes, dict[str, str]]:
        drawn = io.BytesIO()
        self.figure.savefig(drawn, format="png", dpi=self.figure.dpi, bbox_inches="tight")
        return drawn.getvalue(), {"alt": self.alt}


def plane(ax: Axes, x: Any, y: Any, error: Any, levels: Sequence[float]) -> None:
    """The ground: contours of an error over x (along ē) and y (across, ē⊥), which is their (y, x) array."""
    ground = GROUND(np.linspace(0, 1, len(levels) + 1))
    ax.contourf(x, y, error, levels=[min(0.0, levels[0]), *levels, np.inf], colors=ground)
    lines = ax.contour(x, y, error, levels=levels, colors="#9a9aa3", linewidths=0.7)
    ax.clabel(lines, fontsize=10, fmt="%g", inline_spacing=3)
    ax.set(aspect="equal", xlim=(min(x), max(x)), ylim=(min(y), max(y)))
    ax.set(xlabel=r"along the shift, $\bar{e}$", ylabel=r"across, $\bar{e}_\perp$")
    ax.grid(False)


def place(
    ax: Axes, theta: Any, name: str, text: str = "", *, dx: float = 10.0, dy: float = 10.0, **options: Any
) -> None:
    """A named point: a method's colour, and the marker that this place has in every lesson."""
    marker = MARKERS.get(name, "o")
    size = 18 if marker == "*" else 10
    ax.plot(*theta, marker, color=COLOURS[name], ms=size, mec="white", mew=1.3, zorder=8)
    label(ax, theta, text, COLOURS[name], dx=dx, dy=dy, **options)


def label(ax: Axes, theta: Any, text: str, colour: str, **options: Any) -> None:
    """:func:`figures.style.label_line` beside a θ."""
    label_line(ax, theta[0], theta[1], text, colour, **options)


def path(ax: Axes, theta: Any, colour: str, *, marker: str = "o", **options: Any) -> None:
    """The iterates θ₀, θ₁, … as a line with a dot for each step."""
    look: dict[str, Any] = {"lw": 1.8, "ms": 4.5, "zorder": 4, "marker": marker} | options
    ax.plot(theta[:, 0], theta[:, 1], color=colour, **look)


def ellipse(covariance: Any, points: int = 181) -> Any:
    """The ellipse of one standard deviation of N(0, Σ), as two arrays: Σu/√(uᵀΣu) over the directions u."""
    angle = np.linspace(0, 2 * np.pi, points)
    directions = np.stack([np.cos(angle), np.sin(angle)], axis=-1)
    images = directions @ np.asarray(covariance)
    return (images / np.sqrt((images * directions).sum(axis=-1, keepdims=True))).T
