"""Both panels show the share of its variance that weighted data keep along the shift against the cutoff, for ten rules.
Left, on logarithmic scales: lines of rules that prefer easy samples fall from 1 towards 0 as the cutoff falls, in
bundles of three slopes, while FLOW with a floor turns back up to 1. Right: three lines of rules that prefer hard
samples lie above 1. Points of sampled rows lie on the lines.
"""

from __future__ import annotations

from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from figures.style import COLOURS, figure, label_line, styled, title

EASY = {
    "FLOW": "flow",
    "threshold": "uniform",
    "Tukey": "target",
    "power 2": "averaging",
    "Cauchy": "standard",
    "Huber": "early_stopping",
    "clipped": "penalty",
}
HARD = {"KL-DRO": "kl_dro", "focal": "lora", "hard samples": "probe"}


@styled
def draw(dataset: Any) -> Figure:
    """Left: easy samples up. Right: hard samples up."""
    fig, (left, right) = figure(1, 2, width=13, height=5.6, width_ratios=(1.5, 1))
    for ax, family in ((left, EASY), (right, HARD)):
        for name, method in family.items():
            _rule(ax, dataset.sel(rule=name), COLOURS[method])
        ax.axhline(1, color=COLOURS["uniform"], lw=1.2, ls=":")
        ax.set(xscale="log", yscale="log", xlabel="cutoff over residual deviation, $c/s$")
    _label_easy(left, dataset)
    _label_hard(right, dataset)
    left.set(ylabel="share kept along the shift, $m_2/m_0$", xlim=(0.004, 40), ylim=(1e-5, 4))
    left.set_title("easy samples up: a stall")
    right.set_title("hard samples up: no stall")
    title(fig, "A rule stalls exactly if its weights fall like 1/|r| or faster")
    return fig


def _rule(ax: Axes, ds: Any, colour: str) -> None:
    ax.plot(ds.drawn, ds.drawn_share, color=colour, lw=2.2)
    ax.errorbar(
        ds.sampled_cutoff, ds.sampled, 4 * ds.error, fmt="o", color=colour, ms=5, mec="white", mew=0.6
    )


def _label_easy(ax: Axes, ds: Any) -> None:
    places = {
        "Huber": ("Huber, $1/|r|$", 0.015, 6, -15),
        "Cauchy": ("Cauchy, $1/r^2$", 0.014, 8, -14),
        "power 2": ("squared Cauchy", 0.05, -8, 12),
    }
    for name, (text, at, dx, dy) in places.items():
        here = ds.sel(rule=name).sel(drawn=at, method="nearest")
        label_line(ax, here.drawn, here.drawn_share, text, COLOURS[EASY[name]], dx=dx, dy=dy)
    for name, height in (("FLOW", 2.4e-4), ("threshold", 8.5e-5), ("Tukey", 3e-5)):
        label_line(ax, 0.06, height, name, COLOURS[EASY[name]], dx=6)
    label_line(ax, 0.0055, 1.9, "FLOW with a floor", COLOURS[EASY["clipped"]], dx=0.1)


def _label_hard(ax: Axes, ds: Any) -> None:
    for name, text, at, dx, dy in (
        ("KL-DRO", "KL-DRO", 2.2, 8, 12),
        ("focal", "focal, exponent 2", 0.3, -8, 12),
        ("hard samples", "hardest samples only", 3.0, -8, 10),
    ):
        here = ds.sel(rule=name).sel(drawn=at, method="nearest")
        label_line(ax, here.drawn, here.drawn_share, text, COLOURS[HARD[name]], dx=dx, dy=dy)
