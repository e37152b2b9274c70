"""Second and third derivatives of paths, in every nesting, against differences of the NumPy answer and 50 digits."""

from __future__ import annotations

import math
from functools import partial
from itertools import pairwise

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest

import linear_theory as lt
from linear_theory.arrays import namespace
from linear_theory.covariance import Dense
from linear_theory.propagator.apply import Decay, Inverse, Shrinkage
from linear_theory.propagator.matrix_functions import derivative
from linear_theory.propagator.powers import GeometricSum, Power, count_steps
from linear_theory.weights import KLDRO
from tests.test_jax import to_jax

mp = mpmath.mp.clone()
mp.dps = 50

NESTINGS = {
    "grad of grad": lambda f: jax.grad(jax.grad(f)),
    "jacfwd of grad": lambda f: jax.jacfwd(jax.grad(f)),
    "grad of jacfwd": lambda f: jax.grad(jax.jacfwd(f)),
    "jacfwd of jacfwd": lambda f: jax.jacfwd(jax.jacfwd(f)),
}


# ---------------------------------------- the paper's plane, in 50 digits


def exact(steps, order, tau, rho=0.6):
    """The derivative by τ of what K steps leave along e, from (9): Q^K with Q's literal entries."""

    def along(t):
        squared = t / (t + 2)
        Q = mp.matrix([[1 - squared, -rho * squared], [-rho * squared, mp.mpf(rho) ** 2 * (1 - squared)]])
        return (Q**steps)[0, 0]

    return float(mp.diff(along, mp.mpf(tau), order))


@pytest.mark.parametrize(
    "nesting", [pytest.param(n, marks=pytest.mark.deep if n == "jacfwd of jacfwd" else ()) for n in NESTINGS]
)
def test_in_the_temperature(nesting):
    f = lambda t: lt.iterate(lt.paper_problem(0.6), 5, temperature=t)[0]
    curvature = jax.jit(NESTINGS[nesting](f))
    for tau in (0.4, 2.0):  # β = 1 at τ = 2
        assert curvature(tau) == pytest.approx(exact(5, 2, tau), rel=1e-11)


def test_the_third_in_the_temperature():
    f = lambda t: lt.iterate(lt.paper_problem(0.6), 5, temperature=t)[0]
    assert jax.jit(jax.jacfwd(jax.grad(jax.grad(f))))(0.4) == pytest.approx(exact(5, 3, 0.4), rel=1e-10)


def test_in_the_temperature_after_many_steps():
    """Where τK is 1, what is left of the shift moves by K times what τ moves."""
    slope = {K: jax.jit(jax.grad(partial(left_along, K))) for K in (10**6, 10**12, 10**16)}
    for steps, of in slope.items():
        for tau in (0.1 / steps, 3 / steps):
            assert of(tau) == pytest.approx(exact(steps, 1, tau), rel=1e-12)


def left_along(steps, tau):
    """What K steps leave along e."""
    return lt.iterate(lt.paper_problem(0.6), steps, temperature=tau)[0]


def test_where_training_ends():
    """θ_∞ − θ̃* = (1 − κ)e with 1 − κ = 2σ²/(τ + 2σ²), at σ² = ½: 1/(1 + τ), whose curvature at τ = 1 is ¼."""
    f = lambda t: lt.fixed_point(lt.paper_problem(0.6, noise_variance=0.5), t)[0]
    assert jax.jit(jax.grad(jax.grad(f)))(1.0) == pytest.approx(0.25, rel=1e-12)


def test_of_the_largest_stable_step():
    """1/(μλ) with λ from the two roots of the secular equation."""

    def limit(t):
        squared = t / (t + 2)
        square = mp.mpf(0.6) ** 2
        half, product = (
            1 - (1 - squared) * (1 + square) / 2,
            squared * (1 - square),
        )  # trace/2 and determinant of I − Q
        return 1 / (mp.sqrt(squared) * (half + mp.sqrt(half**2 - product)))

    f = lambda t: lt.stable_learning_rate(lt.paper_problem(0.6), t)
    nested = [jax.jit(NESTINGS[name](f)) for name in ("grad of grad", "jacfwd of jacfwd")]
    for tau in (0.1, 3.0):
        assert f(tau) == pytest.approx(float(limit(mp.mpf(tau))), rel=1e-13)
        for curvature in nested:
            want = float(mp.diff(limit, mp.mpf(tau), 2))
            assert curvature(tau) == pytest.approx(want, rel=1e-9)


# ---------------------------------------- every argument, every dimension, repeated eigenvalues


def answers(problem, tau):
    """Numbers of every path of a problem."""
    engine = jnp if isinstance(problem.pretrained, jax.Array) else np
    theta = engine.concatenate(
        [
            lt.iterate(problem, np.array([0, 1, 2, 7]), 0.4, tau),
            lt.gradient_flow(problem, np.array([0.7, math.inf]), tau),
        ]
    )
    return theta @ np.cos(np.arange(problem.dim))


def along(problem, direction, h):
    return jax.tree.map(lambda leaf, move: leaf + h * move, problem, direction)


def off_the_family(problem, seed):
    """A direction in which every entry of every argument moves: out of the paper's covariance, and e off its plane."""
    rng, dim = np.random.default_rng(seed), problem.dim
    move = rng.standard_normal((2, dim, dim)) / (4 * dim)
    leaves = [*rng.standard_normal((2, dim)), move[0] + move[0].T, move[1] + move[1].T, np.array(0.5)]
    return jax.tree.unflatten(jax.tree.structure(problem), leaves)


def second_difference(value, step=1e-3):
    """Two central differences whose h² terms cancel: h⁴ f⁗ and ε/h² stay, each below 1e-9."""
    central = lambda h: (value(h) - 2 * value(0.0) + value(-h)) / h**2
    return (4 * central(step) - central(2 * step)) / 3


@pytest.mark.parametrize(
    "dim", [pytest.param(d, marks=() if d == 4 else pytest.mark.deep) for d in range(1, 9)]
)
def test_in_every_argument(dim):
    """At Σ̃ = I (ρ = 0), at its repeated 1 from d = 3, at β = 1, at τ = ∞."""
    curvature = jax.jit(lambda p, d, tau: jax.jacfwd(jax.jacrev(lambda h: answers(along(p, d, h), tau)))(0.0))
    for rho in (0.0, 0.6) if dim > 1 else (0.0,):
        problem = lt.paper_problem(rho, dim=dim, noise_variance=0.3, pretrain_covariance=2 * np.eye(dim))
        direction = off_the_family(problem, dim)
        for tau in (0.5, 2.0, math.inf):
            found = np.asarray(curvature(*to_jax((problem, direction)), tau))
            want = second_difference(lambda h: answers(along(problem, direction, h), tau))  # noqa: B023
            assert np.all(np.abs(found - want) <= 1e-6 * (1 + np.abs(want))), (rho, tau)


@pytest.mark.deep
def test_nestings_agree_and_are_symmetric():
    """In θ* and Σ̃ together, where two of three eigenvalues coincide."""
    problem = to_jax(lt.paper_problem(0.0, dim=3, noise_variance=0.3))

    def value(x):
        matrix = jnp.eye(3) + x[3:12].reshape(3, 3) + x[3:12].reshape(3, 3).T
        moved = lt.FineTuningProblem(problem.pretrained + x[:3], problem.target, matrix, None, 0.3)
        return lt.total_error(moved, lt.iterate(moved, 4, temperature=0.7))

    at = jnp.zeros(12)
    found = [
        jax.jit(outer(inner(value)))(at)
        for outer, inner in ((jax.jacrev, jax.jacrev), (jax.jacfwd, jax.jacfwd))
    ]
    size = float(jnp.abs(found[0]).max())
    assert size > 1
    for matrix in found:
        assert float(jnp.abs(matrix - matrix.T).max()) <= 1e-12 * size
        assert float(jnp.abs(matrix - found[0]).max()) <= 1e-12 * size
    direction = jnp.cos(jnp.arange(12.0))
    numbers = jax.jit(value)
    want = second_difference(lambda h: np.asarray(numbers(h * direction)))
    assert float(direction @ found[0] @ direction) == pytest.approx(float(want), rel=1e-6)


def test_of_a_linearised_model():
    X = np.random.default_rng(0).standard_normal((6, 2))
    y = np.random.default_rng(1).standard_normal(6)
    model = lambda w, X: X @ jnp.stack([w[0], w[1] ** 2])
    lin = lt.linearize(model, jnp.array([0.3, 0.8]), X, y)
    value = lambda rate: lin.iterate([1, 4], rate, np.exp(-(y**2))).sum()
    numbers = jax.jit(value)
    want = second_difference(lambda h: np.asarray(numbers(0.2 + h)))
    for name in ("grad of grad", "jacfwd of jacfwd"):
        assert jax.jit(NESTINGS[name](value))(0.2) == pytest.approx(float(want), rel=1e-6)


# ---------------------------------------- the low rank beyond a matrix


@pytest.mark.deep
def test_second_derivatives_of_a_low_rank_in_many_dimensions():
    """In ρ and τ they are those of the plane."""
    large = lambda rho, tau: lt.iterate(lt.paper_problem(rho, dim=500), 5, temperature=tau)[:2].sum()
    small = lambda rho, tau: lt.iterate(lt.paper_problem(rho), 5, temperature=tau).sum()
    both = [float(jax.jit(jax.grad(jax.grad(f), 1))(0.3, 0.8)) for f in (large, small)]
    assert both[0] == pytest.approx(both[1], rel=1e-10)


@pytest.mark.parametrize(
    "number",
    [
        lambda problem: lt.iterate(problem, 5, temperature=0.8).sum(),
        lambda problem: lt.stable_learning_rate(problem, KLDRO(5.0)),  # steepest in the span
    ],
    ids=["iterate", "stable_learning_rate"],
)
def test_where_the_shift_leaves_a_low_rank_there_is_a_first_derivative_only(number):
    in_numpy = lt.paper_problem(0.3, dim=500)

    def moved(h, problem):
        e = problem.pretrained + h * np.cos(np.arange(500.0))
        return number(lt.FineTuningProblem(e, problem.target, problem.target_covariance))

    slope = (moved(1e-5, in_numpy) - moved(-1e-5, in_numpy)) / 2e-5
    first = jax.jit(jax.grad(partial(moved, problem=to_jax(in_numpy))))
    assert float(first(0.0)) == pytest.approx(float(slope), rel=1e-7)
    with pytest.raises(lt.InvalidValueError, match=r"derivative = 'the second'.*span of a low rank"):
        jax.eval_shape(jax.grad(jax.grad(partial(moved, problem=to_jax(in_numpy)))), 0.0)


def test_a_solver_with_momentum_has_first_derivatives():
    X, y = np.diag([1.0, 2.0]), np.ones(2)

    def moved(rate):
        solver = lt.descent.HeavyBall(rate, momentum=0.3)
        return lt.descend(X, y, jnp.zeros(2), solver=solver, steps=[3]).theta.sum()

    assert jnp.isfinite(jax.jit(jax.grad(moved))(0.1))
    with pytest.raises(lt.InvalidValueError, match=r"derivative = 'the second'.*momentum"):
        jax.jit(jax.grad(jax.grad(moved)))(0.1)


# ---------------------------------------- divided differences of any order

NUMPY = namespace()
KERNELS = {
    "power": (Power(count_steps(NUMPY, 9)), lambda x: (1 - x) ** 9),
    "long power": (Power(count_steps(NUMPY, 4001)), lambda x: (1 - x) ** 4001),
    "displacement": (GeometricSum(count_steps(NUMPY, 9)), lambda x: mp.fsum((1 - x) ** k for k in range(9))),
    "decay": (Decay(np.bool_(False)), lambda x: mp.exp(-x)),
    "inverse": (Inverse(), lambda x: 1 / x),
    "shrinkage": (Shrinkage(), lambda x: 1 / (1 + x)),
}
POINTS = (
    (0.3, 0.3, 0.3), (0.3, 0.3 + 1e-9, 0.3 - 1e-9), (0.1, 0.4, 0.9), (0.9, 0.9, 0.2), (0.5, 0.5 + 1e-4, 1.4),
    (1.0, 1.0, 1.0), (0.2, 0.2, 0.2, 0.2), (0.2, 0.2 + 1e-7, 0.7, 0.7), (0.05, 0.3, 0.6, 1.2),
    (1e-3, 1e-3, 1.1e-3, 2e-3),
)  # fmt: skip


APART = mp.mpf("1e-40")  # An exact 0 at coinciding points is met to this.


def confluent(function, points):
    """The divided difference in 200 digits, with coinciding points taken APART."""
    with mp.workdps(200):
        xs = [mp.mpf(x) + k * APART for k, x in enumerate(points)]
        table = [function(x) for x in xs]
        for order in range(1, len(xs)):
            table = [(b - a) / (xs[i + order] - xs[i]) for i, (a, b) in enumerate(pairwise(table))]
        return table[0]


@pytest.mark.parametrize("name", KERNELS)
@pytest.mark.parametrize("points", POINTS)
def test_divided_differences(name, points):
    kernel, function = KERNELS[name]
    got = float(np.squeeze(kernel.differences(*(np.float64(x) for x in points))))
    want = float(confluent(function, points))
    largest = max(abs(float(confluent(function, (x,) * len(points)))) for x in points)
    assert abs(got - want) <= 1e-10 * max(largest, abs(want)) + APART


@pytest.mark.parametrize("order", [2, 3])
@pytest.mark.parametrize(
    ("dtype", "digits"), [(np.float64, 1e-11), (np.float32, 1e-4)], ids=["float64", "float32"]
)
@pytest.mark.parametrize("steps", [1, 3, 40, 10**5, 10**10, 10**18, 10**19, 10**60])
def test_divided_differences_after_any_number_of_steps(steps, dtype, digits, order):
    """At coinciding points x = a/K: (−1)^n C(K, n) (1 − a/K)^(K−n), K^n e^(−a)/n! for many steps."""
    if steps**order > float(np.finfo(dtype).max):
        pytest.skip("the derivative itself is beyond the floats")
    lead = np.asarray if dtype is np.float64 else partial(jnp.asarray, dtype=jnp.float32)
    x = lead(dtype(0.5 / steps))
    kernel = Power(count_steps(namespace(x), steps))
    with mp.workdps(200):
        left = (1 - mp.mpf(float(x))) ** (steps - order)
        want = float((-1) ** order * mp.binomial(steps, order) * left)
    near = x * dtype(1 + 2 * np.finfo(dtype).eps)
    for points in ((x,) * (order + 1), (*(x,) * order, near)):
        assert abs(float(np.squeeze(kernel.differences(*points))) - want) <= digits * abs(want)


def test_a_plain_quotient_is_refused():
    kernel, function = KERNELS["power"]
    points = POINTS[1]
    value = lambda x: float(np.squeeze(kernel.value(np.array([x]))))
    a, b, c = points
    plain = ((value(a) - value(b)) / (a - b) - (value(b) - value(c)) / (b - c)) / (a - c)
    want = float(confluent(function, points))
    assert abs(plain - want) > 1e-3 * abs(want)


def test_twice_in_the_scale_and_once_in_the_covariance():
    """d²/ds² (I − sX)³ = 6X² − 6sX³, whose derivative along E is 6(XE + EX) − 6s(X²E + XEX + EX²)."""
    X, E = (m + m.T for m in np.random.default_rng(1).standard_normal((2, 3, 3)))
    cube = Power(count_steps(namespace(jnp.ones(1)), 3))
    twice = lambda X: derivative(cube, jnp.asarray(0.3), Dense(X), own=2)
    found = jax.jit(lambda X, E: jax.jvp(twice, (X,), (E,))[1])(jnp.asarray(X @ X), jnp.asarray(E))
    X = X @ X
    assert np.allclose(found, 6 * (X @ E + E @ X) - 1.8 * (X @ X @ E + X @ E @ X + E @ X @ X), rtol=1e-10)


def test_the_primitive_under_vmap_and_its_transpose():
    """⟨C, D(E)⟩ = ⟨E, Dᵀ(C)⟩, one by one and in a batch of steps."""
    rng = np.random.default_rng(0)
    A, C, E = (jnp.asarray(m + m.T) for m in rng.standard_normal((3, 3, 3)))
    covariance = lt.covariance.Dense(A @ A / 10)
    of = lambda k, E: derivative(Power(count_steps(namespace(A), k)), jnp.asarray(0.3), covariance, (E,))
    pairing = lambda k: lambda E: (C * of(k, E)).sum()
    steps = jnp.array([1, 2, 5])
    one = lambda k: jax.grad(pairing(k))(E)
    together = jax.jit(jax.vmap(one))(steps)
    for k, batched in zip((1, 2, 5), together, strict=True):
        alone = jax.jit(one)(k)
        assert np.allclose(alone, batched, rtol=1e-13, atol=1e-13)
        assert float((alone * E).sum()) == pytest.approx(float(pairing(k)(E)), rel=1e-12)


def test_the_primitive_under_two_levels_of_vmap():
    """Numbers of steps outside and covariances inside; d(I − sA)^K = −Σ B^j (sE + A ds) B^(K−1−j), B = I − sA."""
    A, E = (m @ m.mT / 4 for m in np.random.default_rng(2).standard_normal((2, 2, 3, 3)))
    steps, s, ds = (1, 4), 0.3, 0.7
    of = lambda k, A, s: derivative(Power(count_steps(namespace(A), k)), s, Dense(A))
    each = lambda A, s: jax.vmap(lambda k: jax.vmap(lambda A: of(k, A, s))(A))(jnp.array(steps))
    found = jax.jit(lambda *at: jax.jvp(each, at, (jnp.asarray(E), jnp.asarray(ds)))[1])(A, s)
    power = np.linalg.matrix_power
    for k, several in zip(steps, found, strict=True):
        for a, b, one in zip(A, E, several, strict=True):
            left = np.eye(3) - s * a
            want = -sum(power(left, j) @ (s * b + a * ds) @ power(left, k - 1 - j) for j in range(k))
            assert np.allclose(one, want, rtol=0, atol=1e-13)
