"""``linearize``: the path of gradient descent, both engines, and what is refused on the way in."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import linear_theory as lt
from linear_theory.arrays import namespace
from linear_theory.descent import GradientDescent
from linear_theory.linearization import Linearization, linear
from linear_theory.linearization.data_space import path_by_zero_weights
from linear_theory.propagator.powers import GeometricSum, split_steps
from linear_theory.testing.tolerances import VACUOUS, bound, near
from tests.networks import SHAPES, linear_model, network, tanh_network
from tests.strategies import random_data

EACH = pytest.mark.parametrize("shape", SHAPES)
STEPS = 30


def steepest(net):
    return np.linalg.eigvalsh(net.curvature())[-1]


def safe_rate(net, share=0.9):
    """That share of the largest convergent step, of the loss without ½."""
    return share / steepest(net)


def loop(net, steps, rate, rows=None):
    """Gradient descent on (1/n) Σ wᵢ‖rᵢ − Jᵢδ‖², step by step: every θ from θ* on."""
    J, w, r = net.rows, net.row_weights, net.residuals
    delta, path = np.zeros(J.shape[1]), []
    for _ in range(steps + 1):
        path.append(net.start + delta)
        delta = delta + 2 * rate / len(net.y) * J.T @ (w * (r - J @ delta))
    return np.array(path)


def agrees(lin, net, share=0.9):
    """With the loop: each of its steps is rounded, by a sum over rows or parameters."""
    rate, want = safe_rate(net, share), loop(net, STEPS, safe_rate(net, share))
    loss = STEPS * sum(net.rows.shape)
    assert bound(loss) < VACUOUS
    return near(lin.iterate(range(STEPS + 1), rate, net.weights), want, loss) and near(
        lin.iterate(STEPS, rate, net.weights), want[-1], loss
    )


@EACH
@pytest.mark.parametrize("zeros", [0, 2])
@pytest.mark.parametrize("share", [0.05, 0.9, 1.3])  # the last diverges, and is evaluated as it is
def test_the_path_is_the_loop(shape, zeros, share):
    net = network(shape, zeros=zeros)
    assert agrees(net.linearization, net, share)


@EACH
def test_a_wrong_path_is_seen(shape, monkeypatch):
    net = network(shape)
    lin = net.linearization
    assert not agrees(replace(lin, residuals=-lin.residuals), net)
    weigh, positive = Linearization._weights, linear.positive
    with monkeypatch.context() as patch:
        patch.setattr(linear, "positive", lambda *a: positive(*a) / 2)  # a loss with ½
        assert not agrees(lin, net)
    for wrong in (lambda w: w**2, lambda w: w * len(w) / w.sum(), np.ones_like):
        with monkeypatch.context() as patch:
            patch.setattr(Linearization, "_weights", lambda self, w, f=wrong: f(weigh(self, w)))
            assert not agrees(lin, net)
    if lin._dual:  # w where √w belongs, on the way back to the parameters alone
        back = Linearization._back
        with monkeypatch.context() as patch:
            patch.setattr(
                Linearization, "_back", lambda self, u: back(self, self._sample(net.weights**0.5) * u)
            )
            assert not agrees(lin, net)
    assert agrees(lin, net)


@EACH
@pytest.mark.parametrize("steps", [0, 1, 1000, 10**12])
def test_any_number_of_steps_by_the_singular_values(shape, steps):
    """ψ_K in the singular vectors of √W J/√n, whose σ² is known to ε·κ."""
    net = network(shape)
    A = np.sqrt(net.row_weights)[:, None] * net.rows / len(net.y) ** 0.5
    U, s, Vt = np.linalg.svd(A, full_matrices=False)
    rate = safe_rate(net, 0.4)  # 1 − x > 0; the loop has the other sign
    right = U.T @ (np.sqrt(net.row_weights) * net.residuals) / len(net.y) ** 0.5
    want = (-np.expm1(steps * np.log1p(-2 * rate * s**2)) / s * right) @ Vt
    # λ is known to ε of the largest; that moves a component by κ² of itself, and by no more than K·λ_max
    loss = sum(A.shape) * min((s[0] / s[-1]) ** 2, max(steps, 1))
    assert bound(loss) < VACUOUS
    got = net.linearization.iterate(steps, rate, net.weights) - net.start
    assert near(got, want, loss, abs(net.start).max() + abs(want).max())


@EACH
def test_descend_on_the_dense_jacobian_goes_the_same_way(shape):
    """Its mean is over n·k rows, so its step is k times as large."""
    net = network(shape)
    rate, k = safe_rate(net, 0.4), net.y.size // len(net.y)
    steps = np.array([0, 1, 7, 200])
    path = lt.descend(
        net.rows,
        net.residuals,
        np.zeros(net.rows.shape[1]),
        net.row_weights,
        GradientDescent(learning_rate=rate * k),
        steps,
    )
    got = net.linearization.iterate(steps, rate, net.weights)
    assert near(got, net.start + path.theta, 2 * 200 * sum(net.rows.shape))


@pytest.mark.parametrize(("rows", "columns", "rank"), [(9, 4, 4), (4, 9, 4), (9, 5, 2), (5, 9, 2)])
def test_a_linear_model_is_the_theory_itself(rows, columns, rank):
    """Its end is ``solve``, its path ``descend`` and, with the rows' own covariance, the population's ``iterate``."""
    data = random_data(rows, columns, rank, 3.0, seed=5, weights=True)
    lin = lt.linearize(linear_model, data.start, data.X, data.y)
    squares = np.linalg.svd(np.sqrt(data.weights)[:, None] * data.X, compute_uv=False)[:rank] ** 2
    rate, loss = 0.9 * rows / squares[0], (rows + columns) * squares[0] / squares[-1]
    end = lin.iterate(10**12, rate, data.weights)
    assert near(end, lt.solve(data.X, data.y, data.start, data.weights).theta, loss**1.5)
    steps = np.array([0, 1, 2, 50])
    path = lt.descend(
        data.X, data.y, data.start, data.weights, GradientDescent(learning_rate=rate), steps
    ).theta
    assert near(lin.iterate(steps, rate, data.weights), path, 50 * loss)
    target = np.random.default_rng(6).standard_normal(columns)
    clean = lt.linearize(linear_model, data.start, data.X, data.X @ target)
    A = (data.X.T * data.weights) @ data.X / rows
    problem = lt.FineTuningProblem(data.start, target, (A + A.T) / 2)
    assert near(clean.iterate(steps, rate, data.weights), lt.iterate(problem, steps, rate), 50 * loss)


BOTH = pytest.mark.parametrize("array", [np.asarray, jnp.asarray])


@BOTH
def test_a_small_singular_value_is_no_missing_one(array):
    """σ = 10⁻⁸: λ = σ² is lost beside λ_max, yet K steps go Kσ along it, which the Gram matrix must not drop."""
    data, steps = random_data(4, 9, 4, 1e8, seed=7), 10**5
    lin = lt.linearize(linear_model, array(data.start), data.X, data.y)
    U, s, Vt = np.linalg.svd(data.X, full_matrices=False)
    rate = 0.4 * 4 / s[0] ** 2
    right = U.T @ (data.y - data.X @ data.start)
    want = (-np.expm1(steps * np.log1p(-2 * rate * s**2 / 4)) / s * right) @ Vt
    assert near(lin.iterate(steps, rate), data.start + want, steps * sum(data.X.shape))
    small = data.start + want - (Vt[3] @ want) * Vt[3]
    assert not near(lin.iterate(steps, rate), small, steps * sum(data.X.shape))


@BOTH
@pytest.mark.parametrize(("rows", "columns"), [(5, 9), (9, 5)])
def test_a_missing_one_moves_nothing_however_long(array, rows, columns):
    """Labels that no parameter fits would else move by K roundings."""
    data = random_data(rows, columns, 2, seed=5, weights=True)
    lin = lt.linearize(linear_model, array(data.start), data.X, data.y)
    squares = np.linalg.svd(np.sqrt(data.weights)[:, None] * data.X, compute_uv=False)[:2] ** 2
    loss = ((rows + columns) * squares[0] / squares[1]) ** 1.5
    want = lt.solve(data.X, data.y, data.start, data.weights).theta
    path = lambda rate: lin.iterate(10**12, rate, data.weights)
    rate = 0.9 * rows / squares[0]
    assert near(path(rate), want, loss)
    if array is jnp.asarray:
        assert near(jax.jacfwd(path)(rate), 0 * want, loss, abs(want).max() / rate)


@pytest.mark.parametrize(("rate", "steps"), [(100.0, 1000), (1e300, 1), (1e300, 2), (1e200, 10**12)])
@pytest.mark.parametrize("shape", ["wide, one output", "tall, one output"])
@BOTH
def test_a_path_beyond_the_largest_float_names_the_learning_rate(rate, steps, shape, array):
    net = network(shape)
    lin = lt.linearize(tanh_network, jax.tree.map(array, net.params), net.X, 1e10 * net.y)
    limit = 1 / np.linalg.eigvalsh(net.curvature())[-1]
    with pytest.raises(lt.DivergenceError, match=rf"^learning_rate = .*converges below {limit:.4g}"[:-1]):
        lin.iterate(steps, rate, net.weights)


def test_divergence_under_tracing_is_not_finite():
    net = network("tall, one output")
    lin = lt.linearize(tanh_network, jax.tree.map(jnp.asarray, net.params), net.X, net.y)
    assert not np.isfinite(jax.jit(lambda r: lin.iterate(1000, r))(100.0)).all()


# ------------------------------------------------------------------------------------------------- engines


def several(lin, weights, rate=0.05):
    """Numbers that no sign of an eigenvector changes."""
    modes = lin.modes(weights, 2)
    values, vectors = lin.spectrum(2, weights)
    return {
        "jacobian": lin.jacobian(),
        "gradient": lin.gradient(weights),
        "values": values,
        "vectors": vectors**2,
        "ratios": modes.ratios,
        "ratio": lin.curvature_ratio(modes.directions, weights),
        "path": lin.iterate([0, 3, 40], rate, weights),
        "progress": lin.progress(2 * lin.start, modes.directions[0]) ** 2,
        "params": lin.unflatten(lin.start),
    }


def close(got, want, loss, eps=2.0**-52):
    leaves = zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True)
    return all(near(a, b, loss * eps / 2.0**-52) for a, b in leaves)


def loss_of(net):
    """Eigenvectors are known to ε·λ_max/gap."""
    values = np.linalg.eigvalsh(net.curvature(np.ones(len(net.row_weights))))[::-1]
    weighted = np.linalg.eigvalsh(net.curvature())[::-1]
    small = weighted[min(net.rows.shape) - 1]
    gap = min(*-np.diff(values[:3]), *-np.diff(weighted[:3]), small)
    return sum(net.rows.shape) * values[0] / gap


@EACH
@pytest.mark.parametrize("wide", [False, True])
def test_numpy_is_float64_whatever_jax_is_set_to(shape, wide):
    net = network(shape)
    with jax.enable_x64(wide):
        found = several(net.linearization, net.weights)
    for leaf in jax.tree.leaves(found):
        assert isinstance(leaf, np.ndarray | np.floating)
        assert leaf.dtype == np.float64
    assert near(found["jacobian"].reshape(net.rows.shape), net.rows, sum(net.rows.shape))


@pytest.mark.parametrize("shape", ["wide, three outputs", "tall, one output"])
def test_jit_vmap_and_float32(shape):
    net = network(shape)
    want, loss = several(net.linearization, net.weights), loss_of(net)
    whole = lambda params, X, y, w: several(lt.linearize(tanh_network, params, X, y), w)
    rows = (net.params, net.X, net.y, net.weights)
    assert close(jax.jit(whole)(*jax.tree.map(jnp.asarray, rows)), want, loss)
    inside = lt.linearize(tanh_network, jax.tree.map(jnp.asarray, net.params), net.X, net.y)
    assert close(jax.jit(several)(inside, net.weights), want, loss)  # itself an argument of jit
    weights = jnp.stack([net.weights, net.weights[::-1]])
    stacked = jax.vmap(partial(several, inside))(weights)
    for k, one in enumerate(weights):
        assert close(
            jax.tree.map(lambda leaf, k=k: leaf[k], stacked),
            several(net.linearization, np.asarray(one)),
            10 * loss,
        )
    narrow = jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype=jnp.float32), rows)
    for found in (whole(*narrow), jax.jit(whole)(*narrow)):
        for leaf in jax.tree.leaves(found):
            assert isinstance(leaf, jax.Array)
            assert leaf.dtype == jnp.float32
        assert close(found["jacobian"], want["jacobian"], loss, 2.0**-23)
        assert close(found["values"], want["values"], loss, 2.0**-23)


@pytest.mark.parametrize(
    "method", ["gradient", "spectrum", "modes", "curvature_ratio", "iterate", "jvp", "unflatten"]
)
def test_one_jax_array_among_the_arguments_decides(method):
    net = network("wide, three outputs")
    lin = net.linearization
    arguments = {
        "gradient": (net.weights,),
        "spectrum": (2, net.weights),
        "modes": (net.weights, 2),
        "curvature_ratio": (net.start, net.weights),
        "iterate": (3, 0.1, net.weights),
        "jvp": (net.start,),
        "unflatten": (net.start,),
    }[method]
    call = getattr(lin, method)
    narrow = [jnp.asarray(a, dtype=jnp.float32) if isinstance(a, np.ndarray) else a for a in arguments]
    for leaf in jax.tree.leaves(call(*narrow)):
        assert isinstance(leaf, jax.Array)
        assert leaf.dtype == jnp.float32
    wide = [jnp.asarray(a) if isinstance(a, np.ndarray) else a for a in arguments]
    traced = jax.jit(lambda *a: call(*[x if x is not None else y for x, y in zip(a, arguments, strict=True)]))
    holes = [a if isinstance(a, jax.Array) else None for a in wide]
    squares = lambda tree: jax.tree.map(lambda leaf: np.asarray(leaf) ** 2, tree)
    assert close(squares(traced(*holes)), squares(call(*arguments)), loss_of(net))


def test_the_gradient_of_an_end_by_its_learning_rate():
    """dθ_1/dη = −∇L(θ*)."""
    net = network("tall, two outputs")
    lin = lt.linearize(tanh_network, jax.tree.map(jnp.asarray, net.params), net.X, net.y)
    slope = jax.jacfwd(lambda rate: lin.iterate(1, rate, net.weights))(0.1)
    assert near(slope, -np.asarray(lin.gradient(net.weights)), sum(net.rows.shape))


# ------------------------------------------------------------------------------- derivatives by the weights


@jax.jit
def by_the_weights(params, X, y, weights, rate):
    """Derivatives, last axis the weights, of the path, of the largest eigenvalues and of their projectors."""
    lin = lt.linearize(tanh_network, params, X, y)

    def quantities(w):
        values, vectors = lin.spectrum(2, w)
        return lin.iterate([0, STEPS], rate, w), values, vectors[:, :, None] * vectors[:, None, :]

    return jax.jacrev(quantities)(weights)


def by_hand(net, rate):
    """The same: the loop's, step by step; of JᵀWJ/n by perturbation, where W enters without a root."""
    J, r, n = net.rows, net.residuals, len(net.y)
    rows_of = np.kron(np.eye(n), np.ones((len(J) // n, 1)))  # each output's sample
    delta, change, A = np.zeros(J.shape[1]), np.zeros((J.shape[1], n)), net.curvature()
    for _ in range(STEPS):
        left = r - J @ delta
        change = change + 2 * rate * (J.T @ (left[:, None] * rows_of) / n - A @ change)
        delta = delta + 2 * rate / n * J.T @ (net.row_weights * left)
    values, vectors = np.linalg.eigh(A)
    image = J @ vectors
    moved = np.einsum("ja,jb,jn->abn", image, image, rows_of) / n
    projectors = []
    for top in (-1, -2):
        gaps = np.delete(values[top] - values, top)
        turned = np.delete(vectors, top, 1) @ (np.delete(moved[top], top, 0) / gaps[:, None])
        projector = turned[:, None, :] * vectors[None, :, top, None]
        projectors.append(projector + np.swapaxes(projector, 0, 1))
    path = np.stack([0 * change, change])
    return path, np.stack([moved[-1, -1], moved[-2, -2]]), np.stack(projectors)


@EACH
@pytest.mark.parametrize("zeros", [0, 2])
def test_derivatives_by_the_weights_are_those_of_the_loop_and_of_the_matrix(shape, zeros):
    """Also by a weight of 0, which may only grow: √w has no derivative there, and what is made of W does."""
    net = network(shape, zeros=zeros)
    rate, values = safe_rate(net, 0.4), np.linalg.eigvalsh(net.curvature())[::-1]
    got = by_the_weights(*jax.tree.map(jnp.asarray, (net.params, net.X, net.y, net.weights)), rate)
    loss = STEPS * sum(net.rows.shape) * (values[0] / min(-np.diff(values[:3]))) ** 2
    assert bound(loss) < VACUOUS
    assert close(got, by_hand(net, rate), loss)


@jax.jit
def curved(X, y, weights, moved):
    """Of a number made of values and vectors the second derivative along a change of the weights, and the first along
    one of the rows.
    """

    def number(w, X):
        values, vectors = lt.linearize(linear_model, 0.0 * X[0], X, y).spectrum(2, w)
        return (values * ((X @ vectors.T) ** 2 * y[:, None]).sum(axis=0)).sum()

    along = lambda function: lambda w: jax.jvp(function, (w,), (y,))[1]
    by_rows = jax.jvp(lambda X: number(weights, X), (X,), (moved,))[1]
    return jnp.stack([along(along(lambda w: number(w, X)))(weights), by_rows])


@pytest.mark.parametrize("weights", [[0.2, 0.5, 1.0], [0.3, 0.0, 1.0]])
def test_the_spectrum_bends_in_data_space_as_in_parameter_space(weights):
    """In an orthonormal basis of the rows' span there are no more parameters than rows."""
    rng = np.random.default_rng(8)
    X, y = rng.standard_normal((3, 5)), rng.standard_normal(3)
    span = np.linalg.qr(X.T)[0]
    moved, w = rng.standard_normal((3, 3)), np.array(weights)
    assert near(curved(X, y, w, moved @ span.T), curved(X @ span, y, w, moved), 1e4, 1.0)


def test_a_second_derivative_of_the_path_that_is_not_known_is_no_number():
    kernel = GeometricSum(split_steps(namespace(jnp.ones(1)), (2,)))
    K = jnp.array([[2.0, 1.0], [1.0, 2.0]])
    by_weights = lambda w: path_by_zero_weights(kernel, jnp.array(0.1), K, w, jnp.ones(2)).sum()
    hessian = jax.jit(jax.hessian(by_weights))
    assert not hessian(jnp.array([0.5, 1.0])).any()
    assert np.isnan(hessian(jnp.array([0.0, 1.0]))).all()
    # Nor is it along a weight and the rate, whichever comes first.
    path = lambda w, rate: path_by_zero_weights(kernel, rate, K, w, jnp.ones(2)).sum()
    by_weight = lambda f: lambda w, rate: jax.jvp(lambda w: f(w, rate), (w,), (jnp.ones(2),))[1]
    by_rate = lambda f: lambda w, rate: jax.jvp(lambda rate: f(w, rate), (rate,), (jnp.array(1.0),))[1]
    mixed = jax.jit(
        lambda w: [f(w, jnp.array(0.1)) for f in (by_weight(by_rate(path)), by_rate(by_weight(path)))]
    )
    assert not any(mixed(jnp.array([0.5, 1.0])))
    assert np.isnan(mixed(jnp.array([0.0, 1.0]))).all()


def test_many_weights_of_zero_leave_the_other_eigenvalues_their_derivatives():
    """Rows at right angles: the eigenvalues of those left out are 0 to the bit, all the same one."""
    lin = lt.linearize(linear_model, jnp.zeros(4), np.diag([1.0, 2.0, 3.0, 4.0]), np.ones(4))
    slopes = jax.jit(jax.jacrev(lambda w: tuple(lin.spectrum(2, w))))(jnp.array([0.0, 1.0, 0.0, 1.0]))
    assert near(slopes[0], np.array([[0, 0, 0, 4.0], [0, 1.0, 0, 0]]), 8)
    assert near(slopes[1], np.zeros((2, 4, 4)), 8, 1.0)
