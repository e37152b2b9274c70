"""What leaving out a row does to a weighted fit: every fit anew, no leverages."""

from __future__ import annotations

import numpy as np


def fits_without(X: np.ndarray, y: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The weighted fit of all rows, (d,), and that of all but row i, (n, d)."""
    root = np.sqrt(weights)
    A, b = X * root[:, None], y * root
    fit = lambda kept: np.linalg.lstsq(A[kept], b[kept], rcond=None)[0]
    every = np.arange(len(y))
    return fit(every), np.stack([fit(every != i) for i in every])


def rounding(X: np.ndarray, weights: np.ndarray) -> float:
    """By how much of θ̂ the difference of two such fits may be off: ε times the condition number."""
    return float(np.finfo(float).eps * np.linalg.cond(X * np.sqrt(weights)[:, None]))
