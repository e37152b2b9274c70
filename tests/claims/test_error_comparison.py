"""The claim fails where the mathematics is bent."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

import linear_theory as lt
from paper_reproduction.claims import _method_table as table
from paper_reproduction.claims import _plane_search as search
from paper_reproduction.claims import error_comparison as claim
from tests import kept


@pytest.fixture(scope="module")
def dataset() -> xr.Dataset:
    return kept.quick(claim.compute)


def failures(dataset: xr.Dataset) -> list[str]:
    return [check.name for check in claim.verdict(dataset).checks if not check.holds]


def test_it_says_where_flow_loses(dataset: xr.Dataset) -> None:
    loss = dataset.table_search_error.isel(problem=table.LOSS)
    assert loss.sel(approach="flow_descent") > loss.sel(approach="early_stopping")
    assert any("FLOW loses" in finding for finding in claim.verdict(dataset).findings)


@pytest.mark.parametrize(
    ("name", "factor", "part"),
    [
        ("table_search_error", 1.001, "table"),
        ("package_error", 1 + 1e-9, "package against search"),
        ("one_step_step", 1e6, "one step of FLOW"),
        ("table_printed", 1.001, "table"),
    ],
)
def test_it_fails_on_wrong_arrays(dataset: xr.Dataset, name: str, factor: float, part: str) -> None:
    bent = dataset.assign({name: dataset[name] * factor})
    assert any(part in name for name in failures(bent))


@pytest.mark.parametrize("digit", [-1e-4, 1e-4])
def test_it_fails_on_one_digit_misprinted(dataset: xr.Dataset, digit: float) -> None:
    first = (dataset.problem == dataset.problem[0]) & (dataset.approach == "flow")
    bent = dataset.assign(table_printed=dataset.table_printed + digit * first)
    assert [name for name in failures(bent) if "worked out beforehand" in name]


def test_it_fails_where_the_package_averages_with_the_wrong_weight(
    dataset: xr.Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = lt.best_average_weight
    monkeypatch.setattr(lt, "best_model_average", lambda p: lt.model_average(p, 1 - right(p)))
    measured = table.measure([search.Plane(*row[:4]) for row in table.PROBLEMS], "problem")
    far = abs(measured.package_error / measured.search_error - 1) / measured["bound"]
    assert far.sel(approach="averaging").max() > 1
    assert far.sel(approach="flow").max() <= 1


def test_the_search_moves_as_the_matrix_does() -> None:
    """φ(I − Q)e by interpolation, against numpy's own power of the matrix (9)."""
    rho, mass2, steps = 0.6, 0.3, 7
    q = np.array([[1 - mass2, -rho * mass2], [-rho * mass2, rho**2 * (1 - mass2)]])
    moved = search.Plane(rho, 1, 1, 0).flow_descent(mass2, steps)
    assert np.allclose(moved, np.linalg.matrix_power(q, steps)[:, 0], rtol=64 * np.finfo(float).eps)
