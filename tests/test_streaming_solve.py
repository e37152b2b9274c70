"""Normal equations and solutions from chunks: those of the rows in memory, however they are cut."""

from __future__ import annotations

from fractions import Fraction

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import linear_theory as lt
from linear_theory import streaming
from linear_theory.testing.reference.rational import closest, excess, sensitivity
from linear_theory.testing.tolerances import EPS, near
from tests.strategies import SEEDS, Data, data, log_uniform, random_data
from tests.test_least_squares import extent, loss
from tests.test_solve_accuracy import complaints, says_its_condition

CHUNK = st.integers(1, 12)
SUMS = ("gram", "moment", "energy", "count")


def chunked(problem, rows):
    return streaming.from_arrays(problem.X, problem.y, problem.weights, rows=rows)


def once(problem, rows):
    """A generator: a source that can be gone through only once."""
    return (chunk for chunk in chunked(problem, rows))


def flow(problem, temperature):
    losses = (problem.y - problem.X @ problem.start) ** 2
    given_weights = 1.0 if problem.weights is None else problem.weights
    return given_weights * np.exp(-losses / temperature)


def same_sums(got, want, scale):
    """Equal to the rounding of sums of a few dozen terms."""
    return all(near(getattr(got, field), getattr(want, field), 50, scale) for field in SUMS)


def size(problem):
    return 1 + np.abs(problem.X).max() ** 2 * len(problem.y) + (problem.y**2).sum() + extent(problem) ** 2


# ------------------------------------------------------------------------------------------ normal equations


@given(data(), CHUNK, st.one_of(st.just(np.inf), log_uniform(0.5, 1e3)))
def test_sums_of_chunks_are_those_of_the_rows(problem, rows, temperature):
    want = lt.NormalEquations.of(problem.X, problem.y, problem.start, flow(problem, temperature))
    for source in (chunked(problem, rows), once(problem, rows)):
        if not want.gram.any() and not flow(problem, temperature).any():
            with pytest.raises(lt.InvalidValueError, match="underflow"):
                streaming.normal_equations(source, problem.start, temperature)
            continue
        got = streaming.normal_equations(source, problem.start, temperature)
        assert same_sums(got, want, size(problem))
        assert float(got.count) == len(problem.y)


TALL = random_data(40, 3, 3, 30.0, seed=3, weights=True)


@pytest.mark.parametrize(
    "mutant",
    [
        lambda p, rows: streaming.normal_equations(list(chunked(p, rows))[:-1], p.start, 2.0),
        lambda p, rows: streaming.normal_equations(chunked(p, rows), p.start),
        lambda p, rows: streaming.normal_equations(streaming.from_arrays(p.X, p.y, rows=rows), p.start, 2.0),
        lambda p, rows: streaming.normal_equations(chunked(p, rows), 0 * p.start, 2.0),
        lambda p, rows: streaming.normal_equations(chunked(p, rows), p.start, lt.weights.KLDRO(2.0)),
    ],
    ids=["a chunk forgotten", "no temperature", "weights forgotten", "another start", "another rule"],
)
def test_other_sums_are_told_apart(mutant):
    want = lt.NormalEquations.of(TALL.X, TALL.y, TALL.start, flow(TALL, 2.0))
    assert same_sums(streaming.normal_equations(chunked(TALL, 7), TALL.start, 2.0), want, size(TALL))
    assert not same_sums(mutant(TALL, 7), want, size(TALL))


@pytest.mark.parametrize(
    "rule",
    [lt.weights.Uniform(), lt.weights.KLDRO(500.0), lt.weights.HardThreshold(1.0), lt.weights.Flow(3.0)],
)
def test_every_rule(rule):
    losses = (TALL.y - TALL.X @ TALL.start) ** 2
    weights = TALL.weights * np.exp(rule.log_weights(losses))
    want = lt.NormalEquations.of(TALL.X, TALL.y, TALL.start, weights)
    assert same_sums(streaming.normal_equations(chunked(TALL, 9), TALL.start, rule), want, size(TALL))


# ---------------------------------------------------------------------------------------------------- solve


@pytest.mark.parametrize("source", [chunked, once])
@pytest.mark.parametrize("decade", [0, 2, 4, 6, 8, 10, 12, 14])
def test_forward_errors_as_in_memory(decade, source):
    """The check that `solve` passes: against 60 digits, beside LAPACK's gelsd."""

    def solve(X, y, start, weights):
        return streaming.solve(source(Rows(X, y, weights), 4), start).theta

    assert not list(complaints(solve, "tall", decade))


@pytest.mark.parametrize("shape", ["square", "wide"])
def test_forward_errors_for_few_rows(shape):
    solve = lambda X, y, start, weights: streaming.solve(chunked(Rows(X, y, weights), 2), start).theta
    assert not list(complaints(solve, shape, 6))


def test_normal_equations_alone_do_not_pass_it():
    def unrefined(X, y, start, weights):
        source = chunked(Rows(X, y, weights), 4)
        return streaming.normal_equations(source, start).solve().theta

    assert list(complaints(unrefined, "tall", 6))


class Rows:
    def __init__(self, X, y, weights):
        self.X, self.y, self.weights = X, y, weights


@given(data(), CHUNK, st.one_of(st.just(0.0), log_uniform(1e-3, 10.0)))
def test_the_same_minimiser_as_in_memory(problem, rows, ridge):
    """Every shape and rank: closest to the start, the same rank, the same residual."""
    want = lt.solve(problem.X, problem.y, problem.start, problem.weights, ridge)
    for source in (chunked(problem, rows), once(problem, rows)):
        got = streaming.solve(source, problem.start, ridge=ridge)
        assert near(got.theta, want.theta, loss(problem, ridge), extent(problem))
        assert got.rank == want.rank
        assert near(got.residual, want.residual, loss(problem, ridge), (problem.y**2).sum() + want.residual)
        assert got.rows == len(problem.y)


@given(st.integers(2, 6), SEEDS, CHUNK)
def test_deficient_rank_of_rounded_rows(columns, seed, rows):
    """Rows whose dependence is rounded, columns on scales 1e-6 to 1e6: R must not take rounding for rank."""
    rng = np.random.default_rng(seed)
    rank = int(rng.integers(1, columns))
    X = rng.standard_normal((60, rank)) @ rng.standard_normal((rank, columns))
    X *= 10.0 ** rng.integers(-6, 7, columns)
    y, start = rng.standard_normal(60), np.zeros(columns)
    got = streaming.solve(streaming.from_arrays(X, y, rows=rows), start)
    assert got.rank == rank == lt.solve(X, y, start).rank


@given(st.integers(1, 3), st.integers(0, 12), SEEDS, CHUNK)
def test_columns_that_share_a_direction_beside_a_small_one(multiple, decade, seed, rows):
    """Columns a, m·a and s·b: what moves along a is shared as 1 : m, whatever s makes of the rounding of m·a."""
    rng = np.random.default_rng(seed)
    pair, y, small = rng.standard_normal((50, 2)), rng.standard_normal(50), 10.0**-decade
    X = np.column_stack([pair[:, 0], multiple * pair[:, 0], small * pair[:, 1]])
    along, across = lt.solve(pair, y, np.zeros(2)).theta
    want = np.array([along, multiple * along, across * (1 + multiple**2)]) / (1 + multiple**2)
    got = streaming.solve(streaming.from_arrays(X, y, rows=rows), np.zeros(3))
    assert got.rank == 2
    assert near(got.theta * [1, 1, small], want, 100)


@given(st.integers(0, 13), st.sampled_from([1.0, 1e6]), SEEDS, CHUNK, st.sampled_from([np.inf, 1.0]))
def test_a_start_far_away_costs_no_digits(decade, condition, seed, rows, temperature):
    """Seen from there the labels are the small difference of two large numbers: the rows are seen anew from the end."""
    X = random_data(40, 3, 3, condition, seed=seed).X
    rng = np.random.default_rng(seed)
    true, start = rng.standard_normal(3), 10.0**decade * rng.standard_normal(3)
    y = X @ true
    if temperature < np.inf:  # of the losses under the start, also when it is seen from the end
        temperature = float(10 * np.square(y - X @ start).max())
    got = streaming.solve(streaming.from_arrays(X, y, rows=rows), start, temperature)
    # Rounding of y itself, which the smallest direction sees κ times as large.
    assert near(got.theta, true, 100 * condition)
    assert got.residual <= (100 * condition * EPS) ** 2 * (y @ y)


@given(
    st.integers(0, 30),
    st.one_of(st.just(0.0), log_uniform(1e-40, 1.0)),
    st.sampled_from([1.0, 1e3]),
    SEEDS,
    CHUNK,
    st.booleans(),
)
def test_nor_where_a_ridge_pulls_to_it_or_the_rows_come_once(decade, ridge, condition, seed, rows, once_only):
    """Against exact fractions: θ and what is left of the labels."""
    problem = random_data(12, 3, 3, condition, seed=seed, weights=True)
    start = 10.0**decade * np.random.default_rng(seed).standard_normal(3)
    want = closest(problem.X, problem.y, start, problem.weights, ridge)
    theta = np.array([float(Fraction(a) + b) for a, b in zip(start, want.displacement, strict=True)])
    got = streaming.solve((once if once_only else chunked)(problem, rows), start, ridge=ridge)
    assert near(got.theta, theta, 100 * condition**2)
    assert near(got.residual, float(want.residual), 100 * condition**2)


@given(
    st.tuples(st.integers(1, 6), st.integers(1, 4), st.integers(1, 4)),
    log_uniform(1e-12, 1e12),
    st.sampled_from([None, 0.0, 1.0, 1e3]),
    SEEDS,
    CHUNK,
)
def test_a_ridge_and_columns_in_any_units(shape, ridge, scale, seed, rows):
    """Of any rank, with a ``column_scale`` and without: as near to exact fractions as rounding of the rows allows."""
    (n, d, rank), rng = shape, np.random.default_rng(seed)
    X = rng.integers(-3, 4, (n, rank)) @ rng.integers(-3, 4, (rank, d)) * 2.0 ** rng.integers(-20, 21, d)
    y, sizes = rng.standard_normal(n), np.abs(X).max(axis=0)
    start = rng.standard_normal(d) / np.where(sizes > 0, sizes, 1.0)
    want, allowed = closest(X, y, start, None, ridge), sensitivity(X, y, start, None, ridge)
    noise = None if scale is None else scale * sizes
    got = streaming.solve(streaming.from_arrays(X, y, rows=rows), start, ridge=ridge, column_scale=noise)
    assert excess(got.theta, start, want, allowed) <= 32
    assert got.rank == d


@given(log_uniform(1e-12, 1.0), st.floats(1.0, 2.0), log_uniform(1e-6, 1e-3), log_uniform(1e3, 1e6))
def test_a_ridge_moves_along_a_single_row(ridge, label, small, large):
    """Each entry of θ to its own digits: the small column's is not the rounding of the large one's."""
    theta = streaming.solve([([[small, large]], [label])], [0.0, 0.0], ridge=ridge).theta
    assert theta[1] > 0
    assert near(theta[0] * large, theta[1] * small, 10)


def test_how_many_passes():
    """One where nothing needs repair, at most three where it does, one for what cannot come again."""
    for condition, most in [(2.0, 1), (100.0, 3), (1e6, 2), (1e12, 2)]:
        problem = random_data(60, 3, 3, condition, seed=1)
        got = streaming.solve(chunked(problem, 7), problem.start)
        assert got.passes <= most, (condition, got.method)
        assert bool(got.triangle) == (condition > 1e4)
        assert got.method.startswith("QR of the rows") == bool(got.triangle)
        assert streaming.solve(once(problem, 7), problem.start).passes == 1
        assert isinstance(got, lt.Solution)
        # Beyond the first: those that it was corrected with, one that found nothing to mend, one for the residual.
        assert got.triangle or 0 <= got.passes - 1 - got.refinements <= 2


@pytest.mark.parametrize("source", [chunked, once])
@pytest.mark.parametrize("condition", [2.0, 100.0, 1e6, 1e12])
def test_what_it_says_of_itself_is_what_it_says_in_memory(condition, source):
    """The length of the columns and their condition number; also of weights in other units, and after QR."""
    problem = random_data(60, 3, 3, condition, seed=1, weights=True)
    problem = Data(problem.X, problem.y, problem.start, 100 * problem.weights)
    got, A = streaming.solve(source(problem, 7), problem.start), 10 * problem.X
    A *= np.sqrt(problem.weights / 100)[:, None]
    assert np.allclose(got.columns, np.sqrt((A**2).sum(axis=0)), rtol=1e-12, atol=0)
    assert says_its_condition(got.condition, A)
    want = lt.solve(problem.X, problem.y, problem.start, problem.weights)
    assert (np.maximum(got.error_bound / want.error_bound, want.error_bound / got.error_bound) <= 30).all()


def test_columns_whose_squares_overflow_or_underflow():
    for unit in (1e-170, 1e170):
        X = TALL.X * [1.0, unit, 1.0]
        start = TALL.start / [1.0, unit, 1.0]
        got = streaming.solve(streaming.from_arrays(X, TALL.y, TALL.weights, rows=7), start)
        want = lt.solve(TALL.X, TALL.y, TALL.start, TALL.weights)
        assert near(got.theta * [1.0, unit, 1.0], want.theta, loss(TALL, 0), extent(TALL))
    with pytest.raises(lt.InvalidValueError, match="overflow"):
        streaming.normal_equations(streaming.from_arrays(X, TALL.y, TALL.weights, rows=7), start)


def test_weights_that_all_underflow_are_refused():
    for call in (streaming.normal_equations, streaming.solve):
        with pytest.raises(lt.InvalidValueError, match="underflow"):
            call(chunked(TALL, 7), TALL.start, 1e-9)
    with pytest.raises(lt.InvalidValueError, match=r"row .* chunk .* raise the temperature"):
        streaming.normal_equations(chunked(TALL, 7), TALL.start, lt.weights.KLDRO(1e-4))


def test_no_weight_in_the_source_stays_at_the_start():
    source = streaming.from_arrays(TALL.X, TALL.y, np.zeros(len(TALL.y)), rows=7)
    solution = streaming.solve(source, TALL.start)
    assert np.array_equal(solution.theta, TALL.start)
    assert solution.rank == 0
    assert solution.residual == 0
    with pytest.raises(lt.InvalidValueError, match="ridge"):
        streaming.solve(source, TALL.start, ridge=-1.0)


@given(data(), CHUNK, st.sampled_from([np.inf, 1e-3, 1.0, 1e3]))
def test_rows_that_the_source_gives_no_weight_are_no_fault_of_the_temperature(problem, rows, temperature):
    """Whatever the temperature says of them: the start comes back, as in memory."""
    source = streaming.from_arrays(problem.X, problem.y, np.zeros(len(problem.y)), rows=rows)
    for chunks in (source, iter(list(source))):
        got = streaming.solve(chunks, problem.start, temperature)
        assert np.array_equal(got.theta, problem.start)
        assert got.rank == 0
        assert not streaming.normal_equations(source, problem.start, temperature).gram.any()


JAX_RULES = [
    (lt.weights.Flow, 3.0),
    (lt.weights.Cauchy, 1e25),
    (lt.weights.KLDRO, 500.0),
    (lt.weights.HardThreshold, 1e25),
    (lt.weights.Huber, 1.5),
]


@pytest.mark.parametrize(("kind", "parameter"), JAX_RULES, ids=[kind.__name__ for kind, _ in JAX_RULES])
def test_a_parameter_from_jax_is_a_number_as_any_other(kind, parameter):
    """Float32 in the rule is no reason to compute the losses in it: 1e25 squared is no float32."""
    parameter = float(np.float32(parameter))
    unit = parameter if parameter > 1e20 else 1.0
    chunks = [(TALL.X, unit * TALL.y, TALL.weights)]
    want = streaming.solve(chunks, unit * TALL.start, kind(parameter))
    got = streaming.solve(chunks, unit * TALL.start, kind(jnp.float32(parameter)))
    assert got.theta.tobytes() == want.theta.tobytes()
    assert got.residual == want.residual


def test_a_rule_of_ones_own_is_taken_as_it_is():
    class Own:
        scale = jnp.float32(2.0)

        def log_weights(self, losses):
            return -losses / float(self.scale)

    got = streaming.solve(chunked(TALL, 7), TALL.start, Own())
    assert np.array_equal(got.theta, streaming.solve(chunked(TALL, 7), TALL.start, 2.0).theta)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("chunks", [1, 3])
@pytest.mark.parametrize("once", [False, True])
@pytest.mark.parametrize("label", [1e100, 1e150])
def test_squares_that_overflow_on_the_way_are_not_warned_of(chunks, once, label):
    source = [(np.full((3, 1), 1e-5), np.full(3, label))] * chunks
    theta = streaming.solve(iter(source) if once else source, [0.0]).theta
    assert theta == pytest.approx(1e5 * label, rel=1e-14)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("start", [1e205, 1e217])
def test_nor_are_those_of_labels_that_the_start_meets_or_is_far_from(start):
    rows = [(np.full((3, 1), 1e-5), np.full(3, 1e200))] * 3
    got = streaming.solve(iter(rows), [start])
    assert got.theta == pytest.approx(1e205, rel=1e-14)


def test_large_chunks_on_threads_and_small_ones_gathered():
    """200 000 rows: chunks of 1000 are gathered, one chunk of all goes over the threads."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((200_000, 8))
    y = X @ np.ones(8) + rng.standard_normal(200_000)
    start = np.zeros(8)
    want = lt.NormalEquations.of(X, y, start)
    for rows in (1000, 60_000, 200_000):
        got = streaming.normal_equations(streaming.from_arrays(X, y, rows=rows), start)
        # Sums of 2e5 squares of size 1: √n roundings of n·ε/2 at most.
        assert np.abs(got.gram - want.gram).max() <= np.sqrt(len(y)) * EPS * len(y)
        theta = streaming.solve(streaming.from_arrays(X, y, rows=rows), start).theta
        assert near(theta, lt.solve(X, y, start).theta, 100)
        qr = streaming.solve(iter(list(streaming.from_arrays(X, y, rows=rows))), start).theta
        assert near(qr, lt.solve(X, y, start).theta, 100)


@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("source", [chunked, once])
def test_rows_of_many_parts_are_those_of_one(source, last, monkeypatch):
    """Parts of eight rows; in all but one (the first, or the last) no weight is left by the temperature."""
    monkeypatch.setattr("linear_theory.streaming.stream.GATHERED_ENTRIES", 8 * 3)
    y, few = TALL.y.copy(), slice(-8, None) if last else slice(0, 8)
    y[few] = (TALL.X @ TALL.start)[few] + 0.1 * TALL.y[few]
    y[np.setdiff1d(np.arange(40), np.arange(40)[few])] += 1e3
    problem = Data(TALL.X, y, TALL.start, TALL.weights)
    want = lt.solve(problem.X, y, problem.start, flow(problem, 0.1))
    got = streaming.solve(source(problem, 4), problem.start, 0.1)
    assert near(got.theta, want.theta, 1e3)
    assert near(got.residual, want.residual, 1e3)
    assert (got.rows, got.rank) == (40, 3)
    sums = streaming.normal_equations(source(problem, 4), problem.start, 0.1)
    assert same_sums(
        sums, lt.NormalEquations.of(problem.X, y, problem.start, flow(problem, 0.1)), size(problem)
    )
    with pytest.raises(lt.InvalidValueError, match="underflow"):
        streaming.solve(
            source(Data(problem.X, y + 1e3, problem.start, problem.weights), 4), problem.start, 0.1
        )


@pytest.mark.parametrize("largest", [0, 19, 39])
def test_how_large_a_column_is_shows_in_any_part(largest, monkeypatch):
    """Rounding in all rows but one, wherever that stands."""
    monkeypatch.setattr("linear_theory.streaming.stream.GATHERED_ENTRIES", 8 * 3)
    X = TALL.X * [1.0, 1e-16, 1.0]
    for rank in (2, 3):
        got = streaming.solve(
            streaming.from_arrays(X, TALL.y, rows=4), TALL.start, column_scale=[0.0, 1.0, 0.0]
        )
        assert got.rank == rank
        X[largest, 1] = 0.5
    assert near(got.theta, lt.solve(X, TALL.y, TALL.start).theta, 1e6)


def test_a_source_may_fill_the_same_memory_again():
    """A reader with one buffer: each chunk is done with before the next is asked for."""

    def reader():
        X, y = np.empty((8, 3)), np.empty(8)
        for low in range(0, 40, 8):
            X[...], y[...] = TALL.X[low : low + 8], TALL.y[low : low + 8]
            yield X, y

    want = lt.NormalEquations.of(TALL.X, TALL.y, TALL.start)
    assert same_sums(streaming.normal_equations(reader(), TALL.start), want, size(TALL))
    theta = lt.solve(TALL.X, TALL.y, TALL.start).theta
    assert near(streaming.solve(reader, TALL.start).theta, theta, loss(TALL, 0), extent(TALL))
    # The check sees a reader whose chunks are kept: they all hold the last one then.
    assert not same_sums(streaming.normal_equations(list(reader()), TALL.start), want, size(TALL))


def test_sums_of_a_stream_tell_underflow_from_zero():
    """Columns of 1e-200: their squares are 0, and the start would be an answer without a sign that it is none."""
    chunks = [(1e-200 * np.eye(2), np.ones(2))] * 2
    with pytest.raises(lt.InvalidValueError, match="underflow"):
        lt.streaming.normal_equations(chunks, np.zeros(2)).solve()
    assert lt.streaming.solve(chunks, np.zeros(2)).theta == pytest.approx(1e200 * np.ones(2), rel=1e-12)
