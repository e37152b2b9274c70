"""FLOW's iterate as an average of standard checkpoints (T17): the identity, its uniqueness, and where it is none."""

from __future__ import annotations

import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import linear_theory as lt
from linear_theory.testing.tolerances import EPS, bound
from linear_theory.weights import KLDRO, HardThreshold
from tests.agreement import numpy_problem
from tests.laws import FINITE_TEMPERATURES, RELATIVE_TEMPERATURES, problems, size, squared
from tests.strategies import random_case

STEPS = st.integers(0, 40)


def standard(problem, steps, rate):
    """Standard fine-tuning's checkpoints (K + 1, d), step by step."""
    path = [problem.pretrained]
    for _ in range(steps):
        gradient = 2 * problem.target_covariance @ (path[-1] - problem.target)
        path.append(path[-1] - rate * gradient)
    return np.stack(path)


def rounding(problem, steps):
    """What adding up so many checkpoints may leave."""
    return bound(8 * (steps + 1) * problem.dim) * size(problem)


@given(problems(largest=1.0), RELATIVE_TEMPERATURES, STEPS, st.floats(0.05, 1.0))
def test_the_iterate_is_the_weighted_mean_of_checkpoints_of_the_same_mean_step(
    problem, relative, steps, share
):
    tau = relative * squared(problem)
    mass = float(lt.weight_mass(problem, tau))
    rate = share / (2 * mass)
    weights = lt.checkpoint_weights(problem, steps, rate, tau)
    assert weights.shape == (steps + 1,)
    assert abs(weights.sum() - 1) <= bound(8 * (steps + 1))
    found = weights @ standard(problem, steps, rate * mass)
    assert abs(found - lt.iterate(problem, steps, rate, tau)).max() <= rounding(problem, steps)
    assert weights.min() >= -bound(8)  # 2ηλ_max(Σ') ≤ 1: a mean proper


@given(problems(largest=1.0, pretrain=True), FINITE_TEMPERATURES, STEPS)
def test_its_error_is_at_most_the_mean_of_theirs(problem, relative, steps):
    tau = relative * squared(problem)
    weights = lt.checkpoint_weights(problem, steps, temperature=tau)
    errors = [float(lt.total_error(problem, theta)) for theta in standard(problem, steps, 0.5)]
    least = float(lt.total_error(problem, lt.iterate(problem, steps, temperature=tau)))
    assert least <= weights @ errors + bound(8 * (steps + 1)) * max(errors)


@pytest.mark.parametrize("rule", [0.3, HardThreshold(0.8), KLDRO(9.0)], ids=str)
@pytest.mark.parametrize("noise", [0.0, 0.4])
def test_no_other_weights_give_it(rule, noise):
    """In more dimensions than steps the checkpoints are independent: a linear system has one solution."""
    problem, steps = numpy_problem(random_case(9, 5.0, noise=noise, seed=4, largest=1.0)), 5
    found = lt.checkpoint_weights(problem, steps, 0.6, rule)
    path = standard(problem, steps, 0.6 * float(lt.weight_mass(problem, rule)))
    system = np.vstack([path.T - problem.target[:, None], np.ones(steps + 1)])
    theta = lt.iterate(problem, steps, 0.6, rule) - problem.target
    want, *_ = np.linalg.lstsq(system, np.append(theta, 1.0), rcond=None)
    assert np.allclose(found, want, rtol=0, atol=1e-16 * np.linalg.cond(system) * 100)
    assert np.linalg.cond(system) < 1e9
    wrong = np.append(found[-2::-1], found[-1])  # the checkpoints in the other order
    assert not np.allclose(wrong, want, atol=1e-3)


def test_checkpoints_of_another_mean_step_do_not_give_it():
    problem, tau = lt.paper_problem(0.6), 0.4
    weights = lt.checkpoint_weights(problem, 5, temperature=tau)
    want = lt.iterate(problem, 5, temperature=tau)
    apart = lambda rate: abs(weights @ standard(problem, 5, rate) - want).max()
    mass = float(lt.weight_mass(problem, tau))
    assert apart(0.5) <= 100 * EPS
    assert apart(0.5 / mass) > 0.1  # FLOW's own learning rate
    assert apart(0.25) > 0.1


def test_weights_and_iterate_have_the_digits_derived_by_hand():
    problem, tau = lt.paper_problem(0.6), lt.stall_temperature(0.5, 0.6)
    weights = lt.checkpoint_weights(problem, 5, temperature=tau)
    want = [0.213576142, 0.059316481, 0.080371290, 0.124803376, 0.261770110, 0.260162602]
    assert np.allclose(weights, want, rtol=0, atol=6e-10)
    assert np.allclose(weights @ standard(problem, 5, 0.5), [0.276435213, -0.082777661], rtol=0, atol=6e-10)


def test_at_a_step_too_long_for_it_a_weight_is_negative():
    """The paper's step 1/(2μ) at β = 1.4 > 1; one step is an average at any length."""
    problem = lt.paper_problem(0.6)
    at = lambda beta, steps: lt.checkpoint_weights(
        problem, steps, temperature=lt.stall_temperature(beta, 0.6)
    )
    assert math.isclose(at(1.4, 5).min(), -0.0489, abs_tol=5e-5)
    assert at(1.4, 1).min() > 0
    assert min(at(1.0, steps).min() for steps in range(1, 30)) > -4 * EPS


def test_hard_samples_up_extrapolates():
    weights = lt.checkpoint_weights(lt.paper_problem(0.6), 6, 0.1, KLDRO(6.0))
    assert weights[-1] > 1
    assert weights.min() < 0
    assert abs(weights.sum() - 1) <= 16 * EPS


def test_standard_fine_tuning_is_its_own_last_checkpoint():
    assert np.array_equal(lt.checkpoint_weights(lt.paper_problem(0.6), 3), [0.0, 0.0, 0.0, 1.0])


def test_the_start_alone_before_the_first_step_and_where_nothing_moves():
    assert np.array_equal(
        lt.checkpoint_weights(lt.paper_problem(0.6, noise_variance=1.0), 0, temperature=1.0), [1.0]
    )
    still = lt.FineTuningProblem([1.0, 0.0], [0.0, 0.0], np.diag([0.0, 1.0]), noise_variance=0.5)
    weights = lt.checkpoint_weights(still, 4, temperature=1.0)
    assert abs(weights.sum() - 1) <= 8 * EPS
    assert np.isfinite(weights).all()


def test_in_a_million_dimensions():
    problem = lt.paper_problem(0.6, dim=10**6)
    small = lt.paper_problem(0.6)
    assert np.allclose(
        lt.checkpoint_weights(problem, 4, temperature=0.4),
        lt.checkpoint_weights(small, 4, temperature=0.4),
        atol=1e-12,
    )


def test_jax_says_the_same_and_has_derivatives():
    problem = lt.paper_problem(0.6, noise_variance=0.3)
    of = partial(lt.checkpoint_weights, problem, 4)
    by = lambda tau: of(temperature=tau)
    found = jax.jit(by)(jnp.asarray(0.7))
    assert np.allclose(found, by(0.7), rtol=0, atol=1e-13)
    slope, step = jax.jacobian(by)(jnp.asarray(0.7)), 1e-6
    assert np.allclose(slope, (by(0.7 + step) - by(0.7 - step)) / (2 * step), atol=1e-8)
    assert abs(slope.sum()) < 1e-13  # the sum stays 1


@pytest.mark.parametrize("steps", [-1, 2.0, [1, 2], True, None, 10**12])
def test_what_is_no_number_of_steps_is_refused(steps):
    with pytest.raises(lt.LinearTheoryError) as caught:
        lt.checkpoint_weights(lt.paper_problem(0.6), steps, temperature=1.0)
    assert caught.value.argument == "steps"
