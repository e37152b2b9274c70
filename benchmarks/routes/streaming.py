"""Losses, sums and fits of all rows at once, in 60 digits."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import strategies as st

import linear_theory as lt
from linear_theory import testing
from linear_theory.testing.reference import rows as data
from linear_theory.testing.reference.population import mp

from ..law import Law

Quantity = testing.Quantity


def _exact_losses(X: Any, y: Any, start: Any) -> list[Any]:
    rows, theta = data.exact_matrix(X), data.exact_vector(start)
    return [r**2 for r in data.exact_vector(y) - rows * theta]


def _middle(losses: list[Any]) -> Any:
    """The middle one, or the mean of the middle two."""
    ordered, n = sorted(losses), len(losses)
    return (ordered[(n - 1) // 2] + ordered[n // 2]) / 2


def weighted_sums(X: Any, y: Any, start: Any, temperature: float, weights: Any) -> Any:
    """Σ w(x, r)(x, r)ᵀ over all rows, w = exp(−r²/τ) times the weight given."""
    dim, total = len(start), mp.zeros(len(start) + 1)
    for x, label, given in zip(X, y, weights, strict=True):
        r = mp.mpf(label) - mp.fsum(mp.mpf(a) * b for a, b in zip(x, start, strict=True))
        both = [mp.mpf(v) for v in x] + [r]
        w = given * mp.exp(-r * r / mp.mpf(temperature))
        for i in range(dim + 1):
            for j in range(dim + 1):
                total[i, j] += w * both[i] * both[j]
    return total


def weighted_fit(X: Any, y: Any, start: Any, temperature: float, weights: Any) -> Any:
    """Those sums solved in 60 digits."""
    total, dim = weighted_sums(X, y, start, temperature, weights), len(start)
    return data.exact_vector(start) + mp.lu_solve(total[:dim, :dim], total[:dim, dim])


def _chunks(X: Any, y: Any, weights: Any = None) -> Any:
    """Two rows at once."""
    return lt.streaming.from_arrays(X, y, weights, rows=2)


def _blocks(found: Any) -> np.ndarray:
    """Sums of normal equations as one matrix."""
    moment = np.asarray(found.moment)
    return np.block([[np.asarray(found.gram), moment[:, None]], [moment[None], np.array([[found.energy]])]])


@st.composite
def _noisy_rows(draw: Any, *names: str) -> dict[str, Any]:
    """Rows of a noisy line, weights, and a temperature about their losses."""
    dim = draw(st.sampled_from([2, 1, 3]))
    count = 3 * dim + draw(st.integers(1, 8))
    condition = draw(testing.log_uniform(1.0, 30.0))
    rows = testing.random_rows(count, dim, dim, condition, draw(testing.seeds()), weights=True, noise=0.5)
    loss = float(np.mean((rows["y"] - rows["X"] @ rows["start"]) ** 2))
    rows["temperature"] = loss * draw(testing.log_uniform(0.5, 20.0))
    return {name: rows[name] for name in names}


LAWS = (
    Law(
        "streaming.losses",
        Quantity("squared_residuals", "(y − ⟨x, θ*⟩)², summed in 60 digits",
                 lambda X, y, start: mp.matrix(_exact_losses(X, y, start)), _noisy_rows("X", "y", "start")),
        lambda X, y, start: np.concatenate(list(lt.streaming.losses(_chunks(X, y), start))),
    ),
    Law(
        "streaming.median_loss",
        Quantity("middle_loss", "the middle of the losses in 60 digits",
                 lambda X, y, start: _middle(_exact_losses(X, y, start)),
                 _noisy_rows("X", "y", "start")),
        lambda X, y, start: lt.streaming.median_loss(_chunks(X, y), start).value,
    ),
    Law(
        "streaming.normal_equations",
        Quantity("weighted_sums", "Σ w(x, r)(x, r)ᵀ, row by row in 60 digits", weighted_sums,
                 _noisy_rows("X", "y", "start", "temperature", "weights")),
        lambda X, y, start, temperature, weights: _blocks(
            lt.streaming.normal_equations(_chunks(X, y, weights), start, temperature)
        ),
    ),
    Law(
        "streaming.solve",
        "solve",
        lambda X, y, start, weights, ridge: lt.streaming.solve(_chunks(X, y, weights), start, ridge=ridge).theta,
    ),
    Law(
        "streaming.solve",
        Quantity("weighted_fit", "the normal equations at a temperature, in 60 digits", weighted_fit,
                 _noisy_rows("X", "y", "start", "temperature", "weights")),
        lambda X, y, start, temperature, weights: lt.streaming.solve(
            _chunks(X, y, weights), start, temperature
        ).theta,
    ),
)  # fmt: skip
