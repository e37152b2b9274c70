"""The optax and equinox loops: weights stay with their samples, the mean is over n, Adam forgets a common factor."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import optax
import pytest

import linear_theory as lt
from tests.frameworks.loops import example, told

ROWS = ["pre-trained", "standard", "same mean step", "FLOW"]
LOOPS = {"optax_loop": 10, "equinox_loop": 2}
"""Their inputs' dimension."""


@pytest.fixture(autouse=True)
def as_a_user_has_it():
    """float32, and promotion as usual: Adam in optax mixes floats and counts."""
    with jax.enable_x64(False), jax.numpy_dtype_promotion("standard"):
        yield


@pytest.fixture(params=LOOPS)
def loop(request):
    return example(request.param)


def start(loop, n=60):
    """A model and n rows."""
    if loop is example("optax_loop"):
        params, data = loop.tasks(n=n)
        return params, *data["new"]
    model = loop.eqx.nn.MLP(2, loop.CLASSES, width_size=8, depth=1, key=jax.random.key(1))
    return model, *loop.turned(jax.random.key(0), n, 30.0)


def flat(model):
    return jnp.concatenate([leaf.ravel() for leaf in jax.tree.leaves(model) if hasattr(leaf, "ravel")])


def tuned(loop, model, rows, optimizer=None, epochs=3, batch=10):
    optimizer = optimizer or optax.sgd(0.05)
    return flat(loop.fine_tune(model, rows, optimizer, epochs=epochs, batch=batch)) - flat(model)


def test_the_loss_is_a_mean_over_n(loop):
    model, X, y = start(loop)
    losses = loop.sample_losses(model, X, y)
    weights = lt.flow_weights(losses)
    found = float(loop.weighted_loss(model, X, y, weights))
    eps = float(jnp.finfo(jnp.float32).eps)
    assert found == pytest.approx(float((weights * losses).sum()) / len(losses), rel=len(losses) * eps)
    assert found != pytest.approx(float((weights * losses).sum() / weights.sum()), rel=0.1)


def poisoned(X, y, value):
    """Every third row has weight 0 and a label that would lead the model astray."""
    weights = jnp.ones(len(y)).at[::3].set(0.0)
    return X, jnp.where(weights == 0, jnp.asarray(value, dtype=y.dtype), y), weights


def test_a_shuffle_moves_weights_with_their_samples(loop):
    model, X, y = start(loop)
    zeros, threes = (poisoned(X, y, value) for value in (0, 3))
    moved = tuned(loop, model, zeros)
    assert (moved == tuned(loop, model, threes)).all()

    shuffled = jax.random.permutation(jax.random.key(5), len(y))  # the usual mistake: weights by place
    astray = [(X[shuffled], y[shuffled], weights) for X, y, weights in (zeros, threes)]
    wrong = [tuned(loop, model, rows) for rows in astray]
    assert abs(wrong[0] - wrong[1]).max() > 0.01 * abs(moved).max()


def test_full_batches_are_gradient_descent_on_the_weighted_mean(loop):
    """The same steps written out; and three ways to get the weights wrong, far from them."""
    model, X, y = start(loop)
    weights = lt.flow_weights(loop.sample_losses(model, X, y))
    moved = tuned(loop, model, (X, y, weights), epochs=20, batch=len(y))

    def written_out(loss):
        is_array = lambda leaf: isinstance(leaf, jax.Array)
        leaves, structure = jax.tree.flatten(model)
        arrays = [leaf for leaf in leaves if is_array(leaf)]

        def whole(arrays):
            rest = iter(arrays)
            return jax.tree.unflatten(structure, [next(rest) if is_array(leaf) else leaf for leaf in leaves])

        slope = jax.jit(jax.grad(lambda arrays: loss(loop.sample_losses(whole(arrays), X, y))))
        for _ in range(20):
            arrays = [a - 0.05 * g for a, g in zip(arrays, slope(arrays), strict=True)]
        return flat(arrays) - flat(model)

    apart = lambda loss: float(abs(written_out(loss) - moved).max() / abs(moved).max())
    eps = float(jnp.finfo(jnp.float32).eps)
    assert apart(lambda losses: (weights @ losses) / len(losses)) < 20 * len(y) * eps
    for wrong in (
        lambda losses: (weights @ losses) / weights.sum(),
        lambda losses: jnp.mean(lt.flow_weights(jax.lax.stop_gradient(losses)) * losses),
        lambda losses: jnp.mean(jnp.exp(-losses / jnp.median(losses)) * losses),
    ):
        assert apart(wrong) > 0.01


def test_a_common_factor_of_the_weights_is_a_step_for_sgd_and_nothing_for_adam(loop):
    """Why standard fine-tuning with the same mean step is, under Adam, the one at the same rate."""
    model, X, y = start(loop)
    ones = jnp.ones(len(y))
    exact = optax.adam(1e-3, eps=0.0, eps_root=1e-30)
    whole, half = (tuned(loop, model, (X, y, c * ones), exact) for c in (1.0, 0.5))
    assert jnp.allclose(whole, half, rtol=1e-3, atol=1e-7)
    whole, half = (tuned(loop, model, (X, y, ones), optax.sgd(rate)) for rate in (0.05, 0.025))
    weighted = tuned(loop, model, (X, y, 0.5 * ones), optax.sgd(0.05))
    assert jnp.allclose(weighted, half, rtol=1e-3, atol=1e-7)
    assert not jnp.allclose(weighted, whole, rtol=0.1, atol=1e-7)


@pytest.mark.parametrize("name", LOOPS)
def test_the_example_shows_the_same_mean_step(name, capsys):
    table = example(name).main()
    assert "temperature" in told(capsys, table)
    assert list(table) == ROWS
    old, new = ({row: loss[task] for row, loss in table.items()} for task in ("old", "new"))
    assert old["pre-trained"] < old["FLOW"] < old["standard"]
    assert new["standard"] < new["FLOW"] < new["pre-trained"]
    assert old["FLOW"] < old["same mean step"] <= old["standard"]
