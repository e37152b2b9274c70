"""Weights, least squares and gradient descent on rows, entry by entry in 60 digits."""

from __future__ import annotations

import math
from dataclasses import dataclass

from .population import mp
from .rational import closest, rational


@dataclass(frozen=True)
class Table:
    """A matrix by its exact floats, row after row, hashable; a :class:`~.population.Case` for rows."""

    entries: tuple
    columns: int

    def __iter__(self):
        return (self.entries[i : i + self.columns] for i in range(0, len(self.entries), max(self.columns, 1)))

    def __len__(self):
        return len(self.entries) // max(self.columns, 1)


def exact_matrix(rows):
    return mp.matrix([[mp.mpf(float(entry)) for entry in row] for row in rows])


def exact_vector(entries):
    return mp.matrix([mp.mpf(float(entry)) for entry in entries])


def median(losses):
    """The middle value, or the mean of the two middle ones."""
    ordered = sorted(mp.mpf(float(f)) for f in losses)
    n = len(ordered)
    return (ordered[(n - 1) // 2] + ordered[n // 2]) / 2


def flow_weights(losses, temperature=None):
    tau = median(losses) if temperature is None else mp.mpf(temperature)
    return [mp.mpf(1) if tau == math.inf else mp.exp(-mp.mpf(float(f)) / tau) for f in losses]


def hessian_and_pull(X, y, start, weights=None, ridge=0.0):
    """H and b of the loss in the displacement δ = θ − start: L = δᵀHδ − 2bᵀδ + constant, the mean being
    over n.
    """
    A, n = exact_matrix(X), len(y)
    residual = exact_vector(y) - A * exact_vector(start)
    w = [mp.mpf(1)] * n if weights is None else [mp.mpf(float(v)) for v in weights]
    WA = mp.matrix([[w[i] * A[i, j] for j in range(A.cols)] for i in range(n)])
    return WA.T * A / n + mp.mpf(ridge) * mp.eye(A.cols), WA.T * residual / n


def solve(X, y, start, weights=None, ridge=0.0):
    """The minimiser closest to start: pseudo-inverse of H by its eigenbasis, null space where 60 digits see
    zero.

    For that the rank of a float matrix must be exact: callers use small integers where it is to be deficient.
    """
    H, b = hessian_and_pull(X, y, start, weights, ridge)
    values, V = mp.eigsy(H)
    cut = mp.mpf(10) ** -45 * max([abs(v) for v in values], default=mp.mpf(0))
    c = V.T * b
    kept = [c[i] / values[i] if values[i] > cut else mp.mpf(0) for i in range(len(c))]
    return exact_vector(start) + V * mp.matrix(kept)


def closest_minimiser(X, y, start, weights=None, ridge=0.0):
    """The same in fractions: the rank is that of the floats, and nothing is rounded before the end."""
    away = closest(list(X), y, start, weights, ridge).displacement
    theta = [a + b for a, b in zip(rational(start), away, strict=True)]
    return mp.matrix([mp.mpf(v.numerator) / v.denominator for v in theta])


def loss(X, y, theta, weights=None):
    """(1/n) Σ wᵢ (yᵢ − ⟨xᵢ,θ⟩)²."""
    r = exact_vector(y) - exact_matrix(X) * exact_vector(theta)
    w = [1] * len(y) if weights is None else [mp.mpf(float(v)) for v in weights]
    return mp.fsum(wi * ri**2 for wi, ri in zip(w, r, strict=True)) / len(y)


def gradient_descent(X, y, start, steps, learning_rate, weights=None, ridge=0.0):
    """θ_0 … θ_steps of θ ← θ − η∇L, one step at a time."""
    H, b = hessian_and_pull(X, y, start, weights, ridge)
    delta, path = mp.zeros(len(b), 1), []
    for _ in range(steps + 1):
        path.append(exact_vector(start) + delta)
        delta = delta - 2 * mp.mpf(learning_rate) * (H * delta - b)
    return path


def descended(X, y, start, steps, learning_rate, weights=None):
    """θ after so many steps."""
    return gradient_descent(X, y, start, steps, learning_rate, weights)[-1]


def effective_sample_size(weights):
    """(Σw)²/Σw²."""
    w = exact_vector(weights)
    return mp.fsum(w) ** 2 / mp.fsum(v * v for v in w)
