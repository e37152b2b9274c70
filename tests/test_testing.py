"""Whether a derivation is true: right formulas pass, wrong ones are refuted by a problem that one would write down."""

from __future__ import annotations

import inspect
import math

import numpy as np
import pytest
from hypothesis import strategies as st

import linear_theory as lt
from linear_theory import testing

FEW = 12

RIGHT = {
    "weight_mass": lt.weight_mass,
    "weighted_covariance": lt.weighted_covariance,
    "iterate": lambda problem, steps, learning_rate, temperature: lt.iterate(
        problem, steps, learning_rate, temperature
    ),
    "gradient_flow": lt.gradient_flow,
    "fixed_point": lt.fixed_point,
    "stable_learning_rate": lt.stable_learning_rate,
    "population_median_temperature": lt.population_median_temperature,
    "pretrain_error": lt.pretrain_error,
    "target_error": lt.target_error,
    "total_error": lt.total_error,
    "best_average_weight": lt.best_average_weight,
    "joint_optimum": lt.joint_optimum,
    "hard_sample_error": lt.hard_sample_error,
    "sgd_error": lt.sgd_error,
    "stall_parameter": lambda temperature, rho: lt.stall_parameter(temperature, rho),
    "stall_temperature": lambda beta, rho: lt.stall_temperature(beta, rho),
    "stall_spectrum": lambda beta, rho: np.array(lt.stall_spectrum(beta, rho)),
    "closed_form": lambda beta, rho, steps: np.array(lt.closed_form(beta, rho, steps)),
}


@pytest.mark.parametrize("name", testing.QUANTITIES)
def test_the_package_is_right(name):
    agreement = testing.check(RIGHT[name], name, examples=FEW)
    assert agreement, agreement
    assert agreement.undecided <= agreement.compared


@pytest.mark.parametrize("name", testing.QUANTITIES)
def test_a_thousandth_is_noticed_everywhere(name):
    """Also where the answer is a vector or a matrix, of which one entry is off by that share of the largest."""

    def wrong(**given):
        right = np.array(RIGHT[name](**given), dtype=float)
        right.ravel()[0] += 1e-3 * abs(right).max()
        return right[()]

    wrong.__signature__ = inspect.signature(RIGHT[name])
    assert testing.refutes(wrong, name, examples=FEW)


MISTAKES = {
    "a sign": (
        "weighted_covariance",
        lambda problem, temperature: -lt.weighted_covariance(problem, temperature),
    ),
    "μ for μ²": ("weight_mass", lambda problem, temperature: lt.weight_mass(problem, temperature) ** 2),
    "the half left out": (
        "iterate",
        lambda problem, steps, learning_rate: lt.iterate(problem, steps, learning_rate / 2),
    ),
    "a step too many": ("iterate", lambda problem, steps: lt.iterate(problem, steps + 1)),
    "a time without the 2": (
        "gradient_flow",
        lambda problem, time, temperature: lt.gradient_flow(problem, time / 2, temperature),
    ),
    "the target for where training ends": ("fixed_point", lambda problem, temperature: problem.target),
    "Σ̃ for Σ": (
        "pretrain_error",
        lambda problem, theta: lt.target_error(problem, theta - problem.shift),
    ),
    "ω for 1 − ω": ("best_average_weight", lambda problem: 1 - lt.best_average_weight(problem)),
    "a mean for a median": (
        "population_median_temperature",
        lambda problem: lt.population_median_temperature(problem) / 0.454936423119572,
    ),
    "β at the wrong end": ("stall_spectrum", lambda beta, rho: np.array(lt.stall_spectrum(beta, rho))[::-1]),
    "no kick of the noise": (
        "sgd_error",
        lambda problem, steps, learning_rate: lt.target_error(problem, lt.iterate(problem, steps, learning_rate)),
    ),
}  # fmt: skip


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_are_refuted(mistake):
    name, formula = MISTAKES[mistake]
    assert testing.refutes(formula, name, examples=60)


def test_the_counterexample_is_what_one_would_write_down_and_can_be_pasted():
    def forgetful(problem, temperature):
        return (1 + 2 * problem.shift @ problem.target_covariance @ problem.shift / temperature) ** -0.5

    said = repr(testing.check(forgetful, "weight_mass", temperature=testing.temperatures()))
    lines = dict(
        line.strip().split(" = ", 1) for line in said.splitlines() if " = lt." in line or " = 1" in line
    )
    problem = eval(lines["problem"], {"lt": lt})
    assert problem.dim == 2
    entries = [
        *problem.pretrained,
        *problem.target,
        *problem.target_covariance.ravel(),
        problem.noise_variance,
    ]
    assert all(float(v).is_integer() and abs(v) <= 3 for v in entries)
    temperature = float(lines["temperature"])
    assert abs(forgetful(problem, temperature) / lt.weight_mass(problem, temperature) - 1) > 1e-3


def squared(problem):
    return float(problem.shift @ problem.shift)


def test_lost_digits_are_told_from_a_wrong_formula():
    """1 − μ by a difference, where w is nearly 1: the mean weight is right and the deficit has few digits."""
    deficit = testing.Quantity(
        "deficit",
        "1 − μ",
        lambda case, rule: 1 - testing.QUANTITIES["weight_mass"].function(case, rule),
        testing.problems().map(lambda problem: {"problem": problem, "temperature": 1e9 * squared(problem)}),
    )  # fmt: skip
    plain = testing.check(lambda problem, temperature: 1 - lt.weight_mass(problem, temperature), deficit)
    assert not plain
    assert "loses digits" in repr(plain)

    def stable(problem, temperature):
        s2 = problem.shift @ problem.target_covariance @ problem.shift + problem.noise_variance
        return -math.expm1(-math.log1p(2 * s2 / temperature) / 2)

    assert testing.check(stable, deficit)


@pytest.mark.parametrize("formula", [lambda problem, temperature: 1 / 0, lambda problem, temperature: [1.0, 2.0],
                                     lambda problem, temperature: math.nan])  # fmt: skip
def test_what_gives_no_number_is_refuted(formula):
    assert not testing.check(formula, "weight_mass", examples=FEW)


def normal_square(rng, variance):
    return variance * rng.normal(size=100) ** 2


VARIANCES = st.sampled_from([1.0, 4.0]).map(lambda v: {"variance": v})


def test_samples_refuse_what_is_off_beyond_chance():
    sampled = testing.Simulation("E r²", normal_square, VARIANCES)
    right = lambda variance: np.full(100, variance)
    assert testing.check(right, sampled)
    assert testing.refutes(lambda variance: np.full(100, 1.5 * variance), sampled)
    assert testing.refutes(lambda variance: variance, sampled)  # of another shape


def test_a_number_alone():
    problem = lt.paper_problem(0.5)
    assert testing.agree(lt.weight_mass(problem, 2.0), "weight_mass", problem=problem, temperature=2.0).holds
    assert not testing.agree(0.7, "weight_mass", problem=problem, temperature=2.0).holds


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda: testing.check(lt.weight_mass, "mass"), "must be one of weight_mass"),
        (lambda: testing.check(lt.weight_mass, 3), "must be the name of a quantity"),
        (lambda: testing.check(3, "weight_mass"), "must be a function"),
        (lambda: testing.check(lambda problem: 1.0, "weight_mass"), "must take the arguments"),
        (lambda: testing.check(lambda problem, temperature, other: 1.0, "weight_mass"), "must take the arguments"),
        (lambda: testing.check(lt.weight_mass, "weight_mass", steps=testing.steps()), "is no argument of weight_mass"),
        (lambda: testing.agree(1.0, "weight_mass", problem=lt.paper_problem(0.5)), "is missing"),
        (lambda: testing.agree(1.0, "joint_optimum", problem=lt.paper_problem(0.5), rho=1), "is no argument"),
    ],
)  # fmt: skip
def test_misuse_is_one_clear_error(call, match):
    with pytest.raises(lt.LinearTheoryError, match=match):
        call()
