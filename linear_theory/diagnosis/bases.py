"""Second moments of many rows, and orthonormal bases of their columns whatever the columns' units."""

from __future__ import annotations

import numpy as np

from ..arrays import Array
from ..least_squares.blocks import blocks, over_strips
from .prior import mean, scaled

__all__ = ["UNSEEN", "basis", "gram", "whitened"]

UNSEEN = 1e-10
"""Directions of the equilibrated rows flatter than this, beside the steepest, are taken for rounding."""

STEADY = 1e-6
"""Down to this ratio of eigenvalues the Gram matrix gives the basis to 1e-9, in a tenth of the time."""


def gram(A: Array, weights: Array | None = None) -> Array:
    """AᵀWA (d, d), summed in blocks: one product over 200000 rows keeps BLAS's threads waiting for each other,
    for seconds where another program runs beside it.
    """
    if not isinstance(A, np.ndarray):
        return A.T @ A if weights is None else (A * weights[:, None]).T @ A
    n, d = A.shape
    scaled = lambda rows: A[rows].T if weights is None else A[rows].T * weights[rows]
    strip = lambda strip, block: sum(scaled(rows) @ A[rows] for rows in blocks(strip, block))
    return sum(over_strips(strip, n, max(d, 1), n * d * d), np.zeros((d, d)))


def basis(A: Array, sizes: Array | None = None) -> Array:
    """An orthonormal basis (n, rank) of the columns of A; ``sizes`` are the lengths, by default their own,
    beside which a column or what is left of it may be rounding.
    """
    if not len(A):
        return A[:, :0]
    products = gram(A)
    lengths = np.sqrt(products.diagonal()) if sizes is None else sizes
    units = np.where(lengths > 0, lengths, 1.0)
    values, vectors = np.linalg.eigh(products / units / units[:, None])
    if values[0] > STEADY * max(values[-1], 1.0):
        return A @ (vectors / np.sqrt(values) / units[:, None])
    left, values, _ = np.linalg.svd(A / units, full_matrices=False)
    return left[:, values > UNSEEN * max(values[0], 1.0)]


def whitened(A: Array, counts: Array, sizes: Array | None = None) -> Array:
    """The rows (n, rank), each counted so often, centred and in coordinates in which their covariance is the
    identity; every count above 0.
    """
    centred = A - mean(counts, A)
    constant = abs(centred).max(axis=0) <= UNSEEN * abs(A).max(axis=0)
    left = basis(scaled(counts, np.where(constant, 0.0, centred)), sizes)
    return scaled(counts.sum() / counts, left)
