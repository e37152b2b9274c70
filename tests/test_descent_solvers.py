"""The solver objects: defaults that are optimal, conjugate gradients in the Krylov space, SGD in law."""

from __future__ import annotations

import math

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse.linalg import lsqr

import linear_theory as lt
from linear_theory.descent import ConjugateGradient, GradientDescent, HeavyBall, Nesterov, StochasticGradient
from linear_theory.testing.tolerances import EPS, near, within_standard_errors
from tests.descents import StepByStep, curvatures, descend
from tests.strategies import SEEDS, Data, data, log_uniform, random_data
from tests.test_least_squares import closest_minimiser, extent, loss, weights_of

EXAMPLE = random_data(9, 3, 3, condition=3.0, seed=1, weights=True)

# --------------------------------------------------------------------------------------- step and momentum


def problem_of(condition):
    """∇²L = diag(1, 1/condition): n = 2 rows, (2/n)XᵀX = XᵀX."""
    return Data(np.diag([1.0, condition**-0.5]), np.ones(2), np.zeros(2))


def rate_of(eta, momentum, ahead, condition):
    """The spectral radius of a step over the curvatures 1/condition … 1, from the eigenvalues of its matrices."""
    worst = 0.0
    for x in (eta, eta / condition):
        carry = momentum * (1 - x) if ahead else momentum
        worst = max(worst, *abs(np.linalg.eigvals([[1 - x, carry], [-x, carry]])))
    return worst


def chosen_constants(solver, condition):
    from linear_theory.descent import Objective
    from linear_theory.least_squares.rows import checked_sample

    p = problem_of(condition)
    eta, momentum, ahead = solver.constants(Objective(*checked_sample(p.X, p.y, p.start, None)))
    assert ahead in (0.0, momentum)
    return float(eta), float(momentum)


@pytest.mark.parametrize("condition", [1.5, 10.0, 1e4])
@pytest.mark.parametrize(("kind", "ahead"), [(HeavyBall, False), (Nesterov, True)])
def test_the_defaults_are_the_fastest(kind, ahead, condition):
    """No step size and momentum nearby is faster. Eigenvalues at a double root are known to √ε only."""
    eta, momentum = chosen_constants(kind(), condition)
    best = rate_of(eta, momentum, ahead, condition)
    root = condition**0.5
    wanted = (root - 1) / (root + 1) if not ahead else 1 - 2 / math.sqrt(3 * condition + 1)
    assert abs(best - wanted) < 1e-7
    for share in (0.9, 0.97, 0.99, 1.0, 1.01, 1.03, 1.1):
        for turn in (0.9, 0.97, 0.99, 1.0, 1.01, 1.03, 1.1):
            other = 1 - (1 - momentum) * turn
            if 0 <= other < 1 and (share, turn) != (1.0, 1.0):
                assert rate_of(share * eta, other, ahead, condition) >= best - 1e-7


@pytest.mark.parametrize(("kind", "ahead"), [(HeavyBall, False), (Nesterov, True)])
@given(condition=log_uniform(1.0, 1e4), share=st.floats(0.05, 1.0))
def test_what_is_left_out_is_chosen_for_what_is_given(kind, ahead, condition, share):
    eta, momentum = chosen_constants(kind(), condition)
    # Each formula alone leads back to the joint optimum.
    assert near(chosen_constants(kind(learning_rate=eta), condition)[1], momentum, 1e5, 1.0)
    assert near(chosen_constants(kind(momentum=momentum), condition)[0], eta, 1e5, 1.0)
    # And for another step size no other momentum is faster.
    given_rate = share * eta
    fitted = chosen_constants(kind(learning_rate=given_rate), condition)[1]
    best = rate_of(given_rate, fitted, ahead, condition)
    assert best < 1
    for other in np.linspace(0, 0.999, 40):
        assert rate_of(given_rate, other, ahead, condition) >= best - 1e-7


@given(data(full_rank=True), st.floats(0.0, 0.99))
def test_a_momentum_alone_gets_a_step_that_converges(problem, momentum):
    for kind in (HeavyBall, Nesterov):
        path = descend(problem, kind(momentum=momentum), [0, 10**15])
        assert path.status == "stationary"


def test_momentum_pays():
    """κ = 1e4 of ∇²L: 1/√κ in place of 1/κ."""
    problem = random_data(40, 6, 6, condition=100.0, seed=3)
    left = lambda solver: float(descend(problem, solver, [600]).distance[-1])
    assert left(HeavyBall()) < 0.1 * left(Nesterov()) < 0.1 * 0.1 * left(GradientDescent())


# --------------------------------------------------------------------------------------- conjugate gradients


@pytest.mark.parametrize("shape", [(30, 8, 8), (6, 15, 6), (1, 4, 1)])
@pytest.mark.parametrize("weighted", [False, True])
def test_conjugate_gradients_are_lsqr(shape, weighted):
    """In exact arithmetic CGLS and SciPy's lsqr (Golub-Kahan) have the same iterates; they share no formula."""
    problem = random_data(*shape, condition=5.0, seed=6, weights=weighted)
    root = np.sqrt(weights_of(problem))
    A, b = root[:, None] * problem.X, root * (problem.y - problem.X @ problem.start)
    path = descend(problem, ConjugateGradient(), 5)
    unweighted = lt.descend(problem.X, problem.y, problem.start, None, ConjugateGradient(), 5)
    for k in range(1, 6):
        want = problem.start + lsqr(A, b, atol=0, btol=0, conlim=0, iter_lim=k)[0]
        assert near(path.theta[k], want, 10 * loss(problem, 0), extent(problem))
        if weighted and len(problem.y) > len(problem.start):
            assert not near(unweighted.theta[k], want, 10 * loss(problem, 0), extent(problem))


@given(data())
def test_conjugate_gradients_end_at_the_closest_minimiser(problem):
    """After rank steps but for rounding, which costs a few more; and they stay there."""
    path = descend(problem, ConjugateGradient(), [60, 61, 200])
    assert near(path.theta[2], path.theta[0], 10 * loss(problem, 0), extent(problem))
    assert closest_minimiser(path.theta[0], problem)
    assert path.status == "stationary"


def test_conjugate_gradients_never_form_the_square():
    """A wide X whose d × d matrix would be 80 GB."""
    rng = np.random.default_rng(7)
    X, theta = rng.standard_normal((20, 100_000)), np.ones(100_000)
    path = lt.descend(X, X @ theta, np.zeros(100_000), None, ConjugateGradient(tolerance=1e-8), [5, 20, 40])
    assert path.status == "converged"
    assert near(X @ path.theta[-1], X @ theta, 1e5)


# ----------------------------------------------------------------------------------------------------- SGD


def moments(problem, eta, batch, steps):
    """E δ and E ‖δ‖² after K steps, exactly: the mean over all rows, or over both rows of a pair, of one step."""
    n, d = problem.X.shape
    r = problem.y - problem.X @ problem.start
    w = weights_of(problem)
    first, second = np.zeros(d), np.zeros((d, d))
    hessians = [2 * w[i] * np.outer(problem.X[i], problem.X[i]) for i in range(n)]
    pulls = [2 * w[i] * r[i] * problem.X[i] for i in range(n)]
    H, h = sum(hessians) / n, sum(pulls) / n
    for _ in range(steps):
        # Ĝ = Ĥδ − ĥ of a batch: E ĜĜᵀ = (1 − 1/b) ḠḠᵀ + (1/b) mean over rows, δ averaged.
        moved = lambda A, a, m=first, M=second: A @ M @ A.T - A @ np.outer(m, a) - np.outer(a, m) @ A.T
        square = lambda A, a, moved=moved: moved(A, a) + np.outer(a, a)
        rows = sum(square(A, a) for A, a in zip(hessians, pulls, strict=True)) / n
        noise = (1 - 1 / batch) * square(H, h) + rows / batch
        cross = H @ second - np.outer(h, first)
        first, second = first - eta * (H @ first - h), second - eta * (cross + cross.T) + eta**2 * noise
    return first, np.trace(second)


SEEDS_USED = 4000


def sampled(problem, eta, batch, steps, array=np.asarray, seeds=SEEDS_USED):
    runs = [
        descend(problem, StochasticGradient(batch, seed=seed, learning_rate=eta), [steps], array).theta[-1]
        - problem.start
        for seed in range(seeds)
    ]
    return np.array(runs)


@pytest.mark.parametrize("batch", [1, 3])
def test_stochastic_gradient_in_law(batch):
    """Mean and second moment of θ_K over seeds, against the exact recursion over all batches."""
    eta, steps = 0.15, 4
    runs = sampled(EXAMPLE, eta, batch, steps)
    first, second = moments(EXAMPLE, eta, batch, steps)
    assert within_standard_errors(runs, first)
    assert within_standard_errors((runs**2).sum(axis=1), second)
    # The same samples tell apart a loss with ½, rows without their weights, and another batch size.
    assert not within_standard_errors(runs, moments(EXAMPLE, eta / 2, batch, steps)[0])
    unweighted = Data(EXAMPLE.X, EXAMPLE.y, EXAMPLE.start)
    assert not within_standard_errors(runs, moments(unweighted, eta, batch, steps)[0])
    assert not within_standard_errors((runs**2).sum(axis=1), moments(EXAMPLE, eta, batch + 1, steps)[1])


def test_stochastic_gradient_in_jax_in_law():
    import jax

    rows = tuple(map(jnp.asarray, (EXAMPLE.X, EXAMPLE.y, EXAMPLE.start, EXAMPLE.weights)))
    solver = StochasticGradient(2, seed=5, learning_rate=0.15)
    draw = lambda shift: lt.descend(rows[0], rows[1] + shift, *rows[2:], solver, [4]).theta[-1]
    # One compiled run a seed would be dear: many independent batches come from one long path instead.
    path = jax.jit(
        lambda: lt.descend(*rows, StochasticGradient(2, seed=5, learning_rate=1e-9), 20_000).theta
    )()
    moves = (
        path[1:] - path[:-1]
    ) / 1e-9  # −∇̂L at the start, nearly: the step has moved 1e-9 · 20 000 by then
    A = EXAMPLE.weights[:, None] * EXAMPLE.X
    mean = 2 / 9 * A.T @ (EXAMPLE.y - EXAMPLE.X @ EXAMPLE.start)
    assert within_standard_errors(np.asarray(moves), mean)
    assert not within_standard_errors(np.asarray(moves), 1.2 * mean)
    assert near(draw(0.0), draw(0.0))


def test_the_seed_is_the_path():
    run = lambda seed: descend(EXAMPLE, StochasticGradient(2, seed=seed), 30).theta
    assert np.array_equal(run(1), run(1))
    assert not np.array_equal(run(1), run(2))


@given(SEEDS, st.integers(1, 20))
def test_the_default_step_of_sgd_is_safe_in_mean_square(seed, batch):
    """Rows that can all be met: E‖δ − δ_∞‖² of the default step never grows, and at 1.001 of twice it some may."""
    problem = random_data(8, 3, 3, condition=5.0, seed=seed, weights=True, noise=0.0)
    w, n = weights_of(problem), 8
    rows = [2 * w[i] * np.outer(problem.X[i], problem.X[i]) for i in range(n)]
    H = sum(rows) / n
    squares = (1 - 1 / batch) * H @ H + sum(A @ A for A in rows) / n / batch
    path = descend(problem, StochasticGradient(batch, seed=0), [1])
    theta = (
        descend(problem, StochasticGradient(batch, seed=0, learning_rate=1.0), [1]).theta[-1] - problem.start
    )
    eta = float((path.theta[-1] - problem.start) @ theta / (theta @ theta))
    grown = lambda eta: np.linalg.eigvalsh(np.eye(3) - 2 * eta * H + eta**2 * squares)[-1]
    assert grown(eta) <= 1 + 1e-12
    curvature = (1 - 1 / batch) * curvatures(problem)[0] + max(np.trace(A) for A in rows) / batch
    assert near(eta, 1 / curvature, 1e3)


@pytest.mark.parametrize(("accelerated", "learning_rate"), [(Nesterov, 1.2), (HeavyBall, 4.5)])
def test_at_a_step_that_leaves_no_momentum_it_is_gradient_descent(accelerated, learning_rate):
    """Nesterov's (1 − √(ημ))/(1 + √(ημ)) is none where ημ is above 1.

    From ηλ_max = 4 on no heavy ball's below 1 makes the steepest direction oscillate.
    """
    X, y, start = np.diag([1.0, 1.1]), np.ones(2), np.zeros(2)
    ends = [
        lt.descend(X, y, start, solver=solver(learning_rate), steps=3).theta[-1]
        for solver in (accelerated, GradientDescent)
    ]
    assert near(*ends, 100)


def test_heavy_ball_has_no_more_momentum_than_rounding_allows():
    """Beyond a condition number of 1/(16ε) of ∇²L a double root split by rounding would be outside the circle."""
    chosen = [chosen_constants(HeavyBall(), condition) for condition in (1 / (16 * EPS), 1e20, 1e29)]
    slowest = [1 - momentum for _, momentum in chosen]
    assert np.allclose(slowest, slowest[0], rtol=1e-6, atol=0)
    assert np.allclose([eta for eta, _ in chosen], chosen[0][0], rtol=1e-12, atol=0)


def test_the_default_step_of_sgd_on_very_many_columns_takes_their_trace():
    """Where H is too large to be decomposed, tr H is what is known of its largest eigenvalue."""
    X = np.random.default_rng(4).standard_normal((520, 520)) * np.linspace(0.5, 2.0, 520)[:, None]
    y, start, batch = np.ones(520), np.zeros(520), 3
    move = lambda eta: (
        lt.descend(X, y, start, solver=StochasticGradient(batch, seed=1, learning_rate=eta), steps=1).theta
    )
    lengths = 2 * (X**2).sum(axis=1)
    curvature = (1 - 1 / batch) * lengths.mean() + lengths.max() / batch
    assert near(move(None), move(1 / curvature), 1e3)


def test_sgd_hovers_and_smaller_steps_get_nearer():
    """At a distance ∝ √η: a tenth of the step gets √10 nearer, on average over the second half of the run."""
    late = np.arange(20_000, 40_000, 100)
    path = lambda eta: descend(EXAMPLE, StochasticGradient(1, seed=3, learning_rate=eta), late)
    final = lambda eta: (path(eta).distance ** 2).mean() ** 0.5
    assert 2 < final(1.0) / final(0.1) < 5


def test_where_all_rows_are_met_sgd_converges():
    problem = random_data(12, 3, 3, condition=2.0, seed=9, noise=0.0)
    path = descend(problem, StochasticGradient(2, tolerance=1e-6), np.arange(0, 20_000, 100))
    assert path.status == "converged"
    assert closest_minimiser(path.theta[-1], problem) is False  # within 1e-6, not to rounding
    assert path.distance[-1] <= 1e-6 * np.linalg.norm(path.theta[-1] - problem.start) * 1.01


# ------------------------------------------------------------------------------------------ a solver's shape


def test_solvers_may_be_arguments_of_jit():
    import jax

    rows = tuple(map(jnp.asarray, (EXAMPLE.X, EXAMPLE.y, EXAMPLE.start, EXAMPLE.weights)))
    for solver in (
        GradientDescent(0.1),
        HeavyBall(0.1, momentum=0.5),
        Nesterov(),
        ConjugateGradient(),
        StochasticGradient(2, seed=1, learning_rate=0.1),
    ):
        run = lambda solver: lt.descend(*rows, solver=solver, steps=4).theta
        assert near(jax.jit(run)(solver), run(solver), 1e3)


def test_loops_are_refused_where_they_would_not_come_back():
    for solver in (ConjugateGradient(), StochasticGradient(), StepByStep(GradientDescent())):
        with pytest.raises(lt.InvalidValueError, match="run step by step"):
            descend(EXAMPLE, solver, [0, 2**31])
    with pytest.raises(lt.InvalidValueError, match="array of the steps"):
        descend(EXAMPLE, GradientDescent(), 2**31)


def test_steps_must_be_known():
    import jax

    with pytest.raises(lt.InvalidTypeError, match="static"):
        jax.jit(lambda k: descend(EXAMPLE, GradientDescent(), k).theta)(jnp.asarray([3]))
