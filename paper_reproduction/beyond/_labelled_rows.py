"""Rows whose labels are drawn from a softmax model, and fits to weighted likelihoods, in plain NumPy.

Parameters are (classes − 1, d): the last class has logits 0, so that one minimiser is left. Two classes are logistic
regression.
"""

from __future__ import annotations

import numpy as np

LAWS = ("discrete", "Student t3", "exponential")


def draw_inputs(law: str, rng: np.random.Generator, n: int, d: int) -> np.ndarray:
    """(n, d): a column of ones, and inputs that are not Gaussian, in two cases not centred either."""
    if law == "discrete":
        inputs = rng.choice([-2.0, 0.0, 1.0, 1.5], p=[0.2, 0.3, 0.4, 0.1], size=(n, d - 1))
    elif law == "Student t3":
        inputs = rng.standard_t(3, size=(n, d - 1))
    else:
        inputs = rng.exponential(size=(n, d - 1))
    return np.column_stack([np.ones(n), inputs])


def log_law(x: np.ndarray, theta: np.ndarray) -> np.ndarray:
    """ln p(y|x), (n, classes)."""
    logits = np.column_stack([x @ theta.T, np.zeros(len(x))])
    logits -= logits.max(axis=1, keepdims=True)
    return logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))


def draw_labels(law: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """One label a row, as indicators (n, classes)."""
    cumulative = np.exp(law).cumsum(axis=1)
    label = (rng.random(len(law))[:, None] > cumulative[:, :-1]).sum(axis=1)
    return np.eye(law.shape[1])[label]


def loss(x: np.ndarray, labels: np.ndarray, theta: np.ndarray) -> np.ndarray:
    """−ln p(y|x) of each row, (n,)."""
    return np.maximum(-(labels * log_law(x, theta)).sum(axis=1), 0.0)


def fit(x: np.ndarray, masses: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The minimiser (classes − 1, d) of Σ m(x, y)·(−ln p(y|x)), and the Hessian there: Newton with halved steps.

    ``masses`` (n, classes) is how much of each label a row holds: its weight in the column of its label, or for a whole
    law of x and y the probability times the weight.
    """
    masses = masses / masses.sum()
    rows, kept = masses.sum(axis=1), masses.shape[1] - 1
    theta = np.zeros((kept, x.shape[1]))
    law, bend = log_law(x, theta), np.empty(0)
    for _ in range(100):
        p = np.exp(law[:, :kept])
        slope = ((rows[:, None] * p - masses[:, :kept]).T @ x).ravel()
        bend = hessian(x, rows, p)
        step, height = np.linalg.solve(bend, slope).reshape(theta.shape), (masses * law).sum()
        while (masses * (law := log_law(x, theta - step))).sum() < height - 1e-14:
            step = step / 2
        theta = theta - step
        if abs(step).max() <= 1e-9 * abs(theta).max():  # the next one would be its square
            break
    return theta, bend


def hessian(x: np.ndarray, rows: np.ndarray, p: np.ndarray) -> np.ndarray:
    """Σ m(x) (diag p − p pᵀ) ⊗ x xᵀ, ((classes − 1) d)²."""
    kept, d = p.shape[1], x.shape[1]
    out = np.empty((kept, d, kept, d))
    for a in range(kept):
        for b in range(kept):
            out[a, :, b] = (x * (rows * p[:, a] * ((a == b) - p[:, b]))[:, None]).T @ x
    return out.reshape(kept * d, kept * d)
