"""What upweighting easy samples costs on the hard ones: the paper's Table 5, beside the closed form's shape."""

from __future__ import annotations

import numpy as np
import xarray as xr

import linear_theory as lt
from paper_reproduction.claim import Check, Claim, Settings, Table, Verdict
from paper_reproduction.mlp import choice, comparison, teacher
from paper_reproduction.mlp.comparison import DECILES, Task
from paper_reproduction.mlp.hardware import double, quiet
from paper_reproduction.mlp.methods import CONTROLS, FLOW, METHODS, SAME, SHUFFLED, STANDARD
from paper_reproduction.mlp.statistics import (
    ahead,
    answer,
    beyond,
    difference,
    percent,
    sigmas,
    sorted_out,
    told,
)

CLAIM = Claim(
    name="hard-samples",
    title="FLOW costs accuracy on the samples that were hard, as the closed form says",
    question="Does FLOW cost accuracy on the samples that the pre-trained model found hard?",
    statement=(
        r"Samples are sorted by their loss under the pre-trained model. In the linear theory without noise the "
        r"error on the share $q$ of "
        r"the hardest is $\|e\|^2[(a+b\rho)^2m(q)+b^2(1-\rho^2)]$: the same factor for all samples, so that the "
        r"hardest tenth keeps "
        r"its large share of a larger rest. First the tanh network of the teacher-student stall, where the closed "
        r"form can be held against the squared error of each tenth; then digits, where the accuracy on each "
        r"tenth of the test "
        r"images is told at equal learning rate and at each method's own best."
    ),
    equation="Table 5 in miniature; beyond the paper, (T10)",
    formula=r"m(q)=1+\frac{2c\,\varphi(c)}{q},\qquad c=\Phi^{-1}\left(1-\frac q2\right)",
    functions=("hard_sample_error", "iterate", "linearize", "descend", "flow_weights"),
    seconds=60,
    quick_seconds=12,
    order=50,
)

STEPS, DISTANCES = 100, (0.03, 0.1)
SHUFFLED_PATH = "permuted-same-mean-step"
RUNS = ("standard", "flow-same-mean-step", SHUFFLED_PATH)
SHOWN = (STANDARD, FLOW, *CONTROLS)


def compute(settings: Settings) -> xr.Dataset:
    """The teacher-student network at two distances, and clean digits."""
    seeds = settings.repetitions(10, 5)
    teachers = [_teacher(settings, seeds, distance) for distance in DISTANCES]
    near = xr.concat(teachers, "distance", combine_attrs="drop").assign_coords(distance=list(DISTANCES))
    return near.merge(_digits(settings, seeds), combine_attrs="drop").assign_attrs(seeds=seeds, steps=STEPS)


def _digits(settings: Settings, seeds: int) -> xr.Dataset:
    d = comparison.compare(settings, Task().ready(settings, seeds), SHOWN)
    return d[["accuracy", "best", "by_decile", "test_loss", "temperature", "effective", "idle"]]


@quiet
@double
def _teacher(settings: Settings, seeds: int, distance: float) -> xr.Dataset:
    """Squared error by tenth after :data:`STEPS` steps: network, linearized with the same weights, Gaussian theory."""
    fleet = teacher.fleet(settings, seeds, distance)
    weights, rates = fleet.weights, fleet.rates
    shuffled = np.stack(
        [settings.rng(f"shuffle {distance:g} {s}").permutation(w) for s, w in enumerate(weights)]
    )
    all_three = np.stack([np.ones_like(weights), weights, shuffled], axis=1)
    longer = rates / weights.mean(axis=1)
    steps = np.stack([rates, longer, longer], axis=1)
    theta = fleet.trained(all_three, steps, (0, STEPS))[:, :, -1]
    found = []
    for s, (line, shift) in enumerate(zip(fleet.lines, fleet.shifts, strict=True)):
        J, origin = line.jacobian(), np.zeros(line.dim)
        rank = np.argsort(np.argsort(line.losses)) * DECILES // line.count
        by_tenth = lambda errors, rank=rank: np.bincount(rank, errors) / np.bincount(rank)
        predict = lambda t, line=line: np.asarray(teacher.predict(line.unflatten(t), line.X))
        y = line.outputs + line.residuals
        network = [by_tenth((y - predict(t)) ** 2) for t in theta[s]]
        ways = [
            lt.descend(
                J, line.residuals, origin, w, solver=lt.descent.GradientDescent(rate), steps=[STEPS]
            ).theta[0]
            for w, rate in zip(all_three[s], steps[s], strict=True)
        ]
        linear = [by_tenth((line.residuals - J @ way) ** 2) for way in ways]
        problem = lt.FineTuningProblem(origin, shift, J.T @ J / line.count)
        tau = lt.population_median_temperature(problem)
        ends = [
            lt.iterate(problem, STEPS, rates[s]),
            lt.iterate(problem, STEPS, rates[s] / float(lt.weight_mass(problem, tau)), tau),
        ]
        ends.append(ends[0])  # weights in random order are on average their mean
        found.append(
            xr.Dataset(
                {
                    "start": ("decile", by_tenth(line.losses)),
                    "network": (("run", "decile"), network),
                    "linear": (("run", "decile"), linear),
                    "gaussian": (("run", "decile"), [_tenths(problem, theta) for theta in ends]),
                    "gaussian_start": ("decile", _tenths(problem, origin)),
                }
            )
        )
    return (
        xr.concat(found, "seed")
        .assign_coords(run=list(RUNS), decile=np.arange(1, DECILES + 1))
        .rename(run="path")
    )


def _tenths(problem: lt.FineTuningProblem, theta: np.ndarray) -> np.ndarray:
    """The closed form on each tenth, easiest first: differences of q · error(q)."""
    shares = np.arange(1, DECILES + 1) / DECILES
    sums = np.array([0.0, *(q * float(lt.hard_sample_error(problem, theta, q)) for q in shares)])
    return np.diff(sums)[::-1] * DECILES


# ------------------------------------------------------------------------------------------- the verdict


def _gap(d: xr.Dataset, distance: float) -> float:
    """Root mean square of network − linearized over tenths, runs and seeds, in units of the mean squared residual."""
    one = d.sel(distance=distance)
    return float(np.sqrt((((one.network - one.linear) / one.start.mean("decile")) ** 2).mean(skipna=False)))


def _shape(near: xr.Dataset, path: str) -> float:
    """How much worse one and the same error for every tenth fits than the Gaussian closed form, root mean square."""
    if path == "start":
        seen, says = near.start, near.gaussian_start
    else:
        seen, says = near.network.sel(path=path), near.gaussian.sel(path=path)
    seen, says = (one.mean("seed", skipna=False) for one in (seen, says))
    flat = float(((seen - says.mean("decile")) ** 2).mean(skipna=False))
    return (flat / float(((seen - says) ** 2).mean(skipna=False))) ** 0.5


def _share(values: xr.DataArray) -> xr.DataArray:
    """Each tenth's share of the whole error."""
    return values / values.sum("decile")


def _hardest(d: xr.Dataset, run: str, best: xr.DataArray | None = None) -> xr.DataArray:
    return choice.at(d.by_decile, run, best).isel(decile=-1)


def verdict(dataset: xr.Dataset) -> Verdict:
    """The closed form of the network by tenths; the order of the methods on the hardest tenth of the digits."""
    d = dataset
    best = choice.own_best(d)
    low, high = (_gap(d, distance) for distance in DISTANCES)
    near = d.sel(distance=DISTANCES[-1])
    # Logarithms, as what is left differs between seeds by factors.
    tenth = np.log(near.network.isel(decile=-1))
    keeps = lambda other: tenth.sel(path="flow-same-mean-step", drop=True) - tenth.sel(path=other, drop=True)
    order = (
        DISTANCES[0] / DISTANCES[1]
    ) ** 0.5  # half-way between a gap of first order in δ and one of order zero
    checks = (
        Check("teacher: gap to the linearization by tenths at the small δ over that at the large", low / high, order),
        *(
            Check.at_least(f"teacher: the closed form's tenths, {name}: the gap without m(q) over the gap with it",
                           _shape(near, path), least)
            # After standard steps little of the hardness is left, so that there is little shape to fit.
            for path, name, least in (
                ("start", "start", 2.0),
                ("flow-same-mean-step", "FLOW at the same mean step", 2.0),
                ("standard", "standard", 1.0),
            )
        ),
        *(
            beyond(f"teacher: FLOW leaves more error on the hardest tenth than {name}", keeps(other))
            for other, name in (("standard", "standard"), (SHUFFLED_PATH, "its weights shuffled"))
        ),
        *(
            beyond(f"digits: {METHODS[run]} beats FLOW on the hardest tenth at equal rate",
                   _hardest(d, run) - _hardest(d, FLOW))
            for run in (STANDARD, *CONTROLS)
        ),
        Check.at_least("digits: places from the edge of the rate grid",
                       choice.from_edge(d.sel(run=list(SHOWN))), 1),
    )  # fmt: skip
    return Verdict(checks, headline=_headline(d, best), **_also(d, best))


def _headline(d: xr.Dataset, best: xr.DataArray) -> str:
    worse = [
        ahead(_hardest(d, other, chosen), _hardest(d, "flow", chosen))
        for chosen in (None, best)
        for other in (STANDARD, *CONTROLS)
    ]
    told_of = lambda chosen: (
        f"FLOW gets {percent(_hardest(d, 'flow', chosen))} % right, standard "
        f"{percent(_hardest(d, 'standard', chosen))} %, standard at the same mean step "
        f"{percent(_hardest(d, SAME, chosen))} %, FLOW with its weights shuffled "
        f"{percent(_hardest(d, SHUFFLED, chosen))} %"
    )
    return (
        f"{answer(*worse)}: of the hardest tenth of the test digits, at equal rate, {told_of(None)}; each at its own "
        f"best rate {told_of(best)}."
    )


def _also(d: xr.Dataset, best: xr.DataArray) -> dict[str, tuple[str, ...]]:
    near = d.sel(distance=DISTANCES[-1])
    top = lambda values: _share(values).isel(decile=-1)
    easy = lambda run: choice.at(d.by_decile, run).isel(decile=slice(0, 5)).mean("decile")
    shares = {"at θ*": (near.start, near.gaussian_start)}
    for path, name in (("standard", "standard"), ("flow-same-mean-step", "FLOW at the same mean step")):
        shares[f"after {STEPS} steps of {name}"] = near.network.sel(path=path), near.gaussian.sel(path=path)
    fits = lambda pair: abs(float(sigmas(top(pair[0]) - top(pair[1])))) <= 4
    say = lambda name: f"{name} {told(top(shares[name][0]), 2)} (closed form {told(top(shares[name][1]), 2)})"
    of = f"The hardest tenth's share of the squared error, teacher-student at δ = {DISTANCES[-1]:g}"
    off = [name for name, pair in shares.items() if not fits(pair)]
    close = [name for name, pair in shares.items() if fits(pair)]
    linear = told(top(near.linear.sel(path="flow-same-mean-step")), 2)
    return sorted_out(
        *([(False, f"{of}, where it is more than 4 standard errors from the Gaussian closed form: "
            f"{'; '.join(map(say, off))}.")] if off else []),
        *([(True, f"{of}: {'; '.join(map(say, close))}.")] if close else []),
        (True, f"For FLOW at the same mean step the linearization with the actual weights gives {linear}."),
        (True, f"On the easier half of the digits at equal rate FLOW has {percent(easy('flow'))} % and standard "
         f"{percent(easy('standard'))} %."),
        (True, "On the hardest tenth, each at its own best rate: standard minus FLOW "
         f"{difference(_hardest(d, 'standard', best), _hardest(d, 'flow', best))}; standard at the same mean step "
         f"minus FLOW {difference(_hardest(d, SAME, best), _hardest(d, 'flow', best))}."),
    )  # fmt: skip


def tables(dataset: xr.Dataset) -> tuple[Table, ...]:
    """Accuracy on each tenth of the test digits."""
    best = choice.own_best(dataset)
    rows = []
    for run in SHOWN:
        for name, chosen in (("equal rate", None), ("own best", best)):
            values = choice.at(dataset.by_decile, run, chosen)
            label = str(dataset.label.sel(run=run).values)
            rows.append((f"{label}, {name}", *(percent(values.isel(decile=k)) for k in (0, 4, 6, 7, 8, 9))))
    header = ("method", *(f"{k}" for k in ("1 (easiest)", "5", "7", "8", "9", "10 (hardest)")))
    caption = "Accuracy in % by tenth of the probed model's loss, test digits, mean ± s.e."
    return (Table(caption, header, tuple(rows)),)
