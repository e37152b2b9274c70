"""Left: from the old model two paths run apart, the line of standard fine-tuning to the labels' law, FLOW's beyond it
to a star far outside, with points of sampled rows on it. Middle, on logarithmic scales: as the temperature falls the
curvature along the shift and along the old model first rises above the line of 1 and then falls, that across
the old model falls throughout; points lie on the curves. Right: as the new labels become certain the curvature along
the shift falls towards a dashed line, that of the linear model.
"""

from __future__ import annotations

from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from figures.style import COLOURS, figure, label_line, styled, title

SHIFT, OLD, ACROSS, GREY = (COLOURS[name] for name in ("flow", "pretrained", "theory", "uniform"))
CURVES = {"the shift": SHIFT, "θ*": OLD, "across θ*": ACROSS}


@styled
def draw(dataset: Any) -> Figure:
    """Paths in the plane, curvatures over the temperature, and over how certain the labels are."""
    fig, (left, middle, right) = figure(1, 3, width=14, height=5.4)
    _paths(left, dataset)
    _temperatures(middle, dataset)
    _certain(right, dataset)
    title(fig, "Weights hardly stall a classifier, unless its new labels are nearly certain")
    return fig


def _paths(ax: Axes, d: Any) -> None:
    for weighted, colour in (("standard", COLOURS["standard"]), ("FLOW", SHIFT)):
        path = d.drawn.sel(weighted=weighted).values
        ax.plot(
            [d.attrs["pretrained"][0], *path[:, 0]],
            [d.attrs["pretrained"][1], *path[:, 1]],
            color=colour,
            lw=2.4,
        )
    sampled = d.sel(case="logistic, τ = 0.693", weighting="FLOW")
    (across, up), (wide, high) = sampled["mean"][:, :2].values.T, 4 * sampled.error[:, :2].values.T
    ax.errorbar(
        across, up, high, wide, fmt="o", color=COLOURS["simulation"], ms=7, mec="white", mew=0.8, zorder=5
    )
    for step, (x, y) in zip(d.step.values, sampled["mean"][:, :2].values, strict=True):
        label_line(ax, x, y, f"$K = {step}$", SHIFT, dx=12, dy=-9)
    ax.plot(*d.attrs["pretrained"], "o", color=OLD, ms=11, mec="white", zorder=6)
    ax.plot(*d.attrs["target"], "s", color=COLOURS["target"], ms=11, mec="white", zorder=6)
    ax.plot(*d.end.values, "*", color=SHIFT, ms=17, mec="white", zorder=6)
    for (x, y), text, colour, dx, dy in (
        (d.attrs["pretrained"], r"$\theta^{*}$", OLD, -12, 2),
        (d.attrs["target"], r"$\tilde\theta^{*}$", COLOURS["target"], -10, 14),
        (d.end.values, r"$\tilde\theta^{*} + \theta^{*}/\tau$", SHIFT, -8, 17),
    ):
        label_line(ax, x, y, text, colour, dx=dx, dy=dy, fontsize=15)
    label_line(ax, 1.0, 0.42, "standard\nfine-tuning", COLOURS["standard"], dx=-8)
    ax.set(xlim=(-0.15, 3.1), ylim=(-0.2, 1.25), xlabel=r"along $\theta^{*}$", ylabel=r"across $\theta^{*}$")
    ax.set_title(r"logistic regression, $\tau = 0.693$")


def _temperatures(ax: Axes, d: Any) -> None:
    ax.axhline(1, color=GREY, lw=1.4)
    label_line(ax, 1e-5, 1, "without weights", GREY, dx=0.1, dy=-11)
    default = float(d["median"].sel(margins="c = 1/2"))
    ax.axvline(default, color=GREY, lw=1.2, ls=":", ymax=0.36)
    label_line(ax, default, 0.012, "default", GREY, dx=-6)
    for name, colour in CURVES.items():
        ax.plot(d.temperature, d.curve.sel(along=name), color=colour, lw=2.4)
        here = d.sampled_ratio.sel(direction=name, weights="FLOW")
        ax.errorbar(d.some, here.sel(moment="mean"), 4 * here.sel(moment="error"), fmt="o", color=colour, ms=6,
                    mec="white", mew=0.7)  # fmt: skip
    for name, text, at, dx, dy in (
        ("the shift", "along $e$", 1e-7, 12, -8),
        ("θ*", r"along $\theta^{*}$", 2e-4, -10, 12),
        ("across θ*", r"across $\theta^{*}$", 2e-6, 10, -10),
    ):
        point = d.curve.sel(along=name).sel(temperature=at, method="nearest")
        label_line(ax, point.temperature, point, text, CURVES[name], dx=dx, dy=dy)
    ax.set(xscale="log", yscale="log", xlim=(1e-8, 20), ylim=(4e-3, 10))
    ax.set(xlabel=r"temperature $\tau$", ylabel="curvature, over that without weights")
    ax.set_title(r"moderate margins: $\Vert\theta^{*}\Vert = 1.5$")


def _certain(ax: Axes, d: Any) -> None:
    for k, (name, colour, dash) in enumerate(
        (("along $e$, the shift", SHIFT, "-"), ("across $e$", ACROSS, "-"))
    ):
        ax.plot(d.norm, d.sweep[:, k], dash, color=colour, lw=2.4, marker="o", ms=4)
        at = d.sweep[:, k].sel(norm=6 if k == 0 else 8, method="nearest")
        label_line(ax, at.norm, at, name, colour, dx=8, dy=10)
    linear = float(d.linear)
    ax.axhline(linear, color=GREY, ls="--", lw=1.6)
    label_line(ax, 1.05, linear, r"the linear model: $\mu^2$", GREY, dx=0.1, dy=-13)
    ax.axhline(1, color=GREY, lw=1.4)
    label_line(ax, float(d.norm[-1]), 1, "without weights", GREY, dx=-2, dy=11)
    ax.set(xscale="log", ylim=(0, 1.75), xlabel=r"$\Vert\tilde\theta^{*}\Vert$, certainty of the new labels")
    ticks = [tick for tick in (1, 3, 10, 30) if tick <= float(d.norm[-1]) * 1.01]
    ax.set_xticks(ticks, [str(tick) for tick in ticks])
    ax.set_xticks([], minor=True)
    ax.set_title("at the default temperature")
