"""Networks for the tests of ``linearize``: in JAX as users write them, and by hand in NumPy with their Jacobian."""

from __future__ import annotations

from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np

import linear_theory as lt


def tanh_network(params, X):
    """One hidden layer; outputs (n,) for c (h,), (n, k) for c (h, k)."""
    return jnp.tanh(X @ params["a"] + params["b"]) @ params["c"]


def linear_model(theta, X):
    return X @ theta


def by_hand(params, X):
    """The outputs (n, k) and Jacobian (n, k, P) of ``tanh_network``, in the order a, b, c."""
    a, b, c = params["a"], params["b"], params["c"].reshape(len(params["b"]), -1)
    hidden = np.tanh(X @ a + b)
    slope = (1 - hidden**2)[:, None, :] * c.T  # (n, k, h)
    first = X[:, None, :, None] * slope[:, :, None, :]
    last = hidden[:, None, :, None] * np.eye(c.shape[1])[None, :, None, :]
    n, k = len(X), c.shape[1]
    return hidden @ c, np.concatenate([first.reshape(n, k, -1), slope, last.reshape(n, k, -1)], axis=2)


@dataclass(frozen=True)
class Network:
    """A network at its parameters, on rows, with the dense quantities that follow from its Jacobian by hand."""

    params: dict
    X: np.ndarray
    y: np.ndarray
    weights: np.ndarray

    @property
    def linearization(self):
        return lt.linearize(tanh_network, self.params, self.X, self.y)

    @property
    def start(self):
        return np.concatenate([self.params[name].ravel() for name in "abc"])

    @property
    def outputs(self):
        return by_hand(self.params, self.X)[0].reshape(self.y.shape)

    @property
    def rows(self):
        """J, (n·k, P)."""
        jacobian = by_hand(self.params, self.X)[1]
        return jacobian.reshape(-1, jacobian.shape[2])

    @property
    def residuals(self):
        """(n·k,)."""
        return (self.y - self.outputs).ravel()

    @property
    def row_weights(self):
        """(n·k,): each output of a sample has the weight of the sample."""
        return np.repeat(self.weights, self.y.size // len(self.y))

    def curvature(self, weights=None):
        """JᵀWJ/n."""
        w = self.row_weights if weights is None else weights
        return (self.rows.T * w) @ self.rows / len(self.y)

    def pulled(self):
        """JᵀWr/n."""
        return self.rows.T @ (self.row_weights * self.residuals) / len(self.y)


SHAPES = {  # n, inputs, hidden, outputs (0: a vector)
    "wide, one output": (6, 2, 4, 0),
    "wide, three outputs": (4, 2, 4, 3),
    "tall, one output": (40, 2, 3, 0),
    "tall, two outputs": (25, 2, 3, 2),
}


def network(shape, seed=0, zeros=0):
    n, d, h, k = SHAPES[shape]
    rng = np.random.default_rng(seed)
    params = {
        "a": rng.standard_normal((d, h)),
        "b": rng.standard_normal(h),
        "c": rng.standard_normal((h, k) if k else h),
    }
    weights = rng.uniform(0.05, 1.0, n)
    weights[:zeros] = 0.0
    return Network(params, rng.standard_normal((n, d)), rng.standard_normal((n, k) if k else n), weights)
