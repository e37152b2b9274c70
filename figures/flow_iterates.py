"""Left, without label noise: the share of the shift that is left falls towards 0, the more slowly the lower
the temperature, while standard fine-tuning jumps between 0 and a shrinking height. Right, with label noise:
FLOW levels off, the higher the lower the temperature (0.92, 0.69 and 0.31), and standard fine-tuning still
falls to 0. Points of sampled rows lie on all lines.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.figure import Figure

from figures.style import COLOURS, beta_colours, figure, ink, label_line, styled, title


@styled
def draw(dataset: Any) -> Figure:
    """The component along the shift against the step, a panel for each noise variance."""
    fig, axes = figure(1, 2, width=11, height=5.2, sharey=True)
    finite = [ratio for ratio in dataset.ratio.values if np.isfinite(ratio)]
    for ax, noise in zip(axes, dataset.noise.values, strict=True):
        for ratio, colour in zip(
            dataset.ratio.values, [*beta_colours(finite), COLOURS["standard"]], strict=True
        ):
            here = dataset.sel(noise=noise, ratio=ratio).isel(axis=0)
            ax.plot(dataset.step, here.exact, color=colour, lw=1.8)
            some = slice(None, None, 2)
            ax.errorbar(
                dataset.step[some],
                here.sampled[some],
                4 * here.error[some],
                fmt="o",
                color=colour,
                ms=4.5,
                lw=1.4,
            )
            name = "standard" if np.isinf(ratio) else rf"$\tau = {ratio:g}\times$ default"
            if noise == 0 and ratio > 1.0:  # where all are close together, below the line of zero
                at, x, line = (1, 1, {}) if np.isinf(ratio) else (6, 12, {"arrowprops": _leads(colour)})
                ax.annotate(name, (at, float(here.exact[at])), (x, -0.07), color=ink(colour), fontsize=12.5,
                            va="center", **line)  # fmt: skip
            else:
                at, dy = (5, 10) if noise == 0 else (34, {0.2: 10, 1.0: 10, 5.0: 10}.get(ratio, -11))
                label_line(ax, at, here.exact[at], name, colour, dx=4 if noise == 0 else 0, dy=dy,
                           ha="left" if noise == 0 else "center")  # fmt: skip
        ax.axhline(0, color=COLOURS["uniform"], lw=1, zorder=1)
        ax.set(xlabel="step $K$", ylim=(-0.14, 1.05), xlim=(-0.5, 40.5))
        ax.set_title(
            "no label noise: all on their way to the optimum"
            if noise == 0
            else rf"$\sigma^2 = {noise:g}$: FLOW ends on the way"
        )
    axes[0].set_ylabel(r"share of the shift that is left, $\langle\theta_K,\bar e\rangle/\Vert e\Vert$")
    rows = f"{dataset.attrs['rows']:,}".replace(",", " ")
    title(fig, f"Theorem 7.2 is the path of gradient descent on {rows} rows (points, ± 4 s.e.)")
    return fig


def _leads(colour: str) -> dict[str, Any]:
    """The line from a name to its curve."""
    return {"arrowstyle": "-", "color": colour, "lw": 1.0}
