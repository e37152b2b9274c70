"""Laws of weighted least squares from a start: which minimiser, what the weights mean, and how rows add up."""

from __future__ import annotations

import math
from fractions import Fraction
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st
from scipy.sparse.linalg import lsqr

import linear_theory as lt
from linear_theory.testing.reference.rational import closest
from linear_theory.testing.tolerances import near, not_above
from tests.strategies import SEEDS, Data, data, log_uniform, orthogonal, random_data

ROWS, RIDGES = st.integers(1, 12), log_uniform(1e-3, 10.0)


def weights_of(given_data):
    return np.ones(len(given_data.y)) if given_data.weights is None else given_data.weights


def loss(problem, ridge):
    """The condition number of the weighted rows, from the exact ranks the strategy draws, squared: Wedin's bound.

    With the residual beside the displacement: κ² ‖r‖/(‖A‖‖δ‖) is what a least-squares answer may lose.
    """
    A = np.sqrt(weights_of(problem))[:, None] * problem.X
    sizes = np.linalg.svd(A, compute_uv=False)
    positive = sizes[sizes > 1e-9 * sizes[0]] if sizes[0] > 0 else np.ones(1)
    return 10 * sum(A.shape) * (positive[0] / positive[-1]) ** 2


def extent(problem):
    """Scale of θ: what is in start and what the labels can ask of the largest direction."""
    A = np.sqrt(weights_of(problem))[:, None] * problem.X
    sizes = np.linalg.svd(A, compute_uv=False)
    largest = sizes[0] if sizes[0] > 0 else 1.0
    return np.abs(problem.start).max() + np.linalg.norm(problem.y) / largest * 10


def objective(problem, theta, ridge=0.0):
    residual = problem.y - problem.X @ theta
    return (weights_of(problem) * residual**2).mean() + ridge * ((theta - problem.start) ** 2).sum()


def closest_minimiser(theta, problem, ridge=0.0):
    """∇L = 0, and the displacement has no part that the weighted rows do not see."""
    A = np.sqrt(weights_of(problem))[:, None] * problem.X
    n, displacement = len(problem.y), theta - problem.start
    residual = np.sqrt(weights_of(problem)) * (problem.y - problem.X @ theta)
    gradient = A.T @ residual / n - ridge * displacement
    size = np.linalg.norm(A) ** 2 * extent(problem) / n + ridge * extent(problem)
    _, sizes, right = np.linalg.svd(A, full_matrices=True)
    rank = int((sizes > 1e-9 * sizes[0]).sum())
    unseen = right[rank:] @ displacement
    kappa = loss(problem, ridge)
    return near(gradient, np.zeros_like(gradient), kappa, size) and near(
        unseen, np.zeros_like(unseen), kappa, extent(problem)
    )


# ------------------------------------------------------------------------------------------- which minimiser


@given(data())
def test_the_minimiser_closest_to_the_start(problem):
    solution = lt.solve(problem.X, problem.y, problem.start, problem.weights)
    assert closest_minimiser(solution.theta, problem)
    A = np.sqrt(weights_of(problem))[:, None] * problem.X
    assert solution.rank == np.linalg.matrix_rank(A, tol=1e-9 * max(np.linalg.norm(A, 2), 1e-300))
    want = (weights_of(problem) * (problem.y - problem.X @ solution.theta) ** 2).sum()
    assert near(solution.residual, want, loss(problem, 0), (problem.y**2).sum() + want)


def exactly(problem, start, ridge):
    """θ and what is left of the labels, in fractions."""
    want = closest(problem.X, problem.y, start, problem.weights, ridge)
    theta = np.array([float(Fraction(a) + b) for a, b in zip(start, want.displacement, strict=True)])
    return theta, float(want.residual)


@given(
    st.sampled_from([(12, 3), (3, 3)]),
    st.integers(0, 100),
    st.one_of(st.just(0.0), log_uniform(1e-100, 1.0)),
    st.sampled_from([1.0, 1e3]),
    SEEDS,
)
def test_no_start_is_so_far_away_that_it_costs_digits(shape, decade, ridge, condition, seed):
    """Also where it is farther than floats have digits, again and again."""
    problem = random_data(*shape, 3, condition, seed=seed, weights=True)
    start = 10.0**decade * np.random.default_rng(seed).standard_normal(3)
    theta, residual = exactly(problem, start, ridge)
    got = lt.solve(problem.X, problem.y, start, problem.weights, ridge)
    assert near(got.theta, theta, 100 * condition**2)
    assert near(got.residual, residual, 100 * condition**2, residual + problem.y @ problem.y)


def test_nor_in_jax_traced_or_not():
    problem, ridge = random_data(12, 3, 3, 10.0, seed=3, weights=True), 1e-25
    traced = jax.jit(lt.solve)
    for start in 10.0 ** np.array([[10.0], [30.0], [80.0]]) * np.array([1.0, -0.3, 1e-9]):
        theta, residual = exactly(problem, start, ridge)
        given_rows = [jnp.asarray(part) for part in (problem.X, problem.y, start, problem.weights, ridge)]
        for got in (lt.solve(*given_rows), traced(*given_rows)):
            assert near(got.theta, theta, 1e4)
            assert near(got.residual, residual, 1e4, residual + problem.y @ problem.y)


def test_labels_of_zeros_are_met_from_far_away():
    problem = random_data(12, 3, 3, 10.0, seed=3)
    solution = lt.solve(problem.X, 0.0 * problem.y, 1e30 * np.array([1.0, -2.0, 0.3]))
    assert (solution.theta == 0).all()
    assert solution.residual == 0


@pytest.mark.parametrize("array", [np.asarray, jnp.asarray], ids=["NumPy", "JAX"])
def test_each_output_from_a_start_far_away_has_the_digits_that_it_has_alone(array):
    """Beside one that stays as far away: whether a start is far is a question to every output."""
    rng = np.random.default_rng(0)
    X, far, near_by = (
        rng.standard_normal((50, 3)),
        np.array([1.1e10, 0.3e10, 2e10]),
        np.array([0.1, 0.2, 0.3]),
    )
    y, start = np.column_stack([X @ far, X @ near_by]), np.column_stack([far, far])
    both = lt.solve(*map(array, (X, y, start))).theta
    alone = lt.solve(*map(array, (X, y[:, 1], start[:, 1]))).theta
    assert np.abs(np.asarray(alone) - near_by).max() <= 1e-14
    assert np.abs(np.asarray(both)[:, 1] - near_by).max() <= 1e-14


@pytest.mark.parametrize("array", [np.asarray, jnp.asarray], ids=["NumPy", "JAX"])
def test_a_small_ridge_pulls_to_a_start_far_away(array):
    """A refinement must not forget it: the gradient of the ridged loss is 0, by hand."""
    problem, ridge = random_data(9, 2, 2, condition=3.0, seed=4), 1e-4
    start = problem.start + 1e4
    theta = np.asarray(lt.solve(array(problem.X), array(problem.y), array(start), ridge=ridge).theta)
    residual = problem.y - problem.X @ theta
    pulled = problem.X.T @ residual / len(residual) - ridge * (theta - start)
    assert near(pulled, np.zeros(2), 1e3, 1.0)
    assert abs(ridge * (theta - start)).min() > 0.1


@pytest.mark.parametrize("array", [np.asarray, jnp.asarray], ids=["NumPy", "JAX"])
@pytest.mark.parametrize("outputs", [None, 2])
def test_fewer_rows_than_columns_and_a_small_ridge_pull_to_a_start_far_away(array, outputs):
    """A start that the rows see whole, so that all of it has to be left: again by hand."""
    rng, ridge = np.random.default_rng(5), 1e-9
    X, many = rng.standard_normal((3, 5)), () if outputs is None else (outputs,)
    y, start = rng.standard_normal((3, *many)), 1e8 * X.T @ rng.standard_normal((3, *many))
    theta = np.asarray(lt.solve(*map(array, (X, y, start)), ridge=ridge).theta)
    assert np.abs(theta).max() < 1e-6 * np.abs(start).max()
    pulled = X.T @ (y - X @ theta) / 3 - ridge * (theta - start)
    assert near(pulled, np.zeros_like(pulled), 1e3, 1.0)
    assert abs(ridge * start).max() > 0.1


@pytest.mark.parametrize("ridge", [0.0, 0.5])
def test_the_residual_of_many_rows_which_are_passed_but_once(ridge):
    """From the sums alone: Σwr² less what the solution takes away, of which a ridge gives a part back."""
    rng = np.random.default_rng(0)
    X, y, weights = rng.standard_normal((30_000, 4)), rng.standard_normal(30_000), rng.uniform(0.5, 2, 30_000)
    solution = lt.solve(X, y, np.array([1.0, -2.0, 0.5, 3.0]), weights, ridge)
    left = y - X @ solution.theta
    assert solution.method == "Cholesky on the normal equations"
    assert near(solution.residual, weights @ left**2, 1e3)


@given(data(), RIDGES)
def test_with_a_ridge_too(problem, ridge):
    solution = lt.solve(problem.X, problem.y, problem.start, problem.weights, ridge)
    assert closest_minimiser(solution.theta, problem, ridge)
    assert solution.rank == problem.X.shape[1]


WIDE = random_data(3, 5, 3, seed=1, weights=True)


@pytest.mark.parametrize(
    "mutant",
    [
        lambda p: lt.solve(p.X, p.y, 0 * p.start, p.weights).theta,
        lambda p: np.linalg.lstsq(p.X, p.y)[0],
        lambda p: lt.solve(p.X, p.y, p.start, p.weights, 1e-6).theta,
        lambda p: lt.solve(2 * p.X, p.y, p.start, p.weights).theta,
    ],
    ids=["closest to 0", "lstsq", "a little ridge", "another X"],
)
def test_closest_rejects(mutant):
    assert closest_minimiser(lt.solve(WIDE.X, WIDE.y, WIDE.start, WIDE.weights).theta, WIDE)
    assert not closest_minimiser(mutant(WIDE), WIDE)


def test_a_ridge_rejects_the_sum_for_the_mean():
    tall = random_data(8, 3, 3, seed=2)
    assert closest_minimiser(lt.solve(tall.X, tall.y, tall.start, None, 0.1).theta, tall, 0.1)
    assert not closest_minimiser(lt.solve(tall.X, tall.y, tall.start, None, 0.1 / 8).theta, tall, 0.1)
    assert not closest_minimiser(lt.solve(tall.X, tall.y, 0 * tall.start, None, 0.1).theta, tall, 0.1)


@given(data(), SEEDS)
def test_nothing_is_lower(problem, seed):
    theta = lt.solve(problem.X, problem.y, problem.start, problem.weights).theta
    best = objective(problem, theta)
    for step in np.random.default_rng(seed).standard_normal((5, len(theta))):
        assert not_above(best, objective(problem, theta + step), loss(problem, 0))


@given(data(full_rank=True))
def test_agrees_with_lstsq_on_scaled_rows(problem):
    root = np.sqrt(weights_of(problem))
    aim = root * (problem.y - problem.X @ problem.start)
    want = problem.start + np.linalg.lstsq(root[:, None] * problem.X, aim)[0]
    theta = lt.solve(problem.X, problem.y, problem.start, problem.weights).theta
    assert near(theta, want, loss(problem, 0), extent(problem))


@given(data(full_rank=True), RIDGES)
def test_agrees_with_lsqr_and_its_damping(problem, ridge):
    """scipy's damp² is n·ridge; its x0 is our start. LSQR iterates: its own tolerance, times κ², is the bound."""
    root = np.sqrt(weights_of(problem))
    damp = np.sqrt(len(problem.y) * ridge)
    aim = root * (problem.y - problem.X @ problem.start)
    tight = {"atol": 1e-15, "btol": 1e-15, "conlim": 0, "iter_lim": 5000}
    step = lsqr(root[:, None] * problem.X, aim, damp=damp, **tight)[0]
    theta = lt.solve(problem.X, problem.y, problem.start, problem.weights, ridge).theta
    kappa = 1 + np.linalg.norm(root[:, None] * problem.X, 2) ** 2 / damp**2
    assert near(theta, problem.start + step, 1000 * kappa, extent(problem))


def test_lsqr_from_a_start():
    """x0 in scipy is the start, and the minimiser it finds is the closest one."""
    got = lt.solve(WIDE.X, WIDE.y, WIDE.start).theta
    want = lsqr(WIDE.X, WIDE.y, x0=WIDE.start, atol=1e-15, btol=1e-15)[0]
    assert near(got, want, 1e4 * loss(WIDE, 0))


# ---------------------------------------------------------------------------------------- what weights mean


@given(data(weights=st.just(True)), SEEDS)
def test_weight_zero_is_a_row_removed(problem, seed):
    keep = np.random.default_rng(seed).random(len(problem.y)) < 0.7
    keep[0] = True
    part = Data(problem.X[keep], problem.y[keep], problem.start, problem.weights[keep])
    want = lt.solve(part.X, part.y, part.start, part.weights)
    got = lt.solve(problem.X, problem.y, problem.start, np.where(keep, problem.weights, 0.0))
    assert near(got.theta, want.theta, loss(part, 0), extent(part))
    assert got.rank == want.rank


@given(data(weights=st.just(True)), st.data())
def test_weight_two_is_a_row_twice(problem, draw):
    counts = draw.draw(st.lists(st.integers(1, 4), min_size=len(problem.y), max_size=len(problem.y)))
    got = lt.solve(problem.X, problem.y, problem.start, np.array(counts, dtype=float))
    plain = Data(np.repeat(problem.X, counts, axis=0), np.repeat(problem.y, counts), problem.start)
    want = lt.solve(plain.X, plain.y, plain.start)
    assert near(got.theta, want.theta, loss(plain, 0), extent(plain))


@given(data(weights=st.just(True)), log_uniform(1e-100, 1e100))
def test_a_common_factor_changes_nothing(problem, c):
    got = lt.solve(problem.X, problem.y, problem.start, c * problem.weights)
    want = lt.solve(problem.X, problem.y, problem.start, problem.weights)
    assert near(got.theta, want.theta, loss(problem, 0), extent(problem))
    assert got.rank == want.rank


@given(data(weights=st.just(True)), RIDGES, log_uniform(1e-3, 1e3), SEEDS)
def test_with_a_ridge_the_laws_hold_after_rescaling_it(problem, ridge, c, seed):
    """The loss is a mean over n: ridge × c for weights × c; ridge × n/m where m of the n rows are kept."""
    X, y, start, w = problem.X, problem.y, problem.start, problem.weights
    want = lt.solve(X, y, start, w, ridge).theta
    kappa = loss(problem, ridge) + 100 / ridge
    assert near(lt.solve(X, y, start, c * w, c * ridge).theta, want, kappa, extent(problem))
    keep = np.random.default_rng(seed).random(len(y)) < 0.7
    keep[0] = True
    n, m = len(y), keep.sum()
    got = lt.solve(X, y, start, np.where(keep, w, 0.0), ridge).theta
    assert near(got, lt.solve(X[keep], y[keep], start, w[keep], ridge * n / m).theta, kappa, extent(problem))
    twice = lt.solve(np.r_[X, X], np.r_[y, y], start, np.r_[w, w], ridge).theta
    assert near(twice, want, kappa, extent(problem))


@given(st.integers(1, 4), st.integers(0, 3), SEEDS)
def test_wide_rows_of_full_rank_do_not_see_the_weights(rows, more, seed):
    """The rows can all be met: the limit is the same for every weight, though the path is not."""
    problem = random_data(rows, rows + more, rows, seed=seed, weights=True)
    plain = lt.solve(problem.X, problem.y, problem.start)
    weighted = lt.solve(problem.X, problem.y, problem.start, problem.weights)
    assert near(plain.theta, weighted.theta, loss(problem, 0), extent(problem))
    assert near(problem.X @ plain.theta, problem.y, loss(problem, 0), extent(problem))
    # The weights of the strategy differ between rows: one row alone only rescales the step.
    solver = lt.descent.GradientDescent(0.1)
    if rows > 1:
        first, second = (
            lt.descend(problem.X, problem.y, problem.start, w, solver, steps=3).theta[-1]
            for w in (None, problem.weights)
        )
        assert not near(first, second, loss(problem, 0), extent(problem))


@given(data(full_rank=True), SEEDS)
def test_rotations_and_translations(problem, seed):
    """Full rank: a rank that is deficient is so only to rounding once the rows are turned."""
    basis = orthogonal(len(problem.start), np.random.default_rng(seed))
    theta = lt.solve(problem.X, problem.y, problem.start, problem.weights).theta
    turned = lt.solve(problem.X @ basis.T, problem.y, basis @ problem.start, problem.weights).theta
    assert near(turned, basis @ theta, loss(problem, 0), extent(problem))
    moved = lt.solve(
        problem.X, problem.y - problem.X @ problem.start, 0 * problem.start, problem.weights
    ).theta
    assert near(moved, theta - problem.start, loss(problem, 0), extent(problem))


def test_no_weight_at_all_stays_at_the_start():
    solution = lt.solve(WIDE.X, WIDE.y, WIDE.start, np.zeros(3))
    assert np.array_equal(solution.theta, WIDE.start)
    assert solution.rank == 0
    assert solution.residual == 0
    ridge = lt.solve(WIDE.X, WIDE.y, WIDE.start, np.zeros(3), ridge=1.0)
    assert np.array_equal(ridge.theta, WIDE.start)


def test_a_ridge_that_nothing_moves_stays_at_the_start():
    """n times the largest float: what is left of the labels is what the start leaves."""
    weights = np.array([1.0, 2.0, 0.5])
    ridge = lt.solve(WIDE.X, WIDE.y, WIDE.start, weights, ridge=np.finfo(float).max)
    assert np.array_equal(ridge.theta, WIDE.start)
    assert ridge.rank == len(WIDE.start)
    assert near(ridge.residual, weights @ (WIDE.y - WIDE.X @ WIDE.start) ** 2, 10)


def test_columns_in_other_units_have_the_same_rank():
    """Rank is decided after equilibrating the columns: a column in picometres still counts."""
    tall = random_data(8, 3, 3, seed=2)
    units = np.array([1.0, 1e-12, 1e9])
    solution = lt.solve(tall.X * units, tall.y, tall.start / units)
    assert solution.rank == 3
    assert near(solution.theta * units, lt.solve(tall.X, tall.y, tall.start).theta, loss(tall, 0))


# ----------------------------------------------------------------------------------------- normal equations


def of(problem):
    return lt.NormalEquations.of(problem.X, problem.y, problem.start, problem.weights)


def same(left, right, scale):
    """Equal to the rounding of sums of a few dozen terms."""
    fields = ("gram", "moment", "energy", "count", "start")
    return all(near(getattr(left, f), getattr(right, f), 50, scale) for f in fields)


@st.composite
def chunks(draw):
    """Three sets of rows seen from the same start."""
    columns, seed = draw(st.integers(1, 5)), draw(SEEDS)
    parts = [random_data(draw(ROWS), columns, columns, seed=seed + k, weights=True) for k in range(3)]
    return [Data(part.X, part.y, parts[0].start, part.weights) for part in parts]


@given(chunks())
def test_a_monoid(parts):
    one, two, three = map(of, parts)
    whole = np.concatenate
    everything = lt.NormalEquations.of(
        whole([p.X for p in parts]),
        whole([p.y for p in parts]),
        parts[0].start,
        whole([p.weights for p in parts]),
    )
    scale = max(everything.energy, everything.count, np.abs(everything.gram).max())
    scale = max(scale, np.abs(everything.moment).max(), np.abs(everything.start).max())
    none = lt.NormalEquations.empty(parts[0].start)
    assert same((one + two) + three, one + (two + three), scale)
    assert same(one + two, two + one, scale)
    assert same(one + two + three, everything, scale)
    for field in ("gram", "moment", "energy", "count"):
        assert np.array_equal(getattr(one + none, field), getattr(one, field))
        assert np.array_equal(getattr(none + one, field), getattr(one, field))
    # A mutant of merging that forgets a part is seen.
    assert not same(one + two, everything, scale)


@given(data(), SEEDS)
def test_loss_and_gradient_are_those_of_the_rows(problem, seed):
    equations, step = of(problem), np.random.default_rng(seed).standard_normal(len(problem.start))
    theta = problem.start + step
    size = objective(problem, problem.start) + (problem.X**2).sum() * (step**2).sum()
    assert near(equations.loss(step), objective(problem, theta), 100, size)
    residual = problem.y - problem.X @ theta
    want = -2 / len(problem.y) * problem.X.T @ (weights_of(problem) * residual)
    assert near(equations.gradient(step), want, 100, 10 * size + 1)
    if want.any():
        assert not near(equations.gradient(step) / 2, want, 100, np.abs(want).max())


def test_other_starts_and_widths_do_not_merge():
    one = of(WIDE)
    other = lt.NormalEquations.of(WIDE.X, WIDE.y, WIDE.start + 1)
    with pytest.raises(lt.InvalidValueError, match="another start"):
        one + other
    narrow = lt.NormalEquations.of(WIDE.X[:, :2], WIDE.y, WIDE.start[:2])
    with pytest.raises(lt.InvalidValueError, match="columns"):
        one + narrow
    with pytest.raises(TypeError):
        one + 3


UNITS = {"tall": (5, 2), "wide": (2, 5), "square": (3, 3), "deficient": (4, 3), "one": (1, 1)}


@pytest.mark.parametrize("ridge", [0.0, 0.5])
@pytest.mark.parametrize("kind", UNITS)
@given(a=st.integers(-1000, 1015), b=st.integers(-1000, 1015), weight=st.integers(-1000, 1015))
@example(a=1015, b=0, weight=0).via("a column whose square is no float")
@example(a=0, b=1015, weight=0).via("labels whose squares are no floats")
def test_units_of_any_size_scale_the_answer_or_are_refused(kind, ridge, a, b, weight):
    """X in units of 2ᵃ, y of 2ᵇ, weights of 2ᶜ, the ridge of 2ᶜ⁺²ᵃ: θ comes in units of 2ᵇ⁻ᵃ, and nothing leaks."""
    n, d = UNITS[kind]
    rng = np.random.default_rng(n * 10 + d)
    X, y, start = rng.integers(-9, 10, (n, d)) + 0.5, rng.integers(1, 9, n) + 0.0, rng.integers(1, 9, d) + 0.0
    if kind == "deficient":
        X[:, 2] = X[:, 0] + X[:, 1]
    weights = rng.integers(1, 5, n) + 0.0
    want = lt.solve(X, y, start, weights, ridge).theta
    pull = float(np.ldexp(ridge, min(weight + 2 * a, 1000)))
    call = partial(lt.solve, np.ldexp(X, a), np.ldexp(y, b), weights=np.ldexp(weights, weight), ridge=pull)
    assume(-1000 < b - a < 1015 and (ridge == 0 or abs(weight + 2 * a) < 1000))  # so that they are floats
    if math.log2(abs(want).max()) + b - a > 1023:
        with pytest.raises(lt.InvalidValueError, match="minimiser"):
            call(start=np.ldexp(start, b - a))
    else:
        theta = call(start=np.ldexp(start, b - a)).theta
        assert near(np.ldexp(theta, a - b), want, 10 * sum(X.shape) * np.linalg.cond(X[:, : min(n, 2)]) ** 2)
