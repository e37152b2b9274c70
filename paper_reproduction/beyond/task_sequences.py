"""(T19), (T20), (T21), (T30): what is forgotten over many tasks, by standard training, by a ridge and by FLOW."""

from __future__ import annotations

import math

import numpy as np
import xarray as xr

import linear_theory as lt
from linear_theory.significance import four_sigma, standard_error
from paper_reproduction.beyond._sampled_tasks import (
    TRAININGS,
    by_hand,
    chain,
    few_rows,
    many_dimensions,
    repeated,
)
from paper_reproduction.beyond._two_tasks import ANGLE, CYCLE, FLAT, cycles, row, two_tasks
from paper_reproduction.claim import IN_EPSILON, Check, Claim, Settings, Verdict
from paper_reproduction.standard_errors import in_standard_errors

CLAIM = Claim(
    name="task-sequences",
    title="Over many tasks FLOW is a moving average of their optima, and can be their mean",
    statement=(
        r"Standard training on one noisy task after the other ends at the optimum of the last. FLOW, with weights "
        r"taken at the previous point, goes only a part $\kappa_t$ of the way to each, whatever the law of the inputs: "
        r"its parameters are a moving average of the optima. The temperatures $\tau_t = 2\sigma_t^2/(t-1)$ make it "
        r"their plain mean, which no other point beats in the mean squared distance to all. With a few rows for each "
        r"dimension the weights flatten, and the error that the rows of one task leave makes the next one noisier: "
        r"then harmonic temperatures can be the worst of all. Where tasks have fewer "
        r"rows than parameters, weights do nothing at convergence, and what standard training forgets is known in "
        r"expectation (Lin et al. 2023) and for two tasks in turn (Evron et al. 2022), there under conditions that "
        r"matter."
    ),
    equation="beyond the paper",
    formula=(
        r"\theta_T = \prod_t(1-\kappa_t)\,\theta_0 + \sum_t \kappa_t\prod_{u>t}(1-\kappa_u)\,\theta^\circ_t, \qquad "
        r"\kappa_t = \frac{\tau_t}{\tau_t + 2\sigma_t^2}, \qquad \tau_t = \frac{2\sigma_t^2}{t-1} \;\Rightarrow\; "
        r"\theta_T = \frac1T\sum_t\theta^\circ_t"
    ),
    functions=(
        "sequences.flow",
        "sequences.harmonic_temperatures",
        "sequences.plain",
        "sequences.ridge",
        "sequences.plain_distance",
        "sequences.sampled",
        "sequences.task_errors",
        "flow_weights",
        "population_median_temperature",
        "solve",
    ),
    seconds=20.0,
    quick_seconds=3.0,
    order=170,
    question="Does FLOW remember all tasks alike?",
)

EPS = float(np.finfo(float).eps)
GRID = 20_001  # nodes of a sum, and so its roundings
POWER = 1000.0  # by how many bounds a wrong formula has to miss
TASKS, DIM, STRENGTH, TAU = 8, 3, 1.0, 1.0
FEW = ((30, 60), (40, 200))  # rows and dimensions
RATIOS, WIDE_TASKS, WIDE_NOISE, WIDE_STRENGTH = (0.5, 0.1), 5, 0.5, 0.5  # dimensions over rows
MEDIAN = 0.454936423119572  # of χ²₁
PRINTED = {
    "F₁, F₂, F₃": [0.24270, 0.12489, 0.06427],
    "rows of norm 2 and 1": [0.24270, 0.49957, 0.06427],
    "v of repeated FLOW": [0.87561, 0.43021, 0.24493, 0.14875],
}
LATE = {
    "κ of repeated FLOW": (0.1853150, 7),
    "its ratio in v": (0.6637, 4),
    "distance at κ = 0.375": (1.18077, 5),
}


def _population(settings: Settings) -> dict:
    """Eight noisy tasks of different covariances and laws, exact and on sampled rows."""
    rng = settings.rng("tasks")
    optima = rng.standard_normal((TASKS, DIM))
    roots = np.linalg.cholesky(
        np.eye(DIM) + np.array([r @ r.T for r in 0.6 * rng.standard_normal((TASKS, DIM, DIM))])
    )
    noises = np.where(np.arange(TASKS) % 3 == 0, 0.5, 1.0)
    tau = {"FLOW": np.full(TASKS, TAU), "FLOW, harmonic": lt.sequences.harmonic_temperatures(noises)}
    covariances = roots @ roots.transpose(0, 2, 1)
    exact = [lt.sequences.plain(optima, covariances), lt.sequences.ridge(optima, covariances, STRENGTH)]
    exact += [lt.sequences.flow(optima, tau[name], noises) for name in TRAININGS[2:]]
    wrong = [lt.sequences.flow(optima, tau[name], noises / 2) for name in TRAININGS[2:]]
    literal, theta = np.empty((2, TASKS, DIM)), np.zeros((2, DIM))
    for t in range(TASKS):  # the product form of (T19), written out for each t
        for k, name in enumerate(TRAININGS[2:]):
            kappa = [1 / (1 + 2 * s / float(T)) for T, s in zip(tau[name][: t + 1], noises, strict=False)]
            theta[k] = sum(
                kappa[s] * math.prod(1 - x for x in kappa[s + 1 :]) * optima[s] for s in range(t + 1)
            )
        literal[:, t] = theta
    runs, rows = (20, 4000) if settings.quick else (150, 20_000)
    draws = [
        chain(optima, roots, tau, noises, STRENGTH, rows, settings.rng(f"chain {k}")) for k in range(runs)
    ]
    past = np.tril(np.ones((TASKS, TASKS))) / np.arange(1, TASKS + 1)[:, None]
    mean_square = lambda path: (lt.sequences.task_errors(path, optima) * past).sum(axis=1)
    squares = np.array([[mean_square(path) for path in draw] for draw in draws])
    place = ("training", "task", "axis")
    return {
        "exact": (place, np.array(exact), {"long_name": "θ after each task"}),
        "wrong": (("flow", "task", "axis"), np.array(wrong), {"long_name": "with τ/(τ + σ²) for κ"}),
        "literal": (("flow", "task", "axis"), literal),
        "means": (("task", "axis"), np.cumsum(optima, axis=0) / np.arange(1, TASKS + 1)[:, None]),
        "sampled": (place, np.mean(draws, axis=0)),
        "sampled_error": (place, standard_error(np.array(draws))),
        "distance": (("training", "task"), np.array([mean_square(one) for one in exact])),
        "sampled_distance": (("training", "task"), squares.mean(axis=0)),
        "sampled_distance_error": (("training", "task"), standard_error(squares)),
        "runs": ((), runs),
        "rows": ((), rows),
    }


def _few(settings: Settings) -> dict:
    """Tasks of fewer rows than parameters: the mean squared distance to the second optimum."""
    runs, noise = 500 if settings.quick else 2000, 0.5
    exact, drawn, errors, wrong, changed = [], [], [], [], []
    for rows, dim in FEW:
        rng = settings.rng(f"few {dim}")
        optima = rng.standard_normal((5, dim)) / math.sqrt(dim)
        exact.append(lt.sequences.plain_distance(optima, optima[1], rows, noise))
        wrong.append(lt.sequences.plain_distance(optima, optima[1], rows, noise * (dim - rows - 1) / dim))
        found, change = few_rows(optima, optima[1], rows, noise, runs, rng)
        drawn.append(found.mean(axis=0))
        errors.append(standard_error(found))
        changed.append(change / EPS)
    place = ("few", "few_task")
    return {"few_exact": (place, np.array(exact)), "few_sampled": (place, np.array(drawn)),
            "few_error": (place, np.array(errors)), "few_wrong": (place, np.array(wrong)),
            "few_changed": ("few", changed, {"long_name": "what weights change, over its rounding"})}  # fmt: skip


def _many_dimensions(settings: Settings) -> dict:
    """Two rows for each dimension, and ten: what to expect after each task, on rows, and by wrong formulas."""
    dim, runs = (60, {0.5: 150, 0.1: 24}) if settings.quick else (300, {0.5: 40, 0.1: 20})
    optima = settings.rng("optima in many dimensions").standard_normal((WIDE_TASKS, dim)) / math.sqrt(dim)
    noise = np.full(WIDE_TASKS, WIDE_NOISE)
    harmonic = lt.sequences.harmonic_temperatures(noise)
    tau: dict[str, np.ndarray] = {TRAININGS[2]: np.full(WIDE_TASKS, TAU), TRAININGS[3]: harmonic}
    how = [{}, {"ridge": WIDE_STRENGTH}, *({"temperatures": one} for one in tau.values())]
    expected = [[lt.sequences.sampled(optima, g, WIDE_NOISE, **one) for one in how] for g in RATIOS]
    hand = lambda **how: np.array(
        [[by_hand(optima, g, WIDE_NOISE, one, **how) for one in tau.values()] for g in RATIOS]
    )
    simulate = lambda g, k, **how: many_dimensions(
        optima, WIDE_NOISE, tau, WIDE_STRENGTH, round(dim / g), settings.rng(f"wide {g} {k}"), **how
    )
    drawn = [np.array([simulate(g, k) for k in range(runs[g])]) for g in RATIOS]
    shuffled = np.array([simulate(RATIOS[0], k, shuffled=True)[2:] for k in range(runs[0.1])])
    identity = np.tile(np.eye(dim), (WIDE_TASKS, 1, 1))
    population = [lt.sequences.plain(optima, identity), lt.sequences.ridge(optima, identity, WIDE_STRENGTH)]
    population += [lt.sequences.flow(optima, one, noise) for one in tau.values()]
    past = np.tril(np.ones((WIDE_TASKS, WIDE_TASKS))) / np.arange(1, WIDE_TASKS + 1)[:, None]
    so_far = [(one * past).sum(axis=-1) for one in drawn]
    place = ("ratio", "training", "wide_task", "on")
    flow = ("ratio", "flow", "wide_task", "on")
    return {
        "wide": (place, np.array([[one.errors for one in row] for row in expected]),
                 {"long_name": "mean of the squared distance to each optimum"}),
        "wide_sampled": (place, np.array([one.mean(axis=0) for one in drawn])),
        "wide_error": (place, np.array([standard_error(one) for one in drawn])),
        "wide_so_far_error": (place[:3], np.array([standard_error(one) for one in so_far]),
                              {"long_name": "of the mean over the tasks so far"}),
        "wide_hand": (flow, hand()),
        "wide_flat": (flow, hand(flatten=False), {"long_name": "weights that do not flatten: wrong"}),
        "wide_alone": (flow, hand(chained=False), {"long_name": "each task without the error before it: wrong"}),
        "wide_shuffled": (flow[1:], shuffled.mean(axis=0)),
        "wide_shuffled_error": (flow[1:], standard_error(shuffled)),
        "wide_population": (place[1:], np.array([lt.sequences.task_errors(one, optima) for one in population])),
        "wide_runs": ("ratio", list(runs.values())),
    }  # fmt: skip


def _repeated(settings: Settings) -> dict:
    """One task again and again at the median temperature; and the memory of FLOW at a fixed κ."""
    v, noise, path = 4.0, 1.0, []
    for _ in range(60):
        problem = lt.FineTuningProblem([math.sqrt(v)], [0.0], [[1.0]], noise_variance=noise)
        tau = lt.population_median_temperature(problem)
        v = float(lt.sequences.flow([[0.0]], tau, noise, problem.pretrained)[-1, 0]) ** 2
        path.append(v)
    own, w = [], 4.0
    for _ in range(60):
        w *= (2 * noise / (MEDIAN * (w + noise) + 2 * noise)) ** 2
        own.append(w)
    runs = 30 if settings.quick else 150
    drawn = np.array([repeated(4.0, noise, 4, 20_000, settings.rng(f"again {k}")) for k in range(runs)])
    count, kappa = 40, 0.375
    memory = lt.sequences.flow(np.eye(count), 2 * kappa / (1 - kappa), 1.0)[-1]  # its weights on the optima
    harmonic = lt.sequences.flow(np.eye(count), lt.sequences.harmonic_temperatures(np.ones(count)), 1.0)[-1]
    distance = lambda a: 1 + a @ a - 2 * a.sum() / count  # of independent optima with tr C = 1
    x = 1 - kappa
    late = [1 - math.sqrt(path[-1] / path[-2]), path[-1] / path[-2], distance(memory)]
    turns = [two_tasks(row(norm, 0.0), row(1.0, ANGLE), FLAT, 3) for norm in (1.0, 2.0)]
    digits = np.concatenate([*turns, path[:4], late])
    places = [5] * 10 + [place for _, place in LATE.values()]
    printed = [one for group in PRINTED.values() for one in group] + [value for value, _ in LATE.values()]
    return {
        "v": ("round", np.array(path)),
        "v_own": ("round", np.array(own)),
        "again": ("again", drawn.mean(axis=0)),
        "again_error": ("again", standard_error(drawn)),
        "memory": ((), distance(memory)),
        "memory_law": ((), 1 + kappa * (1 - x ** (2 * count)) / (2 - kappa) - 2 * (1 - x**count) / count),
        "memory_harmonic": ((), distance(harmonic)),
        "digits": ("digit", digits),
        "printed": ("digit", np.array(printed)),
        "places": ("digit", places),
    }


def compute(settings: Settings) -> xr.Dataset:
    """Noisy tasks, two tasks in turn, tasks of few rows, and one task again and again."""
    return xr.Dataset(
        _population(settings) | cycles(settings) | _few(settings) | _many_dimensions(settings) | _repeated(settings),
        coords={"training": list(TRAININGS), "flow": list(TRAININGS[2:]), "task": np.arange(1, TASKS + 1),
                "norm": [1.0, 2.0], "visit": np.arange(1, CYCLE + 1), "few_task": np.arange(1, 6),
                "ratio": list(RATIOS), "wide_task": np.arange(1, WIDE_TASKS + 1), "on": np.arange(1, WIDE_TASKS + 1)},
    )  # fmt: skip


def verdict(dataset: xr.Dataset) -> Verdict:
    """What is exact to rounding, sampled rows to their standard errors, and where a condition is broken."""
    d = dataset
    flow = d.exact.sel(training=d.flow.values)
    size = 8 * TASKS * EPS * float(abs(d.exact).max())
    apart = lambda one, other: float(abs(one.values - other.values).max()) / size
    dof = int(d.runs) - 1
    off = in_standard_errors(d.sampled, d.exact, d.sampled_error)
    wrong = in_standard_errors(
        d.sampled.sel(training=d.flow.values), d.wrong, d.sampled_error.sel(training=d.flow.values)
    )
    few = in_standard_errors(d.few_sampled, d.few_exact, d.few_error)
    few_wrong = in_standard_errors(d.few_sampled, d.few_wrong, d.few_error)
    wide = in_standard_errors(d.wide_sampled, d.wide, d.wide_error)
    wide_limit = four_sigma(wide.size, int(d.wide_runs.min()) - 1)
    on_flow = {"training": d.flow.values}
    wrong_wide = [
        in_standard_errors(d.wide_sampled.sel(on_flow), d[name], d.wide_error.sel(on_flow)).max(axis=(2, 3))
        for name in ("wide_flat", "wide_alone")
    ]
    shuffled = in_standard_errors(
        d.wide_shuffled, d.wide.sel(ratio=RATIOS[0], **on_flow), d.wide_shuffled_error
    )
    by_hand_off = abs(d.wide.sel(on_flow).values / d.wide_hand.values - 1).max()
    again = in_standard_errors(d.again, np.sqrt(d.v[:4].values), d.again_error)
    rounded = np.array([round(float(x), int(p)) for x, p in zip(d.digits, d.places, strict=True)])
    checks = (
        Check("FLOW against the product form of its moving average, in units of the bound on rounding errors",
              apart(flow, d.literal), 1),
        Check("FLOW at harmonic temperatures against the mean of the optima, in the same units",
              apart(flow.sel(training=TRAININGS[3]), d.means), 1),
        Check.at_least("with τ/(τ + σ²) for κ, in the same units", apart(flow, d.wrong), POWER),
        Check("θ after each task on sampled rows, all trainings and both laws of inputs, in standard errors",
              off.max(), four_sigma(off.size, dof)),
        Check.at_least("the same with τ/(τ + σ²) for κ", wrong.max(axis=(1, 2)).min(), four_sigma(off.size, dof)),
        Check(f"two tasks in turn against the principal angles, singular values 1, {IN_EPSILON}",
              d.cycle_off.max(), 512),
        Check.at_least("the same with the cosine to the power 2k, not 2(k − 1)", d.cycle_late.min(), 512 * POWER),
        Check(f"by how much smaller singular values exceed it, {IN_EPSILON}", d.cycle_above.max(), 512),
        Check(f"rows of norm 2 and 1: what the second visit leaves against 4 times the law, {IN_EPSILON}",
              abs(d.cycle[1, 1] / d.cycle_law[1] / 4 - 1) / EPS, 64),
        Check(f"trace and determinant of one cycle of ridges, {IN_EPSILON}",
              abs(d.ridge - d.ridge_law).max() / EPS, 64),
        Check("few rows: mean squared distance after each task, in standard errors", few.max(), four_sigma(few.size)),
        Check.at_least("the same with σ² n/d for the noise", few_wrong.max(axis=1).min(), four_sigma(few.size)),
        Check(f"few rows: what the weights change, {IN_EPSILON} times the squared condition number",
              d.few_changed.max(), 16),
        Check("two rows a dimension and ten: squared distance to each optimum after each task, in standard errors",
              wide.max(), wide_limit),
        Check.at_least("the same with weights that do not flatten", wrong_wide[0][0].min(), wide_limit),
        Check.at_least("the same where no task sees the error that rows before it left", wrong_wide[1][0].min(),
                       wide_limit),
        Check.at_least("the same with FLOW's weights shuffled", shuffled.max(axis=(1, 2)).min(), wide_limit),
        Check(f"the expected distance against sums over a grid, {IN_EPSILON}", by_hand_off / EPS, GRID),
        Check(f"repeated FLOW against v ← (1 − κ)²v, relative, {IN_EPSILON}",
              abs(d.v / d.v_own - 1).max() / EPS, 64 * 60),
        Check("the same on sampled rows with their own median, in standard errors", again.max(), four_sigma(4, dof)),
        Check(f"mean distance to independent optima against its closed form, {IN_EPSILON}",
              abs(d.memory - d.memory_law) / EPS, 64),
        Check("figures derived by hand that differ in a printed digit", (rounded != d.printed.values).sum(), 0),
    )  # fmt: skip
    return Verdict(checks, _findings(d), _headline(d), _measured(d))


def _headline(d: xr.Dataset) -> str:
    last = {name: float(d.distance.sel(training=name)[-1]) for name in TRAININGS}
    return (
        f"Partly: at harmonic temperatures it ends at the mean of all {TASKS} optima, with a mean squared distance of "
        f"{last['FLOW, harmonic']:.2f} to them; at one fixed temperature it forgets the first ({last['FLOW']:.2f}), "
        f"and standard training all but the last ({last['standard']:.2f})."
    )


def _findings(d: xr.Dataset) -> tuple[str, ...]:
    last = lambda square: square.sel(wide_task=WIDE_TASKS).mean("on")
    of = lambda square, name: f"{float(square.sel(training=name)):.2f}"
    two, ten = (last(d.wide.sel(ratio=ratio)) for ratio in RATIOS)
    standard, ridge, _, harmonic = TRAININGS
    return (
        f"With two rows for each dimension harmonic temperatures are the worst of the four: after {WIDE_TASKS} tasks "
        f"the mean squared distance to their optima is {of(two, harmonic)}, where standard training has "
        f"{of(two, standard)}, a ridge {of(two, ridge)}, and the population {of(last(d.wide_population), harmonic)}; "
        f"with ten rows it is {of(ten, harmonic)} and the best.",
    )


def _measured(d: xr.Dataset) -> tuple[str, ...]:
    return (
        f"With independent optima and tr C = 1, 40 tasks are on average {float(d.memory):.4f} away from FLOW's "
        f"parameters at κ = 0.375 and {float(d.memory_harmonic):.4f} at harmonic temperatures.",
        f"One task again and again at the median temperature: the squared distance falls from 4 to "
        f"{float(d.v[0]):.3f}, {float(d.v[1]):.3f}, {float(d.v[2]):.3f}, and in the end by a factor "
        f"{float(d.v[-1] / d.v[-2]):.4f} in each round: it never stops.",
        f"Two tasks of one row each: with rows of norm 2 and 1 the mean error after the second visit is "
        f"{float(d.cycle[1, 1]):.3f}, where rows of norm 1 leave {float(d.cycle[0, 1]):.3f}; after odd visits, "
        "when the task of the longer row has just been solved, both are the same.",
        f"Where tasks have fewer rows than parameters, the weights change nothing beyond rounding "
        f"({float(d.few_changed.max()):.2g} in units of rounding error times the squared condition number).",
    )
