"""``linearize``: products, spectra and modes, against the Jacobian by hand and dense matrices."""

from __future__ import annotations

from dataclasses import replace

import jax
import numpy as np
import pytest
import scipy.linalg
from hypothesis import given
from hypothesis import strategies as st

import linear_theory as lt
from linear_theory.linearization import Linearization, products
from linear_theory.testing.tolerances import EPS, near, not_above, within_standard_errors
from tests.networks import SHAPES, linear_model, network, tanh_network
from tests.strategies import SEEDS, log_uniform, orthogonal, random_data

EACH = pytest.mark.parametrize("shape", SHAPES)


def dimension(net):
    """Terms in a sum over the rows or the parameters: what a product may lose."""
    return sum(net.rows.shape)


# ------------------------------------------------------------------------------------------------ products


@EACH
def test_products_are_those_of_the_jacobian_by_hand(shape):
    net = network(shape)
    lin, J, k = net.linearization, net.rows, dimension(net)
    rng = np.random.default_rng(1)
    v, u = rng.standard_normal((3, J.shape[1])), rng.standard_normal((3, *net.y.shape))
    assert (lin.count, lin.dim) == (len(net.y), J.shape[1])
    assert near(lin.outputs, net.outputs, k)
    assert near(lin.residuals.ravel(), net.residuals, k)
    assert near(lin.losses, (net.residuals.reshape(len(net.y), -1) ** 2).sum(axis=1), k)
    assert near(lin.jacobian(), J.reshape(*net.y.shape, -1), k)
    assert near(lin.jvp(v), (v @ J.T).reshape(3, *net.y.shape), k)
    assert near(lin.vjp(u), u.reshape(3, -1) @ J, k)
    assert near(lin.jvp(v)[1], lin.jvp(v[1]), k)
    assert near(lin.vjp(u)[1], lin.vjp(u[1]), k)
    assert near(lin.gradient(net.weights), -2 * net.pulled(), k)
    assert near(lin.gradient(), lin.gradient(np.ones(len(net.y))), k)
    assert near(lin.outputs_at(lin.start + v), lin.outputs + lin.jvp(v), k)
    assert lin.jvp(v[:0]).shape == (0, *net.y.shape)


@EACH
def test_the_jacobian_is_the_central_difference(shape):
    """It errs by h² of third derivatives and ε/h, best at h = ε^(1/3)."""
    net, h = network(shape), EPS ** (1 / 3)
    lin = net.linearization
    move = np.random.default_rng(2).standard_normal(lin.dim)
    move /= np.linalg.norm(move)
    ends = [tanh_network(lin.unflatten(lin.start + sign * h * move), net.X) for sign in (1, -1)]
    difference = (np.asarray(ends[0]) - np.asarray(ends[1])) / (2 * h)
    assert near(lin.jvp(move), difference, h**2 / EPS)


def layered(params, X):
    """A list of layers, each a dictionary or a tuple, and a number."""
    hidden = X
    for layer in params[:-1]:
        weights, bias = (layer["w"], layer["b"]) if isinstance(layer, dict) else layer
        hidden = jax.numpy.tanh(hidden @ weights + bias)
    return params[-1] * hidden


@given(SEEDS)
def test_parameters_come_back_as_they_went(seed):
    rng = np.random.default_rng(seed)
    params = [
        {"w": rng.standard_normal((2, 3)), "b": rng.standard_normal(3)},
        (rng.standard_normal((3, 2)), rng.standard_normal(2)),
        float(rng.standard_normal()),
    ]
    lin = lt.linearize(layered, params, rng.standard_normal((4, 2)), rng.standard_normal((4, 2)))
    theta = lin.flatten(params)
    assert (theta == lin.start).all()
    back = lin.unflatten(theta)
    assert jax.tree.structure(back) == jax.tree.structure(params)
    assert all(map(np.array_equal, jax.tree.leaves(back), jax.tree.leaves(params)))
    several = lin.unflatten(np.stack([theta, 2 * theta]))
    assert several[0]["w"].shape == (2, 2, 3)
    assert (lin.flatten(jax.tree.map(lambda leaf: leaf[1], several)) == 2 * theta).all()


# ------------------------------------------------------------------------------------------------- spectra


def agrees(lin, net, count):
    """Eigenvalues, to rounding of the largest, and that each vector is one: A v = λ v, ‖v‖ = 1."""
    A, k = net.curvature(), dimension(net)
    want = np.linalg.eigh(A)[0][::-1][:count]
    got = lin.spectrum(count, net.weights)
    if not (got.vectors.shape == (count, lin.dim) and near(got.values, want, k)):
        return False
    seen = want > k * EPS * want[0]
    steep = want[0] / want[seen][-1]  # data space: a vector is Jᵀ(…)/√λ, rounded like J
    return (
        near(got.vectors @ A, got.values[:, None] * got.vectors, k, want[0])
        and near((got.vectors[seen] ** 2).sum(axis=1), np.ones(seen.sum()), k * steep)
        and not got.vectors[got.values == 0].any()
    )


@EACH
@pytest.mark.parametrize("zeros", [0, 2])
def test_the_spectrum_is_that_of_the_matrix(shape, zeros):
    net = network(shape, zeros=zeros)
    lin = net.linearization
    for count in (1, 3, min(net.rows.shape)):
        assert agrees(lin, net, count)


@EACH
def test_a_wrong_spectrum_is_seen(shape, monkeypatch):
    net, right = network(shape), Linearization._weights
    for wrong in (lambda w: w**2, lambda w: w * len(w) / w.sum(), lambda w: 2 * w, np.ones_like):
        monkeypatch.setattr(Linearization, "_weights", lambda self, w, f=wrong: f(right(self, w)))
        assert not agrees(net.linearization, net, 3)


@pytest.mark.parametrize("rows", [12, 4])
def test_repeated_singular_values(rows):
    """XXᵀ or XᵀX a multiple of the identity: Lanczos from one vector sees one eigenvalue, once."""
    rng = np.random.default_rng(0)
    size = min(rows, 8)
    X = orthogonal(max(rows, 8), rng)[:rows, :8] if rows < 8 else orthogonal(rows, rng)[:, :8]
    lin = lt.linearize(linear_model, rng.standard_normal(8), X * rows**0.5, rng.standard_normal(rows))
    for count in range(1, size + 1):
        found = lin.spectrum(count)
        assert near(found.values, np.ones(count), rows + 8)
        assert near(found.vectors @ found.vectors.T, np.eye(count), rows + 8)
        weights = rng.uniform(0.1, 1, rows)
        assert not_above(lin.modes(weights, count).ratios, weights.max(), rows + 8)


@pytest.mark.parametrize(("rows", "columns"), [(9, 5), (5, 9)])
def test_a_deficient_rank_is_seen(rows, columns):
    data = random_data(rows, columns, 2, seed=4)
    lin = lt.linearize(linear_model, data.start, data.X, data.y)
    values, vectors = lin.spectrum(min(rows, columns))
    assert (values > 0).sum() == 2
    assert not vectors[2:].any()
    assert lin.modes(np.ones(rows), 2).ratios.shape == (2,)
    for count in (3, min(rows, columns)):
        with pytest.raises(lt.InvalidValueError, match=f"count = {count}: is more than the rank.*, 2"):
            lin.modes(np.ones(rows), count)


def test_nothing_to_see_is_no_failure_of_arpack():
    net = network("tall, one output")
    values, vectors = net.linearization.spectrum(2, np.zeros(len(net.y)))
    assert not values.any()
    assert not vectors.any()
    flat = lt.linearize(lambda p, X: X[:, 0], net.params, net.X, net.y)
    assert not flat.spectrum(2).values.any()
    assert (flat.iterate(10**12, 0.1) == flat.start).all()
    with pytest.raises(lt.InvalidValueError, match=r"rank of the Jacobian, 0"):
        flat.modes(net.weights, 1)


def test_a_failure_of_lanczos_is_one_error_of_ours(monkeypatch):
    def fails(*args, **kwargs):
        raise products.ArpackError(-9999)

    monkeypatch.setattr(products, "eigsh", fails)
    with pytest.raises(lt.InvalidValueError, match=r"count = 2: must be another number: Lanczos") as caught:
        network("tall, one output").linearization.spectrum(2)
    assert caught.value.__context__ is None


# --------------------------------------------------------------------------------------------------- modes


def retained(net, count):
    """The pencil (JᵀWJ/n, JᵀJ/n) on the top directions of JᵀJ, and what its answer may lose."""
    plain = net.curvature(np.ones(len(net.row_weights)))
    values, vectors = np.linalg.eigh(plain)
    basis = vectors[:, ::-1][:, :count]
    values = values[::-1]
    below = values[count] if count < min(net.rows.shape) else 0.0
    loss = dimension(net) * values[0] / min(values[count - 1], values[count - 1] - below)
    return basis, basis.T @ net.curvature() @ basis, basis.T @ plain @ basis, loss


@EACH
@pytest.mark.parametrize("zeros", [0, 2])
@pytest.mark.parametrize("count", [1, 4])
def test_modes_are_the_generalised_eigenpairs(shape, zeros, count):
    net = network(shape, zeros=zeros)
    lin, (basis, weighted, plain, loss) = net.linearization, retained(net, count)
    got = lin.modes(net.weights, count)
    assert near(got.ratios, scipy.linalg.eigh(weighted, plain, eigvals_only=True), loss, 1.0)
    moved = got.directions @ net.rows.T
    assert near(moved @ moved.T / len(net.y), np.eye(count), loss)
    assert near(moved * net.row_weights @ moved.T / len(net.y), np.diag(got.ratios), loss, 1.0)
    sizes = np.linalg.norm(got.directions, axis=1, keepdims=True)
    units = got.directions / sizes
    assert near(units @ basis @ basis.T, units, loss)  # in the retained space
    assert near(lin.curvature_ratio(got.directions, net.weights), got.ratios, loss, 1.0)
    assert near(lin.curvature_ratio(units[0], net.weights), got.ratios[0], loss, 1.0)


SEEDED = st.builds(network, st.sampled_from(["wide, one output", "tall, two outputs"]), SEEDS)


@given(SEEDED, st.integers(1, 4), log_uniform(1e-6, 1e6))
def test_laws_of_the_weights(net, count, factor):
    lin, k = net.linearization, dimension(net)
    modes, w = lin.modes(net.weights, count), net.weights
    assert not_above(modes.ratios, w.max(), k)
    assert not_above(w.min(), modes.ratios, k, w.max())
    more, scaled = lin.modes(factor * w, count), lin.spectrum(count, factor * w)
    assert near(scaled.values, factor * lin.spectrum(count, w).values, k)
    assert near(more.ratios, factor * modes.ratios, k)
    gaps = np.diff(modes.ratios).min(initial=1.0)
    across = abs((more.directions @ net.rows.T) @ (modes.directions @ net.rows.T).T) / len(w)
    if gaps > 1e-3:  # a near tie leaves the directions to rounding
        steep = retained(net, count)[3]
        assert near(across, np.eye(count), steep / gaps)


@given(SEEDED)
def test_weight_zero_is_a_row_removed(net):
    """Means are over n, so the rest counts (n − 1)/n."""
    lin, n, k = net.linearization, len(net.y), dimension(net)
    weights = np.where(np.arange(n) == 1, 0.0, net.weights)
    less = replace(net, X=np.delete(net.X, 1, 0), y=np.delete(net.y, 1, 0)).linearization
    kept, share = np.delete(net.weights, 1), (n - 1) / n
    assert near(lin.spectrum(3, weights).values, share * less.spectrum(3, kept).values, k)
    assert near(lin.gradient(weights), share * less.gradient(kept), k)
    rate = 0.5 / float(lin.spectrum(1).values[0])
    got, want = lin.iterate(20, rate, weights), less.iterate(20, rate * share, kept)
    assert near(got, want, 20 * k, abs(net.start).max() + abs(want - net.start).max())


@given(SEEDED, st.floats(-3, 3), st.floats(-3, 3))
def test_progress_is_the_share_of_the_way(net, s, t):
    lin = net.linearization
    u, v = np.random.default_rng(3).standard_normal((2, lin.dim))
    way = net.rows @ u
    # J and θ − θ* are rounded beside ‖J‖‖θ‖, the share beside ‖Ju‖
    scale = np.linalg.norm(net.rows, 2) * (np.linalg.norm(net.start) + np.linalg.norm(u) + np.linalg.norm(v))
    loss = dimension(net) * 6 * scale / np.linalg.norm(way)
    shares = lin.progress(lin.start + np.stack([0 * u, u, s * u, v, s * u + t * v]), u)
    want = (net.rows @ v) @ way / (way @ way)
    assert near(shares, np.array([0, 1, s, want, s + t * want]), loss, 1.0)
    assert near(lin.progress(lin.start + v, u), want, loss, 1.0)


@given(SEEDS, st.integers(-100, 100), st.sampled_from([np.float32, np.float64]))
def test_shares_do_not_depend_on_the_length_of_a_direction(seed, exponent, dtype):
    """A ratio of squares in units of its own: the same to the bit for a direction times a power of two."""
    rng, unit = np.random.default_rng(seed), 2.0**exponent
    u, X = rng.standard_normal(3).astype(dtype), rng.standard_normal((6, 3)).astype(dtype)
    weights = rng.uniform(0, 1, 6).astype(dtype)
    with jax.enable_x64(dtype == np.float64):
        u, X, weights = map(jax.numpy.asarray, (u, X, weights))
        lin = lt.linearize(linear_model, 0 * u, X, weights)
        at = u[::-1]
        assert lin.curvature_ratio(unit * u, weights) == lin.curvature_ratio(u, weights)
        assert lin.progress(unit * at, unit * u) == lin.progress(at, u)


# ----------------------------------------------------------------------------------------------- Lemma F.1


def test_gaussian_features_stall_by_the_square_of_the_mass():
    """The smallest ratio over μ is μ² along the shift, 1 across it; its bias, of order 1/n, is far below the error."""
    rng, shift, temperature, rows = np.random.default_rng(0), np.array([0.6, -0.8, 0.0]), 1.5, 4000
    mass = (1 + 2 / temperature) ** -0.5
    smallest, along = [], []
    for _ in range(48):
        X = rng.standard_normal((rows, 3))
        lin = lt.linearize(linear_model, np.zeros(3), X, -X @ shift)
        weights = lt.flow_weights(lin.losses, temperature)
        smallest.append(lin.modes(weights, 3).ratios[0] / weights.mean())
        along.append(lin.curvature_ratio(shift, weights) / weights.mean())
    assert within_standard_errors(along, mass**2)
    assert within_standard_errors(smallest, mass**2)
    for wrong in (mass, mass**3, mass**1.5, 1.0):
        assert not within_standard_errors(along, wrong)
        assert not within_standard_errors(smallest, wrong)


@pytest.mark.parametrize("kind", [np.int64, np.uint64, list])
@given(excess=st.integers(0, 2**31 - 3))
def test_tokens_that_jax_would_wrap_around_are_refused(kind, excess):
    """Without 64 bits 2³² + 1 would be token 1; those that fit are what they are."""
    predict = lambda params, tokens: params[tokens]
    tokens = lambda *values: list(values) if kind is list else np.array(values, dtype=kind)
    with jax.enable_x64(False):
        table = jax.numpy.arange(12.0).reshape(4, 3)
        assert np.array_equal(
            lt.linearize(predict, table, tokens(3, 0), np.zeros((2, 3))).outputs, table[np.array([3, 0])]
        )
        with pytest.raises(lt.InvalidValueError, match=r"holds .*, which is no") as caught:
            lt.linearize(predict, table, tokens(1, 2**32 + excess), np.zeros((2, 3)))
    assert caught.value.argument == "X"
