"""Exact iterates, gradient flow and SGD against matrix powers, eigenbases and fourth moments in 60 digits."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest

import linear_theory as lt
from linear_theory.testing.reference import population as ref
from linear_theory.testing.reference import risk, sgd
from linear_theory.testing.reference.population import Rule, flow, paper_case
from linear_theory.testing.tolerances import disagreement, measured_condition, scales
from tests.agreement import (
    GENERAL_CASES,
    RHOS,
    STEPS,
    TIMES,
    assert_agrees,
    assert_rejects,
    few_shapes,
    jax_problem,
    numpy_problem,
    other_rules,
    paper_cases,
    rules,
    under_jit,
    weight_rule,
)
from tests.strategies import random_case

FAMILIES = {
    **{f"paper, ρ = {rho}": tuple(paper_cases(rho, dims=(2, 4))) for rho in RHOS},
    "general, no noise": tuple(case for case in GENERAL_CASES if not case.noise),
    "general, noise": tuple(case for case in GENERAL_CASES if case.noise),
}
FAMILY = pytest.mark.parametrize("cases", FAMILIES.values(), ids=FAMILIES.keys())


def along_path(function, reference, cases, times, make=numpy_problem, others=False):
    """`function(problem, times, temperature)` -> (len(times), d), row by row against the reference."""
    for case in cases:
        given = make(case)
        for rule in (*rules(case), *(other_rules(case) if others else ())):
            path = np.asarray(function(given, times, weight_rule(rule)))
            assert path.shape == (len(times), case.dim)
            for time, got in zip(times, path, strict=True):
                want = reference(case, rule, time)
                derive = lambda case=case, rule=rule, time=time, want=want: measured_condition(
                    reference, case, rule, time, want=want
                )
                yield disagreement(f"{case} {rule} at {time}", got, want, derive, **scales(case))


def one_by_one(p, steps, temperature):
    """Python ints of any size, one call each."""
    return np.stack([lt.iterate(p, k, temperature=temperature) for k in steps])


def all_at_once(p, steps, temperature):
    return lt.iterate(p, np.array(steps), temperature=temperature)


def iterate_at(p, steps, temperature):
    return lt.iterate(p, steps, temperature=temperature)


def flow_at(p, times, temperature):
    return lt.gradient_flow(p, times, temperature=temperature)


def flow_path(p, times, temperature):
    return np.stack([lt.gradient_flow(p, t, temperature=temperature) for t in times])


@FAMILY
@pytest.mark.parametrize("function", [one_by_one, all_at_once])
def test_iterate_numpy(function, cases):
    assert_agrees(along_path(function, ref.iterate, cases, STEPS, others=True))


@FAMILY
def test_iterate_jax_under_jit(cases):
    function = lambda p, steps, t: under_jit(iterate_at)(p, jnp.asarray(steps), t)
    assert_agrees(along_path(function, ref.iterate, few_shapes(cases), STEPS, jax_problem))


def at_rate(function, cases, relative_rates=(0.1, 0.9, 0.99999)):
    """A step of the reader's own, up to where the first direction, entered or not, would diverge."""
    for case in cases:
        for rule in rules(case, (1e-3, 1.0, ref.INF)):
            for share in relative_rates:
                eta = share / float(max(ref.eigenbasis(case, rule)[0]))
                path = function(numpy_problem(case), np.array(STEPS), eta, weight_rule(rule))
                for steps, got in zip(STEPS, path, strict=True):
                    want = ref.iterate(case, rule, steps, eta)
                    derive = lambda case=case, rule=rule, steps=steps, eta=eta, want=want: measured_condition(
                        ref.iterate, case, rule, steps, eta, want=want
                    )
                    yield disagreement(f"{case} {rule} η={eta} K={steps}", got, want, derive, **scales(case))


@FAMILY
def test_iterate_at_any_rate(cases):
    function = lambda p, steps, eta, t: lt.iterate(p, steps, learning_rate=eta, temperature=t)
    assert_agrees(at_rate(function, cases[:3]))


def test_iterate_ignores_directions_it_never_enters():
    """ρ = 0: only ē is entered, whose eigenvalue is the smallest; the step may be far above 1/λ_max of the
    others.
    """
    for case in paper_cases(0.0, dims=(2, 3)):
        for rule in rules(case, (1e-3, 1.0)):
            eta = 0.9 * float(ref.stable_learning_rate(case, rule))
            p, tau = numpy_problem(case), weight_rule(rule)
            assert_agrees(
                disagreement(
                    f"{case} {rule} η={eta:.3g} K={steps}",
                    lt.iterate(p, steps, learning_rate=eta, temperature=tau),
                    ref.iterate(case, rule, steps, eta),
                    lambda inputs=(case, rule, steps, eta): measured_condition(ref.iterate, *inputs),
                    **scales(case),
                )
                for steps in STEPS
            )


@FAMILY
def test_gradient_flow_numpy(cases):
    assert_agrees(along_path(flow_path, ref.gradient_flow, cases, TIMES, others=True))


@FAMILY
def test_gradient_flow_jax_under_jit(cases):
    function = lambda p, times, t: under_jit(flow_at)(p, jnp.asarray(times), t)
    assert_agrees(along_path(function, ref.gradient_flow, few_shapes(cases), TIMES, jax_problem))


# ---------------------------------------------------------------------------------------------------- SGD

SGD_CASES = (
    paper_case(0.6),
    paper_case(0.999, noise=0.01),
    paper_case(0.0, 3.0, noise=1.0),
    random_case(1, seed=21, noise=1.0),
    random_case(2, 100.0, seed=22, noise=10.0),
    random_case(3, 10.0, seed=23),
)
SGD_RATES = (1e-3, 0.05)
SGD_STEPS = (0, 1, 2, 10, 1000)


def compare_sgd(function, cases, make=numpy_problem, relative=(1e-3, 0.45, 10.0, ref.INF), others=False):
    for case in cases:
        given = make(case)
        exponential = [rule for rule in other_rules(case) if rule.kind == "kldro"] if others else []
        for rule in (*rules(case, relative), *exponential):
            for eta in SGD_RATES:
                for steps in SGD_STEPS:
                    want = sgd.sgd_error(case, rule, steps, eta)
                    got = function(given, steps, eta, weight_rule(rule))
                    derive = lambda inputs=(case, rule, steps, eta), want=want: measured_condition(
                        sgd.sgd_error, *inputs, want=want
                    )
                    yield disagreement(f"{case} {rule} η={eta} K={steps}", got, want, derive)


def package_sgd(p, steps, eta, temperature):
    return lt.sgd_error(p, steps, eta, temperature=temperature)


@pytest.mark.parametrize("case", SGD_CASES, ids=str)
def test_sgd_numpy(case):
    assert_agrees(compare_sgd(package_sgd, [case], others=True))


def test_sgd_jax_under_jit():
    """`steps` is a Python int, closed over; problem, step size and temperature are traced."""
    compiled = {
        steps: under_jit(lambda p, eta, t, steps=steps: lt.sgd_error(p, steps, eta, temperature=t))
        for steps in SGD_STEPS
    }
    function = lambda p, steps, eta, t: compiled[steps](p, eta, t)
    assert_agrees(compare_sgd(function, SGD_CASES[:3], jax_problem))


# ------------------------------------------------------------------------------------------------ mutants

PATH_MUTANTS = {
    "gradient of a loss with ½": lambda p, s, t: lt.iterate(
        p, np.array(s), learning_rate=1 / (4 * lt.weight_mass(p, t)), temperature=t
    ),
    "step not divided by the mass": lambda p, s, t: lt.iterate(
        p, np.array(s), learning_rate=0.5, temperature=t
    ),
    "one step too many": lambda p, s, t: lt.iterate(p, np.array(s) + 1, temperature=t),
    "1/τ for 2/τ": lambda p, s, t: lt.iterate(p, np.array(s), temperature=2 * t),
    "unweighted": lambda p, s, t: lt.iterate(p, np.array(s)),
    "from the target": lambda p, s, t: p.pretrained + p.target - lt.iterate(p, np.array(s), temperature=t),
}


@pytest.mark.parametrize("mutant", PATH_MUTANTS.values(), ids=PATH_MUTANTS.keys())
def test_iterate_rejects(mutant):
    for case in (paper_case(0.6), GENERAL_CASES[5]):
        assert_rejects(along_path(mutant, ref.iterate, [case], (1, 2, 10)))


@pytest.mark.parametrize("odd", [1, 3, 101])
def test_iterate_rejects_a_lost_sign(odd):
    """Standard iterates alternate (12): for odd K the error lies along −ē⊥."""
    case = paper_case(0.6)
    want = ref.iterate(case, flow(ref.INF), odd)
    assert_rejects([disagreement("|λ|^K", -lt.iterate(numpy_problem(case), odd), want)])


FLOW_MUTANTS = {
    "exp(−tΣ')": lambda p, s, t: np.stack([lt.gradient_flow(p, k / 2, temperature=t) for k in s]),
    "time in units of the mass": lambda p, s, t: np.stack(
        [lt.gradient_flow(p, k / lt.weight_mass(p, t), temperature=t) for k in s]
    ),
    "towards the target, whatever the noise": lambda p, s, t: (
        np.stack([lt.gradient_flow(p, k, temperature=t) for k in s]) - lt.fixed_point(p, t) + p.target
    ),
}


@pytest.mark.parametrize("mutant", FLOW_MUTANTS.values(), ids=FLOW_MUTANTS.keys())
def test_gradient_flow_rejects(mutant):
    assert_rejects(along_path(mutant, ref.gradient_flow, [GENERAL_CASES[5]], (0.5, 3.0)))


def without_one_pairing(case, rule):
    """Isserlis with tr(MC₂)C₂ forgotten: 2C₂MC₂ alone."""
    whole = sgd.isserlis(case, rule)
    _, h, G = ref.residual_split(case)
    n0, n2, _ = sgd._residual_moments(case, rule)
    C = G + (n2 / n0) * (h * h.T)
    return lambda i, j, k, m: whole(i, j, k, m) - n0 * C[i, j] * C[k, m]


def tilt_of_w_for_w_squared(case, rule):
    """The fourth moment under w in the place of w²."""
    return sgd.isserlis(case, Rule(rule.kind, 2 * rule.value))


SGD_MUTANTS = {
    "error with ½": lambda *a: sgd.sgd_error(*a) / 2,
    "one pairing forgotten": lambda *a: sgd.sgd_error(*a, without_one_pairing),
    "w for w²": lambda *a: sgd.sgd_error(*a, tilt_of_w_for_w_squared),
    "gradient descent": lambda case, rule, k, eta: risk.target_error(case, ref.iterate(case, rule, k, eta)),
}


@pytest.mark.parametrize("mutant", SGD_MUTANTS.values(), ids=SGD_MUTANTS.keys())
def test_sgd_rejects(mutant):
    case = SGD_CASES[4]
    function = lambda p, steps, eta, t: mutant(case, flow(t), steps, eta)
    assert_rejects(compare_sgd(function, [case], relative=(0.45,)))
