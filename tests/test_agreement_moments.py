"""Lemma F.1 and what follows from it, against quadrature: E[w], E[w x xᵀ], the fixed point, the stable
step, the median.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import linear_theory as lt
from linear_theory.testing.reference import population as ref
from linear_theory.testing.reference import risk
from linear_theory.testing.reference.population import Rule, mp
from linear_theory.testing.tolerances import disagreement, measured_condition, scales
from tests.agreement import (
    GENERAL_CASES,
    RHOS,
    assert_agrees,
    assert_rejects,
    few_shapes,
    jax_problem,
    numpy_problem,
    other_rules,
    paper_cases,
    problem,
    rules,
    under_jit,
    weight_rule,
)

FAMILIES = {**{f"paper, ρ = {rho}": tuple(paper_cases(rho)) for rho in RHOS}, "general": GENERAL_CASES}
FAMILY = pytest.mark.parametrize("cases", FAMILIES.values(), ids=FAMILIES.keys())


def compare(function, reference, cases, make=numpy_problem, others=False):
    """`function(problem, temperature)` against `reference(case, rule)` on every case and rule."""
    for case in cases:
        given = make(case)
        for rule in (*rules(case), *(other_rules(case) if others else ())):
            want = reference(case, rule)
            yield disagreement(
                f"{case}, {rule}",
                function(given, weight_rule(rule)),
                want,
                lambda case=case, rule=rule, want=want: measured_condition(reference, case, rule, want=want),
                **scales(case),
            )


QUANTITIES = {
    "weight_mass": (lt.weight_mass, ref.mass),
    "weighted_covariance": (lt.weighted_covariance, ref.weighted_covariance),
    "fixed_point": (lt.fixed_point, ref.fixed_point),
    "stable_learning_rate": (lt.stable_learning_rate, ref.stable_learning_rate),
}
QUANTITY = pytest.mark.parametrize(("function", "reference"), QUANTITIES.values(), ids=QUANTITIES.keys())


@FAMILY
@QUANTITY
def test_numpy(function, reference, cases):
    assert_agrees(compare(function, reference, cases, others=True))


@FAMILY
@QUANTITY
def test_jax_under_jit(function, reference, cases):
    assert_agrees(compare(under_jit(function), reference, few_shapes(cases), jax_problem))


@QUANTITY
def test_jax_other_rules(function, reference):
    """The rule closed over, the problem traced."""
    for case in GENERAL_CASES[5:6]:
        for rule in other_rules(case)[1:5:2]:
            compiled = jax.jit(lambda p, rule=rule: function(p, weight_rule(rule)))
            want = reference(case, rule)
            assert_agrees([disagreement(f"{case}, {rule}", compiled(jax_problem(case)), want)])


def test_results_are_of_the_kind_that_went_in():
    case = GENERAL_CASES[2]
    for function, _ in QUANTITIES.values():
        result = function(problem(case), 1.0)
        assert isinstance(result, np.ndarray | np.floating | float)
        assert np.asarray(result).dtype == np.float64
        assert isinstance(function(problem(case, jnp.asarray), 1.0), jax.Array)


def population_median(function, cases, make=numpy_problem):
    for case in cases:
        yield disagreement(f"{case}", function(make(case)), risk.population_median_temperature(case))


@FAMILY
def test_population_median(cases):
    assert_agrees(population_median(lt.population_median_temperature, cases))
    assert_agrees(
        population_median(under_jit(lt.population_median_temperature), few_shapes(cases), jax_problem)
    )


# ------------------------------------------------------------------------------------------------ mutants


def untilted(p, temperature):
    """μΣ̃: the weights shrink the step and do nothing else."""
    return lt.weight_mass(p, temperature) * p.target_covariance


def noiseless(function):
    """Forgets σ² in s²."""
    return lambda p, t: function(lt.FineTuningProblem(p.pretrained, p.target, p.target_covariance), t)


MUTANTS = {
    "mass squared": ("weight_mass", lambda p, t: lt.weight_mass(p, t) ** 2),
    "mass with 1/τ": ("weight_mass", lambda p, t: lt.weight_mass(p, 2 * t)),
    "mass without noise": ("weight_mass", noiseless(lt.weight_mass)),
    "covariance with 1/τ": ("weighted_covariance", lambda p, t: lt.weighted_covariance(p, 2 * t)),
    "covariance normalised": (
        "weighted_covariance",
        lambda p, t: lt.weighted_covariance(p, t) / lt.weight_mass(p, t),
    ),
    "covariance untilted": ("weighted_covariance", untilted),
    "covariance without noise": ("weighted_covariance", noiseless(lt.weighted_covariance)),
    "fixed point with 1/τ": ("fixed_point", lambda p, t: lt.fixed_point(p, 2 * t)),
    "fixed point is the target": ("fixed_point", lambda p, t: p.target),
    "fixed point mirrored": ("fixed_point", lambda p, t: p.pretrained + p.target - lt.fixed_point(p, t)),
    "stable step for a loss with ½": ("stable_learning_rate", lambda p, t: 2 * lt.stable_learning_rate(p, t)),
    "stable step of standard fine-tuning": ("stable_learning_rate", lambda p, t: lt.stable_learning_rate(p)),
}


@pytest.mark.parametrize(("name", "mutant"), MUTANTS.values(), ids=MUTANTS.keys())
def test_rejects(name, mutant):
    """The comparison is seen to fail on a wrong formula: on the paper's plane and, by itself, on a general
    problem.
    """
    reference = QUANTITIES[name][1]
    assert_rejects(compare(mutant, reference, tuple(paper_cases(0.6))))
    assert_rejects(compare(mutant, reference, GENERAL_CASES[5:6]))


@pytest.mark.parametrize("factor", [2.0, 0.4549 / 0.454936423119572], ids=["twice", "four digits"])
def test_rejects_median(factor):
    assert_rejects(
        population_median(lambda p: factor * lt.population_median_temperature(p), GENERAL_CASES[:1])
    )


def test_rejects_a_rule_for_another():
    """KL-DRO is not FLOW, a threshold on the loss is no threshold on the residual."""
    case = GENERAL_CASES[5]
    kldro, threshold = Rule("kldro", 40.0), Rule("hard", 0.5)
    p = problem(case)
    for rule, wrong in [(kldro, 40.0), (threshold, lt.weights.HardThreshold(0.25))]:
        want = ref.weighted_covariance(case, rule)
        assert isinstance(want, mp.matrix)
        assert_rejects([disagreement(f"{rule}", lt.weighted_covariance(p, wrong), want)])
