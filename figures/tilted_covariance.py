"""Left: inputs as dots, large near the centre along the shift and tiny far from it; the slanted ellipses
before the weights become narrow upright ones after them. Right, a row for each of six rules: the points of
Lemma F.1 lie left of the dashed bound, those of a wrong formula mostly right of it, up to a thousand standard
errors.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.figure import Figure

from figures.style import COLOURS, figure, label_line, styled, title
from linear_theory.significance import four_sigma


@styled
def draw(dataset: Any) -> Figure:
    """Left: the plane. Right: distances in standard errors, formula and wrong formula."""
    fig, (left, right) = figure(1, 2, width=11, height=5.6, width_ratios=(1, 1.2))
    weight = dataset.drawn_weight.values
    left.scatter(
        dataset.drawn[:, 0], dataset.drawn[:, 1], s=3 + 26 * weight, color=COLOURS["flow"], alpha=0.35, lw=0,
        rasterized=True,
    )  # fmt: skip
    for which, colour, name in (
        ("before", COLOURS["standard"], "before"), ("after", COLOURS["flow"], "after"),
    ):  # fmt: skip
        curve = dataset.ellipse.sel(which=which)
        for scale in (1, 2):
            left.plot(scale * curve[0], scale * curve[1], color=colour, lw=2.4 if scale == 1 else 1.4)
        at, dy = (int(curve[1].values.argmin()), -12) if name == "after" else (38, 9)
        label_line(left, 2 * curve[0, at], 2 * curve[1, at], name, colour, dx=5, dy=dy, fontsize=14)
    left.annotate(
        "", (1.0, -2.6), (0, -2.6), arrowprops={"arrowstyle": "->", "lw": 2, "color": COLOURS["theory"]}
    )
    label_line(left, 1.0, -2.6, r"shift $e$", COLOURS["theory"], dx=5, fontsize=14)
    left.set(
        xlim=(-3, 3),
        ylim=(-3, 3),
        aspect="equal",
        xlabel=r"$x$ along $\bar e$",
        ylabel=r"$x$ along $\bar e_\perp$",
    )
    left.set_title("dots: inputs, sized by their weight\nellipses: 1 (thick) and 2 std. deviations")
    rules = dataset.rule.values
    jitter = np.linspace(-0.22, 0.22, dataset.sizes["entry"])
    for k, rule in enumerate(rules):
        place = len(rules) - 1 - k
        for array, colour in (
            (dataset.deviation_wrong, COLOURS["uniform"]),
            (dataset.deviation, COLOURS["flow"]),
        ):
            values = np.maximum(array.sel(rule=rule), 1e-3)
            right.plot(values, place + jitter, ".", color=colour, ms=4, alpha=0.7, rasterized=True)
    # The bound of the verdict: four standard errors, for so many comparisons at once.
    limit = four_sigma(dataset.deviation.size, dataset.attrs["blocks"] - 1)
    right.axvline(limit, color=COLOURS["theory"], lw=1.4, ls="--")
    right.set(
        xscale="log",
        xlim=(1e-3, 3e3),
        ylim=(-0.6, len(rules) - 0.3),
        xlabel="distance from sampled rows, standard errors",
    )
    right.set_yticks(range(len(rules)), list(rules)[::-1])
    right.text(1.15 * limit, -0.5, f"bound, {limit:.1f}", color=COLOURS["theory"], fontsize=12)
    label_line(right, 0.11, len(rules) - 0.55, "Lemma F.1", COLOURS["flow"], dx=0, ha="center")
    label_line(right, 130, len(rules) - 0.55, "a wrong formula", COLOURS["uniform"], dx=0, ha="center")
    right.set_title("how far from sampled rows")
    title(fig, "A weight by loss makes a Gaussian flat along the shift, and leaves it a Gaussian")
    return fig
