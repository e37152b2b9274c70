"""Whether a derivation is true: right formulas pass, wrong ones are refuted by a problem that one would write down."""

from __future__ import annotations

import dataclasses
import inspect
import math

import numpy as np
import pytest
from hypothesis import Phase, find, given, settings
from hypothesis import strategies as st
from scipy import stats

import linear_theory as lt
from benchmarks import agreement
from linear_theory import testing
from linear_theory.testing.spectra import random_covariance, random_problem, random_rows
from linear_theory.weights import HardThreshold

FEW = 12

SLOW = 2

EACH = pytest.mark.parametrize(
    "law", agreement.LAWS, ids=[f"{law.function} by {law.quantity.name}" for law in agreement.LAWS]
)


@EACH
def test_the_package_is_right(law):
    found = law.check(SLOW if law.slow else FEW)
    assert found, found
    assert found.undecided <= found.compared


@EACH
def test_a_thousandth_is_noticed_everywhere(law):
    """Also where the answer is a vector or a matrix, of which one entry is off by that share of the largest."""

    def wrong(**given):
        right = np.array(law.formula(**given), dtype=float)
        right.ravel()[0] += 1e-3 * abs(right).max()
        return right[()]

    wrong.__signature__ = inspect.signature(law.formula)
    assert testing.refutes(wrong, law.against, examples=SLOW if law.slow else FEW, **law.arguments)


def test_every_quantity_is_asked_of_some_function():
    assert {law.quantity.name for law in agreement.LAWS} >= set(testing.QUANTITIES)


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
    "the weights of KL-DRO": ("flow_weights", lambda losses, temperature: np.exp(losses / temperature)),
    "a half of the ridge": (
        "ridge_optimum",
        lambda problem, ridge, temperature: lt.ridge_optimum(problem, ridge / 2, temperature),
    ),
    "closest to zero, not to θ*": (
        "solve",
        lambda X, y, start, weights: lt.solve(X, y, 0 * start, weights).theta,
    ),
    "weights for their roots": (
        "solve",
        lambda X, y, start, weights: lt.solve(X, y, start, weights**2).theta,
    ),
    "the ridge on the sum": (
        "solve",
        lambda X, y, start, weights, ridge: lt.solve(X, y, start, weights, ridge / len(y)).theta,
    ),
    "gradient of a loss with ½": (
        "descend",
        lambda X, y, start, steps, learning_rate, weights: lt.descend(
            X, y, start, weights, solver=lt.descent.GradientDescent(learning_rate / 2), steps=steps
        ).theta[-1],
    ),
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


@pytest.mark.parametrize("options", [{}, {"rank_deficient": True}, {"units": True}, {"weightless": True}])
def test_least_squares_on_rows_of_every_kind(options):
    """Normal equations in floats are right to κ²ε, as little as that is; the shortest θ is not the closest."""
    given = testing.rows(**options)
    quantity = dataclasses.replace(testing.QUANTITIES["solve"], arguments=given)
    right = lambda X, y, start, weights: lt.solve(X, y, start, weights).theta
    found = testing.check(right, quantity, examples=40)
    assert found, found
    assert found.compared > 20
    assert testing.refutes(lambda X, y, start, weights: right(X, y, 0 * start, weights), quantity)
    assert testing.refutes(lambda X, y, start, weights: right(X, y, start, None), quantity)


QUICK = settings(max_examples=4000, database=None, deadline=None, derandomize=True, phases=(Phase.generate,))

KINDS = {
    "two repeated eigenvalues": lambda p: _distinct(p.target_covariance) == p.dim - 1 > 1,
    "a shift along an eigenvector that is not the identity's": lambda p: (
        _is_eigenvector(p) and _distinct(p.target_covariance) > 1
    ),
    "a shift across every eigenvector": lambda p: p.dim > 2 and _coordinates(p).min() > 1e-3,
    "condition 1e4": lambda p: np.linalg.cond(p.target_covariance) > 1e4,
    "a unit of 1e-3": lambda p: 0 < abs(p.shift).max() < 0.01,
    "much noise": lambda p: p.noise_variance > 5 * squared(p),
}


def _distinct(matrix):
    values = np.linalg.eigvalsh(matrix)
    return 1 + int((np.diff(values) > 1e-9 * values[-1]).sum())


def _coordinates(problem):
    _, vectors = np.linalg.eigh(problem.target_covariance)
    return abs(vectors.T @ problem.shift) / np.linalg.norm(problem.shift)


def _is_eigenvector(problem):
    image = problem.target_covariance @ problem.shift
    return np.linalg.norm(image - problem.shift * (image @ problem.shift) / squared(problem)) < 1e-12


@pytest.mark.parametrize("kind", KINDS)
def test_problems_of_every_kind_are_drawn(kind):
    assert KINDS[kind](find(testing.problems(), KINDS[kind], settings=QUICK))


def test_singular_problems_are_drawn():
    lost = lambda p: np.linalg.matrix_rank(p.target_covariance) < p.dim
    assert lost(find(testing.problems(singular=True), lost, settings=QUICK))


@pytest.mark.parametrize(("options", "wanted"), [
    ({}, lambda rows: rows["X"].shape[0] > 2 * rows["X"].shape[1]),
    ({}, lambda rows: rows["X"].shape[0] < rows["X"].shape[1]),
    ({"ratio": st.just(3.0)}, lambda rows: rows["X"].shape[0] == 3 * rows["X"].shape[1]),
    ({"rank_deficient": True}, lambda rows: 0 < np.linalg.matrix_rank(rows["X"]) < min(rows["X"].shape)),
    ({"units": True}, lambda rows: abs(rows["X"]).max(axis=0).max() > 1e4 * abs(rows["X"]).max(axis=0).min()),
    ({"weightless": True}, lambda rows: 0 < (rows["weights"] == 0).sum() < len(rows["weights"])),
])  # fmt: skip
def test_rows_of_every_kind_are_drawn(options, wanted):
    assert wanted(find(testing.rows(**options), wanted, settings=QUICK))


DRAWN = {
    "temperatures": (testing.temperatures(1e6), 1e3, 1e10),
    "thresholds on r, not on r²": (
        testing.rules(1e6).filter(lambda rule: isinstance(rule, HardThreshold)),
        1e2,
        1e4,
    ),
    "learning rates": (testing.learning_rates(1e-6), 1e-8, 1e-6),
    "times": (testing.times(1e6), 1e4, 1e8),
    "noises": (testing.noise_variances(), 1e-3, 10.0),
    "steps": (testing.steps(), 0, 1e9),
}


@pytest.mark.parametrize(("strategy", "lowest", "highest"), DRAWN.values(), ids=DRAWN)
def test_what_is_drawn_lies_between_its_bounds_and_comes_near_to_both(strategy, lowest, highest):
    sizes = []

    @settings(max_examples=200, database=None, deadline=None, derandomize=True, phases=(Phase.generate,))
    @given(strategy)
    def draw(value):
        sizes.append(value.cutoff if isinstance(value, HardThreshold) else value)

    draw()
    inside = np.array([size for size in map(float, sizes) if 0 < size < math.inf])
    assert lowest * (1 - 1e-12) <= inside.min() <= 10 * (lowest or 1)
    assert highest / 10 <= inside.max() <= highest * (1 + 1e-12)


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


def test_what_was_compared_nowhere_is_neither_right_nor_refuted():
    known = testing.QUANTITIES["weight_mass"]
    without_digits = dataclasses.replace(known, measure=lambda *inputs, want: (abs(want), 1e30))
    wrong = lambda problem, temperature: 2 * lt.weight_mass(problem, temperature)
    found = testing.check(wrong, without_digits, examples=FEW)
    assert not found
    assert "not compared" in repr(found)
    assert not testing.refutes(wrong, without_digits, examples=FEW)


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


def test_a_right_formula_is_refused_by_chance_once_in_ten_thousand_runs():
    """Of a run of 10 problems with 100 entries each, off to either side."""
    sampled = testing.Simulation("E r²", normal_square, VARIANCES)
    refused = testing.check(lambda variance: np.full(100, 1.5 * variance), sampled).counterexample
    assert refused is not None
    assert np.isclose(1000 * 2 * stats.t.sf(refused.bound, sampled.repetitions - 1), 1e-4, rtol=1e-6)


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


@pytest.mark.parametrize("norm", [0.1, 10.0])
def test_noise_is_drawn_in_units_of_the_shift(norm):
    problem = random_problem(3, noise=0.5, shift_norm=norm)
    assert np.isclose(np.linalg.norm(problem.shift), norm, rtol=1e-12)
    assert np.isclose(problem.noise_variance, 0.5 * norm**2, rtol=1e-12)


@pytest.mark.parametrize("norm", [0.1, 10.0])
def test_noise_is_drawn_in_units_of_the_square_of_the_shift(norm):
    half = testing.paper_problems(noise=st.just(0.5), norms=st.just(norm))
    problem = find(half, lambda problem: True, settings=QUICK)
    assert np.isclose(problem.noise_variance, 0.5 * norm**2, rtol=1e-12)


@given(testing.problems())
def test_in_any_units_noise_is_none_or_up_to_ten_times_the_square_of_the_shift(problem):
    level = problem.noise_variance / squared(problem)
    assert level == 0 or 1e-3 * (1 - 1e-9) <= level <= 10 * (1 + 1e-9)


def test_an_agreement_tells_the_largest_gap_of_its_bound_and_in_units_of_rounding():
    """Of x³, whose κ is 3, at 1 and at 2: a formula that is off by 3 and by 6 parts in 10¹³."""
    cube = testing.Quantity("cube", "x³", lambda x: x**3, st.sampled_from([1.0, 2.0]).map(lambda x: {"x": x}))
    found = testing.check(lambda x: x**3 * (1 + 3e-13 * x), cube, examples=20, in_epsilon=True)
    assert (found.compared, found.undecided) == (2, 0)
    assert np.isclose(found.sharpest, 0.6, rtol=1e-3)
    assert np.isclose(found.largest, 6e-13 / 3 * 2.0**52, rtol=1e-3)


@pytest.mark.parametrize("seed", range(3))
def test_what_is_made_by_its_spectrum_has_it(seed):
    near = lambda found, want: np.allclose(found, want, rtol=1e-10)
    assert near(np.linalg.eigvalsh(random_covariance(5, 100.0, 3.0, seed)), np.geomspace(0.03, 3, 5))
    problem = random_problem(4, 50.0, seed=seed, largest=0.7, pretrain_condition=20.0)
    assert near(np.linalg.eigvalsh(problem.target_covariance), np.geomspace(0.7 / 50, 0.7, 4))
    assert near(np.linalg.eigvalsh(problem.pretrain_covariance), 1 + np.geomspace(0.019, 19, 4))
    for rows, columns in ((9, 4), (4, 9)):
        made = [random_rows(rows, columns, 4, 100.0, seed, noise=noise) for noise in (0.0, 0.5, 1.0)]
        assert near(np.linalg.svd(made[0]["X"])[1], np.geomspace(1, 0.01, 4))
        assert np.allclose(2 * (made[1]["y"] - made[0]["y"]), made[2]["y"] - made[0]["y"], atol=1e-13)
        assert np.linalg.matrix_rank(random_rows(rows, columns, 2, seed=seed)["X"]) == 2
