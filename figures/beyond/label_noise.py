"""The share of the shift that FLOW has learned at its end rises with the temperature along one curve from 0 to 1.
Points of five laws of the inputs lie on it, one upon another; diamonds of Laplace noise lie off it, and so do
hexagons of noise that grows along the shift, each on a dashed curve of its own.
"""

from __future__ import annotations

from typing import Any

from matplotlib.figure import Figure

from figures.style import COLOURS, figure, label_line, styled, title

MARKS = ("o", "s", "^", "v", "P")
SHADES = ("#0072B2", "#08213F", "#2F97C1", "#6BBBD3", "#56B4E9")


@styled
def draw(dataset: Any) -> Figure:
    """κ against τ/σ², exact, sampled under five laws of x, and for the noises that break it."""
    fig, ax = figure(width=9.5, height=5.2)
    ax.plot(dataset.tau_over_noise, dataset.curve, color=COLOURS["flow"], lw=2)
    laws, ratio = dataset.attrs["laws"], dataset.ratio.values
    for k, case in enumerate(dataset.case.values[:laws]):
        ax.errorbar(ratio, dataset.share[k], 4 * dataset.share_error[k], fmt=MARKS[k], color=SHADES[k],
                    ms=13 - 2.2 * k, mec="white", mew=0.6, zorder=4 + k)  # fmt: skip
        ax.plot(5.2, 0.36 - 0.066 * k, MARKS[k], color=SHADES[k], ms=9)
        label_line(ax, 5.6, 0.36 - 0.066 * k, case, SHADES[k], dx=4)
    for k, (mark, colour) in enumerate(zip("Dh", ("kl_dro", "standard"), strict=True)):
        ax.plot(dataset.tau_over_noise, dataset.left_curve[k], "--", color=COLOURS[colour], lw=1.5)
        ax.errorbar(ratio, dataset.share[laws + k], 4 * dataset.share_error[laws + k], fmt=mark, color=COLOURS[colour],
                    ms=8)  # fmt: skip
    label_line(ax, 0.62, 0.42, "Laplace noise", COLOURS["kl_dro"], dx=-4, ha="right")
    label_line(ax, 7.5, 0.62, "noise that grows\nalong the shift", COLOURS["standard"], dx=2, dy=-2)
    label_line(
        ax, 0.105, 0.86, r"$\kappa = \tau/(\tau + 2\sigma^2)$: Gaussian noise,", COLOURS["flow"], dx=0.1
    )
    label_line(ax, 0.105, 0.79, "every law of the inputs", COLOURS["flow"], dx=0.1)
    label_line(ax, 5.2, 0.43, "inputs:", COLOURS["theory"], dx=-4)
    ax.set(xscale="log", xlim=(0.095, 42), ylim=(0, 1), xlabel=r"temperature over noise, $\tau/\sigma^2$")
    ax.set(ylabel="share of the shift learned at the end")
    title(fig, "Under Gaussian label noise FLOW ends at one average, whatever the inputs")
    return fig
