"""Left, on a logarithmic scale: the distance of the iterates from the stalled direction falls along straight
lines, below the dashed 1 % within three steps at low temperatures and ten at a high one. Right, a row for
each correlation: filled marks (low temperatures) at 3 steps, or 14 for ρ = 0.9, open marks (all temperatures)
from 14 to 74 steps as the correlation falls.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.figure import Figure

from figures.style import COLOURS, beta_colours, figure, label_line, styled, title

EARLY = 0.5
"""Of the largest β, that of standard fine-tuning: beyond it both eigenvalues approach the same size."""


@styled
def draw(dataset: Any) -> Figure:
    """Left: distance of (15) from (14) by step. Right: the step from which it is below 1 %."""
    fig, (left, right) = figure(1, 2, width=11, height=5.2)
    betas = dataset.beta.values
    for beta, colour in zip(betas, beta_colours(betas), strict=True):
        curve = dataset.apart.sel(beta=beta).where(lambda y: y > 1e-7)
        left.plot(dataset.shown, curve, "o-", color=colour, ms=5, lw=1.6)
        last = int(np.flatnonzero(np.isfinite(curve.values))[-1])
        name = _temperature(dataset, beta)
        if last == 0:  # β = 1, where the other eigenvalue is 0
            alone = {"arrowprops": {"arrowstyle": "-", "color": colour, "lw": 1.2}}
            label_line(left, 0, float(curve[0]), f"{name}: 0 after one step", colour, dx=62, dy=3, **alone)
            continue
        label_line(left, min(last, 36), float(curve[min(last, 36)]), name, colour, dx=6, dy=8)
    left.axhline(dataset.attrs["tolerance"], color=COLOURS["uniform"], lw=1.4, ls="--")
    left.text(40, 1.25 * dataset.attrs["tolerance"], "1 %", color=COLOURS["uniform"], ha="right", fontsize=13)
    left.set(
        yscale="log",
        ylim=(1e-7, 2),
        xlim=(0, 40),
        xlabel="step $K$",
        ylabel="relative distance from one direction",
    )
    left.set_title(rf"$\rho = {dataset.attrs['drawn_rho']:g}$: only the stalled direction is left")
    rhos = dataset.rho.values
    for k, (rho, colour) in enumerate(zip(rhos, beta_colours(rhos), strict=True)):
        latest = dataset.onset.sel(rho=rho).max("fine")
        early = dataset.onset.sel(rho=rho).where(dataset.fine <= EARLY).max("fine")
        # Where both are the same the open mark is a ring around the filled one.
        for value, face, size in ((latest, "white", 10 if latest > early else 18), (early, colour, 10)):
            right.plot(value, k, "o", color=colour, mfc=face, ms=size, mew=2)
        right.plot([early, latest], [k, k], color=colour, lw=2, zorder=1)
        if latest == early:
            label_line(right, early, k, f"{int(early)}, both", colour, dx=0, dy=21, ha="center")
        else:
            label_line(right, early, k, f"{int(early)}", colour, dx=0, dy=17, ha="center")
            label_line(right, latest, k, f"{int(latest)}", colour, dx=0, dy=17, ha="center")
    right.set_yticks(range(len(rhos)), [rf"$\rho = {rho:g}$" for rho in rhos])
    right.set(xscale="log", xlim=(0.8, 150), ylim=(-0.5, len(rhos) - 0.4))
    right.set_xticks([1, 10, 100], ["1", "10", "100"])
    right.minorticks_off()
    right.set_xlabel("steps until one direction is left, to 1 %")
    # β = s/ρ is τ = 2s(1−ρ²)‖e‖²/(ρ(1−s²)), and s = EARLY = 1/2 makes that 4(1−ρ²)‖e‖²/(3ρ).
    low = r"filled: low temperatures, $\tau\leq 4(1-\rho^2)\Vert e\Vert^2/3\rho$"
    right.set_title(f"{low}\nopen: all temperatures", fontsize=13)
    title(fig, "Two eigenvalues give every iterate, and soon one of them is enough")
    return fig


def _temperature(dataset: Any, beta: float) -> str:
    """τ in units of ‖e‖²."""
    return rf"$\tau = {float(dataset.temperature.sel(beta=beta)):.2g}\,\Vert e\Vert^2$"
