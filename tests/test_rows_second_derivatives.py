"""Second and third derivatives of what is solved on rows: every nesting, at every rank, against differences.

Along two directions in which everything moves (X inside its rank, labels, start, weights, ridge). The gradient is
held against differences of NumPy's values, the Hessian against differences of the gradient, and so on.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest

import linear_theory as lt
from linear_theory.least_squares.pseudo_inverse import Split, minimiser, split
from tests.strategies import random_covariance
from tests.test_jax_gradients import close, differences

mp = mpmath.mp.clone()

SHAPES = {  # rows, columns, rank, columns of labels, ridge, rows without weight
    "tall": (8, 4, 4, 1, 0.0, 0),
    "square": (3, 3, 3, 1, 0.0, 0),
    "wide": (2, 4, 2, 1, 0.0, 0),
    "rank deficient": (5, 3, 2, 1, 0.0, 0),
    "wide with a ridge": (2, 3, 2, 1, 0.2, 0),
    "deficient with a ridge": (5, 3, 2, 1, 0.1, 0),
    "several labels, a weight at 0": (6, 2, 2, 2, 0.0, 1),
    "wide once a weight is 0": (4, 3, 2, 1, 0.0, 2),
}


def moving(shape, seed=0):
    """v (2,) ↦ the arguments of ``solve``, at v = 0 those of this shape."""
    n, d, rank, several, ridge, idle = SHAPES[shape]
    rng = np.random.default_rng(seed)
    several = (several,) if several > 1 else ()
    full = rank == min(n, d)
    sizes = [(n, d)] if full or idle else [(n, rank), (rank, d)]
    sizes += [(n, *several), (d, *several)]
    bases = [(rng.standard_normal(s), rng.standard_normal((2, *s))) for s in sizes]
    weights, move = rng.uniform(0.5, 1.0, n), 0.3 * rng.standard_normal((2, n))
    weights[:idle] = 0.0
    move[:, :idle] = 0.3 * (full and idle > 0)  # a row that comes into play leaves the rank as it was

    def arguments(v, xp):
        at = [base + xp.tensordot(v, xp.asarray(move), 1) for base, move in bases]
        *factors, y, start = at
        X = factors[0] if len(factors) == 1 else factors[0] @ factors[1]
        return X, y, start, weights + xp.tensordot(v, xp.asarray(move), 1), ridge * (1 + v[0] - v[1])

    return arguments


def solved(arguments):
    """A curved function of θ and of the residual."""
    solution = lt.solve(*arguments)
    xp = jnp if isinstance(solution.theta, jax.Array) else np
    return xp.sin(solution.theta).sum() + 0.1 * solution.residual.sum()


def summed(arguments):
    *rows, ridge = arguments
    solution = lt.NormalEquations.of(*rows).solve(ridge)
    xp = jnp if isinstance(solution.theta, jax.Array) else np
    return xp.sin(solution.theta).sum() + 0.1 * solution.residual.sum()


def cooled(arguments):
    X, y, start, weights, ridge = arguments
    xp = jnp if isinstance(X, jax.Array) else np
    path = lt.temperature_path(X, y, start, 2.0 + weights[:2], ridge)
    return xp.sin(path.theta).sum() + path.mean_weight.sum()


def four_hessians(function):
    """grad of grad, forward of grad, grad of forward, forward of forward."""
    return [
        outer(inner(function)) for outer in (jax.jacrev, jax.jacfwd) for inner in (jax.jacrev, jax.jacfwd)
    ]


def forward_difference(value, h=1e-4):
    """Where a weight is 0, which may grow and not shrink: h⁴ and ε/h stay."""
    weights = (-25.0, 48.0, -36.0, 16.0, -3.0)
    return sum(w * value(k * h) for k, w in enumerate(weights)) / (12 * h)


def complaints(value, gradient, hessians, third, at, numpy_value=None):
    """What a derivative and the differences of the one below disagree about."""
    slope = differences if numpy_value is not None else forward_difference
    along = lambda function, k: slope(lambda h: np.asarray(function(at + h * np.eye(2)[k])))
    stacked = lambda function: np.stack([along(function, k) for k in range(2)], axis=-1)
    if numpy_value is not None and not close(np.asarray(gradient(at)), stacked(numpy_value)):
        yield "gradient"
    want = stacked(gradient)
    for number, hessian in enumerate(hessians):
        found = np.asarray(hessian(at))
        if not (close(found, want) and close(found, found.T)):
            yield f"hessian {number}: {found} for {want}"
    if third is not None:
        found, want = np.asarray(third(at)), stacked(hessians[1])
        if not (close(found, want) and close(found, np.transpose(found, (2, 0, 1)))):
            yield f"third: {found} for {want}"


CASES = [(solved, shape) for shape in SHAPES]
CASES += [(summed, "tall"), (summed, "rank deficient"), (summed, "several labels, a weight at 0")]
CASES += [(cooled, "tall"), (cooled, "deficient with a ridge")]


ALWAYS = {("solved", "rank deficient"), ("summed", "tall")}


@pytest.mark.parametrize(
    ("function", "shape"),
    [
        pytest.param(*case, marks=() if (case[0].__name__, case[1]) in ALWAYS else pytest.mark.deep)
        for case in CASES
    ],
)
def test_derivatives(function, shape):
    arguments = moving(shape)
    value = lambda v: function(arguments(v, jnp))
    compiled = [
        jax.jit(f) for f in (value, jax.grad(value), *four_hessians(value), jax.jacfwd(jax.hessian(value)))
    ]
    at = jnp.zeros(2)
    numpy_value = lambda v: function(arguments(np.asarray(v), np))
    inside = numpy_value if "weight" not in shape else None  # a difference would make weights negative
    if (
        function is cooled
    ):  # in NumPy its weightings share sums, to 1e-8, of which a difference would be noise
        inside = lambda v: np.asarray(compiled[0](v))
    assert not list(complaints(*compiled[:2], compiled[2:6], compiled[6], at, inside))


def test_two_rows_of_ones_by_hand():
    """θ = v/(1 + v): its second and third derivatives at 1 are −¼ and ⅜; half of it is rejected."""
    X, y, start = jnp.ones((2, 1)), jnp.array([0.0, 1.0]), jnp.zeros(1)
    for theta in (
        lambda v: lt.solve(X, y, start, jnp.stack([jnp.ones(()), v])).theta[0],
        lambda v: lt.NormalEquations.of(X, y, start, jnp.stack([jnp.ones(()), v])).solve().theta[0],
    ):
        orders = (*four_hessians(theta), jax.grad(jax.grad(jax.grad(theta))))
        *seconds, third = jax.jit(lambda v, orders=orders: [order(v) for order in orders])(1.0)
        for second in seconds:
            assert close(second, -0.25)
            assert not close(second, -0.125)
        assert close(third, 0.375)
    assert close(jax.jit(jax.grad(theta))(0.0), 1.0)  # through √w it would not be a number


def test_a_ridge_on_one_row_of_two_columns_by_hand():
    """θ = s + Xᵀr/(‖x‖² + ρ), its slope −Xᵀr/(‖x‖² + ρ)² and its bend 2Xᵀr/(‖x‖² + ρ)³, of two outputs."""
    X, y, start = jnp.array([[1.0, 2.0]]), jnp.array([[3.0, -1.0]]), jnp.array([[1.0, 0.5], [-1.0, 2.0]])
    read = lambda solution: (solution.theta, solution.residual)
    functions = (
        lambda ridge: read(lt.solve(X, y, start, ridge=ridge)),
        lambda ridge: read(lt.NormalEquations.of(X, y, start).solve(ridge)),
    )
    moved = lambda function: lambda ridge: jax.jvp(function, (ridge,), (jnp.ones(()),))
    orders = jax.jit(lambda ridge: [moved(moved(function))(ridge) for function in functions])

    residual, ridge = np.asarray(y - X @ start)[0], 0.75
    moment, whole = np.outer([1.0, 2.0], residual), 5 + ridge
    want = [start + moment / whole, -moment / whole**2, 2 * moment / whole**3]
    # What is left of the label is r·ρ/(‖x‖² + ρ).
    left = residual**2 * np.array(
        [[ridge**2 / whole**2], [10 * ridge / whole**3], [10 * (5 - 2 * ridge) / whole**4]]
    )
    for (value, slope), (_, bend) in orders(ridge):
        for (theta, energy), theta_want, energy_want in zip((value, slope, bend), want, left, strict=True):
            np.testing.assert_allclose(theta, theta_want, rtol=1e-10)
            np.testing.assert_allclose(energy, energy_want, rtol=1e-9)


def test_the_hessian_in_deficient_rows_is_symmetric():
    """Also in directions that change the rank, where it is that of the rows with their smaller side set to 0."""
    rng = np.random.default_rng(3)
    X = jnp.asarray((rng.integers(-3, 4, (4, 1)) @ rng.integers(1, 4, (1, 2))).astype(float))
    y = jnp.asarray(rng.standard_normal(4))
    hessian = jax.jit(jax.hessian(lambda X: lt.solve(X, y, jnp.ones(2)).theta[0]))(X).reshape(8, 8)
    assert close(np.asarray(hessian), np.asarray(hessian).T)
    assert abs(hessian).max() > 1e-3


def test_several_labels_move_in_deficient_rows_as_each_does_alone():
    """θ has a column for each label, and so has its derivative; another label's is rejected."""
    rng = np.random.default_rng(4)
    draw = lambda *shape: jnp.asarray(rng.standard_normal((2, *shape)))
    (left, d_left), (right, d_right), (y, dy), (start, d_start) = (
        draw(5, 2),
        draw(2, 3),
        draw(5, 3),
        draw(3, 3),
    )

    def theta(t, labels):
        X = (left + t * d_left) @ (right + t * d_right)
        return lt.solve(X, (y + t * dy)[:, labels], (start + t * d_start)[:, labels]).theta

    speed = lambda labels: np.asarray(jax.jit(jax.jacfwd(lambda t: theta(t, labels)))(0.0))
    together, alone = speed(slice(None)), np.stack([speed(k) for k in range(3)], axis=-1)
    assert close(together, alone)
    assert not close(together[:, ::-1], alone)


@pytest.mark.parametrize(
    "name", [pytest.param("GradientDescent", marks=pytest.mark.deep), "ConjugateGradient"]
)
def test_derivatives_of_descent(name):
    """Weights, one of them 0, and labels: through the step size, too, which hangs on the extreme curvatures."""
    rng = np.random.default_rng(1)
    X, y, start = (jnp.asarray(rng.standard_normal(s)) for s in ((5, 2), 5, 2))
    weights, moves = rng.uniform(0.3, 1.0, 5), 0.3 * rng.standard_normal((2, 5))
    weights[0] = moves[:, 0] = 0.0
    solver, steps = getattr(lt.descent, name)(), [1 if name == "ConjugateGradient" else 3]

    def value(v):
        w, labels = weights + v @ jnp.asarray(moves), y * (1 + v[0] * v[1])
        return jnp.sin(lt.descend(X, labels, start, w, solver=solver, steps=steps).theta[-1]).sum()

    compiled = [jax.jit(f) for f in (value, jax.grad(value), *four_hessians(value))]
    held = lambda v: np.asarray(compiled[0](v))
    assert not list(complaints(*compiled[:2], compiled[2:], None, jnp.zeros(2), held))


def test_temperatures_one_after_another():
    """Reverse over reverse through the loop over temperatures: there rules were lost, and 0.19 came out for −0.16."""
    rng = np.random.default_rng(0)
    X, y, start = (jnp.asarray(rng.standard_normal(shape)) for shape in ((4, 2), 4, 2))

    def by_hand(v):
        rows = X * (1 + v)
        return lt.solve(rows, y, start, jnp.exp(-((y - rows @ start) ** 2) / (2.0 + v))).theta.sum()

    together = lambda v: lt.temperature_path(X * (1 + v), y, start, jnp.array([2.0]) + v).theta.sum()
    want = float(jax.jit(jax.jacfwd(jax.jacfwd(by_hand)))(0.1))
    assert close(np.asarray(jax.jit(jax.grad(jax.grad(together)))(0.1)), want)


@pytest.mark.parametrize("unit", [1.0, 1e-3, 1e-5, 1e-8, 1e-12])
def test_a_derivative_beside_a_column_in_another_unit_is_right_or_no_number(unit):
    """Columns c, 2c and one in small units: the gradient and the second derivative in a weight."""
    rng = np.random.default_rng(3)
    c, other = rng.integers(-4, 5, (2, 6)) + 0.5
    X, y = np.stack([c, 2 * c, unit * other], axis=1), rng.integers(-9, 9, 6) + 0.0
    weights, along = rng.integers(1, 4, 6) + 0.0, np.arange(6.0)
    read = np.array([1.0, 0.5, 2 * unit])

    def value(v, xp):
        rows = map(xp.asarray, (X, y, np.zeros(3)))
        return lt.solve(*rows, xp.asarray(weights) + v * xp.asarray(along)).theta @ xp.asarray(read)

    h = 2e-3
    at = {k: value(k * h, np) for k in (-2, -1, 0, 1, 2)}
    slope = (8 * (at[1] - at[-1]) - at[2] + at[-2]) / (12 * h)
    bend = (16 * (at[1] + at[-1]) - at[2] - at[-2] - 30 * at[0]) / (12 * h * h)
    first = jax.value_and_grad(lambda v: value(v, jnp))
    (of_jax, *_), found = jax.jit(
        lambda v: (first(v), jnp.stack([first(v)[1], jax.grad(lambda v: first(v)[1])(v)]))
    )(0.0)
    assert float(of_jax) == pytest.approx(at[0], rel=1e-10)
    if unit >= 1e-5:
        np.testing.assert_allclose(found, [slope, bend], rtol=1e-5)
    else:
        assert np.isnan(found).all()


def test_a_column_of_zeros_costs_no_derivative():
    X = np.array([[1.0, 1e-8, 0.0], [2.0, -3e-8, 0.0], [1.0, 5e-8, 0.0]])
    function = lambda v, X: lt.solve(
        X, jnp.arange(3.0), jnp.zeros(X.shape[1]), jnp.ones(3) + v * jnp.arange(3.0)
    ).theta[0]
    slope = jax.jit(jax.grad(function))
    with_it, without = (float(slope(0.0, jnp.asarray(rows))) for rows in (X, X[:, :2]))
    assert with_it == pytest.approx(without, rel=1e-8)


class Moved(NamedTuple):
    """δᵀHδ/2 − ⟨g, δ⟩, as the rules of derivatives ask for it."""

    H: jax.Array
    g: jax.Array

    def matrix(self):
        return self.H

    def apply(self, vectors):
        return self.H @ vectors

    def slope(self, displacement):
        return self.g - self.H @ displacement


def test_the_third_derivative_also_along_a_change_that_would_add_to_the_rank():
    """Of the matrix with its small side set to 0, a smooth function of the change: against 40 digits."""
    H, g = np.diag([4.0, 1.0, 0.0]), np.array([1.0, -2.0, 0.5])
    B, b = random_covariance(3, 5.0, 1.0, 1), np.array([0.3, 0.7, -0.4])
    known, delta = Split.of(np.diag([0.25, 1.0, 0.0]), np.diag([0.0, 0.0, 1.0])), g / [4, 1, np.inf]
    moved = lambda t: Moved(H + t * B, g + t * b)

    def third(function):
        return jax.jit(jax.jacfwd(jax.jacfwd(jax.jacfwd(function))))(0.0)

    def exactly(t):
        values, vectors = mp.eigsy(mp.matrix(H) + t * mp.matrix(B))
        inverse = sum((vectors[:, k] * vectors[:, k].T / values[k] for k in (1, 2)), mp.zeros(3))
        return [*inverse, *(inverse * (mp.matrix(g) + t * mp.matrix(b)))]

    with mp.workdps(60):
        step = mp.mpf(10) ** -12  # third central differences, whose next term is step² times as large
        at = [exactly(k * step) for k in (-2, -1, 1, 2)]
        exact = [
            float((far - 2 * b + 2 * a - back) / (2 * step**3)) for back, a, b, far in zip(*at, strict=True)
        ]
    both = lambda t: (split(known, moved(t)).inverse, minimiser(known, delta, moved(t)))
    found = np.concatenate([np.ravel(part) for part in third(both)])
    assert np.allclose(found, exact, rtol=1e-9, atol=1e-9)
