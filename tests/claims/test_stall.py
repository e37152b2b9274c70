"""The stall's claim holds, is drawn, survives storage, and fails where a formula is off."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from matplotlib.figure import Figure

import linear_theory as lt
from figures import stall as picture
from paper_reproduction.claim import Settings
from paper_reproduction.claims import stall

QUICK = Settings(quick=True)


@pytest.fixture(scope="module")
def dataset() -> xr.Dataset:
    return stall.compute(QUICK)


def test_holds_and_is_drawn(dataset):
    verdict = stall.verdict(dataset)
    assert [check for check in verdict.checks if not check.holds] == []
    assert "nan" not in " ".join(verdict.findings)
    drawn = picture.draw(dataset)
    drawn.canvas.draw()
    assert isinstance(drawn, Figure)


@pytest.mark.parametrize(
    "array", ["path", "loop", "left", "half_life", "counted", "sampled", "exponent", "slope"]
)
def test_reads_every_route(dataset, array):
    assert not stall.verdict(dataset.assign({array: dataset[array] * 1.1})).holds


@pytest.mark.parametrize("steps", [-1, 1])
def test_a_count_one_step_off_shows(dataset, steps):
    counted = dataset.counted + steps * (dataset.ratio == dataset.ratio[-1])
    failing = [
        check.name for check in stall.verdict(dataset.assign(counted=counted)).checks if not check.holds
    ]
    assert failing == [
        "counted first step past one half against the half-life rounded up, in rounding bounds"
    ]


@pytest.mark.parametrize("name", ["iterate", "half_life", "stall_direction"])
def test_fails_where_a_formula_is_off(name, monkeypatch):
    right = getattr(lt, name)

    def off(*args, **kwargs):
        value = right(*args, **kwargs)
        return (value[0], value[1] * (1 + 1e-6)) if isinstance(value, tuple) else np.multiply(value, 1 + 1e-6)

    monkeypatch.setattr(lt, name, off)
    assert not stall.verdict(stall.compute(QUICK)).holds
