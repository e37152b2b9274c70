"""Left, on a logarithmic scale: FLOW's weight falls along a straight line as the loss grows, KL-DRO's rises
along another, points lie on both, and a dashed line at 1 is the uniform weight. Right: as the temperature
rises, the effective sample size and the minimum of the objective rise from near 0 to 1, and the distance from
uniform falls from 1.6 to 0; simulated marks lie on the curves.
"""

from __future__ import annotations

from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from figures.style import COLOURS, figure, label_line, styled, title

NAMES = {"flow": "FLOW", "kl_dro": "KL-DRO"}
SHADES = {
    "effective sample size": ("#0072B2", "effective sample\nsize ESS/$n$"),
    "minimum": ("#08213F", "minimum of the\nobjective, over $s^2$"),
    "distance from uniform": ("#2F97C1", "distance from\nuniform, KL"),
}


@styled
def draw(dataset: Any) -> Figure:
    """Left: the weights on one sample. Right: the population, by formula and by simulation."""
    fig, (left, right) = figure(1, 2, width=11, height=5.4, width_ratios=(1, 1.12))
    _weights(left, dataset)
    _population(right, dataset)
    title(fig, "FLOW raises easy samples, KL-DRO hard ones: each minimises its objective")
    return fig


def _weights(ax: Axes, ds: Any) -> None:
    loss, size = ds.loss[0], ds.sizes["index"]
    found = ds.newton.sel(ratio=1.0)[:, 0]
    for rule, name in NAMES.items():
        colour, curve = COLOURS[rule], ds.curve.sel(rule=rule)
        ax.plot(ds.loss_grid, curve, color=colour)
        ax.plot(loss, size * found.sel(rule=rule), "o", color=colour, mec="white", mew=0.7, ms=7.5)
        at = int((0.62 if rule == "flow" else 0.82) * curve.size)
        # Each name on the outer side of its line, where the other does not come.
        label_line(ax, ds.loss_grid[at], curve[at], name, colour, dx=10 if rule == "flow" else -10, dy=10)
    ax.axhline(1.0, color=COLOURS["uniform"], lw=1.8, ls="--", zorder=1)
    label_line(ax, ds.loss_grid[-1], 1.0, "uniform", COLOURS["uniform"], dx=-2, dy=10)
    ax.set_yscale("log")
    ax.set(
        xlabel=r"loss $f_i(\theta^{*})$ under the pre-trained model",
        ylabel=r"weight $n\,\pi_i$, log scale",
        title=r"line: $\pi \propto e^{\mp f/\tau}$;  points: Newton on the simplex",
    )


def _population(ax: Axes, ds: Any) -> None:
    places = {  # the level at which a curve's name stands, and how far beside it, in points
        "effective sample size": (0.90, 0.1, 34),
        "minimum": (0.62, 14, -14),
        "distance from uniform": (0.13, 10, 14),
    }
    for fact, (colour, name) in SHADES.items():
        curve = ds.fact_curve.sel(fact=fact)
        ax.plot(ds.grid, curve, color=colour)
        for problem, marker in zip(ds.problem.values, ("o", "D"), strict=True):
            here = {"fact": fact, "problem": problem}
            mean, error = ds.fact_simulated.sel(here), ds.fact_error.sel(here)
            size = 7.5 if marker == "o" else 4.0
            face = "white" if marker == "o" else colour
            ax.errorbar(
                ds.population_ratio,
                mean,
                error,
                fmt=marker,
                color=colour,
                mfc=face,
                ms=size,
                mew=1.4,
                zorder=3,
            )
        level, dx, dy = places[fact]
        at = _crossing(curve.values, level)
        label_line(ax, ds.grid[at], curve[at], name, colour, dx=dx, dy=dy)
    median = float(ds.default_exact[0, 0])
    ax.axvline(median, color=COLOURS["uniform"], lw=1.4, ls=":", zorder=1)
    label_line(ax, median, 1.72, rf"median: $\tau = {median:.3f}\,s^2$", COLOURS["uniform"], dx=6)
    ax.set_xscale("log")
    ax.set(
        xlim=(0.02, 200),
        ylim=(0, 1.85),
        xlabel=r"temperature $\tau/s^2$, log scale",
        title="lines: exact;  simulated: ○ σ = 0, ◆ σ = 1",
    )


def _crossing(values: Any, level: float) -> int:
    """Where a curve comes closest to a level: a place for its name."""
    return int(abs(values - level).argmin())
