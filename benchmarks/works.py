"""The works that are measured, as functions of NumPy or of JAX arrays, and what their answers must be.

A wrong answer does not count, however fast: each ``check_…`` holds the answer against another route.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import cycle, islice
from typing import Any, NamedTuple

import numpy as np

import linear_theory as lt

Array = Any

AGREE = 1e-10
"""‖δ − δ_ours‖/‖δ_ours‖ allowed between packages, δ = θ − start. LSQR and LSMR stop at ‖Aᵀr‖ ≤ tol·‖A‖‖r‖,
which leaves about κ²·√d·tol·‖r‖/(‖A‖‖δ‖) < 100·tol on these rows; their tol is 1e-12. The direct ones are at
1e-13.
"""

PROMISE = 1e-12
"""What the package promises of its closed forms, on the scale of the shift."""


class Rows(NamedTuple):
    """What ``lt.solve`` is given, in its order."""

    X: Array
    y: Array
    start: Array
    weights: Array
    ridge: Any = 0.0


def rows(n: int, d: int, spread: float = 0.0, ridge: float = 0.0, seed: int = 0) -> Rows:
    """Gaussian rows, a start one shift away from the truth, noise of its size, and FLOW's weights.

    The columns' scales fall over ``spread`` decades; 0 is well-conditioned.
    """
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, d))
    if spread:
        X *= np.logspace(0, -spread, d)
    start = rng.standard_normal(d)
    y = X @ (start + rng.standard_normal(d) / np.sqrt(d)) + rng.standard_normal(n)
    return Rows(X, y, start, lt.flow_weights((y - X @ start) ** 2), ridge)


def solve(given: Rows) -> Array:
    """θ of one weighted solve."""
    return lt.solve(*given).theta


def relative_error(theta: Array, reference: Array, start: Array) -> float:
    """The largest ‖θ − reference‖/‖reference − start‖ over the leading axes."""
    theta, reference, start = (np.asarray(value) for value in (theta, reference, start))
    moved = np.linalg.norm(reference - start, axis=-1)
    return float(np.max(np.linalg.norm(theta - reference, axis=-1) / moved))


# -- many temperatures ---------------------------------------------------------------------------------


def two_decades(given: Rows, count: int) -> Array:
    """``count`` temperatures from a tenth of the median loss to ten times it."""
    return np.median((given.y - given.X @ given.start) ** 2) * np.geomspace(0.1, 10, count)


def temperatures(taus: Array) -> Callable[[Rows], Array]:
    """θ (T, d) at all of them."""
    return lambda given: lt.temperature_path(given.X, given.y, given.start, taus).theta


def check_temperatures(given: Rows, taus: Array, theta: Array, accuracy: float = 1e-8, few: int = 6) -> None:
    """Against a solve of its own at some of the temperatures, in NumPy."""
    losses = (given.y - given.X @ given.start) ** 2
    for t in np.random.default_rng(1).choice(len(taus), few, replace=False):
        alone = lt.solve(given.X, given.y, given.start, np.exp(-losses / taus[t])).theta
        error = relative_error(theta[t], alone, given.start)
        assert error <= accuracy, f"temperature {taus[t]:.3g}: relative error {error:.2g}"


# -- a gradient-descent path ---------------------------------------------------------------------------


def chosen_steps(largest: int, count: int) -> Array:
    """About evenly in logarithm from 1 to ``largest``, all different."""
    some = np.unique(np.geomspace(1, largest, count).astype(int))
    while len(some) < count:  # the gaps of the small ones are narrower than 1
        rest = np.setdiff1d(np.arange(1, 3 * count), some)[: count - len(some)]
        some = np.union1d(some, rest)
    return some


def path(steps: Array) -> Callable[[Rows], Array]:
    """θ (k, d) after each of the steps."""
    return lambda given: lt.descend(given.X, given.y, given.start, given.weights, steps=steps).theta


def check_path(given: Rows, steps: Array, theta: Array) -> None:
    """Against the plain loop on XᵀWX, with the step 1/λ_max(∇²L), started at the start.

    K steps of a contraction round by at most ε·κ‖δ‖ in sum, κ of XᵀWX: far below AGREE here.
    """
    weighted = given.X * given.weights[:, None]
    gram, moment = weighted.T @ given.X, weighted.T @ (given.y - given.X @ given.start)
    rate = 1 / np.linalg.eigvalsh(gram)[-1]
    displacement, done = np.zeros(len(given.start)), 0
    for k, got in zip(steps, np.asarray(theta), strict=True):
        for _ in range(done, k):
            displacement = displacement - rate * (gram @ displacement - moment)
        done = k
        error = relative_error(got, given.start + displacement, given.start)
        assert error <= AGREE, f"step {k}: relative error {error:.2g}"


# -- rows that stream ----------------------------------------------------------------------------------


def chunks(rows_in_chunk: int, width: int, distinct: int = 8) -> tuple[Array, list[tuple[Array, ...]]]:
    """A start, and the few chunks that a stream hands over again and again: (X, y, weights).

    More of them than a cache holds, so that each is read from memory; none is ever copied.
    """
    whole = rows(rows_in_chunk * distinct, width)
    cut = lambda k: slice(k * rows_in_chunk, (k + 1) * rows_in_chunk)
    parts = [(whole.X[cut(k)], whole.y[cut(k)], whole.weights[cut(k)]) for k in range(distinct)]
    return whole.start, parts


def streamed(start: Array, parts: list[tuple[Array, ...]], n: int) -> lt.NormalEquations:
    """The normal equations of n rows that come one chunk at a time."""
    total = lt.NormalEquations.empty(start)
    for X, y, weights in handed_over(parts, n):
        total = total + lt.NormalEquations.of(X, y, start, weights)
    return total


def handed_over(parts: list[tuple[Array, ...]], n: int) -> Iterator[tuple[Array, ...]]:
    """n rows, a whole number of chunks, in turn."""
    count, rest = divmod(n, len(parts[0][1]))
    if rest:
        raise ValueError(f"{n} rows are not a whole number of chunks of {len(parts[0][1])}")
    return islice(cycle(parts), count)


def check_stream(start: Array, parts: list[tuple[Array, ...]], n: int, total: lt.NormalEquations) -> None:
    """Against plain NumPy: as often each chunk's XᵀWX as it was handed over."""
    length = len(parts[0][1])
    times, rest = divmod(n // length, len(parts))
    want = sum(
        (times + (k < rest)) * ((X * w[:, None]).T @ X) for k, (X, _, w) in enumerate(map(_plain, parts))
    )
    gram = np.asarray(total.gram)
    assert int(total.count) == n
    assert np.abs(gram - want).max() <= PROMISE * np.abs(want).max()


def _plain(part: tuple[Array, ...]) -> tuple[Array, ...]:
    return tuple(np.asarray(value) for value in part)


# -- the population ------------------------------------------------------------------------------------

RHO = 0.6


def stalled(power: int) -> float:
    """The temperature (‖e‖ = 1) at which about 1/e of the shift is left after ``power`` steps."""
    return 2 / power


def iterate(power: int) -> Callable[[lt.FineTuningProblem], Array]:
    """θ_K (d,), K = ``power``."""
    return lambda problem: lt.iterate(problem, power, temperature=stalled(power))


def check_iterate(power: int, theta: Array) -> None:
    """Against (14), in the plane of e and e⊥, and nothing outside it."""
    along = np.array(lt.closed_form(lt.stall_parameter(stalled(power), RHO), RHO, power))
    theta = np.asarray(theta)
    assert 0.1 < along[0] < 0.9  # a case in which the power matters
    assert np.abs(theta[:2] - along).max() <= PROMISE
    assert not theta[2:].any()


class Cells(NamedTuple):
    """(ρ, τ, K), each (cells,)."""

    rho: Array
    temperature: Array
    steps: Array


def cells(count: int) -> Cells:
    """Correlations in [0, 1), temperatures over four decades, steps over six: in many cells something is left."""
    rng = np.random.default_rng(0)
    steps = (10 ** rng.uniform(0, 6, count)).astype(int)
    return Cells(rng.random(count), 10 ** rng.uniform(-3, 1, count), steps)


def closed_forms(given: Cells) -> tuple[Array, Array]:
    """(14) in every cell, from the temperature."""
    return lt.closed_form(lt.stall_parameter(given.temperature, given.rho), given.rho, given.steps)


def check_cells(given: Cells, answer: tuple[Array, Array], few: int = 50) -> None:
    """Against the iterates of the problem itself, in the first of the cells."""
    along, across = (np.asarray(value) for value in answer)
    assert along.shape == across.shape == given.rho.shape
    for k in range(few):
        rho, tau, steps = (value[k] for value in given)
        want = lt.iterate(lt.paper_problem(float(rho)), int(steps), temperature=float(tau))
        assert np.abs(np.array([along[k], across[k]]) - want).max() <= PROMISE
