"""How fast the iterate turns into the stalled direction."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.figure import Figure

from figures.style import COLOURS, beta_colours, figure, label_line, styled, title


@styled
def draw(dataset: Any) -> Figure:
    """Left: distance of (15) from (14) by step. Right: the step from which it is below 1 %."""
    fig, (left, right) = figure(1, 2, width=11, height=5.2)
    betas = dataset.beta.values
    for beta, colour in zip(betas, beta_colours(betas), strict=True):
        curve = dataset.apart.sel(beta=beta).where(lambda y: y > 1e-7)
        left.plot(dataset.shown, curve, "o-", color=colour, ms=5, lw=1.6)
        last = int(np.flatnonzero(np.isfinite(curve.values))[-1])
        last = min(last, 36)
        label_line(left, last, float(curve[last]), rf"$\beta = {beta:g}$", colour, dx=6, dy=8)
    left.axhline(dataset.attrs["tolerance"], color=COLOURS["uniform"], lw=1.4, ls="--")
    left.text(40, 1.25 * dataset.attrs["tolerance"], "1 %", color=COLOURS["uniform"], ha="right", fontsize=13)
    left.set(
        yscale="log",
        ylim=(1e-7, 2),
        xlim=(0, 40),
        xlabel="step $K$",
        ylabel="relative distance of (15) from (14)",
    )
    left.set_title(rf"$\rho = {dataset.attrs['drawn_rho']:g}$: only the stalled direction is left")
    rhos = dataset.rho.values
    shift = dict(zip(rhos, (8, -9, 0, 0), strict=True))
    for rho, colour in zip(rhos, beta_colours(rhos), strict=True):
        here = dataset.sel(rho=rho)
        right.plot(here.fine, here.onset_predicted, color=colour, lw=1.8, drawstyle="steps-mid")
        every = slice(None, None, max(1, here.fine.size // 20))
        right.plot(here.fine[every], here.onset[every], "o", color=colour, ms=5)
        label_line(
            right, here.fine[-1], here.onset_predicted[-1], rf"$\rho = {rho:g}$", colour, dx=7, dy=shift[rho]
        )
    right.set(
        xscale="log", yscale="symlog", ylim=(0, 400), xlim=(0.01, 3), xlabel=r"$\beta\rho$  (1 is vanilla)"
    )
    right.set_yticks([0, 1, 10, 100], ["0", "1", "10", "100"])
    right.set_xticks([0.01, 0.1, 1], ["0.01", "0.1", "1"])
    right.set_ylabel("step from which (15) holds to 1 %")
    right.set_title("line: from the eigenvalue ratio;  points: seen")
    title(fig, "Two eigenvalues give every iterate, and soon one of them is enough")
    return fig
