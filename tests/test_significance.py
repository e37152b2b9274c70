"""Standard errors of means of replicates that share something, and a family's refusals at any level."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from linear_theory.significance import holm, standard_error
from linear_theory.testing.tolerances import near


@given(st.integers(2, 9), st.floats(0.0, 0.9))
def test_the_standard_error_of_correlated_replicates_is_right_in_the_mean(count, correlation):
    """Of a quadratic form the mean is its sum over a root of the covariance: no sample is drawn."""
    root = np.linalg.cholesky(correlation + (1 - correlation) * np.eye(count))
    variance = (root.mean(axis=0) ** 2).sum()
    told = (standard_error(root, overlap=correlation / (1 - correlation)) ** 2).sum()
    assert near(told, variance, 1e3)
    forgotten = (standard_error(root) ** 2).sum()
    assert forgotten < variance or correlation < 1e-6


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_independent_ones_are_scipys(axis):
    values = np.random.default_rng(0).standard_normal((4, 7))
    assert np.allclose(standard_error(values, axis=axis), stats.sem(values, axis=axis), rtol=1e-14)
    values[0, 0] = np.nan
    assert np.isnan(standard_error(values, axis=axis)).sum() == 1


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8), st.floats(0.001, 0.5))
def test_the_adjusted_probabilities_of_scipy_refuse_the_same(probabilities, level):
    """Holm's by hand: the largest of (m − k)·p so far, against the level; without a number none is refused."""
    p = np.array(probabilities)
    order = np.argsort(p)
    adjusted = np.empty(len(p))
    adjusted[order] = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    certain = abs(adjusted - level) > 1e-12
    assert np.array_equal(holm(p, level)[certain], (adjusted <= level)[certain])
    assert not holm(np.append(p, np.nan), level)[-1]
