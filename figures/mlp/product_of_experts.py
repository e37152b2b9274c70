"""Left: one mark a model at its exponents of the label law and of the old model; FLOW's filled marks lie around the
star of the product, those of shuffled weights, of weights of sequences and of standard fine-tuning near the
exponent 0 of the old model. Middle: along the training of a digits network FLOW's distance to the product falls
far below that to standard fine-tuning, and rises when wrong labels are learned. Right: the temperature that undoes
FLOW's confidence lies on the line 1 + 1/τ for digits and away from it where old and new model disagree.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from figures.mlp.parts import networks
from figures.mlp.seeds import error, mean
from figures.style import COLOURS, figure, label_line, styled, title

BLUE, ORANGE, GREY, DARK = (COLOURS[name] for name in ("flow", "standard", "uniform", "theory"))
DEFAULT, COLD = (
    1.0,
    0.3,
)  # τ over the median loss: on the left from the first on, on the right from the second on
SHAPES = {"softmax": "s", "language": "D", "digits": "o", "images": "v"}  # filled: FLOW
NETWORKS = {"digits": "digits", "images": "residual network"}
LEAST = {"digits": 0.0, "images": 0.3}  # share of wrong labels of which something is claimed
CONTROLS = {  # open
    "permuted": (BLUE, "^"),
    "flow-sequence": (BLUE, "P"),
    "standard-same-mean-step": (ORANGE, "o"),
}
CURVES = (
    ("flow", "product", "FLOW, to the product"),
    ("flow", "standard", "FLOW, to standard"),
    ("permuted", "product", "weights shuffled, to the product"),
    ("permuted", "standard", "weights shuffled, to standard"),
)
DASHES = (0, (4, 2))
FIRST = 8  # step from which on distances are shown


@styled
def draw(dataset: Any) -> Figure:
    """Exponents, distances along training, temperatures."""
    fig, (left, middle, right) = figure(1, 3, width=14, height=6.4, width_ratios=(1.1, 1.1, 1))
    _exponents(left, dataset)
    _along_training(middle, networks(dataset, ("digits",))["digits"].isel(noise=0).sel(factor=DEFAULT))
    _temperatures(right, dataset)
    fig.set_layout_engine("constrained", w_pad=0.1)
    title(fig, "FLOW learns the product of the labels' law and the old model, until it learns the noise")
    return fig


# ---------------------------------------------------------------------------------------------- exponents


def _exponents(ax: Axes, d: Any) -> None:
    """Of p̃ and, times τ, of p*; a mark for each temperature and share of wrong labels, means over seeds."""
    ax.plot(1, 1, "*", ms=30, color=GREY, alpha=0.5, zorder=1)
    for run, (colour, mark) in CONTROLS.items():
        points = np.concatenate(list(_points(d, run).values()))
        ax.plot(*points.T, mark, color=colour, mfc="white", ms=9, mew=1.5, zorder=2)
    for kind, points in _points(d, "flow").items():
        ax.plot(*points.T, SHAPES[kind], color=BLUE, ms=8, mec="white", mew=0.8, zorder=3)
    ax.set(xlim=(0.62, 1.14), ylim=(-0.12, 2.9), xlabel=r"exponent of the label law $\tilde{p}$",
           ylabel=r"exponent of the old model $p_*$, times $\tau$")  # fmt: skip
    ax.set_title("Exponents of the trained model")
    rows = [
        ("s", BLUE, BLUE, "FLOW, softmax: exact"),
        ("D", BLUE, BLUE, "FLOW, language model, by byte"),
        *(
            (SHAPES[name], BLUE, BLUE, f"FLOW, {NETWORKS[name]}, early")
            for name in networks(d, tuple(NETWORKS))
        ),
        ("P", BLUE, "white", "FLOW, language model, by sequence"),
        ("^", BLUE, "white", "FLOW, weights shuffled"),
        ("o", ORANGE, "white", "standard, same mean step"),
    ]
    for k, (mark, colour, face, text) in enumerate(rows):
        _key(ax, 0.05, k, mark, colour, face, text)
    label_line(ax, 1, 1, r"$\tilde{p}\,p_*^{1/\tau}$", DARK, dx=12, dy=-14, fontsize=14)


def _row(k: int) -> float:
    """The height of the k-th line from the top, in shares of the panel."""
    return 0.965 - 0.056 * k


def _key(
    ax: Axes, x: float, k: int, mark: str, colour: str, face: str, words: str, room: float = 0.045
) -> None:
    """A mark and what it stands for, on the k-th line."""
    ax.plot(x, _row(k), mark, color=colour, mfc=face, ms=8, mew=1.5, transform=ax.transAxes)
    ax.text(x + room, _row(k), words, transform=ax.transAxes, va="center", color=DARK, fontsize=12.5)


def _points(d: Any, run: str) -> dict[str, np.ndarray]:
    """(points, 2) for each kind of model that has this run."""
    one = d.sel(run=run)
    early = lambda cell: cell.exponents.isel(mark=cell.stop).where(cell.factor >= DEFAULT)
    claimed = {
        name: cell.isel(noise=np.flatnonzero(cell.noise >= LEAST[name]))
        for name, cell in networks(one, tuple(NETWORKS)).items()
    }
    return {
        "softmax": _scaled(one.softmax_exponents, d.temperature),
        "language": _scaled(
            one.language_exponents.isel(step=-1).where(d.language_factor >= DEFAULT), one.language_temperature
        ),
        **{name: _scaled(early(cell), cell.temperature) for name, cell in claimed.items()},
    }


def _scaled(exponents: Any, temperature: Any) -> np.ndarray:
    """Means over seeds or models of both exponents, that of p* times τ; without what was not run."""
    both = [exponents.isel(expert=0), exponents.isel(expert=1) * temperature]
    means = [one.mean([dim for dim in ("seed", "model") if dim in one.dims], skipna=False) for one in both]
    points = np.stack([one.values.ravel() for one in means], axis=1)
    return points[np.isfinite(points).all(axis=1)]


# ----------------------------------------------------------------------------------------- along training


def _along_training(ax: Axes, d: Any) -> None:
    """KL of FLOW, and of FLOW with its weights shuffled, to the product and to standard fine-tuning."""
    early = float(d.mark[d.stop].median())
    ax.axvline(early, color=GREY, lw=1.2, ls=(0, (1, 2)), ymax=0.7, zorder=0)
    label_line(ax, early, 0.0135, "early", GREY, dx=5)
    shown = d.isel(mark=np.flatnonzero(d.mark >= FIRST))
    for k, (run, other, words) in enumerate(CURVES):
        one, dashes = shown[f"to_{other}"].sel(run=run), DASHES if other == "standard" else "-"
        mark, face, wide = ("o", BLUE, 2.4) if run == "flow" else ("^", "white", 1.3)
        line = {"color": BLUE, "ls": dashes, "lw": wide}
        ax.errorbar(shown.mark, mean(one), error(one), elinewidth=1, capsize=0, **line)
        ax.plot(shown.mark, mean(one), mark, color=BLUE, mfc=face, ms=6, mew=1.3)
        height = _row(k)
        ax.plot([0.02, 0.14], [height, height], transform=ax.transAxes, **line)
        _key(ax, 0.08, k, mark, BLUE, face, words, 0.08)
    ax.set(
        xscale="log",
        yscale="log",
        ylim=(0.01, 30),
        xlabel="step of fine-tuning",
        ylabel="KL divergence, in nats",
    )
    ax.set_title(f"Digits, {100 * float(d.noise):.0f} % of the labels wrong")


# ------------------------------------------------------------------------------------------- temperatures


def _temperatures(ax: Axes, d: Any) -> None:
    """The temperature that undoes FLOW's confidence against 1 + 1/τ."""
    flow = d.sel(run="flow")
    limits = (0.85, 14.0)
    ax.plot(limits, limits, color=GREY, lw=1.6, zorder=1)
    x = 1 + 1 / d.temperature.values
    for agreement, face in (("same task", BLUE), ("another task", "white")):
        values = flow.softmax_softening.sel(agreement=agreement)
        ax.errorbar(x, mean(values), error(values), color=BLUE, mfc=face, fmt="s", ms=8, mew=1.4, lw=1.2)
    small = networks(flow.isel(factor=np.flatnonzero(d.factor >= COLD)), tuple(NETWORKS))
    for name, cell in small.items():
        for noise in d.noise.values:
            one = cell.sel(noise=noise)
            ax.errorbar((1 + 1 / one.temperature).mean("seed"), mean(one.softening), error(one.softening),
                        color=BLUE, fmt=SHAPES[name], ms=8, mec="white", lw=1.2, zorder=3)  # fmt: skip
    ax.plot(
        (1 + 1 / flow.language_temperature).mean("model"), flow.language_softening.mean("model"), "D", color=BLUE,
        ms=8, mec="white", zorder=3,
    )  # fmt: skip
    ticks = (1, 2, 4, 8)
    ax.set(xscale="log", yscale="log", xlim=limits, ylim=(limits[0], 50.0), xlabel=r"$1+1/\tau$",
           ylabel="temperature that undoes it")  # fmt: skip
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_ticks(ticks, [str(tick) for tick in ticks])
        axis.set_minor_locator(NullLocator())
    ax.set_title("Over-confidence of FLOW")
    rows = [
        ("s", BLUE, BLUE, "softmax, both models one"),
        ("s", BLUE, "white", "softmax, another task"),
        ("D", BLUE, BLUE, "language model"),
        *((SHAPES[name], BLUE, BLUE, f"{NETWORKS[name]}, early") for name in small),
    ]
    for k, (mark, colour, face, text) in enumerate(rows):
        _key(ax, 0.05, k, mark, colour, face, text)
