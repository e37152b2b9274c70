"""vanilla-iterates holds, is drawn, survives its file, and fails where a formula is wrong."""

from __future__ import annotations

import pytest
import xarray as xr
from matplotlib.figure import Figure

import figures.vanilla_iterates as picture
import linear_theory as lt
from paper_reproduction.claim import Settings
from paper_reproduction.claims import vanilla_iterates as claim

QUICK = Settings(quick=True)


@pytest.fixture(scope="module")
def dataset() -> xr.Dataset:
    return claim.compute(QUICK)


def test_holds_and_is_drawn(dataset: xr.Dataset) -> None:
    assert claim.verdict(dataset).holds
    assert isinstance(picture.draw(dataset), Figure)


@pytest.mark.parametrize("name", ["exact", "loop", "printed", "general_loop", "sampled", "huge_power"])
def test_fails_on_wrong_or_missing_numbers(dataset: xr.Dataset, name: str) -> None:
    for spoil in (1.1, float("nan")):
        assert not claim.verdict(dataset.assign({name: dataset[name] * spoil})).holds


def test_fails_where_the_package_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    true = lt.iterate
    monkeypatch.setattr(lt, "iterate", lambda problem, steps, *rate: true(problem, steps, *rate) * (1 + 1e-6))
    assert not claim.verdict(claim.compute(QUICK)).holds
