"""FLOW in an optax loop: a small network moves to a new task, and forgets more or less of its old one.

python docs/examples/optax_loop.py
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import optax

import linear_theory as lt


def predict(params: dict, X: jax.Array) -> jax.Array:
    return jnp.tanh(X @ params["hidden"]) @ params["out"]


def sample_losses(params: dict, X: jax.Array, y: jax.Array) -> jax.Array:
    """Your loss, one value a sample: here (y − f(x))²."""
    return (y - predict(params, X)) ** 2


def weighted_loss(params: dict, X: jax.Array, y: jax.Array, weights: jax.Array) -> jax.Array:
    """(1/n) Σ wᵢ · lossᵢ: a mean over the batch, not over the weights."""
    return jnp.mean(weights * sample_losses(params, X, y))


def fine_tune(
    params: dict, rows: tuple, optimizer: optax.GradientTransformation, epochs: int, batch: int, seed: int = 0
) -> dict:
    """Minibatches of rows = (X, y, weights), shuffled together."""

    @jax.jit
    def step(params, state, batch):
        gradient = jax.grad(weighted_loss)(params, *batch)
        updates, state = optimizer.update(gradient, state, params)
        return optax.apply_updates(params, updates), state

    state, n = optimizer.init(params), len(rows[0])
    for epoch in range(epochs):
        order = jax.random.permutation(jax.random.fold_in(jax.random.key(seed), epoch), n)
        for start in range(0, n - batch + 1, batch):
            chosen = order[start : start + batch]
            params, state = step(params, state, [column[chosen] for column in rows])
    return params


def tasks(n: int = 2000, dim: int = 10, width: int = 32, seed: int = 0) -> tuple[dict, dict[str, tuple]]:
    """A network that knows its old task, and rows (X, y) of the old and of the new one, which adds a slope."""
    hidden, out, old, new, noise = jax.random.split(jax.random.key(seed), 5)
    params = {
        "hidden": jax.random.normal(hidden, (dim, width)) / dim**0.5,
        "out": jax.random.normal(out, (width,)) / width**0.5,
    }
    X_old, X_new = jax.random.normal(old, (n, dim)), jax.random.normal(new, (n, dim))
    y_new = predict(params, X_new) + 0.7 * X_new[:, 0] + 0.1 * jax.random.normal(noise, (n,))
    return params, {"old": (X_old, predict(params, X_old)), "new": (X_new, y_new)}


def main() -> dict[str, dict[str, float]]:
    pretrained, data = tasks()
    X, y = data["new"]
    losses = sample_losses(pretrained, X, y)
    weights = lt.flow_weights(losses)  # before training, once
    ones, rate, shared = jnp.ones_like(weights), 0.02, {"epochs": 10, "batch": 50}
    models = {
        "pre-trained": pretrained,
        "standard": fine_tune(pretrained, (X, y, ones), optax.sgd(rate), **shared),
        "same mean step": fine_tune(
            pretrained, (X, y, ones), optax.sgd(rate * float(weights.mean())), **shared
        ),
        "FLOW": fine_tune(pretrained, (X, y, weights), optax.sgd(rate), **shared),
    }
    table = {
        name: {task: float(sample_losses(params, *rows).mean()) for task, rows in data.items()}
        for name, params in models.items()
    }
    worth = lt.effective_sample_size(weights)
    print(f"temperature {lt.median_temperature(losses):.3f}, ", end="")
    print(f"{len(y)} samples worth {worth:.0f}, mean weight {weights.mean():.3f}")
    print(f"{'mean squared error':30}{'old task':>10}{'new task':>10}")
    for name, loss in table.items():
        print(f"{name:30}{loss['old']:10.3f}{loss['new']:10.3f}")
    return table


if __name__ == "__main__":
    main()
