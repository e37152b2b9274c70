"""Weights, `solve`, `descend` and `NormalEquations` on rows, against exact arithmetic in 60 digits."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import linear_theory as lt
from linear_theory.testing.reference import rows as ref
from linear_theory.testing.reference.population import INF, floats, mp
from linear_theory.testing.tolerances import EPS, SAFETY, disagreement, least_squares_condition, ridged
from tests.agreement import assert_agrees, assert_rejects, under_jit
from tests.strategies import random_data

LOSSES = tuple(np.random.default_rng(5).standard_normal((2, 9)) ** 2)
LOSS_SETS = (LOSSES[0], LOSSES[1][:8], 1e6 * LOSSES[0], np.array([0.25]), np.array([0.0, 1e-3, 1.0, 700.0]))

DATA = {
    "tall": random_data(12, 3, 3, 10.0, 1),
    "tall, weights": random_data(12, 4, 4, 10.0, 2, weights=True),
    "condition 1e4": random_data(12, 4, 4, 1e4, 3, weights=True),
    "no noise": random_data(10, 4, 4, 1e3, 4, weights=True, noise=0.0),
    "square": random_data(5, 5, 5, 30.0, 5, weights=True),
    "wide": random_data(3, 6, 3, 10.0, 6, weights=True),
    "deficient": random_data(9, 5, 3, seed=7, weights=True),
    "wide and deficient": random_data(4, 7, 2, seed=8, weights=True),
    "one row": random_data(1, 4, 1, seed=9),
    "one column": random_data(7, 1, 1, seed=10, weights=True),
}
EACH = pytest.mark.parametrize("data", DATA.values(), ids=DATA.keys())
RIDGES = (0.0, 1e-6, 0.1, 10.0)


# ------------------------------------------------------------------------------------------------ weights


def compare_median(function, losses=LOSS_SETS[:4]):
    for f in losses:
        yield disagreement(f"median of {len(f)}", function(f), ref.median(f))


def compare_weights(function, temperatures=(None, 0.1, 1.0, 40.0, INF)):
    """Temperatures in units of the median. κ of exp(−f/τ) under relative changes of f and τ is 2f/τ."""
    for f in LOSS_SETS:
        for relative in temperatures:
            scale = float(ref.median(f)) * (relative or 1.0)
            tau = None if relative is None else scale
            want, got = ref.flow_weights(f, tau), function(f, tau)
            for i in range(len(f)):
                derive = lambda f=f, i=i, scale=scale: 2 * f[i] / scale
                yield disagreement(f"w[{i}], τ={tau}", got[i], want[i], derive)


def test_weights():
    assert_agrees(compare_median(lt.median_temperature))
    assert_agrees(compare_weights(lt.flow_weights))


def test_weights_jax_under_jit():
    median, given = under_jit(lt.median_temperature), under_jit(lt.flow_weights)
    default = under_jit(lambda f: lt.flow_weights(f))
    assert_agrees(compare_median(lambda f: median(jnp.asarray(f))))
    weights = lambda f, tau: default(jnp.asarray(f)) if tau is None else given(jnp.asarray(f), tau)
    assert_agrees(compare_weights(weights))


MEDIAN_MUTANTS = {"mean": np.mean, "lower": lambda f: np.quantile(f, 0.5, method="lower")}
WEIGHT_MUTANTS = {
    "loss with ½": lambda f, tau: lt.flow_weights(f / 2, lt.median_temperature(f) if tau is None else tau),
    "KL-DRO": lambda f, tau: 1 / np.maximum(lt.flow_weights(f, tau), 1e-300),
    "normalised": lambda f, tau: lt.flow_weights(f, tau) / lt.flow_weights(f, tau).sum(),
    "mean for the median": lambda f, tau: lt.flow_weights(f, np.mean(f) if tau is None else tau),
}


@pytest.mark.parametrize("mutant", MEDIAN_MUTANTS.values(), ids=MEDIAN_MUTANTS.keys())
def test_median_rejects(mutant):
    assert_rejects(compare_median(mutant))


@pytest.mark.parametrize("mutant", WEIGHT_MUTANTS.values(), ids=WEIGHT_MUTANTS.keys())
def test_weights_reject(mutant):
    assert_rejects(compare_weights(mutant))


# -------------------------------------------------------------------------------------------------- solve


def compare_solve(function, data, ridges=RIDGES):
    """`function(X, y, start, weights, ridge)` -> θ."""
    for ridge in ridges:
        want = ref.solve(data.X, data.y, data.start, data.weights, ridge)

        def derive(ridge=ridge, want=want):
            X, y, start, w = ridged(data.X, data.y, data.start, data.weights, ridge)
            return least_squares_condition(X, y, want, start, w)

        got = function(data.X, data.y, data.start, data.weights, ridge)
        yield disagreement(f"{data.X.shape} ridge={ridge}", got, want, derive)


def solve(X, y, start, weights, ridge):
    return lt.solve(X, y, start, weights=weights, ridge=ridge).theta


@EACH
def test_solve(data):
    assert_agrees(compare_solve(solve, data))


@EACH
def test_solve_jax_under_jit(data):
    compiled = jax.jit(solve)
    function = lambda *a: compiled(*(v if v is None else jnp.asarray(v) for v in a))
    assert_agrees(compare_solve(function, data))


@EACH
def test_normal_equations_are_the_exact_sums(data):
    """Their sums over two parts; Gram and moment are n times the Hessian and pull of the mean loss."""
    n = len(data.y)
    H, b = ref.hessian_and_pull(data.X, data.y, data.start, data.weights)
    cut = max(1, n // 2)
    w = np.ones(n) if data.weights is None else data.weights
    parts = [slice(0, cut), slice(cut, n)] if cut < n else [slice(0, n)]
    total = None
    for rows in parts:
        part = lt.NormalEquations.of(data.X[rows], data.y[rows], data.start, w[rows])
        total = part if total is None else total + part
    size = np.abs(data.X).T @ (w[:, None] * np.abs(data.X))
    forming = np.abs(data.X).T @ (w * (np.abs(data.y) + np.abs(data.X) @ np.abs(data.start)))
    want = n * H
    error = max(
        abs(mp.mpf(total.gram[i, j]) - want[i, j]) / size[i, j] for i in range(len(b)) for j in range(len(b))
    )
    assert error <= n * SAFETY * 2**-52
    drift = max(abs(mp.mpf(total.moment[i]) - n * b[i]) / forming[i] for i in range(len(b)))
    assert drift <= n * SAFETY * 2**-52
    assert total.count == n


def from_zero(X, y, start, weights, ridge):
    return solve(X, y, np.zeros_like(start), weights, ridge)


SOLVE_MUTANTS = {
    "closest to zero, not to start": ("wide", from_zero),
    "null space lost": ("deficient", from_zero),
    "ridge towards zero": ("tall", from_zero),
    "ridge on the sum": ("tall", lambda X, y, s, w, r: solve(X, y, s, w, r / len(y))),
    "weights squared": ("tall, weights", lambda X, y, s, w, r: solve(X, y, s, w**2, r)),
    "weights ignored": ("tall, weights", lambda X, y, s, w, r: solve(X, y, s, None, r)),
    "mean over Σw": ("tall, weights", lambda X, y, s, w, r: solve(X, y, s, w / w.mean(), r)),
    "a ridge where there is none": ("condition 1e4", lambda X, y, s, w, r: solve(X, y, s, w, r + 1e-12)),
}


@pytest.mark.parametrize(("name", "mutant"), SOLVE_MUTANTS.values(), ids=SOLVE_MUTANTS.keys())
def test_solve_rejects(name, mutant):
    assert_rejects(compare_solve(mutant, DATA[name]))


# ------------------------------------------------------------------------------------------------ descend


def stable(data):
    """A step of 0.4/λ_max, that contracts every direction and finishes none in one step."""
    H, _ = ref.hessian_and_pull(data.X, data.y, data.start, data.weights)
    return float(mp.mpf("0.4") / max(mp.eigsy(H, eigvals_only=True)))


def loss_resolution(data, theta, loss, roundings):
    """How exactly a loss near 0 can be known: the root mean square of the residual is off by ρ = roundings·ε·size.

    Size is that of √w(|y| + |X||θ|); the square of a number r off by ρ is off by 2rρ + ρ².
    """
    w = np.ones(len(data.y)) if data.weights is None else data.weights
    size = np.abs(data.y) + np.abs(data.X) @ np.abs(np.array(floats(theta)))
    rho = mp.mpf(roundings * EPS) * mp.mpf(float(np.sqrt((w * size**2).mean())))
    return 2 * mp.sqrt(loss) * rho + rho**2


def compare_descent(function, data, steps=25):
    """Every iterate and its loss; a contracting step adds its roundings and does not amplify earlier ones."""
    eta = stable(data)
    path = ref.gradient_descent(data.X, data.y, data.start, steps, eta, data.weights)
    theta, loss = map(np.asarray, function(data, steps, eta))
    assert np.shape(theta) == (steps + 1, len(data.start))
    for k, want in enumerate(path):
        yield disagreement(f"θ_{k}", theta[k], want)
        value = ref.loss(data.X, data.y, want, data.weights)
        resolution = loss_resolution(data, want, value, SAFETY + k)
        yield disagreement(f"loss_{k}", loss[k], value, resolution=resolution)


def walked(data, steps, eta, array=np.asarray):
    return lt.descend(
        array(data.X),
        array(data.y),
        array(data.start),
        weights=None if data.weights is None else array(data.weights),
        solver=lt.descent.GradientDescent(eta),
        steps=steps,
    )


def descend(data, steps, eta):
    path = walked(data, steps, eta)
    return path.theta, path.loss


@EACH
def test_descend(data):
    paths = [walked(data, 25, stable(data), array) for array in (np.asarray, jnp.asarray)]
    for path in paths:
        assert_agrees(compare_descent(lambda *_, path=path: (path.theta, path.loss), data))
        assert np.isclose(path.start_loss, path.loss[0], rtol=1e-12)
    # What is told beside it comes from the singular values of the rows, and in JAX from eigenvalues of their products.
    for name in ("distance", "roundings", "start_loss"):
        one, other = (np.asarray(getattr(path, name)) for path in paths)
        assert np.allclose(one, other, rtol=1e-5, atol=1e-12 * abs(one).max()), name


DESCENT_MUTANTS = {
    "loss with ½": lambda data, k, eta: descend(data, k, eta / 2),
    "from zero": lambda data, k, eta: descend(
        type(data)(data.X, data.y, 0 * data.start, data.weights), k, eta
    ),
    "weights ignored": lambda data, k, eta: descend(type(data)(data.X, data.y, data.start), k, eta),
    "sum for the mean": lambda data, k, eta: descend(data, k, eta / len(data.y)),
}


@pytest.mark.parametrize("mutant", DESCENT_MUTANTS.values(), ids=DESCENT_MUTANTS.keys())
def test_descend_rejects(mutant):
    assert_rejects(compare_descent(mutant, DATA["tall, weights"]))
