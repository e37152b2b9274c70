"""Left: with standard fine-tuning the error along the shift falls from 1 to 0 and is back at 0.36 a step
later, the error across it falls from 0 to −0.6 and is back at 0; they take turns, ever smaller, until nothing
is seen after ten steps. Right, on a logarithmic scale: the length of the error falls along straight lines,
steeply for ρ = 0.3 and hardly at all for ρ = 0.999.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.figure import Figure

from figures.style import COLOURS, beta_colours, figure, label_line, styled, title


@styled
def draw(dataset: Any) -> Figure:
    """Left: both components by step, exact and sampled. Right: the length of the error for several ρ."""
    fig, (left, right) = figure(1, 2, width=11, height=5.2, width_ratios=(1.3, 1))
    norm = dataset.attrs["shift_norm"]
    here = dataset.sel(rho=0.6)
    for axis, colour, name, at, (dx, dy) in (
        (0, COLOURS["standard"], r"along $\bar e$: even steps", 2, (10, 12)),
        (1, COLOURS["theory"], r"along $\bar e_\perp$: odd steps", 3, (12, -10)),
    ):
        count = dataset.shown.size
        left.plot(dataset.shown, here.exact[:count, axis] / norm, color=colour, lw=1.6)
        left.errorbar(
            dataset.shown,
            here.sampled[:, axis] / norm,
            4 * here.error[:, axis] / norm,
            fmt="o",
            color=colour,
            ms=6,
        )
        label_line(left, at, float(here.exact[at, axis]) / norm, name, colour, dx=dx, dy=dy)
    left.axhline(0, color=COLOURS["uniform"], lw=1)
    left.set(
        xlabel="step $K$",
        ylabel=r"error $\theta_K - \tilde\theta^{*}$, over $\Vert e\Vert$",
        ylim=(-0.7, 1.08),
    )
    left.set_title(rf"$\rho = 0.6$;  points: {dataset.attrs['rows']:,} sampled rows, ± 4 s.e.")
    shown = [rho for rho in dataset.rho.values if rho > 0]
    for rho, colour in zip(shown, beta_colours(shown), strict=True):
        length = np.linalg.norm(dataset.exact.sel(rho=rho), axis=-1) / norm
        right.plot(dataset.step, length, color=colour, lw=2)
        at = int(min(46, np.flatnonzero(length > 3e-9)[-1]))
        label_line(right, at, length[at], rf"$\rho = {rho:g}$", colour, dx=6, dy=9 if rho > 0.5 else 0)
    right.set(
        yscale="log",
        ylim=(1e-9, 3),
        xlim=(0, 60),
        xlabel="step $K$",
        ylabel=r"length of the error, over $\Vert e\Vert$",
    )
    right.set_title(r"each step multiplies by $\rho$")
    title(fig, "Standard fine-tuning swings between two directions and forgets in a few steps")
    return fig
