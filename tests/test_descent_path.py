"""Any step of a linear solver, from the eigenbasis, against the loop written out and against 60 digits."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import linear_theory as lt
from linear_theory.arrays import namespace
from linear_theory.descent import GradientDescent, HeavyBall, Nesterov, Objective
from linear_theory.descent.objective import _eigenvalues
from linear_theory.least_squares import blocks
from linear_theory.least_squares.rows import checked_sample
from linear_theory.propagator.momentum import Response
from linear_theory.propagator.powers import GeometricSum, count_steps
from linear_theory.testing.reference.population import mp
from linear_theory.testing.tolerances import disagreement, measured_condition, near
from tests.descents import StepByStep, curvatures, descend, written_out
from tests.strategies import data, random_data
from tests.test_least_squares import extent, loss, objective

EXAMPLE = random_data(9, 3, 3, condition=3.0, seed=1, weights=True)
LINEAR = [GradientDescent(), HeavyBall(), Nesterov()]
NAMES = ["gradient descent", "heavy ball", "Nesterov"]


def agrees(run, problem, eta, momentum, ahead, steps):
    """An error in the rounding of one step is multiplied by what momentum makes of it, 1/(1 − m)."""
    want = written_out(problem, eta, momentum, ahead, steps)
    condition = 10 * loss(problem, 0) / (1 - momentum)
    return near(run(eta, momentum, steps), want, condition, extent(problem))


@given(data(), st.floats(0.01, 1.3), st.floats(0, 0.95), st.integers(0, 40))
def test_it_is_the_loop_written_out(problem, share, momentum, steps):
    eta = share / curvatures(problem)[0]
    heavy = lambda eta, m, k: descend(problem, HeavyBall(eta, momentum=m), k).theta
    ahead = lambda eta, m, k: descend(problem, Nesterov(eta, momentum=m), k).theta
    assert agrees(heavy, problem, eta, momentum, False, steps)
    if share * (1 + 2 * momentum) < 2 + 2 * momentum:
        assert agrees(ahead, problem, eta, momentum, True, steps)
    plain = lambda eta, m, k: descend(problem, GradientDescent(eta), k).theta
    assert agrees(plain, problem, eta, 0.0, False, steps)


def test_the_loop_rejects():
    eta = 0.8 / curvatures(EXAMPLE)[0]
    good = lambda eta, m, k: descend(EXAMPLE, HeavyBall(eta, momentum=m), k).theta
    assert agrees(good, EXAMPLE, eta, 0.6, False, 6)
    mutants = [
        lambda eta, m, k: descend(EXAMPLE, Nesterov(eta, momentum=m), k).theta,
        lambda eta, m, k: descend(EXAMPLE, HeavyBall(eta / 2, momentum=m), k).theta,
        lambda eta, m, k: descend(EXAMPLE, HeavyBall(eta, momentum=m**2), k).theta,
        lambda eta, m, k: descend(EXAMPLE, HeavyBall(eta, momentum=m), np.arange(1, k + 2)).theta,
    ]
    for mutant in mutants:
        assert not agrees(mutant, EXAMPLE, eta, 0.6, False, 6)


@pytest.mark.parametrize("solver", LINEAR, ids=NAMES)
@given(problem=data(), steps=st.integers(0, 30))
def test_the_eigenbasis_is_the_plain_loop(solver, problem, steps):
    """Iterates, losses and distances of the loop that takes every step, with the default step size and momentum."""
    exact, taken = descend(problem, solver, steps), descend(problem, StepByStep(solver), steps)
    # 1/(1 − momentum) is at most √κ of ∇²L, which loss, κ of ∇²L, contains.
    condition, scale = 10 * loss(problem, 0), extent(problem)
    reach = max(scale, np.abs(taken.theta).max())
    assert near(exact.theta, taken.theta, condition, reach)
    assert near(exact.distance, taken.distance, condition, reach)
    size = max(objective(problem, problem.start), taken.loss.max()) * loss(problem, 0) ** 0.5
    assert near(exact.loss, taken.loss, 100, size)
    assert exact.status == taken.status


@pytest.mark.parametrize("solver", LINEAR, ids=NAMES)
def test_chosen_steps_are_rows_of_all_steps(solver):
    every = descend(EXAMPLE, solver, 100)
    for chosen in ([0], [100], [3, 17, 64, 99], np.array([5, 6, 7]), jnp.asarray([2, 40])):
        some = descend(EXAMPLE, solver, chosen)
        assert np.array_equal(some.steps, np.asarray(chosen))
        for part, whole in (
            (some.theta, every.theta),
            (some.loss, every.loss),
            (some.distance, every.distance),
        ):
            assert near(part, whole[np.asarray(chosen)], 1e3, extent(EXAMPLE))
    shifted = descend(EXAMPLE, solver, [4, 18])
    assert not near(shifted.theta, every.theta[[3, 17]], 1e3, extent(EXAMPLE))


def test_steps_of_any_size_cost_nothing():
    path = descend(EXAMPLE, HeavyBall(), [0, 10**9, 10**30, 10**400])
    want = lt.solve(EXAMPLE.X, EXAMPLE.y, EXAMPLE.start, EXAMPLE.weights).theta
    for theta in path.theta[1:]:
        assert near(theta, want, loss(EXAMPLE, 0), extent(EXAMPLE))
    assert path.steps[2] == 1e30
    diverged = descend(EXAMPLE, GradientDescent(1e3), [0, 10**9])
    assert diverged.status == "diverged"


@pytest.mark.parametrize(("wide", "largest"), [(False, 2**31), (True, 2**63)])
def test_steps_too_many_for_an_integer_of_jax_are_floats(wide, largest):
    rows = np.eye(2, dtype=np.float32), np.ones(2, dtype=np.float32)
    with jax.enable_x64(wide):
        kinds = [
            jax.eval_shape(
                lambda X, k=k: lt.descend(X, rows[1], rows[1], steps=[1, k]).steps, jnp.asarray(rows[0])
            )
            for k in (largest - 1, largest)
        ]
    assert [kind.dtype.kind for kind in kinds] == ["i", "f"]


@pytest.mark.parametrize("steps", [100, 1000, 10**4, 10**9])
def test_a_path_that_has_left_the_floats_is_not_near_anything(steps):
    """NaN is not 0: the distance of such an iterate is not known, its bound infinite, its slope not flat."""
    path = descend(EXAMPLE, GradientDescent(1e3), [steps])
    assert path.status == "diverged"
    assert not path.distance[-1] < 1e100
    assert path.distance_bound[-1] > 1e100
    assert not path.gradient_norm < 1e100


def test_a_hundred_thousand_steps_pass_twice_over_the_rows(monkeypatch):
    passes = []
    original = blocks.over_strips
    monkeypatch.setattr(blocks, "over_strips", lambda *a: passes.append(a[1]) or original(*a))
    X = np.random.default_rng(0).standard_normal((3000, 5))
    path = lt.descend(X, X @ np.ones(5) + 1, np.zeros(5), steps=np.arange(0, 100_001, 1000))
    assert path.theta.shape == (101, 5)
    assert passes == [3000, 3000]


@pytest.mark.parametrize("entries", [1, 7, 12, 36])
def test_steps_taken_in_blocks_are_those_taken_at_once(entries, monkeypatch):
    want = descend(EXAMPLE, HeavyBall(), 11)
    monkeypatch.setattr("linear_theory.descent.run.BLOCK_ENTRIES", entries)
    found = descend(EXAMPLE, HeavyBall(), 11)
    for name in ("theta", "loss", "distance", "steps"):
        assert near(getattr(found, name), getattr(want, name), 10, extent(EXAMPLE)), name


def test_losses_near_zero_do_not_cancel():
    """Labels that can be met: the loss falls to the square of rounding, below what the Gram matrix can tell from 0."""
    X = np.random.default_rng(3).standard_normal((400, 4))
    path = lt.descend(X, X @ np.arange(4.0), np.ones(4), steps=500)
    floor = (400 * np.finfo(float).eps) ** 2 * path.loss[0]
    assert (path.loss >= 0).all()
    assert path.loss[-1] <= floor
    gram = lt.NormalEquations.of(X, X @ np.arange(4.0), np.ones(4))
    assert abs(gram.loss(path.theta[-1] - 1)) > floor


# ---------------------------------------------------------------------- one direction, in 60 digits


def reference(x, momentum, ahead, steps):
    """ψ_K(x) = (δ_K of one direction with ηh = 1) by the K-th power of its 3 × 3 matrix in (δ, v, 1)."""
    x, momentum = mp.mpf(x), mp.mpf(momentum)
    carry = momentum * (1 - x) if ahead else momentum
    power, matrix = mp.eye(3), mp.matrix([[1 - x, carry, 1], [-x, carry, 1], [0, 0, 1]])
    while steps:
        power, matrix, steps = power * matrix if steps % 2 else power, matrix * matrix, steps // 2
    return power[0, 2]


def response(x, momentum, ahead, steps):
    rate = np.float64(momentum), np.float64(momentum if ahead else 0.0)
    return float(Response(rate, (steps,)).value(np.array([x]))[0, 0])


POINTS = [(x, m) for m in (0.0, 0.25, 0.9) for x in (0.0, 1e-12, 1e-3, (1 - m**0.5) ** 2, 0.4, 1.0, 1.2)]
POINTS += [((1 + m**0.5) ** 2, m) for m in (0.01, 0.25, 0.9)]  # the steep double root


@pytest.mark.parametrize("ahead", [False, True], ids=["heavy ball", "Nesterov"])
@pytest.mark.parametrize("steps", [0, 1, 2, 3, 10, 101, 10**4, 10**12 + 1])
def test_one_direction(steps, ahead):
    for x, m in POINTS:
        if ahead and x > (1.9 + 2 * m) / (1 + 2 * m):
            continue  # diverges
        want = reference(x, m, ahead, steps)
        condition = lambda x=x, m=m: measured_condition(lambda x, m: reference(x, m, ahead, steps), x, m)
        assert disagreement(f"x {x}, m {m}", response(x, m, ahead, steps), want, condition) is None


@pytest.mark.parametrize(
    "mutant",
    [
        lambda x, m, k: response(x, m, True, k),
        lambda x, m, k: response(x, m, False, k + 1),
        lambda x, m, k: response(x, m * (1 + 1e-9), False, k),
        lambda x, m, k: (1 - (1 - x) ** k) / x,
    ],
    ids=["lookahead", "one step more", "momentum", "no momentum"],
)
def test_one_direction_rejects(mutant):
    assert disagreement("", response(0.3, 0.5, False, 10), reference(0.3, 0.5, False, 10)) is None
    assert disagreement("", mutant(0.3, 0.5, 10), reference(0.3, 0.5, False, 10)) is not None


@pytest.mark.parametrize("steps", [0, 1, 2, 3, 10, 101, 10**4, 10**12 + 1])
def test_without_momentum_it_is_the_geometric_sum(steps):
    """xψ_K(x) = 1 − (1 − x)^K by both routes: a doubling of sums, of log₂ K roundings, and one logarithm."""
    x = np.array([0.0, 1e-15, 1e-3, 0.2, 0.3, 0.4, 0.9, 1.0, 1.2, 1.7, 1.99])
    sums = lambda k: x * GeometricSum(count_steps(namespace(), k)).value(x)
    recursion = lambda m: x * Response((np.float64(m), np.float64(0.0)), (steps,)).value(x)[0]
    rounded = 4 * (1 + np.log2(max(steps, 1)))
    assert near(recursion(0.0), sums(steps), rounded, 1)
    assert Response((np.float64(0), np.float64(0)), (steps,)).value(np.zeros(1))[0, 0] == steps
    if 1 < steps < 1000:  # Later every direction has converged, with whatever formula.
        assert not near(recursion(0.0), sums(steps + 1), rounded, 1)
        assert not near(recursion(1e-9), sums(steps), rounded, 1)


@pytest.mark.parametrize("ahead", [False, True], ids=["heavy ball", "Nesterov"])
@pytest.mark.parametrize("steps", [1, 2, 7, 300])
def test_divided_differences(steps, ahead):
    """ψ[a, b], and ψ' where a = b: by a difference over 1e-20 in 60 digits, known to 1e-20 of ψ''."""
    rate = np.float64(0.25), np.float64(0.25 if ahead else 0.0)
    kernel = Response(rate, (steps,))
    value = lambda x: reference(x, 0.25, ahead, steps)

    def wanted(a, b):
        gap = mp.mpf(a) - mp.mpf(b) if a != b else mp.mpf("1e-20")
        return (value(mp.mpf(b) + gap) - value(b)) / gap

    pairs = [(0.0, 0.0), (0.25, 0.25), (0.3, 0.3), (0.3, np.nextafter(0.3, 1)), (0.0, 0.9), (1.0, 0.4)]
    for a, b in [*pairs, (0.02, 0.08)]:  # the last: two that do not oscillate, and differ
        got = kernel.divided_difference(np.array([[a]]), np.array([[b]])).item()
        scale = max(abs(wanted(a, b)), 1)
        # K roundings in each of the two powers that a divided difference multiplies.
        assert abs(got - float(wanted(a, b))) <= 16 * max(steps, 4) * 2.0**-52 * float(scale)
        if steps > 1:  # ψ_1 = 1
            assert abs(1.001 * got - float(wanted(a, b))) > 16 * max(steps, 4) * 2.0**-52 * abs(got)


# ------------------------------------------------------------------------------------------------ in JAX


@functools.cache
def both_gradients(kind):
    """In the rows and their weights, through the eigenbasis and through the loop: compiled once for all rows."""

    def last(X, w, solver):
        theta = lt.descend(X, jnp.asarray(EXAMPLE.y), EXAMPLE.start, w, solver, [2, 9]).theta
        return (theta @ np.arange(3.0)).sum()

    @jax.jit
    def gradients(X, w, rate):
        solver = kind(rate) if kind is GradientDescent else kind(rate, momentum=0.4)
        return [jax.grad(last, argnums=(0, 1))(X, w, way) for way in (solver, StepByStep(solver))]

    return gradients


@pytest.mark.parametrize("solver", LINEAR, ids=NAMES)
@pytest.mark.parametrize("repeated", [False, True])
def test_gradients_are_those_of_the_loop(solver, repeated):
    """Through the eigenbasis as through every step, with equal curvatures too, where eigh has no derivative."""
    X = np.repeat(np.eye(3), 3, axis=0) if repeated else EXAMPLE.X
    weights = jnp.ones(9) if repeated else jnp.asarray(EXAMPLE.weights)
    # With constants given: the defaults depend on the extreme curvatures, which have a kink where they meet.
    rate = 0.9 / curvatures(EXAMPLE)[0] if not repeated else 0.8
    for got, want in zip(*both_gradients(type(solver))(jnp.asarray(X), weights, rate), strict=True):
        assert near(got, want, 1e3)
        assert not near(1.0001 * got, want, 1e3)


@pytest.mark.parametrize("unit", [1e-60, 1.0, 1e60])
def test_the_gradient_of_a_path_is_in_the_units_of_the_rows(unit):
    """2/n Xᵀ(y − Xθ)."""
    X, y, start = unit * EXAMPLE.X, EXAMPLE.y, EXAMPLE.start / unit
    for steps in ([0], [0, 3]):
        path = lt.descend(X, y, start, steps=steps)
        slope = 2 / len(y) * X.T @ (y - X @ path.theta[-1])
        assert near(path.gradient_norm, np.linalg.norm(slope), 1e3)


def test_momentum_has_a_derivative():
    @jax.jit
    def last(m):
        return descend(EXAMPLE, Nesterov(jnp.asarray(0.5), momentum=m), 12, jnp.asarray).theta[-1, 0]

    h = 1e-5
    slope, difference = jax.grad(last)(0.3), (last(0.3 + h) - last(0.3 - h)) / (2 * h)
    assert abs(slope - difference) <= 1e-8 * abs(slope)
    assert slope != 0


@pytest.mark.parametrize("steps", [7, (0, 3, 4, 9), (2, 4, 6)])
def test_jax_takes_the_same_path(steps):
    for solver in (*LINEAR, *map(StepByStep, LINEAR)):
        got, want = descend(EXAMPLE, solver, steps, jnp.asarray), descend(EXAMPLE, solver, steps)
        for name in ("theta", "loss", "steps", "distance", "roundings", "gradient_norm", "start_loss"):
            assert near(getattr(got, name), getattr(want, name), 1e3), name
        assert got.status == want.status


def test_the_limit_of_wide_rows_by_either_matrix_is_that_of_their_singular_values(monkeypatch):
    """XᵀWX, and where there are very many columns √W XXᵀ√W."""
    data = random_data(3, 5, 3, condition=3.0, seed=1, weights=True)
    rows = data.X, data.y, data.start, data.weights

    @jax.jit
    def limits(*rows):
        found = []
        for most in (5, 4):
            monkeypatch.setattr("linear_theory.descent.objective.AFFORDABLE", most)
            found.append(Objective(*checked_sample(*rows)).limit)
        return found

    want = Objective(*checked_sample(*rows)).limit
    for found in limits(*map(jnp.asarray, rows)):
        for name, got, wanted in zip(want._fields, found, want, strict=True):
            assert near(got, wanted, 1e4), name


def test_an_eigenvalue_moves_with_its_own_vector_alone():
    """∂λ/∂H = vvᵀ, of the largest and of the smallest; of two that are equal half the projector onto both."""
    turn = np.linalg.qr(np.random.default_rng(3).standard_normal((3, 3)))[0]
    with jax.enable_x64(True):
        for values in ([1.0, 2.0, 4.0], [2.0, 2.0, 4.0]):
            H = jnp.asarray((turn * values) @ turn.T)
            for k, place in ((2, 1), (0, 3)):
                slope = jax.grad(lambda H, at=place: _eigenvalues(namespace(H), H, jnp.array([at]))[0])(H)
                same = turn[:, np.isclose(values, values[k])]
                assert slope == pytest.approx(same @ same.T / same.shape[1], abs=1e-12)
