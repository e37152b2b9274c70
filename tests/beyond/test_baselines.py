"""The claim fails where a closed form is bent, weights do not belong to their rows, or an array is wrong or missing."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

import linear_theory as lt
from paper_reproduction.beyond import baselines as claim
from paper_reproduction.claim import Settings
from tests import kept

QUICK = Settings(quick=True)


@pytest.fixture(scope="module")
def dataset() -> xr.Dataset:
    return kept.quick(claim.compute)


@pytest.mark.parametrize(
    "name", ["value", "route", "ratio_common", "constant", "reached", "rows_flow", "rows_exact"]
)
@pytest.mark.parametrize("spoil", [1.1, np.nan])
def test_it_fails_on_wrong_or_missing_numbers(dataset, name, spoil):
    assert not claim.verdict(dataset.assign({name: dataset[name] * spoil})).holds


@pytest.mark.parametrize("off", [1e3, np.nan])
def test_it_fails_where_self_distillation_is_no_average(dataset, off):
    assert not claim.verdict(dataset.assign(distilled=dataset.distilled + off)).holds


@pytest.mark.parametrize("rule", ["shuffled", "mean"])
def test_it_fails_where_the_rows_have_other_weights(monkeypatch, rule):
    right, rng = lt.flow_weights, np.random.default_rng(0)

    def other(losses, temperature=None):
        weights = right(losses, temperature)
        return rng.permutation(weights) if rule == "shuffled" else np.full_like(weights, weights.mean())

    monkeypatch.setattr(lt, "flow_weights", other)
    assert not claim.verdict(claim.compute(QUICK)).holds


def test_it_fails_where_the_package_takes_another_penalty(monkeypatch):
    right = lt.ridge_optimum
    monkeypatch.setattr(
        lt, "ridge_optimum", lambda problem, ridge, *args, **more: right(problem, ridge / 2, *args, **more)
    )
    assert not claim.verdict(claim.compute(QUICK)).holds


@given(st.floats(0.01, 0.99), st.integers(0, 30), st.floats(0, 0.95))
def test_mixed_labels_are_an_average(alpha, steps, rho):
    """By the package itself, on a problem with the mixed labels' optimum; noise in the labels mixes, too."""
    of = lt.paper_problem(rho)
    mixed = lt.FineTuningProblem(of.pretrained, of.target + alpha * of.shift, of.target_covariance)
    average = alpha * of.pretrained + (1 - alpha) * lt.iterate(of, steps, 0.2)
    assert np.allclose(lt.iterate(mixed, steps, 0.2), average, rtol=0, atol=1e-13)


@given(st.floats(1e-6, 1e6), st.floats(0.01, 100), st.floats(1e-3, 1e3))
def test_the_constant_bounds_every_single_direction(old, new, time):
    of = lt.FineTuningProblem([1.0], [0.0], np.array([[new]]), np.array([[old]]))
    stopped = lt.total_error(of, lt.gradient_flow(of, time))
    assert stopped <= 1.68591 * lt.total_error(of, lt.ridge_optimum(of, 1 / (2 * time)))
