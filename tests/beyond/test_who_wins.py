"""The claim fails where the rule, the hull or a method is bent, and where an array is wrong or missing."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

import linear_theory as lt
from linear_theory.choice import flow
from paper_reproduction.beyond import _planes, _who_wins
from paper_reproduction.beyond import who_wins as claim
from paper_reproduction.claim import Settings
from paper_reproduction.claims._plane_search import Plane
from tests import kept


@pytest.fixture(scope="module")
def dataset() -> xr.Dataset:
    return kept.quick(claim.compute)


READ = ("value", "plane_rule", "plane_search", "plane_rounding", "plane_stop_and_average", "descent_outside", "counter",
        "solid_grid")  # fmt: skip


@pytest.mark.parametrize("name", READ)
@pytest.mark.parametrize("spoil", [1.1, np.nan])
def test_it_fails_on_wrong_or_missing_numbers(dataset, name, spoil):
    if name in ("plane_rounding", "descent_outside", "solid_grid") and spoil == 1.1:
        spoil = 1e-20  # what only has to be large, or is a unit
    assert not claim.verdict(dataset.assign({name: dataset[name] * spoil})).holds


@pytest.mark.parametrize("digit", [-1e-4, 1e-4])
def test_it_fails_on_one_digit_misprinted(dataset, digit):
    first = (dataset.cell == dataset.cell[0]) & (dataset.approach == "flow")
    assert not claim.verdict(dataset.assign(printed=dataset.printed + digit * first)).holds


def test_it_fails_where_ridge_or_a_point_leaves_the_hull(dataset):
    assert not claim.verdict(dataset.assign(plane_ridge=0.9 * dataset.plane_ridge)).holds
    assert not claim.verdict(dataset.assign(outside=dataset.outside + 100)).holds


def test_it_fails_where_the_package_confuses_two_winners(monkeypatch):
    """Averaging where the joint optimum is reached, and early stopping where it is not."""
    monkeypatch.setattr(flow, "_reaching", lambda modes, moved: flow._average(modes))
    assert not claim.verdict(xr.merge([claim._table(), *_rest()], combine_attrs="override")).holds


def _rest() -> list[xr.Dataset]:
    settings = Settings(quick=True)
    return [
        claim._ensemble(settings.rng("planes"), 24), _who_wins.hull(), _who_wins.counter_example(),
        _who_wins.more_dimensions(settings.rng("dimensions"), 1), _who_wins.drawn(8),
    ]  # fmt: skip


@given(st.floats(0.05, 0.95), st.floats(0.01, 0.99), st.floats(0.01, 0.99))
def test_every_point_of_the_hull_is_passed(rho, q, share):
    """Between the curve and the chord, with noise or without: the point named is where FLOW is at its τ and t."""
    curve = q ** ((1 + rho) / (1 - rho))
    p = curve + share * (q - curve)
    if not curve < p < q * (1 - 1e-9):
        return
    theta = np.array([(p + q) / 2, (p - q) / 2])
    for noise in (0.0, 0.5):
        problem = lt.paper_problem(rho, noise_variance=noise)
        modes = flow.searched(problem, lambda modes: (0 * modes.shift, modes))
        moved = (theta - problem.pretrained) @ modes.rows.T / modes.length_unit
        found = flow._reaching(modes, moved)
        reached = lt.gradient_flow(problem, found.time, found.temperature)
        assert np.allclose(reached, theta, rtol=0, atol=1e-9)


@given(st.floats(0.05, 0.95), st.floats(0.2, 5), st.floats(0.2, 5), st.floats(-0.95, 0.95))
def test_a_stop_that_is_averaged_is_as_good(rho, a, b, coupling):
    plane = Plane(rho, a, b, coupling * np.sqrt(a * b))
    best = float(lt.best_flow(_planes.problem(plane)).total_error)
    assert abs(_planes.best_stop_and_average(plane) / best - 1) < 1e-8
    assert _planes.best_penalty(plane)[1] >= best * (1 - 1e-9)
