"""FLOW in an equinox loop: a classifier moves to a new domain, and forgets more or less of its old one.

python docs/examples/equinox_loop.py
"""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
import optax

import linear_theory as lt

CLASSES = 4


def sample_losses(model: eqx.Module, X: jax.Array, labels: jax.Array) -> jax.Array:
    """Your loss, one value a sample: here the cross-entropy."""
    return optax.softmax_cross_entropy_with_integer_labels(jax.vmap(model)(X), labels)


def weighted_loss(model: eqx.Module, X: jax.Array, labels: jax.Array, weights: jax.Array) -> jax.Array:
    """(1/n) Σ wᵢ · lossᵢ: a mean over the batch, not over the weights."""
    return jnp.mean(weights * sample_losses(model, X, labels))


def fine_tune(
    model: eqx.Module, rows: tuple, optimizer: optax.GradientTransformation, epochs: int, batch: int = 50
) -> eqx.Module:
    """Minibatches of rows = (X, labels, weights), shuffled together."""

    @eqx.filter_jit
    def step(model, state, batch):
        gradient = eqx.filter_grad(weighted_loss)(model, *batch)
        updates, state = optimizer.update(gradient, state)
        return eqx.apply_updates(model, updates), state

    state, n = optimizer.init(eqx.filter(model, eqx.is_inexact_array)), len(rows[0])
    for epoch in range(epochs):
        order = jax.random.permutation(jax.random.key(epoch), n)
        for start in range(0, n - batch + 1, batch):
            chosen = order[start : start + batch]
            model, state = step(model, state, [column[chosen] for column in rows])
    return model


def turned(key: jax.Array, n: int, degrees: float) -> tuple[jax.Array, jax.Array]:
    """Points around four corners of a square that is turned by some degrees, and the corners they belong to."""
    where, noise = jax.random.split(key)
    labels = jax.random.randint(where, (n,), 0, CLASSES)
    angle = jnp.pi / 2 * labels + jnp.deg2rad(degrees)
    corners = jnp.stack([jnp.cos(angle), jnp.sin(angle)], axis=1)
    return corners + 0.4 * jax.random.normal(noise, (n, 2)), labels


def main() -> dict[str, dict[str, float]]:
    old, new, test_old, test_new, init = jax.random.split(jax.random.key(0), 5)
    X_old, labels_old = turned(old, 1000, 0.0)
    network = eqx.nn.MLP(2, CLASSES, width_size=32, depth=1, key=init)
    pretrained = fine_tune(network, (X_old, labels_old, jnp.ones(1000)), optax.adam(1e-2), epochs=20)

    X, labels = turned(new, 1000, 45.0)
    losses = sample_losses(pretrained, X, labels)
    weights = lt.flow_weights(losses)  # before training, once
    ones, rate = jnp.ones_like(weights), 2e-3
    # Adam divides by the size of the gradient, so a common factor of the weights cancels: standard fine-tuning at the
    # same rate already has the same mean step. The smaller rate is shown too: it forgets less as well.
    shrunk = rate * float(weights.mean())
    models = {
        "pre-trained": pretrained,
        "standard": fine_tune(pretrained, (X, labels, ones), optax.adam(rate), epochs=10),
        "same mean step": fine_tune(pretrained, (X, labels, ones), optax.adam(shrunk), epochs=10),
        "FLOW": fine_tune(pretrained, (X, labels, weights), optax.adam(rate), epochs=10),
    }
    data = {"old": turned(test_old, 1000, 0.0), "new": turned(test_new, 1000, 45.0)}
    table = {
        name: {task: float(sample_losses(model, *rows).mean()) for task, rows in data.items()}
        for name, model in models.items()
    }
    worth = lt.effective_sample_size(weights)
    print(f"temperature {lt.median_temperature(losses):.3f}, ", end="")
    print(f"{len(labels)} samples worth {worth:.0f}, mean weight {weights.mean():.3f}")
    print(f"{'cross-entropy':30}{'old task':>10}{'new task':>10}")
    for name, loss in table.items():
        print(f"{name:30}{loss['old']:10.3f}{loss['new']:10.3f}")
    return table


if __name__ == "__main__":
    main()
