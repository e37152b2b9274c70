"""The problem: what it holds, and the paper's special case, eq. (3)."""

from __future__ import annotations

import dataclasses
import re

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import linear_theory as lt
from linear_theory.testing.tolerances import near
from tests.laws import RHOS, paper_problems, problems, squared
from tests.strategies import log_uniform


@given(problems())
def test_shift_and_variances(problem):
    assert np.array_equal(problem.shift, problem.pretrained - problem.target)
    v = problem.shift @ problem.target_covariance @ problem.shift
    assert near(
        problem.shift_variance, v, problem.dim, np.abs(problem.target_covariance).sum() * squared(problem)
    )
    assert problem.residual_variance == problem.shift_variance + problem.noise_variance
    assert problem.dim == len(problem.pretrained)


@given(RHOS, log_uniform(1e-3, 1e3), st.integers(2, 6))
def test_paper_problem(rho, norm, dim):
    """Σ̃ = I + ρ(ē ē⊥ᵀ + ē⊥ ēᵀ): eigenvalues 1 ± ρ and 1, ēᵀΣ̃ē = 1, target 0, ē = axis 0."""
    problem = lt.paper_problem(rho, norm, dim)
    axes = np.eye(dim)
    want = axes + rho * (np.outer(axes[0], axes[1]) + np.outer(axes[1], axes[0]))
    assert np.array_equal(problem.target_covariance, want)
    assert np.array_equal(problem.shift, norm * axes[0])
    assert not problem.target.any()
    assert problem.noise_variance == 0
    assert problem.pretrain_covariance is None
    values = np.linalg.eigvalsh(problem.target_covariance)
    assert near(values, np.sort([1 - rho, *np.ones(dim - 2), 1 + rho]), dim)


@given(paper_problems())
def test_corner_five(problem):
    """err_tot(θ*) = ‖e‖² because ēᵀΣ̃ē = 1."""
    assert near(lt.total_error(problem, problem.pretrained), squared(problem))


def test_one_dimension():
    problem = lt.paper_problem(0.0, 2.0, dim=1)
    assert problem.target_covariance.tolist() == [[1.0]]
    assert problem.shift.tolist() == [2.0]
    assert lt.paper_problem(0.5, dim=np.int64(3)).dim == 3


def test_anything_numeric_becomes_float64():
    problem = lt.FineTuningProblem([1, 0], np.zeros(2, np.float32), [[2, 1], [1, 2]], np.eye(2, dtype=int), 1)
    for leaf in jax.tree.leaves(problem):
        assert isinstance(leaf, np.ndarray | np.float64)
        assert leaf.dtype == np.float64
    assert problem.pretrain_operator.dense().tolist() == np.eye(2).tolist()


def seen_by(problem):
    """What training, its choices and its errors make of it, in numbers that name no direction."""
    flow, stop = lt.best_flow(problem), lt.best_early_stop(problem)
    return [
        lt.sgd_stability_limit(problem, 0.3),
        lt.stable_learning_rate(problem, 0.3),
        *(errors[1] for errors in lt.sgd_errors(problem, [0, 3], 0.02, 0.3)),
        *(stop.time, stop.total_error, flow.total_error),
        *(lt.best_temperature(problem, 5).minima[0], lt.best_temperature(problem, 5, 0.2).errors[0]),
        lt.best_temperature(problem).temperature,
        lt.population_effective_sample_size(problem, 0.3),
        lt.hard_sample_error(problem, lt.iterate(problem, 3), 0.1),
        lt.pretrain_error(problem, lt.ridge_optimum(problem, 0.2, 0.3)),
    ]


@pytest.mark.parametrize("unseen", [1, 2])
def test_directions_that_no_sample_sees_may_be_left_out(unseen):
    """Whatever the shift has there, for nothing moves there; and Σ is that of the directions left."""
    rng = np.random.default_rng(unseen)
    basis, values = np.linalg.qr(rng.standard_normal((4, 4)))[0], rng.uniform(0.2, 1.2, 4)
    values[:unseen], left = 0.0, basis[:, unseen:]
    new, root, e = (basis * values) @ basis.T, rng.standard_normal((4, 4)), rng.standard_normal(4)
    old = root @ root.T / 4 + 0.2 * np.eye(4)
    whole = lt.FineTuningProblem(e, 0 * e, (new + new.T) / 2, old, 0.3)
    small = lt.FineTuningProblem(
        left.T @ e, np.zeros(4 - unseen), np.diag(values[unseen:]), left.T @ old @ left, 0.3
    )
    assert near(seen_by(whole), seen_by(small), 1e4)


@pytest.mark.parametrize(
    ("told", "changes"),
    [
        (1e302, {"target_covariance": [[1e302]]}),
        (1e-302, {"pretrain_covariance": [[1e-302]]}),
        (9e-302, {"pretrained": [3e-151]}),
        (4e302, {"pretrained": [2e151]}),
        (5e302, {"noise_variance": 5e302}),
    ],
)
def test_the_size_that_is_refused_is_told(told, changes):
    with pytest.raises(lt.InvalidValueError, match="digits are lost") as caught:
        lt.FineTuningProblem(
            **({"pretrained": [1.0], "target": [0.0], "target_covariance": [[1.0]]} | changes)
        )
    assert caught.value.argument == next(iter(changes))
    (size,) = re.findall(r"(?:size|=) (\S+), which", caught.value.remedy)
    assert float(size) == pytest.approx(told, rel=1e-2, abs=0)


def test_a_problem_is_frozen_and_a_pytree():
    problem = lt.paper_problem(0.6)
    with pytest.raises(dataclasses.FrozenInstanceError):
        problem.target = problem.pretrained
    leaves, structure = jax.tree.flatten(problem)
    assert len(leaves) == 4  # no pre-training covariance: None is no leaf
    again = jax.tree.unflatten(structure, leaves)
    assert again.pretrained is problem.pretrained
    # Rebuilt from placeholders, which no value check would accept, as jit does.
    assert jax.tree.unflatten(structure, [object()] * 4) is not None
