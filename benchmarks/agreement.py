"""Every public function against a second route, and how far apart they are: ``python -m benchmarks.agreement``.

Each law says of a function which quantity it is to be. The tests check every one, and that a thousandth is noticed; the
command checks them on more problems with κ measured at each, stores what it found and writes the table of
``docs/trust.md``. Where ``linear_theory.testing`` has no such quantity the second route stands here: leaving out each
row in turn, a search over temperatures or times, derivatives by hand; for what a namespace offers, in ``routes``.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from hypothesis import reject
from hypothesis import strategies as st
from scipy import optimize

import linear_theory as lt
from linear_theory import testing
from linear_theory.testing.reference import population, risk
from linear_theory.testing.reference import rows as data
from linear_theory.testing.reference.population import Case, flow, mp, paper_case
from linear_theory.testing.tolerances import measured_condition, norm_of

from . import routes
from .law import Law
from .race import processor
from .report import RESULTS, store
from .sections import TRUST, cell, written

STORED = RESULTS / "agreement.json"
EXAMPLES, FEW = 25, 5
"""How many problems the command draws, and of what takes seconds a problem."""

Quantity = testing.Quantity


# ----------------------------------------------------------------------------------------- second routes, by searching


def _golden(f: Callable[[Any], Any], low: Any, high: Any, rounds: int = 60) -> Any:
    """Where f is least between two ends, by comparing values alone."""
    low, high, golden = mp.mpf(low), mp.mpf(high), (mp.sqrt(5) - 1) / 2
    a, b = high - golden * (high - low), low + golden * (high - low)
    at_a, at_b = f(a), f(b)
    for _ in range(rounds):
        if at_a < at_b:
            high, b, at_b = b, a, at_a
            a = high - golden * (high - low)
            at_a = f(a)
        else:
            low, a, at_a = a, b, at_b
            b = low + golden * (high - low)
            at_b = f(b)
    return (low + high) / 2


def _least(f: Callable[[Any], Any], grid: np.ndarray) -> Any:
    """The argument of the least value: the lowest points of a grid, refined."""
    values = [f(mp.mpf(float(x))) for x in grid]
    inner = [k for k in range(1, len(grid) - 1) if values[k] <= values[k - 1] and values[k] <= values[k + 1]]
    found = [_golden(f, grid[k - 1], grid[k + 1]) for k in inner]
    return min([*found, mp.mpf(float(grid[0])), mp.mpf(float(grid[-1]))], key=f)


def _stopped(case: Case, time: Any) -> Any:
    return risk.total_error(case, population.gradient_flow(case, population.UNWEIGHTED, time))


@lru_cache(None)
def _stopping_time(case: Case) -> Any:
    values = [v for v in population.eigenbasis(case, population.UNWEIGHTED)[0] if v > 0]
    fastest, slowest = math.log(float(max(values))), math.log(float(min(values)))
    log_time = _least(
        lambda log_t: _stopped(case, mp.exp(log_t)), np.linspace(-fastest - 14, -slowest + 6, 160)
    )
    return min((mp.exp(log_time), mp.inf), key=lambda time: _stopped(case, time))


def least_on_the_way(case: Case) -> Any:
    return _stopped(case, _stopping_time(case))


def _on_the_way_measure(case: Case, *, want: Any) -> Any:
    """At its minimum the error does not depend on the time to first order: κ is that of the error at this time."""
    time = _stopping_time(case)
    return norm_of(want), measured_condition(lambda case: _stopped(case, time), case, want=want)


def _after(case: Case, steps: int, temperature: Any) -> Any:
    return risk.total_error(case, population.iterate(case, population.Rule("flow", temperature), steps))


@lru_cache(None)
def _best_temperature(case: Case, steps: int) -> Any:
    unit = math.log(float(population.residual_split(case)[0]))
    f = lambda log_tau: _after(case, steps, mp.exp(log_tau))
    log_tau = _least(f, unit + np.linspace(-20, 20, 120))
    return min((mp.exp(log_tau), population.INF), key=lambda tau: _after(case, steps, tau))


def least_after(case: Case, steps: int) -> Any:
    return _after(case, steps, _best_temperature(case, steps))


def _after_measure(case: Case, steps: int, *, want: Any) -> Any:
    tau = _best_temperature(case, steps)
    return norm_of(want), measured_condition(
        lambda case, steps: _after(case, steps, tau), case, steps, want=want
    )


def _flowed(case: Case, temperature: Any, time: Any) -> Any:
    return risk.total_error(case, population.gradient_flow(case, population.Rule("flow", temperature), time))


@lru_cache(None)
def _best_flow(case: Case) -> tuple[Any, Any]:
    """τ and t of the least total error, by SciPy's simplex search from the best of a grid."""
    unit = float(population.residual_split(case)[0])

    def at(x: Any) -> tuple[float, Any]:
        tau = unit * math.exp(x[0])
        return tau, mp.mpf(math.exp(x[1]) / _slowest(case, tau))

    f = lambda x: float(_flowed(case, *at(x)))
    grid = [(a, b) for a in np.linspace(-7, 7, 9) for b in np.linspace(-6, 4, 13)]
    first = min(grid, key=f)
    options = {"xatol": 1e-9, "fatol": 1e-17, "maxiter": 200}
    return at(optimize.minimize(f, first, method="Nelder-Mead", options=options).x)


def _slowest(case: Case, temperature: float) -> float:
    """The slowest rate at this temperature, in whose units times are tried."""
    rule = flow(temperature)
    return float(population.stall_rate(case, rule) * population.mass(case, rule))


def least_of_all(case: Case) -> Any:
    average = risk.total_error(case, risk.best_model_average(case))  # the limit τ → 0
    return min(least_on_the_way(case), average, _flowed(case, *_best_flow(case)))


def _least_of_all_measure(case: Case, *, want: Any) -> Any:
    tau, time = _best_flow(case)
    ways = (
        lambda case: _stopped(case, stopping),
        lambda case: risk.total_error(case, risk.best_model_average(case)),
        lambda case: _flowed(case, tau, time),
    )
    stopping = _stopping_time(case)
    best = min(ways, key=lambda way: way(case))
    return norm_of(want), measured_condition(best, case, want=want)


# --------------------------------------------------------------------------------------------- second routes, on rows


def _weights(X: Any, y: Any, start: Any, temperature: float) -> Any:
    return data.flow_weights([r**2 for r in _residuals(X, y, start)], temperature)


def _residuals(X: Any, y: Any, theta: Any) -> Any:
    return data.exact_vector(y) - data.exact_matrix(X) * _exact(theta)


def _exact(theta: Any) -> Any:
    return theta if isinstance(theta, mp.matrix) else data.exact_vector(theta)


def _fit(X: Any, y: Any, start: Any, weights: Any) -> Any:
    """The minimiser by the normal equations in 60 digits."""
    A, w, r = data.exact_matrix(X), mp.diag(list(weights)), _residuals(X, y, start)
    return _exact(start) + mp.lu_solve(A.T * w * A, A.T * w * r)


def along_temperatures(X: Any, y: Any, start: Any, temperatures: Any) -> Any:
    fits = [_fit(X, y, start, _weights(X, y, start, tau)) for tau in temperatures]
    return mp.matrix([list(theta) for theta in fits])


def _without_each(X: Any, y: Any, start: Any, temperature: float) -> tuple[Any, list[Any], Any]:
    """The fit, the fits without one row, and the weights."""
    rows, w = list(X), _weights(X, y, start, temperature)
    out = lambda values, i: [*values[:i], *values[i + 1 :]]
    left = [_fit(out(rows, i), out(list(y), i), start, out(w, i)) for i in range(len(rows))]
    return _fit(X, y, start, w), left, w


def jackknife(X: Any, y: Any, start: Any, temperature: float) -> Any:
    """Σ (θ̂ − θ̂₋ᵢ)(θ̂ − θ̂₋ᵢ)ᵀ, every row left out in turn."""
    theta, left, _ = _without_each(X, y, start, temperature)
    total = mp.zeros(len(theta))
    for other in left:
        total += (theta - other) * (theta - other).T
    return total


def undone(X: Any, y: Any, start: Any, temperature: float) -> Any:
    """θ* + (θ̂ − θ*)/κ, κ = 1 − 2m/τ, m from the residual of the fit times that of the fit without the row."""
    theta, left, w = _without_each(X, y, start, temperature)
    own = _residuals(X, y, theta)
    other = [_residuals([row], [label], fit)[0] for row, label, fit in zip(X, y, left, strict=True)]
    m = mp.fsum(a * b * c for a, b, c in zip(w, own, other, strict=True)) / mp.fsum(w)
    return _exact(start) + (theta - _exact(start)) / (1 - 2 * m / mp.mpf(temperature))


def at_the_median(X: Any, y: Any, start: Any) -> Any:
    """θ* − θ̂ at the median of the losses."""
    losses = [r**2 for r in _residuals(X, y, start)]
    ordered, n = sorted(losses), len(losses)
    tau = (ordered[(n - 1) // 2] + ordered[n // 2]) / 2
    return _exact(start) - _fit(X, y, start, [mp.exp(-f / tau) for f in losses])


def slopes(X: Any, start: Any) -> Any:
    """The Jacobian of tanh⟨x, θ⟩: x/cosh²⟨x, θ⟩."""
    A = data.exact_matrix(X)
    inner = A * _exact(start)
    return mp.matrix([[A[i, j] / mp.cosh(inner[i]) ** 2 for j in range(A.cols)] for i in range(A.rows)])


def _tanh(theta: Any, X: Any) -> Any:
    return jnp.tanh(X @ theta)


@st.composite
def _fitted_rows(draw: Any, few: bool = False) -> dict[str, Any]:
    """Enough rows of a noisy line, of which the weights leave enough, and temperatures about their losses."""
    d = draw(st.sampled_from([1, 2, 3]))
    n = 3 * d + draw(st.integers(3, 4 if few else 8))
    drawn = testing.random_rows(n, d, d, draw(st.sampled_from([1.0, 10.0])), draw(testing.seeds()), noise=0.5)
    drawn.pop("weights")
    loss = float(np.mean((drawn["y"] - drawn["X"] @ drawn["start"]) ** 2))
    tau = draw(st.sampled_from([1.0, 3.0, 10.0])) * loss
    return drawn | {"temperature": tau, "temperatures": np.array([tau, 2 * tau, math.inf])}


def _only(strategy: Any, *names: str) -> Any:
    return strategy.map(lambda given: {name: given[name] for name in names})


@st.composite
def _planes(draw: Any) -> dict[str, Any]:
    """Two dimensions, no noise, any Σ."""
    return {"problem": draw(testing.problems_by_spectrum(st.just(2), st.just(0.0), largest=1.0))}


OWN = {
    own.name: own
    for own in (
        Quantity(
            "residual_tilt",
            "E[w] and E[w r²]/(E[w] s²), by quadrature",
            lambda temperature, variance: _tilt(flow(temperature), mp.mpf(variance)),
            st.fixed_dictionaries(
                {"temperature": testing.temperatures(), "variance": testing.log_uniform(1e-3, 1e3)}
            ),
        ),
        Quantity(
            "paper_problem",
            "Σ̃ of (3), entry by entry",
            lambda rho: mp.matrix(paper_case(rho, 2.0, 4).covariance),
            st.fixed_dictionaries({"rho": testing.correlations()}),
        ),
        Quantity(
            "least_on_the_way",
            "the least total error along unweighted gradient flow, by a search over times",
            least_on_the_way,
            _planes(),
            measure=_on_the_way_measure,
        ),
        Quantity(
            "least_after",
            "the least total error after K steps, by a search over temperatures",
            least_after,
            st.tuples(_planes(), st.integers(1, 5)).map(lambda both: both[0] | {"steps": both[1]}),
            measure=_after_measure,
        ),
        Quantity(
            "least_of_all",
            "the least total error, by a search over temperatures and times and their limits",
            least_of_all,
            _planes(),
            measure=_least_of_all_measure,
        ),
        Quantity(
            "along_temperatures",
            "the normal equations at every temperature, in 60 digits",
            along_temperatures,
            _only(_fitted_rows(), "X", "y", "start", "temperatures"),
        ),
        Quantity(
            "jackknife",
            "Σ (θ̂ − θ̂₋ᵢ)(θ̂ − θ̂₋ᵢ)ᵀ, fitted again without each row",
            jackknife,
            _only(_fitted_rows(few=True), "X", "y", "start", "temperature"),
        ),
        Quantity(
            "undone",
            "the way back, by fits without each row",
            undone,
            _only(_fitted_rows(few=True), "X", "y", "start", "temperature"),
        ),
        Quantity(
            "at_the_median",
            "what is learned at the median temperature, by the normal equations in 60 digits",
            at_the_median,
            _only(_fitted_rows(), "X", "y", "start"),
        ),
        Quantity(
            "slopes",
            "the derivatives of tanh⟨x, θ⟩, by hand",
            slopes,
            _only(_fitted_rows(), "X", "start"),
        ),
    )
}
"""Second routes that are asked here only."""


def _residuals_of(rng: Any, problem: Any, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows, their label noise, and the old model's residuals."""
    x = rng.multivariate_normal(np.zeros(problem.dim), problem.target_covariance, count)
    noise = rng.normal(size=count) * float(problem.noise_variance) ** 0.5
    return x, noise, noise - x @ problem.shift


def sampled_covariance(rng: Any, problem: Any, temperature: float) -> np.ndarray:
    """The mean of w x xᵀ over 200 rows."""
    x, _, r = _residuals_of(rng, problem, 200)
    return (np.exp(-(r**2) / temperature)[:, None] * x).T @ x / 200


def trained_row_by_row(rng: Any, problem: Any, steps: int, learning_rate: float, temperature: float) -> float:
    """The mean err₂ of 50 runs that take one new row a step."""
    theta = np.tile(problem.pretrained, (50, 1))
    for _ in range(steps):
        x, noise, r = _residuals_of(rng, problem, 50)
        left = noise - ((theta - problem.target) * x).sum(axis=1)
        theta = theta + 2 * learning_rate * (np.exp(-(r**2) / temperature) * left)[:, None] * x
    away = theta - problem.target
    return float(((away @ problem.target_covariance) * away).sum(axis=1).mean())


@st.composite
def _sampled(draw: Any, *names: str) -> dict[str, Any]:
    """Temperatures at which enough rows have a weight, rates at which no single row decides."""
    problem = draw(testing.problems(st.sampled_from([1, 2, 3])))
    steepest = float(np.linalg.eigvalsh(problem.target_covariance)[-1])
    of = {
        "temperature": testing.log_uniform(0.3, 10.0).map(lambda tau: tau * float(problem.residual_variance)),
        "steps": st.integers(1, 5),
        "learning_rate": testing.learning_rates(0.2 / steepest / (problem.dim + 2)),
    }
    return {"problem": problem, **{name: draw(of[name]) for name in names}}


SAMPLED_COVARIANCE = testing.Simulation(
    "sampled_covariance", sampled_covariance, _sampled("temperature"), 400, said="the mean over drawn rows"
)
ROW_BY_ROW = testing.Simulation(
    "trained_row_by_row",
    trained_row_by_row,
    _sampled("steps", "learning_rate", "temperature"),
    400,
    said="the mean over runs of SGD",
)


def _tilt(rule: Any, variance: Any) -> Any:
    mass, second = (population.residual_moment(rule, variance, order) for order in (0, 2))
    return mp.matrix([mass, second / mass])


def _by_checkpoints(problem: Any, steps: int, learning_rate: Any, temperature: Any) -> Any:
    """Standard checkpoints at the same mean step, averaged."""
    mass = lt.weight_mass(problem, temperature)
    rate = 0.5 if learning_rate is None else learning_rate * mass
    weights = lt.checkpoint_weights(problem, steps, learning_rate, temperature)
    return weights @ lt.iterate(problem, np.arange(steps + 1), rate)


def _undone(X: Any, y: Any, start: Any, temperature: float) -> Any:
    """Where the fit says how far it went: else there is no way back, and it says so."""
    theta = lt.standard_errors(X, y, start, temperature).theta
    try:
        return lt.undo_averaging(X, y, start, theta, temperature).theta
    except lt.InvalidValueError as error:
        if "no way back" not in str(error):
            raise
        return reject()


def _in_two_parts(X: Any, y: Any, start: Any, weights: Any, ridge: float) -> Any:
    """Sums of the first and of the other rows, added."""
    half = len(y) // 2
    parts = [slice(0, half), slice(half, None)] if half else [slice(None)]
    sums = [lt.NormalEquations.of(X[rows], y[rows], start, weights[rows]) for rows in parts]
    return sum(sums[1:], sums[0]).solve(ridge).theta


def _gradient(problem: Any, temperature: Any, theta: Any) -> Any:
    away = theta - lt.fixed_point(problem, temperature)
    return 2 * lt.weighted_covariance(problem, temperature) @ away


def _least_loss(problem: Any, temperature: Any) -> Any:
    """μσ²κ."""
    kept = problem.noise_variance * lt.displacement(problem, temperature)
    return lt.weight_mass(problem, temperature) * kept


def _pair(tilt: Any) -> np.ndarray:
    return np.array([float(tilt.mass), float(tilt.ratio)])


SOLVED = replace(
    testing.QUANTITIES["solve"],
    statement="weighted least squares in exact fractions, on rows of full rank",
    arguments=st.tuples(testing.rows(), st.just(0.0) | testing.log_uniform(1.0, 100.0)).map(
        lambda both: both[0] | {"ridge": both[1]}
    ),
)
"""Normal equations lose the digits of κ² and keep 1e-12 where κ is small."""

LAWS: tuple[Law, ...] = (
    Law("best_average_weight", "best_average_weight", lt.best_average_weight),
    Law(
        "best_early_stop",
        OWN["least_on_the_way"],
        lambda problem: lt.best_early_stop(problem).total_error,
        slow=True,
    ),
    Law("best_flow", OWN["least_of_all"], lambda problem: lt.best_flow(problem).total_error, slow=True),
    Law("best_model_average", "best_model_average", lt.best_model_average),
    Law(
        "best_temperature",
        OWN["least_after"],
        lambda problem, steps: lt.best_temperature(problem, steps).total_error,
        slow=True,
    ),
    Law(
        "best_temperature",
        "best_model_average",
        lambda problem: lt.best_temperature(problem).theta,
        {"problem": testing.problems().filter(lambda problem: float(problem.noise_variance) > 0)},
    ),
    Law("checkpoint_weights", "iterate", _by_checkpoints, {"steps": st.integers(0, 30)}),
    Law("closed_form", "closed_form", lambda beta, rho, steps: np.array(lt.closed_form(beta, rho, steps))),
    Law(
        "descend",
        "descend",
        lambda X, y, start, steps, learning_rate, weights: lt.descend(
            X, y, start, weights, solver=lt.descent.GradientDescent(learning_rate), steps=steps
        ).theta[-1],
    ),
    Law(
        "diagnose",
        OWN["at_the_median"],
        lambda X, y, start: lt.diagnose(X, y, start).weighted_shift,
        slow=True,
    ),
    Law("displacement", "displacement", lt.displacement),
    Law("effective_sample_size", "effective_sample_size", lt.effective_sample_size),
    Law("fixed_point", "fixed_point", lt.fixed_point),
    Law("flow_weights", "flow_weights", lt.flow_weights),
    Law("gap_closed", "gap_closed", lt.gap_closed),
    Law("gradient_flow", "gradient_flow", lt.gradient_flow),
    Law("half_life", "half_life", lt.half_life),
    Law("hard_sample_error", "hard_sample_error", lt.hard_sample_error),
    Law("iterate", "iterate", lt.iterate),
    Law("joint_optimum", "joint_optimum", lt.joint_optimum),
    Law(
        "linearize",
        OWN["slopes"],
        lambda X, start: lt.linearize(_tanh, start, X, np.zeros(len(X))).jacobian(),
        slow=True,
    ),
    Law("median_temperature", "median_temperature", lt.median_temperature),
    Law("model_average", "model_average", lt.model_average),
    Law("model_average_weight", "model_average_weight", lt.model_average_weight),
    Law("NormalEquations", SOLVED, _in_two_parts),
    Law("paper_problem", OWN["paper_problem"], lambda rho: lt.paper_problem(rho, 2.0, 4).target_covariance),
    Law(
        "population_effective_sample_size",
        "population_effective_sample_size",
        lt.population_effective_sample_size,
    ),
    Law("population_median_temperature", "population_median_temperature", lt.population_median_temperature),
    Law("pretrain_error", "pretrain_error", lt.pretrain_error),
    Law(
        "residual_tilt",
        OWN["residual_tilt"],
        lambda temperature, variance: _pair(lt.residual_tilt(temperature, variance)),
    ),
    Law(
        "ridge_optimum",
        "ridge_optimum",
        lambda problem, ridge, temperature: lt.ridge_optimum(problem, ridge, temperature),
    ),
    Law("sgd_error", "sgd_error", lt.sgd_error),
    Law("sgd_error", ROW_BY_ROW, lt.sgd_error),
    Law(
        "sgd_errors",
        "sgd_pretrain_error",
        lambda problem, steps, learning_rate, temperature: lt.sgd_errors(
            problem, steps, learning_rate, temperature
        )[0],
    ),
    Law("sgd_stability_limit", "sgd_stability_limit", lt.sgd_stability_limit),
    Law("solve", "solve", lambda X, y, start, weights, ridge: lt.solve(X, y, start, weights, ridge).theta),
    Law("squared_mass", "squared_mass", lt.squared_mass),
    Law("stable_learning_rate", "stable_learning_rate", lt.stable_learning_rate),
    Law("stall", "stall_rate", lambda problem, temperature: lt.stall(problem, temperature).rate),
    Law(
        "stall_approximation",
        "stall_approximation",
        lambda beta, rho, steps: np.array(lt.stall_approximation(beta, rho, steps)),
    ),
    Law("stall_direction", "stall_direction", lambda beta, rho: np.array(lt.stall_direction(beta, rho))),
    Law("stall_parameter", "stall_parameter", lambda temperature, rho: lt.stall_parameter(temperature, rho)),
    Law("stall_spectrum", "stall_spectrum", lambda beta, rho: np.array(lt.stall_spectrum(beta, rho))),
    Law("stall_temperature", "stall_temperature", lambda beta, rho: lt.stall_temperature(beta, rho)),
    Law(
        "standard_errors",
        OWN["jackknife"],
        lambda X, y, start, temperature: lt.standard_errors(X, y, start, temperature).covariance,
        slow=True,
    ),
    Law("target_error", "target_error", lt.target_error),
    Law(
        "temperature_path",
        OWN["along_temperatures"],
        lambda X, y, start, temperatures: (
            lt.temperature_path(X, y, start, temperatures, accuracy=1e-13).theta
        ),
        slow=True,
    ),
    Law("total_error", "total_error", lt.total_error),
    Law(
        "undo_averaging",
        OWN["undone"],
        _undone,
        slow=True,
    ),
    Law("weight_mass", "weight_mass", lt.weight_mass),
    Law("weight_mass", "least_loss", _least_loss),
    Law("weighted_covariance", "weighted_covariance", lt.weighted_covariance),
    Law("weighted_covariance", "gradient", _gradient),
    Law("weighted_covariance", SAMPLED_COVARIANCE, lt.weighted_covariance),
    *routes.LAWS,
)

# ----------------------------------------------------------------------------------------------------------- the table


def measured(laws: Iterable[Law], say: Callable[[str], None] = print) -> list[dict[str, Any]]:
    """A row a law: what it was held against, on how many problems, and how far off it was at most."""
    rows = []
    for law in laws:
        sampled = isinstance(law.quantity, testing.Simulation)
        found = law.check(FEW if law.slow else 10 if sampled else EXAMPLES, in_epsilon=not sampled)
        if not found:
            raise SystemExit(repr(found))
        rows.append(
            {
                "function": law.function,
                "against": law.quantity.name,
                "route": law.quantity.statement,
                "compared": found.compared,
                "undecided": found.undecided,
                "largest": float(f"{0.0 if math.isnan(found.largest) else found.largest:.2g}"),
                "unit": "standard errors" if sampled else "κε",
                "of bound": float(f"{found.sharpest:.2g}"),
            }
        )
        say(_line(rows[-1]))
    return rows


def _line(row: dict[str, Any]) -> str:
    unit = " standard errors" if row["unit"] == "standard errors" else " κε"
    bound = "chance" if row["unit"] == "standard errors" else "rounding"
    cells = [
        f"`{row['function']}`",
        row["route"],
        row["compared"],
        f"{_shown(row['largest'])}{unit}",
        f"{_shown(row['of bound'])} of {bound}",
    ]
    return "| " + " | ".join(cell(str(content)) for content in cells) + " |"


def _shown(number: float) -> str:
    return f"{number:.2g}" if number == 0 or number >= 1e-3 else "< 0.001"


def rendered(page: str, results: dict[str, Any]) -> str:
    """The page with the table between its marks."""
    listed = ", ".join(f"{name} {number}" for name, number in results["versions"].items())
    lines = [
        "| public function | held against | problems | largest disagreement | of the bound |",
        "|---|---|---|---|---|",
        *map(_line, results["rows"]),
        "",
        "Without a row, since they compute nothing:",
        "",
        *(f"- `{name}` {reason}" for name, reason in routes.EXCUSED.items()),
        "",
        f"Measured on {results['processor']} with {listed}.",
    ]
    return written(page, {"agreement": lines})


def write(stored: Path = STORED, page: Path = TRUST) -> None:
    """The page again from the stored numbers."""
    results = json.loads(stored.read_text(encoding="utf-8"))
    page.write_text(rendered(page.read_text(encoding="utf-8"), results), encoding="utf-8")


def main(arguments: list[str] | None = None) -> None:
    """Measure, store, write the page."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.agreement", description=__doc__)
    parser.add_argument("--page", action="store_true", help="write the page from what is stored")
    parser.add_argument(
        "--only", metavar="FUNCTION", help="show what is said of one function; nothing is stored"
    )
    given = parser.parse_args(arguments)
    if given.only:
        measured(law for law in LAWS if law.function == given.only)
        return
    if not given.page:
        versions = {name: version(name) for name in ("numpy", "scipy", "jax", "mpmath", "hypothesis")}
        results = {"rows": measured(LAWS), "processor": processor(), "versions": versions}
        store(results, STORED)
    write()


if __name__ == "__main__":
    main()
