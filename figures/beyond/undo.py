"""Seven panels on logarithmic scales, one for each law: the distance to the new optimum against the number of rows.
The average stays where it is along a level line; the undone model falls beside direct least squares along two parallel
lines of points under the first five laws, and levels off under the last two. In the eighth panel the points of five
laws lie on the diagonal of the two ways to tell κ, and those of the other two beside it.
"""

from __future__ import annotations

from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from figures.style import COLOURS, figure, label_line, styled, title

LINES = {"averaged": ("averaging", 4, -15), "undone": ("flow", 4, 15), "direct": ("standard", -6, -18)}
"""Of each model the colour, and where its name stands beside its line."""


@styled
def draw(dataset: Any) -> Figure:
    """Distance against rows for each law, and κ told in two ways."""
    fig, axes = figure(2, 4, width=13.6, height=6.6)
    panels = axes.ravel()
    for k, (ax, law) in enumerate(zip(panels, dataset.law.values, strict=False)):
        _distance(ax, dataset, law, first=k == 0)
        if k % 4 == 0:
            ax.set_ylabel(r"distance to $\tilde\theta^{*}$")
        if k >= 4:
            ax.set_xlabel("rows $n$")
    _told(panels[-1], dataset)
    title(fig, "What FLOW averaged can be undone from the same fit, if the inputs or the noise are Gaussian")
    return fig


def _distance(ax: Axes, ds: Any, law: str, *, first: bool) -> None:
    for model, (method, dx, dy) in LINES.items():
        here = ds.sel(law=law, model=model)
        colour = COLOURS[method]
        ax.errorbar(
            ds.n, here.distance, 2 * here.distance_error, fmt="o-", color=colour, lw=1.8, ms=5, capsize=2
        )
        if first:
            at = here.distance.isel(n=1)
            label_line(ax, at.n, at, model, colour, dx=dx, dy=dy)
    ax.set(xscale="log", yscale="log", ylim=(2e-3, 1.3), xlim=(300, 1.4 * float(ds.n[-1])))
    ax.minorticks_off()
    ax.set_xticks(ds.n.values, [f"{n:,}".replace(",", " ") for n in ds.n.values])
    ax.set_title(law if law in ds.good.values else f"fails: {law}")


def _told(ax: Axes, ds: Any) -> None:
    ax.plot([0.3, 0.75], [0.3, 0.75], color=COLOURS["theory"], lw=1.5, zorder=1)
    for law in ds.law.values:
        here = ds.population.sel(law=law)
        good = law in ds.good.values
        colour = COLOURS["flow" if good else "kl_dro"]
        ax.plot(
            here.sel(fact="κ"),
            here.sel(fact="1 − 2m/τ"),
            "o" if good else "X",
            color=colour,
            ms=9,
            mec="white",
        )
    ax.set(xlabel=r"$\kappa$", ylabel=r"$1-2m/\tau$", xlim=(0.3, 0.75), ylim=(0.3, 0.75), aspect="equal")
    ax.set_title("crosses: the two that fail")
