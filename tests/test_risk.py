"""Laws of the errors, of averaging, of the joint optimum and of the hard samples (sections 5, 7 and 8)."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import norm

import linear_theory as lt
from linear_theory.testing.tolerances import near, not_above, within_standard_errors
from tests.agreement import numpy_problem
from tests.laws import (
    NOISELESS,
    RELATIVE_TEMPERATURES,
    condition,
    paper_problems,
    problems,
    remade,
    rotated,
    scaled,
    squared,
)
from tests.strategies import SEEDS, STEPS, log_uniform, orthogonal, random_case

EXAMPLE = numpy_problem(random_case(3, 30.0, noise=0.5, seed=4, pretrain_condition=7.0))
QUIET = remade(EXAMPLE, noise_variance=0.0)
ERRORS = (lt.pretrain_error, lt.target_error, lt.total_error)


def scale(problem):
    """Errors of parameters within ‖e‖ or so of either solution, before anything cancels."""
    sizes = np.linalg.norm(problem.target_covariance) + np.linalg.norm(problem.pretrain_operator.dense())
    length = np.linalg.norm(problem.shift) + 100 * np.finfo(float).eps * np.linalg.norm(problem.target)
    return sizes * length**2


def rounding(problem):
    """θ itself is rounded on the scale of θ*: what that costs in an error of the size of ‖e‖²."""
    return problem.dim * (4 + np.linalg.norm(problem.pretrained) / np.linalg.norm(problem.shift))


def anywhere(problem, seed, count=3):
    rng = np.random.default_rng(seed)
    spread = np.linalg.norm(problem.shift) * rng.standard_normal((count, problem.dim))
    return problem.target + spread


# ---------------------------------------------------------------------------------------------------- errors


@given(problems())
def test_corners(problem):
    """(5), (13), (18): err_tot(θ*) = eᵀΣ̃e, err_tot(θ̃*) = eᵀΣe ≥ ‖e‖² since Σ ⪰ I."""
    e, loss = problem.shift, rounding(problem)
    sigma = problem.pretrain_operator.dense()
    assert lt.pretrain_error(problem, problem.pretrained) == 0
    assert lt.target_error(problem, problem.target) == 0
    want = e @ problem.target_covariance @ e
    assert near(lt.total_error(problem, problem.pretrained), want, loss, scale(problem))
    assert near(lt.total_error(problem, problem.target), e @ sigma @ e, loss, scale(problem))
    assert not_above(squared(problem), lt.total_error(problem, problem.target), loss, scale(problem))


@given(problems(), SEEDS)
def test_errors_are_quadratic_forms_of_stacked_parameters(problem, seed):
    thetas = anywhere(problem, seed, 6).reshape(2, 3, problem.dim)
    for error in ERRORS:
        table = error(problem, thetas)
        assert table.shape == (2, 3)
        assert (table >= 0).all()
        alone = [[error(problem, theta) for theta in row] for row in thetas]
        assert near(table, alone, condition(problem))
    assert near(
        lt.total_error(problem, thetas), lt.pretrain_error(problem, thetas) + lt.target_error(problem, thetas)
    )


@given(problems(), SEEDS, log_uniform(1e-3, 1e3))
def test_errors_do_not_depend_on_basis_and_scale_with_the_square(problem, seed, c):
    basis, thetas = orthogonal(problem.dim, np.random.default_rng(seed)), anywhere(problem, seed)
    turned = rotated(problem, basis)
    for error in ERRORS:
        want = error(problem, thetas)
        size = 10 * scale(problem)
        loss = 10 * rounding(problem) * problem.dim
        assert near(error(turned, thetas @ basis.T), want, loss, size)
        assert near(error(scaled(problem, c), c * thetas), c**2 * want, loss, c**2 * size)


@given(problems(), SEEDS, st.floats(0, 1))
def test_errors_are_convex(problem, seed, share):
    one, other, _ = anywhere(problem, seed)
    for error in ERRORS:
        between = error(problem, share * one + (1 - share) * other)
        chord = share * error(problem, one) + (1 - share) * error(problem, other)
        assert not_above(between, chord, rounding(problem), 10 * scale(problem))


# ------------------------------------------------------------------------------------------------- averaging


def line_law(average, problem, omega):
    """err₁ = (1−ω)²eᵀΣe and err₂ = ω²eᵀΣ̃e at θ_avg(ω)."""
    theta = average(problem, omega)
    a, b = lt.pretrain_error(problem, problem.target), lt.target_error(problem, problem.pretrained)
    size, loss = (1 + abs(omega)) ** 2 * scale(problem), rounding(problem)
    return near(lt.pretrain_error(problem, theta), (1 - omega) ** 2 * a, loss, size) and near(
        lt.target_error(problem, theta), omega**2 * b, loss, size
    )


@given(problems(), st.floats(-2, 2))
def test_errors_along_the_averaging_line(problem, omega):
    assert line_law(lt.model_average, problem, omega)


def test_averaging_line_rejects():
    assert not line_law(lambda p, w: lt.model_average(p, 1 - w), EXAMPLE, 0.3)
    assert not line_law(lambda p, w: lt.model_average(p, w**2), EXAMPLE, 0.3)


def best_average_law(weight, problem):
    """ω = A/(A+B) minimises, with ‖e‖² AB/(A+B); no weight beside it is lower."""
    a, b = lt.pretrain_error(problem, problem.target), lt.target_error(problem, problem.pretrained)
    best = lt.total_error(problem, lt.model_average(problem, weight(problem)))
    return near(best, a * b / (a + b), rounding(problem), scale(problem))


@given(problems(), st.floats(-2, 2))
def test_best_average(problem, omega):
    assert best_average_law(lt.best_average_weight, problem)
    best = lt.total_error(problem, lt.best_model_average(problem))
    other = lt.total_error(problem, lt.model_average(problem, omega))
    assert not_above(best, other, rounding(problem), 9 * scale(problem))


def test_best_average_rejects():
    swapped = lambda p: 1 - lt.best_average_weight(p)
    root = lambda p: lt.best_average_weight(p) ** 0.5
    assert best_average_law(lt.best_average_weight, EXAMPLE)
    assert not best_average_law(swapped, EXAMPLE)
    assert not best_average_law(root, EXAMPLE)


@given(paper_problems())
def test_averaging_beats_both_ends_in_the_papers_case(problem):
    """B = 1 and Σ ⪰ I: err_tot < ‖e‖², half of it at Σ = I."""
    best = lt.total_error(problem, lt.best_model_average(problem))
    assert near(best, squared(problem) / 2, rounding(problem), scale(problem))


def test_averages_of_a_vector_of_weights():
    path = lt.model_average(EXAMPLE, np.array([0.0, 1.0, 0.5]))
    assert path.shape == (3, 3)
    assert near(path[0], EXAMPLE.target)
    assert near(path[1], EXAMPLE.pretrained)


# --------------------------------------------------------------------------------------------- joint optimum


def gradient_vanishes(theta, problem):
    """Σ(θ − θ*) + Σ̃(θ − θ̃*) = 0: the only minimum of a strictly convex function."""
    slope = problem.pretrain_operator.apply(theta - problem.pretrained)
    slope = slope + problem.target_operator.apply(theta - problem.target)
    size = scale(problem) / np.linalg.norm(problem.shift)
    return near(slope, np.zeros(problem.dim), 10 * condition(problem) + rounding(problem), size)


@given(problems(), RELATIVE_TEMPERATURES, STEPS, log_uniform(1e-3, 1e6), st.floats(-1, 2), SEEDS)
def test_nobody_beats_the_joint_optimum(problem, t, steps, time, omega, seed):
    tau, optimum = t * squared(problem), lt.joint_optimum(problem)
    assert gradient_vanishes(optimum, problem)
    best = lt.total_error(problem, optimum)
    for theta in (
        problem.pretrained,
        problem.target,
        lt.iterate(problem, steps, temperature=tau),
        lt.gradient_flow(problem, time, tau),
        lt.model_average(problem, omega),
        *anywhere(problem, seed),
    ):
        assert not_above(best, lt.total_error(problem, theta), rounding(problem), scale(problem))


def test_a_joint_optimum_that_is_none_is_rejected():
    assert gradient_vanishes(lt.joint_optimum(EXAMPLE), EXAMPLE)
    assert not gradient_vanishes(lt.best_model_average(EXAMPLE), EXAMPLE)
    exchanged = EXAMPLE.pretrained + EXAMPLE.target - lt.joint_optimum(EXAMPLE)
    assert not gradient_vanishes(exchanged, EXAMPLE)


def test_gap_closed():
    """1 at the joint optimum, 0 at the best average, NaN where averaging is the joint optimum."""
    assert near(lt.gap_closed(EXAMPLE, lt.joint_optimum(EXAMPLE)), 1.0, 100)
    assert near(lt.gap_closed(EXAMPLE, lt.best_model_average(EXAMPLE)), 0.0, 100, 1.0)
    assert (lt.gap_closed(EXAMPLE, np.stack([EXAMPLE.pretrained, EXAMPLE.target])) < 0).all()
    parallel = remade(EXAMPLE, pretrain_covariance=EXAMPLE.target_covariance)
    assert math.isnan(lt.gap_closed(parallel, EXAMPLE.target))
    assert math.isnan(lt.gap_closed(lt.paper_problem(0.3, 0.0), np.zeros(2)))
    there_and_back = lt.FineTuningProblem(
        EXAMPLE.target, EXAMPLE.pretrained, EXAMPLE.pretrain_covariance, EXAMPLE.target_covariance
    )
    theta = np.array(
        [0.3, -1.2, 0.7]
    )  # neither task is the first, whichever of them the average is nearer to
    assert near(lt.gap_closed(there_and_back, theta), lt.gap_closed(EXAMPLE, theta), 100)


def test_products_alone_tell_that_there_is_no_gap():
    """Where Σ is a multiple of Σ̃, and neither is known but by what it makes of a vector."""
    rng = np.random.default_rng(1)
    root, e, theta = rng.standard_normal((40, 40)), *rng.standard_normal((2, 40))
    matrix = root @ root.T / 40 + np.eye(40)
    as_operator = lambda A: lt.covariance.Operator(lambda v: A @ v, 40)
    for new, old in ((matrix, 3.3 * matrix), (as_operator(matrix), as_operator(3.3 * matrix))):
        assert math.isnan(lt.gap_closed(lt.FineTuningProblem(e, 0 * e, new, old), theta))
    other = lt.FineTuningProblem(
        e, 0 * e, as_operator(matrix), as_operator(matrix + np.diag(np.arange(40.0)))
    )
    assert math.isfinite(lt.gap_closed(other, theta))


def test_low_ranks_that_see_a_span_alone_have_no_joint_optimum():
    """Σ = UUᵀ + s and Σ̃ = s: (1 + s)/(1 + 2s) of the shift in the span of U, half of it outside, and at s = 0 any."""

    def problem(scale):
        of = lambda rank: lt.covariance.IdentityPlusLowRank(np.eye(150, rank), np.eye(rank), scale)
        return lt.FineTuningProblem(np.ones(150), np.zeros(150), of(0), of(2))

    want = np.where(np.arange(150) < 2, 1.5 / 2, 0.5)
    assert near(lt.joint_optimum(problem(0.5)), want, 100)
    with pytest.raises(lt.InvalidValueError, match="joint optimum is not unique"):
        lt.joint_optimum(problem(0.0))


@given(st.floats(0.01, 0.99))
def test_flow_without_correlation_is_model_averaging(mass2):
    """Remark 7.5 at ρ = 0: ω = (1−μ²)^K, exactly on the averaging line."""
    problem = lt.paper_problem(0.0, dim=3)
    tau = 2 * mass2 / (1 - mass2)
    for steps in (0, 1, 5, 100):
        want = lt.model_average(problem, (1 - mass2) ** steps)
        assert near(lt.iterate(problem, steps, temperature=tau), want, 20, 1.0)


def test_nothing_to_learn():
    problem = lt.paper_problem(0.6, 0.0)
    assert lt.best_average_weight(problem) == 1
    assert not lt.best_model_average(problem).any()
    assert not lt.joint_optimum(problem).any()
    for error in ERRORS:
        assert error(problem, np.zeros(2)) == 0
    assert lt.hard_sample_error(problem, np.ones(2), 0.1) == lt.target_error(problem, np.ones(2))


# ---------------------------------------------------------------------------------------------- hard samples

FRACTIONS = st.one_of(st.floats(1e-3, 1.0), log_uniform(1e-290, 1e-3))


@given(problems(), SEEDS)
def test_all_samples_are_the_target_error(problem, seed):
    thetas = anywhere(problem, seed)
    got = lt.hard_sample_error(problem, thetas, 1.0)
    assert near(got, lt.target_error(problem, thetas), condition(problem))


@given(problems(), SEEDS, FRACTIONS, st.floats(0.01, 1))
def test_harder_is_worse_for_every_parameter(problem, seed, q, smaller):
    """m(q) rises as q falls, and enters with a square: err(q) never falls."""
    thetas = anywhere(problem, seed)
    easy, hard = (
        lt.hard_sample_error(problem, thetas, fraction) for fraction in (q, max(q * smaller, 1e-290))
    )
    assert not_above(easy, hard, condition(problem))


@given(paper_problems(dims=st.just(2), noise=NOISELESS), SEEDS, st.floats(1e-3, 1.0))
def test_plane_formula(problem, seed, q):
    """‖e‖²[(a+bρ)²m(q) + b²(1−ρ²)], m(q) = 1 + 2cφ(c)/q."""
    a, b = np.random.default_rng(seed).standard_normal(2)
    norm_e, rho = problem.shift[0], problem.target_covariance[0, 1]
    c = norm.ppf(1 - q / 2)
    m = 1 + 2 * c * norm.pdf(c) / q
    want = norm_e**2 * ((a + b * rho) ** 2 * m + b**2 * (1 - rho**2))
    got = lt.hard_sample_error(problem, norm_e * np.array([a, b]), q)
    assert near(got, want, 20 + 10 / q, norm_e**2 * m * (abs(a) + abs(b)) ** 2)


def simulated(problem, theta, fraction, rows=400_000):
    """Squared errors on the hardest `fraction` of sampled rows, labels with their noise.

    The threshold is the empirical quantile, which moves the mean by less than its standard error.
    """
    rng = np.random.default_rng(5)
    root = np.linalg.cholesky(problem.target_covariance)
    X = rng.standard_normal((rows, problem.dim)) @ root.T
    r = math.sqrt(problem.noise_variance) * rng.standard_normal(rows) - X @ problem.shift
    hardest = np.argsort(-np.abs(r))[: round(fraction * rows)]
    return (X[hardest] @ (theta - problem.target)) ** 2


@pytest.mark.parametrize("problem", [QUIET, EXAMPLE], ids=["no noise", "noise"])
def test_simulation(problem):
    for theta in (problem.pretrained, lt.iterate(problem, 2, temperature=0.5)):
        errors = simulated(problem, theta, 0.1)
        assert within_standard_errors(errors, lt.hard_sample_error(problem, theta, 0.1))
        assert not within_standard_errors(errors, lt.target_error(problem, theta))
        assert not within_standard_errors(errors, lt.hard_sample_error(problem, theta, 0.05))


def test_noise_in_the_ranking_matters():
    errors = simulated(EXAMPLE, EXAMPLE.pretrained, 0.1)
    assert not within_standard_errors(errors, lt.hard_sample_error(QUIET, EXAMPLE.pretrained, 0.1))
