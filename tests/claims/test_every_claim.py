"""What every claim must do: hold, survive storage, be drawn, and fail where the mathematics is wrong."""

import functools

import numpy as np
import pytest
import xarray as xr

import linear_theory as lt
from paper_reproduction import registry
from paper_reproduction.claim import Settings
from paper_reproduction.claims import model_averaging
from tests import kept
from tests.pictures import faults
from tests.verdicts import answered, as_stored, close

QUICK = Settings(quick=True)
CHAPTERS = (registry.PAPER, registry.BEYOND)
ENTRIES = {entry.name: entry for chapter in CHAPTERS for entry in chapter.discover()}


@functools.cache
def computed(name: str) -> xr.Dataset:
    return kept.quick(ENTRIES[name].compute)


@pytest.mark.parametrize("name", ENTRIES)
def test_holds(name):
    verdict = ENTRIES[name].verdict(computed(name))
    assert [(c.name, c.figure, c.sense.value, c.bound) for c in verdict.checks if not c.holds] == []
    assert all("nan" not in text for text in (*verdict.findings, *verdict.measured))
    assert close(verdict) == []
    assert answered(ENTRIES[name].claim.question, verdict.headline)


@pytest.mark.parametrize(
    ("question", "headline"),
    [
        ("Where does it fail?", "Yes: on clean labels."),
        ("How wide must a network be?", "Partly."),
        ("Does the stall survive?", "After 300 steps 0.25 of the shift remains."),
        ("Does the stall survive?", "Not at once."),
        ("Does the stall survive?", ""),
    ],
)
def test_what_is_no_answer_is_seen(question, headline):
    assert not answered(question, headline)
    assert answered("Does the stall survive?", f"Partly: {headline}")


@pytest.mark.parametrize("name", ENTRIES)
def test_says_the_same_of_the_stored_arrays(name, tmp_path):
    computed(name).to_netcdf(tmp_path / "claim.nc", engine="h5netcdf")
    with xr.open_dataset(tmp_path / "claim.nc", engine="h5netcdf") as stored:
        loaded = stored.load()
    here = as_stored(computed(name))
    xr.testing.assert_equal(loaded, here)
    assert ENTRIES[name].verdict(loaded) == ENTRIES[name].verdict(here)


@pytest.mark.parametrize("name", ENTRIES)
def test_is_drawn_for_the_last_row(name):
    assert faults(ENTRIES[name].draw(computed(name))) == []


def spoiled(function, how):
    return lambda *args, **kwargs: how(function(*args, **kwargs))


def scaled(value):
    """Off by one part in a million: far below what a picture shows, far above every exact bound."""
    return tuple(scaled(v) for v in value) if isinstance(value, tuple) else value * (1 + 1e-6)


MUTANTS = [
    ("spectrum", "stall_spectrum"),
    ("spectrum", "weighted_covariance"),
    ("spectrum", "stall_parameter"),
    ("closed-form", "closed_form"),
    ("closed-form", "iterate"),
    ("stall", "iterate"),
    ("stall", "half_life"),
    ("stall", "stall_direction"),
    ("standard-iterates", "iterate"),
    ("model-averaging", "best_average_weight"),
    ("model-averaging", "iterate"),
    ("model-averaging", "fixed_point"),
]


@pytest.mark.parametrize(("name", "function"), MUTANTS)
def test_fails_where_a_formula_is_off(name, function, monkeypatch):
    monkeypatch.setattr(lt, function, spoiled(getattr(lt, function), scaled))
    assert not ENTRIES[name].verdict(ENTRIES[name].compute(Settings(quick=True))).holds


ARRAYS = {
    "entropic-weights": ("closed", "newton", "bfgs", "fact_exact", "fact_simulated", "default_exact"),
    "stall": ("path", "loop", "left", "half_life", "counted", "sampled", "exponent", "slope"),
    "standard-iterates": ("exact", "loop", "printed", "general_loop", "sampled", "huge_power"),
}
"""What a verdict reads of its arrays, each of them by itself."""


@pytest.mark.parametrize(("name", "array"), [(name, array) for name in ARRAYS for array in ARRAYS[name]])
@pytest.mark.parametrize("spoil", [1.1, np.nan])
def test_fails_on_wrong_or_missing_numbers(name, array, spoil):
    dataset = computed(name)
    assert not ENTRIES[name].verdict(dataset.assign({array: dataset[array] * spoil})).holds


@pytest.mark.parametrize(("function", "power"), [("flow_weights", 0.5), ("weight_mass", 2)])
def test_fails_where_a_weight_is_raised_to_a_power(function, power, monkeypatch):
    monkeypatch.setattr(lt, function, spoiled(getattr(lt, function), lambda value: value**power))
    assert not ENTRIES["entropic-weights"].verdict(ENTRIES["entropic-weights"].compute(QUICK)).holds


@pytest.mark.parametrize("steps", [-1, 1])
def test_a_count_one_step_off_shows(steps):
    dataset = computed("stall")
    counted = dataset.counted + steps * (dataset.ratio == dataset.ratio[-1])
    checks = ENTRIES["stall"].verdict(dataset.assign(counted=counted)).checks
    assert [check.name for check in checks if not check.holds] == [
        "counted first step past one half against the half-life rounded up, in units of its rounding error"
    ]


def test_a_path_stopped_one_step_too_late_does_not_meet_the_average(monkeypatch):
    monkeypatch.setattr(model_averaging, "round", lambda steps: round(steps) + 1, raising=False)
    verdict = model_averaging.verdict(model_averaging.compute(Settings(quick=True)))
    assert any(not check.holds for check in verdict.checks if "off ω by more than half a step" in check.name)


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=pytest.mark.deep if name == "network-stall" else ()) for name in ENTRIES],
)
def test_depends_on_the_seed_alone(name):
    again = ENTRIES[name].compute(Settings(seed=0, quick=True))
    for key, values in computed(name).variables.items():
        np.testing.assert_array_equal(values.values, again[key].values, err_msg=str(key))
