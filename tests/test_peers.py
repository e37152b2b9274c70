"""The peers' tests with our solver put in: the adapters are used and right, and the page shows what was stored."""

from __future__ import annotations

import importlib.util
import json
from fractions import Fraction

import numpy as np
import pytest

from benchmarks.peers import adapters, digits, page, runs
from benchmarks.peers.__main__ import complaints
from benchmarks.peers.plugin import WRONG
from benchmarks.peers.problems import PROBLEMS, WAMPLER, noint1, noint2, norris
from benchmarks.peers.suites import SUITES, Suite
from linear_theory.testing.reference.rational import dot, rational, transposed

STORED = json.loads(page.STORED.read_text(encoding="utf-8"))
PAGE = page.TRUST.read_text(encoding="utf-8")


def has(module: str) -> bool:
    """Whether the module is installed, its parents imported."""
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        return False


# ------------------------------------------------------------------------------------------------- what is stored


def test_the_page_shows_the_stored_numbers():
    assert page.rendered(PAGE, STORED) == PAGE
    changed = json.loads(json.dumps(STORED))
    changed["digits"]["Norris"]["digits"]["numpy lstsq"] -= 3
    changed["suites"]["SciPy lstsq"]["calls"] += 1
    shown = page.rendered(PAGE, changed)
    assert sum(a != b for a, b in zip(shown.splitlines(), PAGE.splitlines(), strict=True)) >= 2


def test_what_is_stored_is_whole_and_without_complaint():
    assert list(STORED["suites"]) == list(SUITES)
    assert list(STORED["digits"]) == list(PROBLEMS)
    for name, suite in STORED["suites"].items():
        assert suite["tests"] == list(SUITES[name].tests)
        assert suite["replaced"] == [f"{each.module}.{each.name}" for each in SUITES[name].replaced]
        assert {failure["reason"] for failure in suite["failures"]} == set(SUITES[name].excused.values())
        assert complaints(name, suite) == 0
        assert suite["calls"] > 0
    for one in STORED["digits"].values():
        assert list(one["digits"]) == list(digits.SOLVERS)


# --------------------------------------------------------------------------------- what counts as a new failure


def run_of(**outcomes: str) -> dict:
    tests = {name: {"outcome": outcome, "calls": 1, "message": "no"} for name, outcome in outcomes.items()}
    return {"calls": len(tests), "tests": tests}


def test_only_failures_that_the_peers_solver_does_not_have_count():
    suite = Suite("pytest", (), (), {"c": "a reason", "gone": "another"})
    theirs = run_of(a="passed", b="failed", c="passed", d="passed", e="skipped")
    ours = run_of(a="passed", b="failed", c="failed", d="expected to fail", e="skipped")
    wrong = run_of(a="failed", b="failed", c="failed")
    found = runs.compared(suite, {"theirs": theirs, "ours": ours, "wrong": wrong})
    assert {failure["test"]: failure["reason"] for failure in found["failures"]} == {
        "c": "a reason",
        "d": None,
    }
    assert found["stale"] == ["gone"]
    assert found["wrong"]["noticed"] == 1  # d did not run with the wrong solver, and b fails with any
    said: list[str] = []
    assert complaints("it", found, said.append) == len(said) == 2
    unnoticed = found | {"failures": [], "stale": [], "wrong": {"error": WRONG, "noticed": 0}}
    assert complaints("it", unnoticed, said.append) == 1


# ------------------------------------------------------------------------------------------------- the adapters

RNG = np.random.default_rng(5)
TALL, WIDE = RNG.standard_normal((12, 4)), RNG.standard_normal((4, 9))
RIGHT, WRONG_ONE = adapters.Solver(), adapters.Solver(WRONG)
EPS = float(np.finfo(float).eps)


def close(found, wanted, wrong, condition) -> None:
    """Both direct methods are within a small multiple of κ²·ε on these; the wrong one is 1e-6 away."""
    scale = np.linalg.norm(wanted)
    bound = 1e3 * condition**2 * EPS
    assert np.linalg.norm(found - wanted) <= bound * scale
    assert np.linalg.norm(wrong - wanted) > 100 * bound * scale


@pytest.mark.parametrize("A", [TALL, WIDE, TALL + 1j * TALL[::-1], WIDE + 1j * WIDE[:, ::-1]])
@pytest.mark.parametrize("targets", [(), (3,)])
def test_lstsq_stands_in_for_scipys(A, targets):
    from scipy import linalg

    b = RNG.standard_normal((len(A), *targets))
    wanted = linalg.lstsq(A, b)
    found, wrong = (adapters.lstsq(solver, linalg.lstsq)(A, b) for solver in (RIGHT, WRONG_ONE))
    close(found[0], wanted[0], wrong[0], np.linalg.cond(A))
    assert found[2] == wanted[2]
    assert np.allclose(found[1], wanted[1], rtol=1e-9)
    assert found[0].dtype == wanted[0].dtype


@pytest.mark.parametrize("damp", [0.0, 0.7])
@pytest.mark.parametrize("x0", [None, np.arange(4.0)])
def test_lsqr_and_lsmr_stand_in_for_scipys(damp, x0):
    from scipy.sparse import linalg

    b = RNG.standard_normal(12)
    tight = {"atol": 1e-14, "btol": 1e-14, "x0": x0}
    for theirs, ours in ((linalg.lsqr, adapters.lsqr), (linalg.lsmr, adapters.lsmr)):
        wanted = theirs(TALL, b, damp, **tight)
        found, wrong = (ours(solver, theirs)(TALL, b, damp, **tight) for solver in (RIGHT, WRONG_ONE))
        close(found[0], wanted[0], wrong[0], np.linalg.cond(TALL))
        assert len(found) == len(wanted)
    # What lsqr hands back beside the solution: both residuals, ‖A‖ is an estimate of its own, ‖Aᵀr‖ is rounding.
    ours, theirs = adapters.lsqr(RIGHT, None)(TALL, b, damp, **tight), linalg.lsqr(TALL, b, damp, **tight)
    assert np.allclose(ours[3:5], theirs[3:5], rtol=1e-9)
    assert ours[1] == theirs[1] == adapters.STOP["least squares"]


@pytest.mark.parametrize("X", [TALL, WIDE])
def test_ridge_stands_in_for_scikit_learns(X):
    from scipy import sparse
    from sklearn.linear_model import _ridge

    y, alpha = RNG.standard_normal((len(X), 2)), np.array([0.5, 2.0])
    wanted = _ridge._solve_svd(X, y, alpha)
    condition = np.linalg.cond(X.T @ X + 0.5 * np.eye(X.shape[1])) ** 0.5
    for adapt in (adapters.ridge_direct, adapters.ridge_iterative):
        found, wrong = (adapt(solver, None)(X, y, alpha) for solver in (RIGHT, WRONG_ONE))
        close(found, wanted, wrong, condition)
    centre = X.mean(axis=0)
    found, _ = adapters.ridge_lsqr(RIGHT, None)(
        sparse.csr_array(X), y, alpha=alpha, X_offset=centre, X_scale=np.ones(X.shape[1])
    )
    assert np.allclose(found, _ridge._solve_svd(X - centre, y, alpha), rtol=1e-9)
    dual, off = (adapters.ridge_dual(solver, None)(X @ X.T, y, alpha) for solver in (RIGHT, WRONG_ONE))
    close(X.T @ dual, wanted.T, X.T @ off, np.linalg.cond(X @ X.T + 0.5 * np.eye(len(X))))


def test_the_pseudoinverse_solves_for_a_vector_and_stays_a_matrix_otherwise():
    solver, b = adapters.Solver(), RNG.standard_normal(12)
    inverse, _ = adapters.pseudoinverse(solver, lambda x: (np.linalg.pinv(x), None))(TALL)
    found = np.dot(inverse, b)
    close(found, np.linalg.pinv(TALL) @ b, found * (1 + WRONG), np.linalg.cond(TALL))
    assert solver.calls == 1
    assert np.allclose(np.dot(inverse, inverse.T), np.linalg.inv(TALL.T @ TALL))
    np.dot(inverse.T.T, b)
    assert solver.calls == 1


SAMPLES = {
    "SciPy lstsq": ("scipy.linalg.tests.test_basic::TestLstsq::test_simple_overdet",),
    "scikit-learn": ("sklearn.linear_model.tests.test_base::test_linear_regression_sample_weights",),
}


@pytest.mark.parametrize("suite", SAMPLES)
def test_a_suite_passes_with_ours_and_notices_a_wrong_solver(suite):
    if not all(has(test.partition("::")[0]) for test in SAMPLES[suite]):
        pytest.skip("installed without its tests")
    ours, wrong = (runs.outcomes(suite, solver, SAMPLES[suite]) for solver in ("ours", "wrong"))
    assert {kept["outcome"] for kept in ours["tests"].values()} == {"passed"}
    used = {test.partition("[")[0] for test, kept in ours["tests"].items() if kept["calls"]}
    assert used == set(SAMPLES[suite])
    assert "failed" in {kept["outcome"] for kept in wrong["tests"].values()}


def test_tests_that_do_not_run_are_no_success():
    with pytest.raises(RuntimeError, match="did not run"):
        runs.outcomes("SciPy lstsq", "ours", ["scipy.linalg.tests.test_basic::NoSuchTest"])


# ---------------------------------------------------------------------------------------------- the exact answers


def test_exact_answers_are_nists():
    """Certified to 15 digits; those of Wampler are whole numbers or decimals."""
    norris_right = digits.truth(norris()) if has("scipy.stats.tests") else None
    certified = {
        "Norris": (norris_right, [-0.262323073774029, 1.00211681802045]),
        "NoInt1": (digits.truth(noint1()), [2.07438016528926]),
        "NoInt2": (digits.truth(noint2()), [0.727272727272727]),
    }
    if has("statsmodels"):
        longley = [-3482258.63459582, 15.0618722713733, -0.358191792925910e-1, -2.02022980381683]
        longley += [-1.03322686717359, -0.511041056535807e-1, 1829.15146461355]
        certified["Longley"] = digits.truth(PROBLEMS["Longley"]()), longley
    for name, (right, stated) in certified.items():
        if right is not None:
            assert [float(value) for value in right] == pytest.approx(stated, rel=1e-13), name
    for name in ("Wampler1", "Wampler3", "Wampler4", "Wampler5"):
        assert digits.truth(PROBLEMS[name]()) == [Fraction(1)] * 6
    noise = [*WAMPLER, 2048, *WAMPLER[::-1]]
    assert [sum(v * x**k for x, v in enumerate(noise)) for k in range(6)] == [0] * 6


@pytest.mark.parametrize("name", ["a dependent column", "wide, 5 × 9", "weights over 60 decades", "Läuchli"])
def test_exact_answers_are_least_squares_and_closest(name):
    """Xᵀ W (y − Xθ) = 0, and θ − start is Xᵀ u for some u: to the last bit, in rationals."""
    rows = PROBLEMS[name]()
    X, y, start, weights = (rational(part) for part in rows[:4])
    theta = digits.truth(rows)
    left = [w * (b - dot(x, theta)) for x, b, w in zip(X, y, weights, strict=True)]
    assert [dot(column, left) for column in transposed(X)] == [0] * len(theta)
    moved = [a - b for a, b in zip(theta, start, strict=True)]
    ones, zeros = [Fraction(1)] * len(theta), [Fraction(0)] * len(X)
    u = digits.nearest(transposed(X), moved, zeros, ones)
    assert [dot(column, u) for column in transposed(X)] == moved


def test_digits_count_what_is_right():
    right = [Fraction(3), Fraction(-1, 7)]
    floats = np.array([3.0, -1 / 7])
    assert digits.digits(floats, [*right[:1], Fraction(-1 / 7)]) == digits.FULL
    assert digits.digits(floats * [1, 1 + 1e-6], right) == pytest.approx(6, abs=1e-6)
    assert digits.digits(floats * [1, -1], right) == 0
    assert digits.digits(np.array([np.nan, 1.0]), right) == 0
