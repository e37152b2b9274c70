"""What remains of the shift falls with the step, fastest for standard fine-tuning, slowest for FLOW; the
marks of a tanh network lie near the solid lines of its linearization and the dashed ones of the Gaussian
theory. Left, without label noise, all keep falling; right, with noise, FLOW levels off at a dotted line near
0.7 and standard fine-tuning falls on.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.figure import Figure

from figures.mlp.seeds import mean
from figures.mlp.teacher_student_stall import name_the_runs, paths, what_the_lines_are
from figures.style import COLOURS, figure, label_line, styled, title


@styled
def draw(dataset: Any) -> Figure:
    """Left: clean labels. Right: noisy ones. Both at the larger distance of the target."""
    fig, (left, right) = figure(1, 2, width=12.5, height=6.2, sharey=True)
    far = float(dataset.distance.max())
    cells = [
        dataset.isel(cell=int(np.flatnonzero((dataset.distance == far) & noisy)[0]))
        for noisy in (dataset.noise == 0, dataset.noise > 0)
    ]
    for ax, cell in zip((left, right), cells, strict=True):
        paths(ax, cell)
    name_the_runs(left, 0.56)
    what_the_lines_are(right)
    limit = float(mean(cells[1].limit))
    right.axhline(limit, color=COLOURS["flow"], lw=1.4, ls=":", zorder=1)
    label_line(right, cells[1].step[-1], limit, "where FLOW ends", COLOURS["flow"], dx=-1, dy=-14)
    left.set(title="Labels without noise", ylabel="share of the shift that remains")
    right.set(title=rf"Noise {float(cells[1].noise):g} × the signal")
    title(fig, "A small tanh network stalls along the shift as its linearization does")
    return fig
