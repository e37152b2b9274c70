"""Errors, averaging, the joint optimum and hard samples against plain sums, root-finding, a linear solve,
quadrature.
"""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest

import linear_theory as lt
from linear_theory.testing.reference import risk
from linear_theory.testing.reference.population import inner, mp, paper_case
from linear_theory.testing.tolerances import disagreement, measured_condition, quadratic_form_condition
from tests.agreement import (
    GENERAL_CASES,
    RHOS,
    assert_agrees,
    assert_rejects,
    few_shapes,
    jax_problem,
    numpy_problem,
    paper_cases,
    under_jit,
)

PLANE_METRIC = (
    (1.5, 1.3),
    (1.3, 5.0),
)  # a Σ of the table of error-comparison, whose averaging weight is not ½
FAMILIES = {
    **{
        f"paper, ρ = {rho}": (*paper_cases(rho), paper_case(rho, 2.0, pretrain_covariance=PLANE_METRIC))
        for rho in RHOS
    },
    "general": GENERAL_CASES,
}
FAMILY = pytest.mark.parametrize("cases", FAMILIES.values(), ids=FAMILIES.keys())
FRACTIONS = (1e-12, 1e-6, 0.01, 0.1, 0.5, 0.9, 0.999999, 1.0)
OMEGAS = (0.0, 0.25, 0.6180339887498949, 1.0, 1.75, -0.4)
EITHER = pytest.mark.parametrize("make", [numpy_problem, jax_problem])


def parameters(case):
    """A few θ: random, at and beside both optima (where a careless difference cancels)."""
    rng = np.random.default_rng(case.dim)
    start, target = np.array(case.pretrained), np.array(case.target)
    yield rng.standard_normal(case.dim)
    yield target + 1e-9 * rng.standard_normal(case.dim)
    yield start + 1e-9 * rng.standard_normal(case.dim)
    yield start
    yield target


def form_condition(case, theta, both=False):
    """Of the quadratic forms behind the errors."""
    u = mp.matrix(list(map(mp.mpf, theta))) - mp.matrix(case.target)
    v = mp.matrix(list(map(mp.mpf, theta))) - mp.matrix(case.pretrained)
    return max(
        quadratic_form_condition(mp.matrix(case.covariance), u), quadratic_form_condition(case.sigma, v)
    )


def compare_errors(function, reference, cases, make=numpy_problem):
    array = jnp.asarray if make is jax_problem else np.asarray
    for case in cases:
        p = make(case)
        for theta in parameters(case):
            derive = lambda case=case, theta=theta: form_condition(case, theta)
            yield disagreement(f"{case} θ={theta}", function(p, array(theta)), reference(case, theta), derive)


def compare_hard_samples(function, cases, make=numpy_problem):
    array = jnp.asarray if make is jax_problem else np.asarray
    for case in cases:
        p = make(case)
        for theta in list(parameters(case))[:2]:
            for fraction in FRACTIONS:
                want = risk.hard_sample_error(case, theta, fraction)
                derive = lambda case=case, theta=theta: form_condition(case, theta)
                label = f"{case} θ={theta} q={fraction}"
                yield disagreement(label, function(p, array(theta), fraction), want, derive)


def compare_averages(function, cases, make=numpy_problem):
    for case in cases:
        p = make(case)
        for omega in OMEGAS:
            want = risk.average(case, omega)
            derive = lambda case=case, omega=omega: measured_condition(risk.average, case, omega)
            yield disagreement(f"{case} ω={omega}", function(p, omega), want, derive)


def best_average(case):
    return risk.average(case, risk.best_average_weight(case))


def compare_optima(function, reference, cases, make=numpy_problem):
    for case in cases:
        derive = lambda case=case: measured_condition(reference, case)
        yield disagreement(f"{case}", function(make(case)), reference(case), derive)


ERRORS = {
    "pretrain": (lt.pretrain_error, risk.pretrain_error),
    "target": (lt.target_error, risk.target_error),
    "total": (lt.total_error, risk.total_error),
}
OPTIMA = {
    "weight": (lt.best_average_weight, risk.best_average_weight),
    "average": (lt.best_model_average, best_average),
    "joint": (lt.joint_optimum, risk.joint_optimum),
}


def as_given(function, make, cases):
    """The implementation and the cases it is run on: under jit fewer shapes."""
    return (under_jit(function), few_shapes(cases)) if make is jax_problem else (function, cases)


@FAMILY
@EITHER
@pytest.mark.parametrize(("function", "reference"), ERRORS.values(), ids=ERRORS.keys())
def test_errors(function, reference, cases, make):
    function, cases = as_given(function, make, cases)
    assert_agrees(compare_errors(function, reference, cases, make))


@FAMILY
@EITHER
def test_hard_samples(cases, make):
    assert_agrees(compare_hard_samples(*as_given(lt.hard_sample_error, make, cases), make))


@FAMILY
@EITHER
def test_averages(cases, make):
    assert_agrees(compare_averages(*as_given(lt.model_average, make, cases), make))


@FAMILY
@EITHER
@pytest.mark.parametrize(("function", "reference"), OPTIMA.values(), ids=OPTIMA.keys())
def test_optima(function, reference, cases, make):
    function, cases = as_given(function, make, cases)
    assert_agrees(compare_optima(function, reference, cases, make))


# ------------------------------------------------------------------------------------------------ mutants

ERROR_MUTANTS = {
    "err₁ around the target": ("pretrain", lambda p, t: lt.pretrain_error(p, t + p.shift)),
    "err₁ with Σ̃": (
        "pretrain",
        lambda p, t: (t - p.pretrained) @ p.target_covariance @ (t - p.pretrained),
    ),
    "err₂ with the identity": ("target", lambda p, t: ((t - p.target) ** 2).sum()),
    "err₂ with ½": ("target", lambda p, t: lt.target_error(p, t) / 2),
    "err₂ with the noise": ("target", lambda p, t: lt.target_error(p, t) + p.noise_variance),
    "total as a mean": ("total", lambda p, t: lt.total_error(p, t) / 2),
    "total is err₂": ("total", lt.target_error),
}


@pytest.mark.parametrize(("name", "mutant"), ERROR_MUTANTS.values(), ids=ERROR_MUTANTS.keys())
def test_errors_reject(name, mutant):
    assert_rejects(compare_errors(mutant, ERRORS[name][1], [GENERAL_CASES[5]]))


def hard(p, theta, fraction, factor=2.0, two_sided=True, noise=True):
    """err₂ + (m(q) − 1)(uᵀΣ̃e)²/s² through SciPy, with room for mistakes."""
    from scipy.stats import norm

    c = norm.isf(fraction / 2 if two_sided else fraction)
    u, e = theta - p.target, p.shift
    along, variance = u @ p.target_covariance @ e, e @ p.target_covariance @ e
    variance += p.noise_variance if noise else 0.0
    extra = factor * c * norm.pdf(c) / fraction if np.isfinite(c) else 0.0
    return lt.target_error(p, theta) + extra * along**2 / variance


HARD_MUTANTS = {
    "factor 2 lost": {"factor": 1.0},
    "one tail": {"two_sided": False},
    "ranked without the noise": {"noise": False},
}


def test_hard_samples_without_a_mistake_are_accepted():
    assert_agrees(compare_hard_samples(hard, [GENERAL_CASES[5]]))


@pytest.mark.parametrize("mistake", HARD_MUTANTS.values(), ids=HARD_MUTANTS.keys())
def test_hard_samples_reject(mistake):
    assert_rejects(compare_hard_samples(lambda *a: hard(*a, **mistake), [GENERAL_CASES[5]]))


OPTIMUM_MUTANTS = {
    "ω = B/(A+B)": ("weight", lambda p: 1 - lt.best_average_weight(p)),
    "ω with Σ̃ = I": (
        "weight",
        lambda p: lt.best_average_weight(
            lt.FineTuningProblem(p.pretrained, p.target, np.eye(p.dim), p.pretrain_covariance)
        ),
    ),
    "average from the wrong end": ("average", lambda p: lt.model_average(p, 1 - lt.best_average_weight(p))),
    "joint optimum is the best average": ("joint", lt.best_model_average),
    "joint optimum with the tasks swapped": (
        "joint",
        lambda p: p.pretrained + p.target - lt.joint_optimum(p),
    ),
}


@pytest.mark.parametrize(("name", "mutant"), OPTIMUM_MUTANTS.values(), ids=OPTIMUM_MUTANTS.keys())
def test_optima_reject(name, mutant):
    assert_rejects(compare_optima(mutant, OPTIMA[name][1], [GENERAL_CASES[5]]))


def least_total_error(case):
    """The value of (17) with unit vectors inside the fraction, from the reference's own minimum."""
    return risk.total_error(case, best_average(case))


def fraction_17(case, unit=True):
    e = case.shift
    A, B = inner(e, case.sigma * e), inner(e, mp.matrix(case.covariance) * e)
    square = inner(e, e)
    return square * (A / square) * (B / square) / ((A + B) / square) if unit else square * A * B / (A + B)


def test_value_17_needs_unit_vectors():
    case = paper_case(0.6, 2.0, pretrain_covariance=PLANE_METRIC)
    p = numpy_problem(case)
    value = float(lt.total_error(p, lt.best_model_average(p)))
    assert_agrees(
        [
            disagreement("(17)", value, least_total_error(case)),
            disagreement("(17)", value, fraction_17(case)),
        ]
    )
    assert_rejects([disagreement("(17)", value, fraction_17(case, unit=False))])


def test_averaging_rejects_weights_at_the_wrong_end():
    assert_rejects(compare_averages(lambda p, w: lt.model_average(p, 1 - w), [GENERAL_CASES[5]]))
