"""What the tests draw: the strategies of ``linear_theory.testing``, over wider ranges and as the reference's cases."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from hypothesis import strategies as st

from linear_theory import testing
from linear_theory.testing import log_uniform, random_problem, random_rows
from linear_theory.testing.quantities import case_of
from linear_theory.testing.spectra import orthogonal, random_covariance

__all__ = ["log_uniform", "orthogonal", "random_covariance"]

SEEDS = testing.seeds()

DIMS = st.integers(1, 6)
PLANE_OR_MORE = st.integers(2, 6)
ROWS = st.integers(1, 12)
MAYBE = st.booleans()

RHOS = testing.correlations(0.0, 0.999)
STEPS = testing.steps(decades=12)

RELATIVE_TEMPERATURES = testing.temperatures(coldest=1e-6, warmest=1e6)
"""τ in units of ‖e‖²."""

NOISE = testing.noise_variances(1e-4, 1e2)
"""Noise variances in units of ‖e‖²."""


def random_case(*arguments, **named):
    """A problem by its spectrum, by its exact floats."""
    return case_of(random_problem(*arguments, **named))


@dataclass(frozen=True)
class Data:
    """Rows, labels, a start and weights."""

    X: np.ndarray
    y: np.ndarray
    start: np.ndarray
    weights: np.ndarray | None = None


def random_data(*arguments, **named):
    """Rows by their singular values."""
    return Data(**random_rows(*arguments, **named))


def data(rows=ROWS, columns=DIMS, full_rank=False, weights=MAYBE):
    """Tall, square or wide rows of any rank."""
    drawn = testing.rows_by_spectrum(rows, columns, full_rank=full_rank, weights=weights)
    return drawn.map(lambda given: Data(**given))
