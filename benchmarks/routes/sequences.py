"""Tasks one after the other: populations by quadrature, rows in exact fractions, random projectors by their laws."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from fractions import Fraction
from functools import lru_cache
from typing import Any

import numpy as np
from hypothesis import strategies as st

import linear_theory as lt
from linear_theory import testing
from linear_theory.testing.reference import population
from linear_theory.testing.reference import rows as data
from linear_theory.testing.reference.population import Case, Rule, flow, mp
from linear_theory.testing.reference.rational import closest, product, rational
from linear_theory.testing.tolerances import norm_of

from ..law import Law

Quantity = testing.Quantity

TOGETHER = ((2.0, 0.6), (0.6, 1.0))
"""A covariance of the rows, on which FLOW's moving average does not depend."""


def task_by_task(optima: Any, temperatures: Any, noise_variances: Any, start: Any) -> Any:
    """The fixed point of each task's population, by quadrature, from that of the last one."""
    theta, path = tuple(start), []
    for optimum, tau, noise in zip(optima, temperatures, noise_variances, strict=True):
        theta = tuple(population.fixed_point(Case(theta, tuple(optimum), TOGETHER, (), noise), flow(tau)))
        path.append(theta)
    return mp.matrix(path)


def rates_of_a_mean(noise_variances: Any) -> Any:
    """1/τ_t, at which the share of the way is 1/t: 0, and then the roots of that share, by quadrature."""
    found = [mp.mpf(0)]
    for t, noise in enumerate(noise_variances[1:], 2):
        about = -mp.log(noise)
        ends = (about - 5, about + 5)
        root = mp.findroot(_beyond(1 / mp.mpf(t), noise), ends, solver="anderson", tol=mp.mpf(10) ** -80)
        found.append(mp.exp(root))
    return mp.matrix(found)


def _beyond(share: Any, noise: float) -> Callable[[Any], Any]:
    """By how much FLOW at τ = e^(−u) goes further than this share of the way."""
    case = Case((1.0,), (0.0,), ((1.0,),), (), noise)
    return lambda u: population.displaced(case, Rule("flow", mp.exp(-u))) - share


def tasks_of(optima: Any, rows: Any) -> Iterator[tuple[list[Any], list[Any]]]:
    """Each optimum, in fractions, and the rows of its task."""
    many, count = list(rows), len(optima)
    each = len(many) // count
    for t, optimum in enumerate(optima):
        yield rational(list(optimum)), many[t * each : (t + 1) * each]


def solved_in_turn(optima: Any, rows: Any, start: Any, strength: float = 0.0) -> Any:
    """The minimiser closest to the last point, task after task, in exact fractions of its rows."""
    theta, path = rational(list(start)), []
    for optimum, own in tasks_of(optima, rows):
        labels = product(rational(own), optimum)
        away = closest(own, labels, theta, ridge=strength).displacement
        theta = [a + b for a, b in zip(theta, away, strict=True)]
        path.append([_digits(v) for v in theta])
    return mp.matrix(path)


def _digits(fraction: Fraction) -> Any:
    return mp.mpf(fraction.numerator) / fraction.denominator


def _in_turn_measure(optima: Any, rows: Any, start: Any, *, want: Any) -> Any:
    """κ by hand, since one float moved may change a rank: a projector of a rounded Σ_t moves by κ(Σ_t)ε.

    So each point moves by that times how far it was from the optimum, which is at most the sum of all norms.
    """
    norms = [population.norm(mp.matrix(list(row))) for row in (*optima, start)]
    size, condition = max(norm_of(want), *norms), mp.mpf(0)
    for _, own in tasks_of(optima, rows):
        singular = [s for s in mp.svd_r(data.exact_matrix(own), compute_uv=False) if s > mp.mpf(10) ** -30]
        condition += (max(singular) / min(singular)) ** 2 if singular else 1
    return size, condition * mp.fsum(norms) / size if size else mp.mpf(0)


def summed_errors(path: Any, optima: Any, rows: Any) -> Any:
    """Σ (⟨x, θ_t − θ°_j⟩)² over the rows of task j, divided by their number."""
    tasks = [(mp.matrix([_digits(v) for v in optimum]), own) for optimum, own in tasks_of(optima, rows)]
    return mp.matrix(
        [
            [
                mp.fsum(population.inner(x, mp.matrix(list(theta)) - optimum) ** 2 for x in own) / len(own)
                for optimum, own in tasks
            ]
            for theta in path
        ]
    )


def _integral(function: Callable[[Any], Any], ends: list[Any]) -> Any:
    return mp.quad(function, ends)


@lru_cache(None)
def _entered(rows: int, dim: int) -> Any:
    """What n Gaussian rows span of a vector in d dimensions, on average: the mean of a beta law, by quadrature."""
    law = lambda x: x ** mp.mpf(rows / 2 - 1) * (1 - x) ** mp.mpf((dim - rows) / 2 - 1)
    part, whole = _integral(lambda x: x * law(x), [0, 0.5, 1]), _integral(law, [0, 0.5, 1])
    return part / whole


@lru_cache(None)
def _inverse_square(degrees: int) -> Any:
    """E[1/χ²], by quadrature: of one row's distance from what the others span."""
    law = lambda x, lower: x ** mp.mpf(degrees / 2 - 1 - lower) * mp.exp(-x / 2)
    ends = [0, degrees, 4 * degrees, 100, 400]
    return _integral(lambda x: law(x, 1), ends) / _integral(lambda x: law(x, 0), ends)


def expected_distance(optima: Any, reference: Any, rows: int, noise_variance: float, start: Any) -> Any:
    """E‖θ_t − a‖²: what a random projector leaves, what it lets in, and the noise, of n rows one by one."""
    a, dim = data.exact_vector(reference), len(start)
    square = lambda v: population.inner(data.exact_vector(v) - a, data.exact_vector(v) - a)
    share, kick = _entered(rows, dim), rows * mp.mpf(noise_variance) * _inverse_square(dim - rows + 1)
    here, path = square(start), []
    for optimum in optima:
        here = (1 - share) * here + share * square(optimum) + kick
        path.append(here)
    return mp.matrix(path)


@st.composite
def sequence_of(draw: Any, *names: str) -> dict[str, Any]:
    """Two or three tasks of up to three parameters, and two rows of small integers each."""
    tasks, dim = draw(st.sampled_from([2, 3])), draw(st.sampled_from([2, 3] if "rows" in names else [2]))
    table = lambda: np.array([draw(testing.vectors(dim)) for _ in range(tasks)])
    positive = lambda: np.array([draw(testing.log_uniform(0.1, 10.0)) for _ in range(tasks)])
    whole = st.integers(-3, 3).map(float)
    of = {
        "optima": table,
        "path": table,
        "start": lambda: draw(testing.vectors(dim)),
        "rows": lambda: np.array([[draw(whole) for _ in range(dim)] for _ in range(2 * tasks)]),
        "temperatures": lambda: np.array(
            [draw(testing.temperatures(coldest=0.05, warmest=50.0)) for _ in range(tasks)]
        ),
        "noise_variances": positive,
        "strength": lambda: draw(testing.log_uniform(0.05, 10.0)),
    }
    return {name: of[name]() for name in names}


@st.composite
def _few_rows(draw: Any) -> dict[str, Any]:
    """Fewer rows than parameters by two or more: with one more the noise has no mean."""
    dim, tasks = draw(st.integers(3, 9)), draw(st.sampled_from([2, 3]))
    return {
        "optima": np.array([draw(testing.vectors(dim)) for _ in range(tasks)]),
        "reference": draw(testing.vectors(dim)),
        "rows": draw(st.integers(1, dim - 2)),
        "noise_variance": draw(st.just(0.0) | testing.log_uniform(0.1, 3.0)),
        "start": draw(testing.vectors(dim)),
    }


def grams(optima: Any, rows: Any) -> Any:
    each = len(rows) // len(optima)
    X = rows.reshape(len(optima), each, -1)
    return X.transpose(0, 2, 1) @ X / each


LAWS = (
    Law(
        "sequences.flow",
        Quantity(
            "task_by_task",
            "where training on each task ends, by quadrature and a linear solve",
            task_by_task,
            sequence_of("optima", "temperatures", "noise_variances", "start"),
        ),
        lt.sequences.flow,
    ),
    Law(
        "sequences.harmonic_temperatures",
        Quantity(
            "rates_of_a_mean",
            "1/τ_t at which task t moves by 1/t of the way, by roots of a quadrature",
            rates_of_a_mean,
            sequence_of("noise_variances"),
        ),
        lambda noise_variances: 1 / lt.sequences.harmonic_temperatures(noise_variances),
    ),
    Law(
        "sequences.plain",
        Quantity(
            "solved_in_turn",
            "the minimiser closest to the last point, task by task, in exact fractions",
            solved_in_turn,
            sequence_of("optima", "rows", "start"),
            measure=_in_turn_measure,
        ),
        lambda optima, rows, start: lt.sequences.plain(optima, grams(optima, rows), start),
    ),
    Law(
        "sequences.plain_distance",
        Quantity(
            "expected_distance",
            "what a random projector leaves and lets in, and χ⁻² of the noise, by quadrature",
            expected_distance,
            _few_rows(),
        ),
        lambda optima, reference, rows, noise_variance, start: lt.sequences.plain_distance(
            optima, reference, rows, noise_variance, start=start
        ),
    ),
    Law(
        "sequences.ridge",
        Quantity(
            "pulled_in_turn",
            "the minimiser with the ridge, task by task, in exact fractions",
            solved_in_turn,
            sequence_of("optima", "rows", "start", "strength"),
            {"strength": 0.0},
        ),
        lambda optima, rows, start, strength: lt.sequences.ridge(
            optima, grams(optima, rows), strength, start
        ),
    ),
    Law(
        "sequences.task_errors",
        Quantity(
            "summed_errors",
            "squared predictions of every row, summed",
            summed_errors,
            sequence_of("path", "optima", "rows"),
        ),
        lambda path, optima, rows: lt.sequences.task_errors(path, optima, grams(optima, rows)),
    ),
)
