"""The stalled mode of any covariance (T12): against dense linear algebra, the paper's plane, and its own bounds."""

from __future__ import annotations

import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

import linear_theory as lt
from linear_theory.testing.tolerances import EPS, bound, near
from tests.laws import problems
from tests.strategies import RHOS, SEEDS, log_uniform, orthogonal

TEMPERATURES = log_uniform(1e-3, 1e3)


def literal(problem, temperature):
    """Smallest eigenvalue and its vector by numpy's eigh of the weighted second moment, written out from Lemma F.1."""
    S, e = np.asarray(problem.target_covariance), np.asarray(problem.shift)
    v = e @ S @ e
    s2 = v + float(problem.noise_variance)
    M = S - (2 / temperature) * np.outer(S @ e, S @ e) / (1 + 2 * s2 / temperature)
    values, vectors = np.linalg.eigh((M + M.T) / 2)
    return values, vectors


@given(problems(), TEMPERATURES)
def test_it_is_the_smallest_eigenvalue_of_the_weighted_covariance(problem, relative):
    temperature = relative * float(problem.shift_variance)
    values, vectors = literal(problem, temperature)
    found = lt.stall(problem, temperature)
    # Eigenvalues of a difference of matrices are known to rounding of the largest; the vector by the gap.
    rounding = 64 * problem.dim * EPS * max(values[-1], np.linalg.norm(problem.target_covariance, 2))
    assert abs(found.rate - values[0]) <= rounding
    gap = values[1] - values[0] if problem.dim > 1 else math.inf
    assume(gap > 1e6 * rounding)
    assert 1 - abs(vectors[:, 0] @ found.direction) <= (8 * rounding / gap) ** 2 + 64 * EPS
    unit = problem.shift / np.linalg.norm(problem.shift)
    assert found.overlap >= 0
    assert abs(found.overlap - unit @ found.direction) <= bound()
    assert near(found.half_life, math.log(2) / 2 / found.rate, 8 * EPS)


def violates(found, slack=1e-9):
    """Whether a bound does not hold."""
    angle = math.acos(min(1.0, float(found.overlap)))
    outside = not found.lower * (1 - slack) <= found.rate <= found.upper * (1 + slack)
    return outside or math.tan(angle) > found.tangent_bound * (1 + slack) + 1e-7


@given(problems(), log_uniform(1e-9, 1e6))
def test_both_bounds_hold_for_every_covariance(problem, relative):
    assert not violates(lt.stall(problem, relative * float(problem.shift_variance)))


@given(problems(), log_uniform(1e-3, 1e3))
def test_the_bounds_of_the_rate_hold_where_hard_samples_count_more(problem, beyond):
    """exp(loss/τ) adds along the shift what FLOW takes away: nothing stalls, and the slowest is no slower than in Σ̃."""
    residual_variance = float(problem.shift_variance) + float(problem.noise_variance)
    found = lt.stall(problem, lt.weights.KLDRO(2 * residual_variance * (1 + beyond)))
    assert found.lower * (1 - 1e-9) <= found.rate <= found.upper * (1 + 1e-9)
    assert found.lower >= np.linalg.eigvalsh(np.asarray(problem.target_covariance))[0] * (1 - 1e-9)


@given(RHOS, log_uniform(1e-12, 1.0), log_uniform(1e-3, 1e3))
def test_in_the_plane_it_is_lemma_f3(rho, beta, norm):
    tau = lt.stall_temperature(beta, rho, norm)
    found = lt.stall(lt.paper_problem(rho, norm), tau)
    # 1 − λ₁ = β(1 − ρ²)/(1 + β); the temperature carries a rounding of its own.
    assert near(found.rate, beta * (1 - rho) * (1 + rho) / (1 + beta), bound(1e2))
    cosine, sine = lt.stall_direction(beta, rho)
    assert np.allclose(found.direction, (cosine, sine), rtol=0, atol=bound(1e2 / (1 - rho)))


def test_the_bounds_notice_a_wrong_temperature():
    """With τ for T = τ + 2σ² the upper bound is below the rate: noise keeps the stall from deepening."""
    problem, tau = lt.paper_problem(0.6, noise_variance=1.0), 1e-3
    right, wrong = lt.stall(problem, tau), lt.stall(lt.paper_problem(0.6), tau)
    assert not violates(right)
    assert wrong.upper < right.rate


@pytest.mark.parametrize(("noise", "limit"), [(0.25, 0.1732704), (1.0, 0.32)])
def test_noise_keeps_the_rate_away_from_zero(noise, limit):
    """1/λ_max(Σ̃⁻¹ + eeᵀ/σ²), by numpy, and as it stands in the derivation."""
    problem = lt.paper_problem(0.6, noise_variance=noise)
    precision = np.linalg.inv(problem.target_covariance) + np.outer(problem.shift, problem.shift) / noise
    assert near(lt.stall(problem, 1e-14).rate, 1 / np.linalg.eigvalsh(precision)[-1], 1e-10)
    assert abs(1 / np.linalg.eigvalsh(precision)[-1] - limit) < 1e-7


@given(st.integers(2, 40), SEEDS, log_uniform(1e-6, 1e3))
def test_every_kind_of_covariance_says_the_same(dim, seed, relative):
    rng = np.random.default_rng(seed)
    factor = orthogonal(dim, rng)[:, : min(2, dim - 1)]
    core = np.diag(rng.uniform(0.5, 3.0, factor.shape[1]))
    low_rank = lt.covariance.IdentityPlusLowRank(factor, core)
    matrix, e = low_rank.dense(), rng.standard_normal(dim)
    kinds = (matrix, low_rank, lt.covariance.Operator(lambda v: matrix @ v, dim))
    dense, *others = (
        lt.stall(lt.FineTuningProblem(e, np.zeros(dim), kind), relative * float(e @ matrix @ e))
        for kind in kinds
    )
    for other in others:
        for name in ("rate", "half_life", "lower", "upper", "overlap"):
            assert near(getattr(other, name), getattr(dense, name), 1e-10), name
        assert np.allclose(other.direction, dense.direction, rtol=0, atol=1e-6)


def test_a_million_dimensions():
    small, large = (lt.stall(lt.paper_problem(0.6, dim=dim), 1e-9) for dim in (2, 10**6))
    assert near(large.rate, small.rate, bound())
    assert near(large.tangent_bound, small.tangent_bound, bound())


def test_what_no_sample_sees_is_left_out():
    """The part of the shift in the null space of Σ̃ neither stalls nor moves."""
    seen = lt.stall(lt.FineTuningProblem([1.0, 2.0], np.zeros(2), np.diag([1.0, 0.5])), 0.1)
    part = lt.stall(lt.FineTuningProblem([1.0, 2.0, 7.0], np.zeros(3), np.diag([1.0, 0.5, 0.0])), 0.1)
    assert near(part.rate, seen.rate, bound())
    assert near(part.overlap, seen.overlap, bound())
    assert part.direction[2] == 0


NOTHING = lt.FineTuningProblem([1.0, 0.0], np.zeros(2), np.diag([0.0, 1.0]))


def test_nothing_to_stall_is_an_error_and_under_tracing_nan():
    with pytest.raises(lt.InvalidValueError, match="no sample sees"):
        lt.stall(NOTHING, 1.0)
    assert all(np.isnan(leaf).all() for leaf in jax.tree.leaves(jax.jit(partial(lt.stall, NOTHING))(1.0)))


@pytest.mark.parametrize("dim", [2, 5])
def test_derivatives_in_temperature(dim):
    """The first against a quotient of differences of values, the second against one of first derivatives."""

    def value(tau):
        found = lt.stall(lt.paper_problem(0.6, dim=dim, noise_variance=0.1), tau)
        return found.rate, found.half_life, found.overlap

    for order in range(2):
        slope = jax.jit(jax.jacrev(value))
        step = 1e-5
        ahead, behind = (np.array(value(0.5 + h)) for h in (step, -step))
        quotient = (ahead - behind) / (2 * step)
        off = np.abs(np.array(slope(0.5)) - quotient)
        assert np.all(off <= 1e-7 * np.maximum(1, np.abs(quotient))), order
        value = slope


def test_the_bounds_have_no_derivative_and_say_so_by_nan():
    slope = jax.jit(jax.grad(lambda tau: lt.stall(lt.paper_problem(0.6), tau).upper))
    assert np.isnan(slope(jnp.array(0.5)))


EVEN = [math.inf, 1e17, 1e300]


@pytest.mark.parametrize("temperature", EVEN)
@pytest.mark.parametrize("lead", [np.asarray, jnp.asarray], ids=["numpy", "jax"])
def test_where_eigenvalues_repeat_the_direction_is_that_of_the_shift_in_their_space(temperature, lead):
    """Without weights too: Σ̃ = I moves θ along e alone, and diag(1, 1, 5) stalls e's part in the first two."""
    round_ = lt.stall(lt.FineTuningProblem(lead([1.0, 2.0]), np.zeros(2), np.eye(2)), temperature)
    assert near(round_.overlap, 1.0)
    assert np.allclose(round_.direction, np.array([1, 2]) / math.sqrt(5), rtol=0, atol=bound())
    plane = lt.stall(
        lt.FineTuningProblem(lead([1.0, 2.0, 3.0]), np.zeros(3), np.diag([1.0, 1, 5])), temperature
    )
    assert np.allclose(plane.direction, np.array([1, 2, 0]) / math.sqrt(5), rtol=0, atol=bound())


@pytest.mark.parametrize("unit", [1e-250, 1e-160, 1e-30, 1e30, 1e160, 1e250])
def test_units_of_x_do_not_matter(unit):
    matrix, e = np.array([[1.0, 0.3], [0.3, 2.0]]), np.array([1.0, 0.5])
    want = lt.stall(lt.FineTuningProblem(e, np.zeros(2), matrix), 1.0)
    found = lt.stall(lt.FineTuningProblem(e / math.sqrt(unit), np.zeros(2), unit * matrix), 1.0)
    for name in ("rate", "lower", "upper"):
        assert near(getattr(found, name) / unit, getattr(want, name), bound(1e3)), name
    assert near(found.tangent_bound, want.tangent_bound, bound(1e3))


@pytest.mark.parametrize("temperature", [1e-308, 5e-324])
def test_stalls_beyond_the_floats_pass_in_silence(temperature):
    found = lt.stall(lt.paper_problem(0.6), temperature)
    assert near(found.overlap, 1.0)
    assert found.upper < 1e-300


def test_every_scalar_has_a_derivative_where_eigenvalues_repeat():
    problem = lambda tau: lt.stall(
        lt.FineTuningProblem([1.0, 0.5, -0.3], np.zeros(3), np.diag([1.0, 1.0, 2.0]), None, 0.1), tau
    )
    for name in ("rate", "half_life", "overlap"):
        value = lambda tau, name=name: getattr(problem(tau), name)
        quotient = (value(1 + 1e-5) - value(1 - 1e-5)) / 2e-5
        assert abs(jax.jit(jax.grad(value))(1.0) - quotient) <= 1e-8 * max(1, abs(quotient)), name


def test_jax_says_the_same_of_a_low_rank_in_many_dimensions():
    """The bounds, too."""
    problem = lt.paper_problem(0.6, dim=200, noise_variance=0.1)
    want = lt.stall(problem, 0.1)
    found = jax.jit(lambda tau: lt.stall(problem, tau))(0.1)
    for name in ("rate", "direction", "overlap", "half_life", "lower", "upper", "tangent_bound"):
        assert near(getattr(found, name), getattr(want, name), 100), name


@pytest.mark.parametrize("temperature", [*EVEN, 1e8, 1.0])
@pytest.mark.parametrize("lead", [np.asarray, jnp.asarray], ids=["numpy", "jax"])
@given(st.integers(1, 6), SEEDS, log_uniform(1e-3, 1e3))
def test_where_all_directions_are_alike_the_stall_is_along_the_shift(temperature, lead, dim, seed, scale):
    """Σ̃⁻¹ē is along ē at every temperature, also where 0/0 would be the tangent."""
    e = np.random.default_rng(seed).standard_normal(dim)
    found = lt.stall(lt.FineTuningProblem(lead(e), np.zeros(dim), scale * np.eye(dim)), temperature)
    assert found.tangent_bound == 0
