"""Problems by their spectrum, rows by their singular values, in a random basis: the same for the same seed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..problem import FineTuningProblem

__all__ = ["orthogonal", "random_covariance", "random_problem", "random_rows"]


def orthogonal(dim: int, rng: np.random.Generator) -> np.ndarray:
    """A random orthogonal matrix, uniform up to the signs that QR fixes."""
    q, r = np.linalg.qr(rng.standard_normal((dim, dim)))
    return q * np.sign(np.diag(r))


def random_covariance(dim: int, condition: float, largest: float, seed: int | Sequence[int]) -> np.ndarray:
    """Eigenvalues spread geometrically from largest/condition to largest, random basis, symmetric to the
    last bit.
    """
    if condition == 1:
        return largest * np.eye(dim)
    rng = np.random.default_rng(seed)
    eigenvalues = largest * condition ** -np.linspace(0, 1, dim) if dim > 1 else np.array([largest])
    V = orthogonal(dim, rng)
    A = (V * eigenvalues) @ V.T
    return (A + A.T) / 2


def random_problem(
    dim: int,
    condition: float = 10.0,
    noise: float = 0.0,
    seed: int = 0,
    shift_norm: float = 1.0,
    largest: float = 1.2,
    pretrain_condition: float | None = None,
) -> FineTuningProblem:
    """Any Σ̃ with λ_max = ``largest`` (below 2: the default step converges), θ̃* of size one, Σ ⪰ I where
    asked for; ``noise`` is in units of ‖e‖².
    """
    rng = np.random.default_rng([seed, 1])
    target, shift = rng.standard_normal((2, dim))
    pretrained = target + shift * shift_norm / np.linalg.norm(shift)
    sigma = None
    if pretrain_condition is not None:
        sigma = np.eye(dim) + random_covariance(dim, 1e3, pretrain_condition - 1, [seed, 2])
    covariance = random_covariance(dim, condition, largest, [seed, 3])
    return FineTuningProblem(pretrained, target, covariance, sigma, float(noise * shift_norm**2))


def random_rows(
    rows: int,
    columns: int,
    rank: int,
    condition: float = 10.0,
    seed: int = 0,
    weights: bool = False,
    noise: float = 1.0,
) -> dict[str, Any]:
    """``X`` with ``rank`` singular values from 1 to 1/condition, ``y`` with noise outside its range, ``start``, and
    positive ``weights`` or None.

    Where the rank is deficient X is a product of small integers, so that its rank is exact in float64 too.
    """
    rng = np.random.default_rng(seed)
    rank = min(rank, rows, columns)
    if rank < min(rows, columns):
        X = (rng.integers(-3, 4, (rows, rank)) @ rng.integers(-3, 4, (rank, columns))).astype(float)
    else:
        singular = condition ** -np.linspace(0, 1, rank) if rank > 1 else np.ones(rank)
        left, right = orthogonal(rows, rng)[:, :rank], orthogonal(columns, rng)[:, :rank]
        X = (left * singular) @ right.T
    y = X @ rng.standard_normal(columns) + noise * rng.standard_normal(rows)
    start = rng.standard_normal(columns)
    return {"X": X, "y": y, "start": start, "weights": rng.uniform(0.05, 1.0, rows) if weights else None}
