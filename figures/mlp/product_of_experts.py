"""Left: one mark a model at its exponents of the label law and of the old model; FLOW's blue marks lie around the
star of the product, shuffled weights, weights of sequences and standard fine-tuning lie near the exponent 0 of
the old model. Middle: along training of a digits network FLOW's distance to the product falls far below that to
standard fine-tuning and rises when wrong labels are learned. Right: the temperature that undoes FLOW's confidence
rises with 1 + 1/τ, along the line for digits, above it where old and new model disagree.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from figures.mlp.seeds import error, mean
from figures.style import COLOURS, figure, label_line, styled, title

BLUE, ORANGE, GREY, DARK = (COLOURS[name] for name in ("flow", "standard", "uniform", "theory"))
DEFAULT = 1.0  # τ over the median loss
# Shape of the mark: what kind of model. Filled: FLOW; open: a control.
SHAPES = {"softmax": "s", "language": "D", "digits": "o"}
LOOK = {
    "flow": (BLUE, BLUE),
    "flow-sequence": (BLUE, "white"),
    "permuted": (BLUE, "white"),
    "standard-same-mean-step": (ORANGE, "white"),
}


@styled
def draw(dataset: Any) -> Figure:
    """Exponents, distance along training, temperature."""
    fig, (left, middle, right) = figure(1, 3, width=14.5, height=6.3, width_ratios=(1.05, 1.1, 1))
    _exponents(left, dataset)
    _along_training(middle, dataset)
    _temperatures(right, dataset)
    fig.set_layout_engine("constrained", w_pad=0.08)
    title(
        fig, r"FLOW learns the label law times a power of the old model, $\tilde{p}\,p_*^{1/\tau}$, until noise is learned"
    )
    return fig


def _exponents(ax: Axes, d: Any) -> None:
    """Of p̃ and, times τ, of p*."""
    for run, (colour, face) in LOOK.items():
        for kind, points in _points(d, run).items():
            if len(points):
                mark = "^" if run == "permuted" else "P" if run == "flow-sequence" else SHAPES[kind]
                ax.plot(*points.T, mark, color=colour, mfc=face, ms=9 if face == "white" else 8, mew=1.5, zorder=3)
    ax.plot(1, 1, "*", ms=24, color=DARK, zorder=2, alpha=0.35)
    ax.set(xlim=(0.55, 1.25), ylim=(-0.15, 1.45), xlabel=r"exponent of the label law $\tilde{p}$",
           ylabel=r"exponent of the old model $p_*$, times $\tau$")  # fmt: skip
    ax.set_title("Exponents of the trained model")


def _points(d: Any, run: str) -> dict[str, np.ndarray]:
    """(points, 2): means over seeds, for every temperature from the median loss on."""
    one = d.sel(run=run)
    early = one.digits_exponents.isel(mark=d.digits_stop)
    scaled = lambda values, temperature: np.stack(
        [mean_of(values.isel(expert=0)), mean_of(values.isel(expert=1) * temperature)], axis=-1
    ).reshape(-1, 2)
    mean_of = lambda values: values.mean([dim for dim in ("seed", "model") if dim in values.dims]).values
    found = {
        "softmax": scaled(one.softmax_exponents, d.temperature),
        "language": scaled(one.language_exponents.isel(step=-1), one.language_temperature),
        "digits": scaled(early.where(d.factor >= DEFAULT), d.digits_temperature),
    }
    return {kind: points[np.isfinite(points).all(axis=1)] for kind, points in found.items()}


def _along_training(ax: Axes, d: Any) -> None:
    """KL to the product and to standard fine-tuning, of FLOW and of FLOW with its weights shuffled."""
    cell = d.isel(noise=0).sel(factor=DEFAULT)
    cell = cell.isel(mark=slice(1, None))
    for run, face in (("flow", BLUE), ("permuted", "white")):
        one = cell.sel(run=run)
        for name, dashes in (("digits_to_product", "-"), ("digits_to_standard", (0, (4, 2)))):
            ax.errorbar(one.mark, mean(one[name]), error(one[name]), color=BLUE, ls=dashes, lw=1.8, fmt="o", ms=4.5, mfc=face)
    ax.set(xscale="log", yscale="log", xlabel="step", ylabel="KL divergence of the trained model, nats")
    ax.set_title(f"Digits, {100 * float(cell.noise):.0f} % of the labels wrong")


def _temperatures(ax: Axes, d: Any) -> None:
    """The temperature that undoes FLOW's confidence against 1 + 1/τ."""
    line = np.array([1.05, 8.0])
    ax.plot(line, line, color=GREY, lw=1.6)
    flow = d.sel(run="flow")
    x = 1 + 1 / d.temperature.values
    for agreement, face in (("same task", BLUE), ("another task", "white")):
        ax.plot(x, flow.softmax_softening.sel(agreement=agreement).mean("seed"), "s", color=BLUE, mfc=face, ms=8)
    for noise in d.noise.values:
        one = flow.sel(noise=noise)
        ax.errorbar((1 + 1 / one.digits_temperature).mean("seed"), mean(one.digits_softening), error(one.digits_softening),
                    color=BLUE, fmt="o", ms=8)
    ax.plot((1 + 1 / flow.language_temperature).mean("model"), flow.language_softening.mean("model"), "D", color=BLUE, ms=8)
    ax.set(xscale="log", yscale="log", xlabel=r"$1+1/\tau$", ylabel="temperature that undoes it")
    ax.set_title("Over-confidence of FLOW")
