"""Pulled back to θ* (T25): against the normal equations, its special cases, and its ends."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given

import linear_theory as lt
from linear_theory.testing.tolerances import bound, near
from linear_theory.weights import HardThreshold
from tests.laws import RELATIVE_TEMPERATURES, condition, problems, size, squared
from tests.strategies import log_uniform

RIDGES = log_uniform(1e-3, 1e3)


def normal_equations(problem, ridge, tau, metric):
    """(Σ' + λG)θ = Σ'θ_∞ + λGθ*."""
    weighted = lt.weighted_covariance(problem, tau)
    end = lt.fixed_point(problem, tau)
    both = weighted + ridge * metric
    return np.linalg.solve(both, weighted @ end + ridge * metric @ problem.pretrained)


@given(problems(largest=1.0, pretrain=True), RELATIVE_TEMPERATURES, RIDGES)
def test_it_solves_the_penalised_normal_equations(problem, relative, ridge):
    tau = relative * squared(problem)
    eye, old = np.eye(problem.dim), problem.pretrain_operator.dense()
    loss = bound(1e4 * condition(problem) * np.linalg.cond(old))
    for metric, given_metric in ((eye, None), (eye, eye), (old, old), (np.diag(np.diag(old)),) * 2):
        found = lt.ridge_optimum(problem, ridge, tau, given_metric)
        assert near(found, normal_equations(problem, ridge, tau, metric), loss, size(problem))


@given(problems(largest=1.0, pretrain=True))
def test_with_the_old_covariance_at_one_it_is_the_joint_optimum(problem):
    found = lt.ridge_optimum(problem, 1.0, metric=problem.pretrain_operator.dense())
    assert near(found, lt.joint_optimum(problem), bound(1e3 * condition(problem)), size(problem))


@pytest.mark.parametrize("temperature", [0.2, math.inf, HardThreshold(1.0)])
@pytest.mark.parametrize("metric", [None, np.diag([2.0, 1.0])])
def test_its_ends_are_where_training_ends_and_where_it_starts(temperature, metric):
    problem = lt.paper_problem(0.6, noise_variance=0.3)
    weak, strong = (lt.ridge_optimum(problem, ridge, temperature, metric) for ridge in (1e-13, 1e13))
    assert near(weak, lt.fixed_point(problem, temperature), 1e3, 1.0)
    assert near(strong, problem.pretrained, 1e3, 1.0)


@pytest.mark.parametrize("ridge", [1e-300, 1e-309, 5e-324])
@pytest.mark.parametrize("temperature", [0.2, math.inf])
def test_the_smallest_ridge_moves_nothing_that_no_sample_sees(ridge, temperature):
    problem = lt.FineTuningProblem([1.0, 1.0], np.zeros(2), np.diag([1.0, 0.0]), noise_variance=0.3)
    with np.errstate(all="raise", under="ignore"):
        found = lt.ridge_optimum(problem, ridge, temperature)
    assert near(found, lt.fixed_point(problem, temperature), bound(), 1.0)


def test_on_rows_it_is_solve():
    """A population of two rows, ± each, with weights that differ."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((400_000, 2)) @ np.array([[1.0, 0.3], [0.0, 0.8]])
    problem = lt.FineTuningProblem(np.array([1.0, -0.5]), np.zeros(2), X.T @ X / len(X))
    weights = lt.flow_weights((X @ problem.shift) ** 2, 0.7)
    sampled = lt.solve(X, np.zeros(len(X)), problem.pretrained, weights, 0.2).theta
    assert abs(sampled - lt.ridge_optimum(problem, 0.2, 0.7)).max() < 5e-3
    assert abs(sampled - lt.ridge_optimum(problem, 0.4, 0.7)).max() > 5e-2


def test_every_kind_of_covariance_says_the_same():
    decay, weight = np.linspace(0.01, 1, 50), np.linspace(3, 0.1, 50)
    kinds = (
        (np.diag(decay), np.diag(weight)),
        (lt.covariance.Operator(lambda v: decay * v, 50), lt.covariance.Operator(lambda v: weight * v, 50)),
    )
    for metrics in (False, True):
        matrix, operator = (
            lt.ridge_optimum(
                lt.FineTuningProblem(np.ones(50), np.zeros(50), new), 0.1, 2.0, old if metrics else None
            )
            for new, old in kinds
        )
        assert near(operator, matrix, 1e-9)
    small, large = (
        lt.ridge_optimum(lt.paper_problem(0.6, dim=dim), 0.1, 0.3, lt.covariance.IdentityPlusLowRank(
            np.eye(dim, 2), np.array([[2.0, 0.5], [0.5, 1.0]]), np.array(1.0)))[:2]
        for dim in (2, 10**6)
    )  # fmt: skip
    assert near(large, small, bound(10))


def test_where_the_minimiser_is_not_unique_it_says_so():
    problem = lt.FineTuningProblem([1.0, 1.0], np.zeros(2), np.diag([1.0, 0.0]))
    with pytest.raises(lt.InvalidValueError, match="minimiser is not unique"):
        lt.ridge_optimum(problem, 1.0, metric=np.diag([1.0, 0.0]))
    assert near(lt.ridge_optimum(problem, 1.0), [0.5, 1.0], bound())
