"""The cleanest case: a small tanh network moved along one direction stalls there as the linear theory says."""

from __future__ import annotations

import numpy as np
import xarray as xr

from linear_theory.significance import four_sigma
from paper_reproduction.claim import Check, Claim, Settings, Table, Verdict
from paper_reproduction.mlp import teacher
from paper_reproduction.mlp.experiments._stall_cells import NUMBERS, RUNS, measure
from paper_reproduction.mlp.statistics import answer, beyond, error, sigmas, sorted_out, told
from paper_reproduction.mlp.training import marks

CLAIM = Claim(
    name="teacher-student-stall",
    title="A small tanh network stalls along the shift as its linearization does",
    question="Does a network that fits its task exactly stall as the linear theory says?",
    statement=(
        r"A tanh network 10-16-1 is pre-trained to $\theta_*$; the fine-tuning labels are those of "
        r"$\theta_*+\delta\|\theta_*\|u$ on 2000 Gaussian inputs, $u$ a random unit vector. Full-batch gradient "
        r"descent runs on the network itself: standard; FLOW with $\tau$ the median loss; each of the two at the "
        r"other's mean step (FLOW with its weights over their mean, standard with its loss times the mean weight); "
        r"and FLOW with its weights in random order, at standard's mean step. "
        r"What is left of the shift is measured in the metric $J^\top J$ and compared with two predictions: the "
        r"closed form of the linearized network under the very same weights, and the Gaussian theory, which knows "
        r"only $J^\top J$ and the shift. With $s=\mu^2=0.1853$ at the median temperature the theory says: mean weight "
        r"$\sqrt s$, weighted share of the residual energy $s^{3/2}$, first step along the shift $s$ times that of "
        r"standard fine-tuning where both have the same mean step, and under label noise of variance ratio $k$ an end "
        r"at $1-(1+k)s/(k+s)$. These are held exactly on Gaussian rows with the network's own $J^\top J$ and shift; "
        r"the network's features are not Gaussian, and how far it is off for that reason is told."
    ),
    equation="Theorem 7.2 with features J",
    formula=r"1-\frac{\langle J(\theta_K-\theta_*),Ju\rangle}{\|Ju\|^2},\qquad "
    r"1-\kappa=1-\frac{(1+k)s}{k+s}",
    functions=(
        "linearize",
        "descend",
        "iterate",
        "flow_weights",
        "population_median_temperature",
        "weight_mass",
    ),
    seconds=120,
    quick_seconds=20,
    order=10,
)

DISTANCES, SMALL = (0.03, 0.1, 0.3, 1.0), (0.03, 0.1)
NOISES, NOISY_AT = (0.3, 1.0, 10.0), 0.1


def compute(settings: Settings) -> xr.Dataset:
    """Each distance without noise, and each noise level at one distance."""
    seeds, steps = (
        settings.repetitions(10, 10),
        (marks(300, 12) if settings.quick else marks(1000, 24)),
    )
    distances, noises = (SMALL, (1.0,)) if settings.quick else (DISTANCES, NOISES)
    plan = [(d, 0.0) for d in distances] + [(NOISY_AT, k) for k in noises]
    cells = [measure(settings, seeds, steps, d, k) for d, k in plan]
    return xr.concat(cells, "cell", combine_attrs="drop").assign_attrs(seeds=seeds, rows=teacher.ROWS)


# ------------------------------------------------------------------------------------------- the verdict


def _clean(d: xr.Dataset, distance: float) -> xr.Dataset:
    """The noiseless cell at a distance."""
    return d.isel(cell=int(np.flatnonzero((d.noise == 0) & np.isclose(d.distance, distance))[0]))


def _gap(cell: xr.Dataset) -> float:
    """Root mean square distance from the linearization over runs, steps and seeds."""
    return float(np.sqrt(((cell.network - cell.linear) ** 2).mean(skipna=False)))


def _wrong_gap(cell: xr.Dataset) -> float:
    return float(
        np.sqrt(((cell.network.sel(run="flow-same-mean-step") - cell.wrong) ** 2).mean(skipna=False))
    )


def _near(d: xr.Dataset) -> xr.Dataset:
    """The cells where linearization is meant to hold; the end is asked of the noisy ones alone."""
    near = d.isel(cell=np.flatnonzero(d.distance <= max(SMALL)))
    asked = (near.number != NUMBERS[3]) | (near.noise > 0)
    return near[["measured", "linearized", "predicted", "surrogate", "mistaken"]].where(asked)


def verdict(dataset: xr.Dataset) -> Verdict:
    """The gap to the linearization shrinks with δ; the theory's numbers hold on Gaussian rows of the same geometry."""
    d = dataset
    low, high = (_clean(d, distance) for distance in SMALL)
    near = _near(d)
    off = abs(sigmas(near.surrogate - near.predicted))
    wrong = abs(sigmas(near.surrogate - near.mistaken)).max("cell")
    allowed = four_sigma(int(off.notnull().sum()), near.sizes["seed"] - 1)
    # The gap to the linearization is of first order in δ, that to a wrong path of order zero: half-way between the two.
    order = (SMALL[0] / SMALL[1]) ** 0.5
    checks = (
        Check(f"gap to the linearization at δ = {SMALL[0]:g}, over that at {SMALL[1]:g}",
              _gap(low) / _gap(high), order),
        Check.at_least("gap to the linearization, small δ over large, if the step were η for 2η",
                       _wrong_gap(low) / _wrong_gap(high), order),
        Check(f"gap to the linearization at δ = {SMALL[0]:g}, share of the shift", _gap(low), 0.005),
        *(
            Check(f"{name} on Gaussian rows: distance from theory, in standard errors",
                  _worst(off.sel(number=name)), allowed)
            for name in NUMBERS
        ),
        Check.at_least("a wrong formula would be off by, in standard errors", float(wrong.min(skipna=False)), allowed),
        *(
            beyond(f"the network with FLOW leaves more of the shift than {RUNS[other]}", _held(d, other))
            for other in ("standard", "permuted-same-mean-step")
        ),
    )  # fmt: skip
    linear = checks[0].holds and checks[2].holds
    return Verdict(checks, headline=_headline(d, linear, _inside(near)), **_also(d, near))


def _held(d: xr.Dataset, other: str) -> xr.DataArray:
    """(distance, seed): how much more of the shift FLOW leaves in the network at the end, at the same mean step."""
    cells = xr.concat(
        [_clean(d, distance)[["network"]].isel(step=-1) for distance in SMALL], "distance"
    ).network
    return cells.sel(run="flow-same-mean-step", drop=True) - cells.sel(run=other, drop=True)


def _worst(values: xr.DataArray) -> float:
    """The largest over the cells where it is asked; NaN where none could be told."""
    return float(values.max("cell")) if bool(values.notnull().any()) else float("nan")


def _inside(near: xr.Dataset) -> xr.DataArray:
    """(number, cell): whether the network is where the Gaussian theory has it; true where that is not asked.

    Within 4 standard errors and the distance of the same run from its linearization.
    """
    gap = near.measured - near.predicted
    bend = abs(near.measured - near.linearized).mean("seed")
    near_enough = abs(gap.mean("seed", skipna=False)) <= 4 * error(gap) + bend
    return near_enough | near.predicted.isnull().all("seed")


def _headline(d: xr.Dataset, linear: bool, inside: xr.DataArray) -> str:
    cell = _clean(d, SMALL[1])
    shares = {run: told(cell.network.isel(step=-1).sel(run=run)) for run in RUNS}
    right = inside.all("cell")
    return (
        f"{answer(linear, bool(right.all()))}: it {'stalls' if linear else 'does not stall'} as its linearization does "
        rf"(off by {_gap(cell):.4f} of the shift, root mean square, at $\delta={SMALL[1]:g}$), and "
        f"{int(right.sum())} of {right.size} numbers of the Gaussian theory hold for it. "
        f"After {int(d.step[-1])} steps at the same mean step {shares['flow-same-mean-step']} of the shift remains "
        f"with FLOW and {shares['standard']} with standard fine-tuning; in steps as small as the weights make them, "
        f"{shares['flow']} and {shares['standard-same-mean-step']}."
    )


def _also(d: xr.Dataset, near: xr.Dataset) -> dict[str, tuple[str, ...]]:
    clean = d.isel(cell=np.flatnonzero(d.noise == 0))
    noisy = d.isel(cell=np.flatnonzero(d.noise > 0))
    cell = _clean(d, SMALL[1])
    inside = _inside(near).all("cell")
    numbers = {
        fits: "; ".join(_one_number(near, name) for name in NUMBERS if bool(inside.sel(number=name)) is fits)
        for fits in (True, False)
    }
    gaps = ", ".join(
        f"{float(one.distance):g}: {_gap(one):.4f} (the target itself bends by {100 * float(one.bend.mean()):.0f} %)"
        for one in (clean.isel(cell=i) for i in range(clean.sizes["cell"]))
    )
    ends = ", ".join(
        f"k = {float(one.noise):g}: {told(one.measured.sel(number=NUMBERS[3]))}, theory at that step "
        f"{float(one.predicted.sel(number=NUMBERS[3]).mean()):.3f}, its limit {float(one.limit.mean()):.3f}"
        for one in (noisy.isel(cell=i) for i in range(noisy.sizes["cell"]))
    )
    apart = float(abs(cell.network - cell.gaussian).max(["run", "step"]).mean("seed"))
    first = cell.measured.sel(number="first step") - cell.predicted.sel(number="first step")
    word = "weaker" if float(first.mean()) > 0 else "stronger"
    outside = (
        "Not as the Gaussian theory says, by more than 4 standard errors and the distance from the linearization: "
        f"{numbers[False]}. The features are not Gaussian, the stall is {word} than the theory says, and at "
        f"δ = {SMALL[1]:g} the Gaussian path is off by up to {apart:.3f} of the shift, where the closed form with the "
        f"actual weights is off by {_gap(cell):.4f}."
    )
    return sorted_out(
        *([(False, outside)] if numbers[False] else []),
        *([(True, f"As the Gaussian theory says: {numbers[True]}.")] if numbers[True] else []),
        (True, f"The residual's kurtosis is {told(cell.kurtosis, 2)}; a Gaussian's is 3."),
        (True, f"Distance of the network from its linearization by δ: {gaps}."),
        (True, f"What remains for FLOW at standard's mean step under label noise at δ = {NOISY_AT:g}, step "
         f"{int(d.step[-1])}: {ends}."),
        (True, f"Effective sample share {told(cell.effective)}, weights below 0.01: {told(cell.idle)}."),
    )  # fmt: skip


def _one_number(near: xr.Dataset, name: str) -> str:
    """How one number of the network stands to the theory, in the cell where it is furthest."""
    gap = (near.measured - near.predicted).sel(number=name)
    off = abs(sigmas(gap)).fillna(0.0)
    place = int(np.argmax(off.values))
    one = near.isel(cell=place).sel(number=name)
    return (
        f"{name} {told(one.measured)}, theory {float(one.predicted.mean()):.3f}, {float(off[place]):.1f} standard "
        "errors"
    )


def tables(dataset: xr.Dataset) -> tuple[Table, ...]:
    """What remains at the last step in every cell, beside the two predictions."""
    last = dataset.isel(step=-1)
    rows = []
    for i in range(last.sizes["cell"]):
        cell = last.isel(cell=i)
        for run in RUNS:
            one = cell.sel(run=run)
            rows.append(
                (f"δ = {float(cell.distance):g}, k = {float(cell.noise):g}, {RUNS[run]}",
                 told(one.network), told(one.linear), told(one.gaussian))
            )  # fmt: skip
    header = ("cell", "network", "linearized, same weights", "Gaussian theory")
    after = f"after {int(last.step)} steps"
    caption = f"Share of the shift that remains {after}, mean ± s.e. over {last.sizes['seed']} seeds"
    return (Table(caption, header, tuple(rows)),)
