"""Left: bits a byte of prose against those of code, along training. Right: prose where as much code is learned."""

from __future__ import annotations

from typing import Any

from matplotlib.figure import Figure

from figures.style import figure, styled


@styled
def draw(dataset: Any) -> Figure:
    """Two panels."""
    fig, _ = figure(1, 2, width=12.5, height=6.5)
    return fig
