"""Left, a pair of curves for each of three correlations ρ: the upper one, the stalled direction, starts at 1
and falls slowly as β grows; the lower one starts at ρ² and falls through 0 at β = 1; squares at ρ and −ρ,
where both end, are standard fine-tuning. Right: the size of the lower over the upper falls from ρ² to 0 and
then rises to 1.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.figure import Figure

from figures.style import COLOURS, beta_colours, figure, ink, label_line, styled, title

SHOWN = (0.3, 0.6, 0.9)
AT = {0.3: (0.01, 0.14), 0.6: (0.08, 0.41), 0.9: (0.18, 0.86)}  # of the labels of the curves on the right


@styled
def draw(dataset: Any) -> Figure:
    """Left: λ₁ and λ₂ over β. Right: |λ₂| over λ₁."""
    fig, (left, right) = figure(1, 2, width=11, height=5.2, width_ratios=(1.25, 1))
    for rho, colour in zip(SHOWN, beta_colours(SHOWN), strict=True):
        here = dataset.sel(rho=rho)
        every = np.arange(0, here.share.size, max(1, here.share.size // 14))
        for which in (1, 2):
            left.plot(here.beta, here.closed.sel(eigenvalue=which), color=colour)
            left.plot(here.beta[every], here.literal.sel(eigenvalue=which)[every], "o", color=colour, ms=5)
        end = float(here.beta[-1])
        left.plot([end, end], [rho, -rho], "s", color=COLOURS["standard"], ms=9, zorder=5)
        label_line(left, end, rho, rf"$\rho = {rho:g}$", colour, dx=9)
        slow, fast = (here.closed.sel(eigenvalue=which) for which in (1, 2))
        right.plot(*_size(here.share.values, (fast / slow).values), color=colour)
        note = rf"$\lambda_2$, fast: $\rho = {rho:g}$"
        label_line(left, 1.2e-3, rho**2, note, colour, dx=1, dy=-13 if rho > 0.5 else -27)
        label_line(right, *AT[rho], rf"$\rho = {rho:g}$", colour, dx=7)
    left.axhline(0, color=COLOURS["uniform"], lw=1)
    left.axvline(1, color=COLOURS["uniform"], lw=1, ls=":")
    left.text(0.92, -0.93, "the paper's range ends here", ha="right", color=COLOURS["uniform"], fontsize=12)
    label_line(left, 1.2e-3, 0.91, r"$\lambda_1$, stalled, of all three", COLOURS["theory"], dx=1)
    left.text(6.0, -0.72, "standard:\n$\\pm\\rho$", color=ink(COLOURS["standard"]), fontsize=14, ha="center")
    left.set(
        xscale="log",
        xlim=(1e-3, 12),
        ylim=(-1, 1.05),
        xlabel=r"$\beta$,  where $\tau=2\beta(1-\rho^2)\Vert e\Vert^2/(1-\beta^2\rho^2)$",
        ylabel="what one step leaves (eigenvalue)",
    )
    left.set_title("lines: Lemma F.3;  points: computed numerically")
    right.set(xlim=(0, 1.2), ylim=(0, 1.05), xlabel=r"$\beta\rho$  (1: standard fine-tuning)")
    right.set_xticks([0, 0.5, 1], ["0", "0.5", "1"])
    right.set_ylabel(r"$|\lambda_2|\,/\,\lambda_1$")
    right.set_title(r"0: $\lambda_2$ changes sign;  1: equally slow")
    title(fig, "β, in place of τ, runs from the full stall (0) to standard fine-tuning (1/ρ)")
    return fig


def _size(share: Any, ratio: Any) -> tuple[Any, Any]:
    """|λ₂|/λ₁ over βρ, with the point where it is 0.

    The grid does not hold the place where λ₂ changes sign; between its neighbours λ₂ is taken as a straight line.
    """
    before = int(np.flatnonzero(np.diff(np.sign(ratio)))[0])
    (x, beyond), (y, below) = share[before : before + 2], ratio[before : before + 2]
    zero = x + (beyond - x) * y / (y - below)
    return np.insert(share, before + 1, zero), np.insert(abs(ratio), before + 1, 0.0)
