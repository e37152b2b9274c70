"""How exactly `solve` solves: forward errors against 60 digits, condition numbers 1 to 1e14, beside LAPACK's gelsd.

A cell is a shape and a condition number; in it 27 matrices with prescribed singular values, random weights, a
random start and three levels of noise. Every error is absolute, in θ; what it is measured by is

    ε·(κ(‖δ‖ + ‖√w(|y| + |X||start|)‖/σ) + κ²‖√w r‖/σ + ‖start‖),        σ = ‖√w X‖₂, r the residual left,

the first-order effect (Wedin) of one rounding of √wX and of the labels seen from the start, y − X·start, whose
terms may be much larger than their difference, and of adding the start again. Relative to its first term this is
κ·ε·(1 + κ·relative residual).
"""

from __future__ import annotations

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.linalg import lstsq

import linear_theory as lt
from linear_theory.testing.reference.population import mp, norm
from linear_theory.testing.reference.rational import closest
from linear_theory.testing.tolerances import EPS, SAFETY
from tests.strategies import orthogonal, random_data

SHAPES = {"tall": (30, 5), "square": (6, 6), "wide": (5, 12)}
DECADES = (0, 2, 4, 6, 8, 10, 12, 14)
NOISES = (0.0, 1e-3, 1.0)
SEEDS = range(9)

MEDIAN = 10.0
"""How far the median error may lie above gelsd's."""

CELLS = pytest.mark.parametrize("decade", DECADES)
EACH = pytest.mark.parametrize("shape", SHAPES)


def rows(shape, decade, noise, seed):
    """X (n, d) with singular values from 1 to 10^−decade, labels, a start and weights."""
    n, d = SHAPES[shape]
    rng = np.random.default_rng([seed, decade, n])
    rank = min(n, d)
    sizes = 10.0 ** (-decade * np.linspace(0, 1, rank))
    X = (orthogonal(n, rng)[:, :rank] * sizes) @ orthogonal(d, rng)[:, :rank].T
    weights, start = rng.uniform(0.05, 1, n), rng.standard_normal(d)
    return X, X @ rng.standard_normal(d) + noise * rng.standard_normal(n), start, weights


def exactly(X, y, start, weights):
    """δ by Cholesky in 60 digits: of the normal equations, or of the inner products where X is wide."""
    n, d = X.shape
    root = [mp.sqrt(mp.mpf(float(w))) for w in weights]
    A = mp.matrix([[root[i] * mp.mpf(float(X[i, j])) for j in range(d)] for i in range(n)])
    seen = [mp.fsum(mp.mpf(float(X[i, j])) * mp.mpf(float(start[j])) for j in range(d)) for i in range(n)]
    b = mp.matrix([root[i] * (mp.mpf(float(y[i])) - seen[i]) for i in range(n)])
    delta = mp.cholesky_solve(A.T * A, A.T * b) if n >= d else A.T * mp.cholesky_solve(A * A.T, b)
    return delta, norm(b - A * delta)


def unit(X, y, start, weights, delta, left):
    """What an error is measured by, see above."""
    root = np.sqrt(weights)
    sizes = np.linalg.svd(root[:, None] * X, compute_uv=False)
    kappa = sizes[0] / sizes[-1]
    forming = np.linalg.norm(root * (np.abs(y) + np.abs(X) @ np.abs(start)))
    asked = kappa * (float(norm(delta)) + forming / sizes[0]) + kappa**2 * float(left) / sizes[0]
    return EPS * (asked + np.linalg.norm(start))


def distance(theta, start, delta):
    """‖θ − start − δ‖, exactly."""
    moved = [mp.mpf(float(t)) - mp.mpf(float(s)) for t, s in zip(theta, start, strict=True)]
    return float(norm(mp.matrix(moved) - delta))


@cache
def cell(shape, decade):
    """The problems of a cell, each with δ, its unit of error and gelsd's error."""
    problems = []
    for noise in NOISES:
        for seed in SEEDS:
            X, y, start, weights = problem = rows(shape, decade, noise, seed)
            delta, left = exactly(*problem)
            root = np.sqrt(weights)
            # Its default cut-off would drop singular values at 1e-14 and 1e-16.
            step = lstsq(root[:, None] * X, root * (y - X @ start), lapack_driver="gelsd", cond=1e-17)[0]
            rival = distance(start + step, start, delta)
            problems.append((problem, delta, unit(*problem, delta, left), rival))
    return problems


def complaints(solver, shape, decade):
    """What is wrong with the errors of a cell: the median against gelsd's, and each against its unit."""
    problems = cell(shape, decade)
    assert len(problems) >= 25
    errors = [distance(solver(*problem), problem[2], delta) for problem, delta, _, _ in problems]
    median, rival = np.median(errors), np.median([other for *_, other in problems])
    if not median <= MEDIAN * rival:
        yield f"median {median:.1e} against gelsd's {rival:.1e}"
    worst = max(error / size for error, (_, _, size, _) in zip(errors, problems, strict=True))
    if not worst <= SAFETY:
        yield f"{worst:.1f} units of error"


def solve(X, y, start, weights):
    return lt.solve(X, y, start, weights).theta


@EACH
@CELLS
def test_forward_errors(shape, decade):
    assert not list(complaints(solve, shape, decade))


@EACH
@CELLS
def test_gelsd_itself_is_within_the_unit(shape, decade):
    """The unit is none that only our way of solving meets."""
    assert max(rival / size for _, _, size, rival in cell(shape, decade)) <= SAFETY


@EACH
@pytest.mark.parametrize("decade", [0, 6, 14])
def test_forward_errors_in_jax(shape, decade):
    compiled = jax.jit(solve)
    function = lambda *problem: compiled(*map(jnp.asarray, problem))
    assert not list(complaints(function, shape, decade))


# Without refinement; with one that forgets a term; with the weights misread.


def plain_normal_equations(X, y, start, weights):
    WX = weights[:, None] * X
    return start + np.linalg.solve(X.T @ WX, WX.T @ (y - X @ start))


def plain_inner_products(X, y, start, weights):
    return start + X.T @ np.linalg.solve(X @ X.T, y - X @ start)


@pytest.mark.parametrize("shape", ["tall", "square"])
@pytest.mark.parametrize("decade", [4, 6, 8])
def test_normal_equations_without_refinement_are_rejected(shape, decade):
    assert list(complaints(plain_normal_equations, shape, decade))


@pytest.mark.parametrize("decade", [4, 6, 8])
def test_inner_products_without_refinement_are_rejected(decade):
    assert list(complaints(plain_inner_products, "wide", decade))


MUTANTS = {
    "weights squared": lambda X, y, s, w: solve(X, y, s, w**2),
    "weights ignored": lambda X, y, s, w: solve(X, y, s, None),
    "a little ridge": lambda X, y, s, w: lt.solve(X, y, s, w, 1e-12).theta,
    "single precision": lambda X, y, s, w: solve(X.astype(np.float32), y, s, w),
    "from zero": lambda X, y, s, w: solve(X, y, 0 * s, w),
}


@pytest.mark.parametrize("name", MUTANTS)
def test_mutants_are_rejected(name):
    shape = "wide" if name == "from zero" else "tall"  # a tall X has one minimiser, wherever one starts
    assert list(complaints(MUTANTS[name], shape, 2))


# --------------------------------------------------------------------------------- what a Solution says of itself


def equilibrated_condition(A):
    """κ₂ once every column has length 1."""
    sizes = np.linalg.svd(A / np.sqrt((A**2).sum(axis=0)), compute_uv=False)
    return sizes[0] / sizes[-1]


def says_its_condition(condition, A):
    """Within [κ/3, √d·κ].

    LAPACK estimates κ₁ of the Gram matrix from below, in practice to a factor 3 (worse only for contrived
    matrices), and κ₂ ≤ κ₁ ≤ d·κ₂; κ of the rows is the root of that. QR gives κ₂ itself.
    """
    kappa = equilibrated_condition(A)
    return kappa / 3 <= condition <= np.sqrt(A.shape[1]) * kappa * 1.1


@EACH
@pytest.mark.parametrize("decade", [0, 1, 2, 4, 6, 8, 10, 12])
def test_condition(shape, decade):
    for seed in SEEDS:
        X, y, start, weights = rows(shape, decade, 1.0, seed)
        solution = lt.solve(X, y, start, weights)
        A = np.sqrt(weights)[:, None] * X
        if shape != "wide":
            assert says_its_condition(solution.condition, A), (solution.condition, equilibrated_condition(A))
            assert not says_its_condition(solution.condition**2 + 9, A)
        elif "inner products" in solution.method:
            assert says_its_condition(solution.condition, A.T)


@pytest.mark.parametrize("shape", ["tall", "square"])
@pytest.mark.parametrize("decade", [0, 1, 2, 4, 6, 8, 10, 12])
def test_condition_in_jax(shape, decade):
    """By eigenvalues or singular values: κ₂ itself, to the digits that the Gram matrix leaves of its smallest."""
    for seed in SEEDS[:3]:
        X, y, start, weights = rows(shape, decade, 1.0, seed)
        solution = lt.solve(*map(jnp.asarray, (X, y, start, weights)))
        kappa = equilibrated_condition(np.sqrt(weights)[:, None] * X)
        lost = kappa if "SVD" in solution.method else kappa**2
        assert abs(solution.condition / kappa - 1) <= SAFETY * EPS * lost, (solution.method, seed)


def test_condition_in_other_units():
    """Equilibrated: it does not see in which units a column is."""
    X, y, start, weights = rows("tall", 3, 1.0, 0)
    units = 2.0 ** np.array([0, 40, -40, 400, -400])
    want = lt.solve(X, y, start, weights)
    got = lt.solve(X * units, y, start / units, weights)
    assert np.isclose(got.condition, want.condition, rtol=2)
    assert np.linalg.cond(np.sqrt(weights)[:, None] * X * units) > 1e15 * want.condition


def residual_unit(X, y, theta, weights):
    """How exactly √Σwr² can be known: ε‖√w(|y| + |X||θ|)‖, the rounding of r."""
    return EPS * np.linalg.norm(np.sqrt(weights) * (np.abs(y) + np.abs(X) @ np.abs(theta)))


@EACH
@pytest.mark.parametrize("decade", [0, 4, 6, 10])
@pytest.mark.parametrize("noise", [1e-12, 1e-8, 1e-3, 1.0, 1e6])
def test_residual(shape, decade, noise):
    """To the rounding of y − Xθ, and not to that of Σwy², however small it is beside the labels."""
    for seed in SEEDS:
        X, y, start, weights = rows(shape, decade, noise, seed)
        solution = lt.solve(X, y, start, weights)
        _, left = exactly(X, y, start, weights)
        allowed = SAFETY * residual_unit(X, y, np.abs(start) + np.abs(solution.theta - start), weights)
        assert abs(np.sqrt(float(solution.residual)) - float(left)) <= allowed
        if shape == "tall" and noise == 1e-8 and decade == 0:  # energy − ⟨g, δ⟩ would cancel
            equations = lt.NormalEquations.of(X, y, start, weights)
            naive = equations.energy - equations.moment @ (solution.theta - start)
            assert abs(np.sqrt(max(naive, 0.0)) - float(left)) > allowed


@pytest.mark.parametrize("ridge", [1e-14, 1e-10, 1e-6])
@pytest.mark.parametrize("condition", [2.0, 1e3, 1e4])
def test_residual_beside_a_ridge(condition, ridge):
    """What a refinement changes it changes of the labels and of the length together: neither is half of the other."""
    for seed in SEEDS:
        data = random_data(12, 3, 3, condition, seed=seed, noise=0.0)
        start = np.zeros(3)
        solution = lt.solve(data.X, data.y, start, ridge=ridge)
        left = np.sqrt(float(closest(data.X, data.y, start, None, ridge).residual))
        assert abs(np.sqrt(solution.residual) - left) <= SAFETY * residual_unit(
            data.X, data.y, solution.theta, np.ones(12)
        )


def test_refinements():
    """None where Cholesky is enough; some where they are needed, and one at least after QR."""
    seen = set()
    for decade in (0, 1, 2, 4, 5, 8):
        for shape in SHAPES:
            problem = rows(shape, decade, 1e-3, 1)
            solution = lt.solve(*problem)
            refined = "refined" in solution.method
            assert (solution.refinements > 0) == (refined or "QR" in solution.method)
            assert solution.refinements <= 8
            seen.add((shape, refined))
    assert seen == {(shape, refined) for shape in SHAPES for refined in (False, True)}


def test_each_problem_of_several_is_as_exact():
    """One badly scaled problem beside another: what is refined until one is exact must not stop too early."""
    tall = random_data(40, 4, 4, 1e4, seed=5, weights=True)
    y = np.stack([tall.y, 1e-9 * tall.y[::-1], np.zeros(40), 1e9 * tall.y], axis=1)
    start = np.zeros((4, 4))
    got = lt.solve(tall.X, y, start, tall.weights)
    for j in range(4):
        delta, left = exactly(tall.X, y[:, j], start[:, j], tall.weights)
        size = unit(tall.X, y[:, j], start[:, j], tall.weights, delta, left)
        assert distance(got.theta[:, j], start[:, j], delta) <= SAFETY * size
