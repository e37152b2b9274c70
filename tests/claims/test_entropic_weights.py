"""entropic-weights holds, is drawn, survives its file, and fails where a formula is wrong."""

from __future__ import annotations

import pytest
import xarray as xr
from matplotlib.figure import Figure

import figures.entropic_weights as picture
import linear_theory as lt
from paper_reproduction.claim import Settings
from paper_reproduction.claims import entropic_weights as claim

QUICK = Settings(quick=True)


@pytest.fixture(scope="module")
def dataset() -> xr.Dataset:
    return claim.compute(QUICK)


def test_holds_and_is_drawn(dataset: xr.Dataset) -> None:
    assert claim.verdict(dataset).holds
    assert isinstance(picture.draw(dataset), Figure)


@pytest.mark.parametrize(
    "name", ["closed", "newton", "bfgs", "fact_exact", "fact_simulated", "default_exact"]
)
def test_fails_on_wrong_or_missing_numbers(dataset: xr.Dataset, name: str) -> None:
    for spoil in (1.1, float("nan")):
        assert not claim.verdict(dataset.assign({name: dataset[name] * spoil})).holds


def test_fails_where_the_package_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    true_weights, true_mass = lt.flow_weights, lt.weight_mass
    half = lambda losses, temperature=None: true_weights(losses, temperature) ** 0.5
    with monkeypatch.context() as patch:
        patch.setattr(lt, "flow_weights", half)
        assert not claim.verdict(claim.compute(QUICK)).holds
    monkeypatch.setattr(lt, "weight_mass", lambda *args: true_mass(*args) ** 2)
    assert not claim.verdict(claim.compute(QUICK)).holds
