"""What a solution says beside θ (rank, condition, residual, columns, error bound, refinements), however it was found.

Problems of one shape, so that JAX compiles once for all of them: of full rank, with columns that depend on each other,
with a ridge, and with columns and combinations of columns that are only rounding in the precision at hand.
"""

from __future__ import annotations

import functools
from itertools import combinations
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import linear_theory as lt
from linear_theory.least_squares.solution import Method

N, D = 8, 3
RNG = np.random.default_rng(12)
ROWS = RNG.integers(-4, 5, (N, D)) + 0.0
Y, START = RNG.integers(-9, 10, N) + 0.0, np.array([1.0, -2.0, 3.0])
WEIGHTS = np.array([0.0, 1.0, 40.0, 9.0, 64.0, 3.0, 25.0, 7.0])
DEPENDENT = ROWS @ np.array([[1.0, 0.0, 1.0], [0.0, 1.0, 1.0], [0.0, 0.0, 0.0]])
NOTHING = np.zeros(D)
EPS = {"float64": float(np.finfo(np.float64).eps), "float32": float(np.finfo(np.float32).eps)}


class Problem(NamedTuple):
    """Rows, a ridge, a ``column_scale``, the rank, and the rows of which the solution must be."""

    X: np.ndarray
    ridge: float
    scale: np.ndarray
    rank: int
    meant: np.ndarray


def problems(precision):
    """Beside a column of size 1 one of ``small``, known to a thousandth, that differs from it by a ten-thousandth."""
    small = 2e3 * N * EPS[precision]
    rounded, alike, same = ROWS.copy(), ROWS.copy(), ROWS.copy()
    rounded[:, 1] *= EPS[precision] / 4
    alike[:, 1], same[:, 1] = small * (ROWS[:, 0] + 1e-4 * ROWS[:, 1]), small * ROWS[:, 0]
    without = ROWS * [1.0, 0.0, 1.0]
    return {
        "full rank": Problem(ROWS, 0.0, NOTHING, 3, ROWS),
        "dependent": Problem(DEPENDENT, 0.0, NOTHING, 2, DEPENDENT),
        "a column of zeros": Problem(without, 0.0, NOTHING, 2, without),
        "a ridge": Problem(ROWS, 2.5, NOTHING, 3, ROWS),
        "dependent, a ridge": Problem(DEPENDENT, 2.5, NOTHING, 3, DEPENDENT),
        "dependent, next to no ridge": Problem(DEPENDENT, 1e-30, NOTHING, 3, DEPENDENT),
        "a column of rounding": Problem(rounded, 0.0, np.ones(D), 2, without),
        "a combination of rounding": Problem(alike, 0.0, np.ones(D), 2, same),
    }


FIELDS = ("theta", "rank", "condition", "residual", "columns", "error_bound", "method_code", "refinements")
TOLD = {"rows": lt.solve, "sums": lambda X, y, start, weights, ridge, column_scale: (
    lt.NormalEquations.of(X, y, start, weights, column_scale=column_scale).solve(ridge))}  # fmt: skip


def said(solution):
    """By field."""
    return {field: getattr(solution, field) for field in FIELDS}


def without_rounding(problem, eps):
    """The rows with zeros for columns that are only rounding."""
    return problem.X * (np.abs(problem.X).max(axis=0) > N * eps * problem.scale)


@functools.cache
def compiled(precision):
    """For rows and for sums, what is said of every problem of this precision in JAX, in one call."""
    every = problems(precision).values()
    given = [np.stack([problem[k] for problem in every]) for k in (0, 1, 2)]

    @jax.jit
    @jax.vmap
    def ask(X, ridge, scale):
        y, start, weights = (jnp.asarray(part, X.dtype) for part in (Y, START, WEIGHTS))
        solved = [function(X, y, start, weights, ridge, column_scale=scale) for function in TOLD.values()]
        return list(map(said, solved))

    found = ask(*(jnp.asarray(part, precision) for part in given))
    assert found[0]["theta"].dtype == precision
    return dict(zip(TOLD, jax.tree.map(np.asarray, found), strict=True))


def told(name, engine, by):
    """Rows or sums in NumPy, or in JAX in this precision; and the problem."""
    precision = engine.removeprefix("JAX ") if engine.startswith("JAX") else "float64"
    problem = problems(precision)[name]
    if engine == "NumPy":
        solution = TOLD[by](problem.X, Y, START, WEIGHTS, problem.ridge, column_scale=problem.scale)
        return said(solution), problem, EPS[precision]
    place = list(problems(precision)).index(name)
    every = compiled(precision)[by]
    return {field: every[field][place] for field in FIELDS}, problem, EPS[precision]


EACH = pytest.mark.parametrize("name", problems("float64"))
ENGINES = pytest.mark.parametrize("engine", ["NumPy", "JAX float64", "JAX float32"])
BY = pytest.mark.parametrize("by", TOLD)


def is_asked_of(by, name):
    """Combinations of columns that are rounding are beyond what sums can show."""
    return by == "rows" or name != "a combination of rounding"


def conditions(rows, columns):
    """Of every so many columns, each brought to one length: the condition number and the rank, rounding apart."""
    lengths = np.sqrt((rows**2).sum(axis=0))
    equilibrated = rows / np.where(lengths > 0, lengths, 1.0)
    for chosen in map(list, combinations(range(D), columns)):
        sizes = np.linalg.svd(equilibrated[:, chosen], compute_uv=False)
        yield sizes[0] / sizes[sizes > 1e-7].min(), (sizes > 1e-7).sum()


@EACH
@ENGINES
@BY
def test_the_minimiser_closest_to_the_start_and_the_rank(name, engine, by):
    """In every precision what is rounding is so in that one: against NumPy's answer for the rows that are meant."""
    found, problem, eps = told(name, engine, by)
    if not is_asked_of(by, name):
        return
    unit = np.where(problem.meant.any(axis=0), np.abs(problem.meant).max(axis=0, initial=0.0), 1.0)
    want = lt.solve(problem.meant, Y, START, WEIGHTS, problem.ridge).theta
    assert found["rank"] == problem.rank
    assert np.abs((found["theta"] - want) * unit).max() <= 1e4 * eps * np.abs(want * unit).max()


@EACH
@ENGINES
@BY
def test_the_residual_and_the_columns_are_those_of_the_weighted_rows(name, engine, by):
    found, problem, eps = told(name, engine, by)
    X = without_rounding(problem, eps)
    assert np.allclose(found["columns"], np.sqrt(WEIGHTS @ X**2), rtol=64 * eps, atol=0)
    if is_asked_of(by, name):
        left = WEIGHTS @ (Y - X @ found["theta"].astype(float)) ** 2
        assert np.isclose(found["residual"], left, rtol=1e3 * eps)


@EACH
@ENGINES
@BY
def test_the_condition_is_that_of_equilibrated_rows_and_ridge(name, engine, by):
    """Over what they determine; of sums infinite where these cannot show a direction. LAPACK's is an estimate of it,
    and after QR it is that of the columns in terms of which the others are written.
    """
    found, problem, eps = told(name, engine, by)
    if name == "a combination of rounding":
        return  # in the unit of its rounding a column is as small as it is unsure
    rows = np.vstack([np.sqrt(WEIGHTS)[:, None] * problem.meant, np.sqrt(N * problem.ridge) * np.eye(D)])
    ((kappa, rank),) = conditions(rows, D)
    if by == "sums" and rank < np.count_nonzero(rows.any(axis=0)):
        assert np.isinf(found["condition"])
    elif found["method_code"] == Method.REFINED and engine == "NumPy":
        assert kappa / 3 <= found["condition"] <= 1.1 * np.sqrt(D) * kappa
    elif found["method_code"] == Method.CLOSEST_BY_QR:
        assert min(abs(found["condition"] / one - 1) for one, _ in conditions(rows, rank)) <= 1e4 * eps
    else:
        assert np.isclose(found["condition"], kappa, rtol=1e4 * eps)


@EACH
@ENGINES
@BY
def test_the_error_bound_is_the_one_that_is_stated(name, engine, by):
    """From the rows: 32 ε (κ‖√w·r‖(1 + κ) + κ(‖c∘δ‖ + Σ c·abs(start)))/c + ε·abs(θ), c the columns' lengths."""
    found, problem, eps = told(name, engine, by)
    if not is_asked_of(by, name):
        return
    X = without_rounding(problem, eps)
    theta, kappa, c = found["theta"].astype(float), float(found["condition"]), np.sqrt(WEIGHTS @ X**2)
    left = np.sqrt(WEIGHTS @ (Y - X @ theta) ** 2)
    moved, forming = np.linalg.norm(c * (theta - START)), c @ np.abs(START)
    with np.errstate(divide="ignore"):
        bound = np.where(c > 0, 32 * eps * kappa * (left * (1 + kappa) + moved + forming) / c, 0.0)
    assert np.allclose(found["error_bound"], bound + eps * np.abs(theta), rtol=1e-3)


@EACH
def test_how_it_was_found(name):
    """In JAX refined, at least once and four times at most, or by singular values where Cholesky would not do; in
    NumPy by QR where columns depend on each other.
    """
    regular = name in ("full rank", "a ridge", "dependent, a ridge")
    for precision in EPS:
        found, *_ = told(name, f"JAX {precision}", "rows")
        assert found["method_code"] == (Method.REFINED if regular else Method.SVD)
        assert 1 <= found["refinements"] <= 4 if regular else found["refinements"] == 0
    found, *_ = told(name, "NumPy", "rows")
    zeros = name in ("a column of zeros", "a column of rounding")
    assert found["method_code"] == (Method.REFINED if regular or zeros else Method.CLOSEST_BY_QR)
    for engine in ("NumPy", "JAX float64", "JAX float32"):
        assert told(name, engine, "sums")[0]["method_code"] == Method.SPECTRAL


@functools.cache
def wide_in_jax():
    """For rows and for sums, without a ridge and with one, what is said of two rows of three columns."""

    @jax.jit
    @jax.vmap
    def ask(ridge):
        X, y, start, weights = map(jnp.asarray, (ROWS[1:3], Y[1:3], START, WEIGHTS[1:3]))
        solved = [function(X, y, start, weights, ridge, column_scale=None) for function in TOLD.values()]
        return list(map(said, solved))

    return jax.tree.map(np.asarray, ask(jnp.array([0.0, 2.5])))


@pytest.mark.parametrize("engine", ["NumPy", "JAX"])
@pytest.mark.parametrize("ridge", [0.0, 2.5])
@BY
def test_of_fewer_rows_than_columns_it_says_the_same(by, ridge, engine):
    """The condition number that of the rows where NumPy takes their inner products, each brought to one length."""
    X, y, weights = ROWS[1:3], Y[1:3], WEIGHTS[1:3]
    if engine == "JAX":
        every = wide_in_jax()[list(TOLD).index(by)]
        found = {field: every[field][int(ridge > 0)] for field in FIELDS}
    else:
        solution = TOLD[by](X, y, START, weights, ridge, column_scale=None)
        found = said(solution)
    left = y - X @ found["theta"]
    slope = X.T @ (weights * left) - 2 * ridge * (found["theta"] - START)
    assert np.abs(slope).max() <= 1e-11
    assert np.isclose(found["residual"], weights @ left**2, rtol=1e-10, atol=1e-20 + (by == "sums") * 1e-11)
    assert np.allclose(found["columns"], np.sqrt(weights @ X**2), rtol=1e-13)
    assert found["rank"] == (2 if ridge == 0 else D)
    rows = np.vstack([np.sqrt(weights)[:, None] * X, np.sqrt(2 * ridge) * np.eye(D)])
    if by == "rows" and engine == "NumPy":
        assert found["method_code"] in (Method.INNER_PRODUCTS, Method.REFINED_INNER_PRODUCTS)
        rows = np.hstack([rows[:2], np.sqrt(2 * ridge) * np.eye(2)])
        sizes = np.linalg.svd(rows / np.linalg.norm(rows, axis=1)[:, None], compute_uv=False)
        kappa = sizes[0] / sizes[-1]
        assert kappa / 3 <= found["condition"] <= 1.1 * np.sqrt(2) * kappa
    else:
        ((kappa, _),) = conditions(rows, D)
        assert np.isclose(found["condition"], kappa, rtol=1e-10)


def test_sums_beside_next_to_no_ridge_do_not_see_what_fewer_rows_leave_open():
    """Without one they see all that the rows tell; a ridge asks for the whole, of which rounding hides a direction."""
    sums = lt.NormalEquations.of(ROWS[1:3], Y[1:3], START)
    assert np.isfinite(sums.solve().condition)
    assert np.isinf(sums.solve(1e-30).condition)
