"""Left, on logarithmic scales: half-lives of four covariances rise as the temperature falls, each as a line within the
pale band between its two bounds, and all run together into one dotted line. Middle: the points of random
covariances lie between both bounds, from one to the other as the temperature falls. Right: under label noise the
slowest rate levels off on a dashed line, with points of sampled rows on every curve; without noise it falls on.
"""

from __future__ import annotations

import math
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from figures.style import COLOURS, beta_colours, figure, label_line, styled, title

LINES = {"paper's plane": "flow", "random": "averaging", "power law": "standard", "diabetes": "kl_dro"}


@styled
def draw(dataset: Any) -> Figure:
    """Half-lives between their bounds, random problems between theirs, and where there is no stall."""
    fig, (left, middle, right) = figure(1, 3, width=13.6, height=5.2, width_ratios=(1.25, 1, 1.1))
    _half_lives(left, dataset)
    _between(middle, dataset)
    _noise(right, dataset)
    title(
        fig,
        "Every covariance stalls alike: half-lives grow like 1/τ on one line, unless label noise stops it",
    )
    return fig


def _half_lives(ax: Axes, ds: Any) -> None:
    ax.plot(ds.inverse, math.log(2) * ds.inverse, ":", color=COLOURS["uniform"], lw=1.8, zorder=1)
    for name, method in LINES.items():
        here = ds.sel(family=name)
        ax.fill_between(ds.inverse, here.shortest, here.longest, color=COLOURS[method], alpha=0.2, lw=0)
        ax.plot(ds.inverse, here.half_life, color=COLOURS[method], lw=2)
        at = here.isel(inverse=0)
        label_line(
            ax, at.inverse, at.half_life, name, COLOURS[method], dx=4, dy=-20 if method == "flow" else 11
        )
    label_line(ax, 20, 20 * math.log(2), r"slope $\Vert e\Vert^2\,\ln 2$", COLOURS["uniform"], dx=12, dy=-20)
    label_line(ax, 0.013, 4000, "bands: between the bounds", COLOURS["theory"], dx=0.1)
    ax.set(xscale="log", yscale="log", xlim=(0.01, 1e4), ylim=(0.2, 3e4))
    ax.set(xlabel=r"$\Vert e\Vert^2/\tau$ (colder to the right)", ylabel=r"half-life, in time $\times\,\mu$")
    ax.set_title("no noise: one line for all")


def _between(ax: Axes, ds: Any) -> None:
    for height, text, dy in (
        (1, r"by $1/\lambda_{\min}(\tilde\Sigma)$", 12),
        (0, r"by $\bar e^\top\tilde\Sigma^{-1}\bar e$", -14),
    ):
        ax.axhline(height, color=COLOURS["theory"], lw=1.8)
        label_line(ax, 3e-4, height, text, COLOURS["theory"], dx=0.1, dy=dy)
    several = ds.found.sel(fact="upper") > ds.found.sel(fact="lower") * (1 + 1e-6)
    ax.plot(
        ds.depth[several], ds.position[several], "o", color=COLOURS["flow"], ms=3.6, alpha=0.7, mec="none"
    )
    ax.set(xscale="log", xlim=(2e-4, 2e4), ylim=(-0.2, 1.2))
    ax.set_yticks([0, 0.5, 1], ["lower\nbound", "half-\nway", "upper\nbound"])
    ax.set(xlabel=r"$2\Vert e\Vert^2\lambda_{\min}(\tilde\Sigma)/T$")
    ax.set_title("half-life of random covariances")


def _noise(ax: Axes, ds: Any) -> None:
    for noise, colour in zip(ds.noise.values, beta_colours(ds.noise.values), strict=True):
        here = ds.sel(noise=noise)
        ax.plot(1 / ds.inverse, here.noisy_rate, color=colour, lw=2)
        rate = here.sel(entry="rate")
        ax.errorbar(
            ds.temperature, rate.sampled, 4 * rate.error, fmt="o", color=colour, ms=5, mec="white", mew=0.6
        )
        if noise:
            ax.axhline(here.floor, ls="--", color=colour, lw=1.2)
            label_line(ax, 2e-4, here.floor, rf"$\sigma^2={noise:g}$", colour, dx=0.1, dy=11)
    cold = ds.noisy_rate.sel(noise=0.0).sel(inverse=100, method="nearest")
    label_line(
        ax, 1 / cold.inverse, cold, "no noise:\nit falls to 0", COLOURS["flow"], dx=-10, dy=20, ha="right"
    )
    ax.set(xscale="log", xlim=(1e-4, 30), ylim=(0, 0.42))
    ax.set(xlabel=r"temperature $\tau/\Vert e\Vert^2$", ylabel=r"slowest rate $\lambda_b$")
    ax.set_title("noise: no stall below a floor")
