"""The stored results: those of a full run, ten seeds or five pre-trainings, and they still say what is claimed."""

from __future__ import annotations

import importlib
import re

import numpy as np
import pytest
import xarray as xr
from matplotlib.figure import Figure

from paper_reproduction import registry, shipped
from paper_reproduction.mlp import images, language, methods, statistics
from tests.verdicts import answered, close

ENTRIES = {entry.name: entry for entry in registry.NETWORKS.discover()}
each = pytest.mark.parametrize("name", ENTRIES)


# Seeds, each of which is pre-trained; and splits of the images, as many as share none.
FEWER = {"language": language.STORED, "images-own-head": images.SPLITS, "images-rotated": images.SPLITS}


@each
def test_a_full_run_is_stored_and_holds(name):
    dataset = shipped.stored(ENTRIES[name])
    assert dataset is not None
    assert not dataset.attrs["quick"]
    assert dataset.attrs["seeds"] >= FEWER.get(name, 10)
    assert dataset.attrs["command"].startswith(f"python -m paper_reproduction mlp {name}")
    verdict = ENTRIES[name].verdict(dataset)
    assert [check.name for check in verdict.checks if not check.holds] == []
    assert close(verdict) == []
    assert isinstance(ENTRIES[name].draw(dataset), Figure)


# ------------------------------------------------------------------------- what is told to whom cannot see a picture


def _hardest_tenth(d: xr.Dataset) -> list[str]:
    at = int(np.argmin(abs(d.rate.values - float(d.equal_rate))))
    last = 100 * d.by_decile.isel(rate=at, decile=-1).mean("seed")
    return [
        f"standard fine-tuning ({float(last.sel(run='standard')):.0f} %)",
        f"FLOW ({float(last.sel(run='flow')):.0f} %",
    ]


def _memorised(d: xr.Dataset) -> list[str]:
    end = d.long_curve.isel(long_mark=-1, long_rate=d.attrs["long_rate_place"]).sel(
        long_run="standard", place="target"
    )
    return [f"to {100 * float(end.mean('seed')):.0f} % with standard fine-tuning"]


def _ratios(d: xr.Dataset) -> list[str]:
    own = d.ratio.mean("seed").sel(kind=["fisher", "along", "gradient"])
    rounded = [f"{round(20 * float(value)) / 20:g}" for value in (own.min(), own.max())]
    return [f"lie at {' to '.join(rounded)}"]


@pytest.mark.parametrize(
    ("name", "numbers"),
    [("hard-samples", _hardest_tenth), ("digits-label-noise", _memorised), ("where-it-fails", _ratios)],
)
def test_the_numbers_in_a_pictures_words_are_those_of_the_results(name, numbers):
    for words in numbers(stored(name)):
        assert words in ENTRIES[name].seen


# ------------------------------------------------------------------------------ what the question is answered with

ANSWERED = {
    "teacher-student-stall": "Partly",
    "lazy-limit": "Yes",
    "digits-label-noise": "Partly",
    "conflicting-labels": "Partly",
    "hard-samples": "Yes",
    "squared-digits": "Partly",
    "where-it-fails": "No",
    "language": "Partly",
    "product-of-experts": "Partly",
    "images-own-head": "Partly",
    "images-rotated": "Partly",
}


def stored(name: str) -> xr.Dataset:
    dataset = shipped.stored(ENTRIES[name])
    assert dataset is not None
    return dataset


@each
def test_the_runs_are_called_as_a_run_of_today_would_call_them(name):
    """They were renamed where they are stored: names and labels are those of the sources, in their order."""
    dataset = stored(name)
    module = importlib.import_module(f"paper_reproduction.mlp.experiments.{ENTRIES[name].claim.module}")
    own = getattr(module, "LABELS", getattr(module, "RUNS", None))
    named = isinstance(own, dict) and set(own) == set(dataset.run.values)
    known = own if named else {run: methods.label_of(run) for run in dataset.run.values}
    labels = dict(zip(dataset.run.values.tolist(), dataset.label.values.tolist(), strict=True))
    assert list(labels.items()) == list(known.items())
    if "path" in dataset.coords:
        assert tuple(dataset.path.values) == module.RUNS


def answer(name: str, dataset: xr.Dataset) -> str:
    return re.split(r"\W", ENTRIES[name].verdict(dataset).headline)[0]


@each
def test_every_question_is_answered(name):
    """With the first word of the result, as the stored numbers have it."""
    question, dataset = ENTRIES[name].claim.question, stored(name)
    assert question.endswith("?")
    assert answered(question, ENTRIES[name].verdict(dataset).headline)
    assert answer(name, dataset) == ANSWERED[name]


def renamed(dataset: xr.Dataset, dim: str, names: dict[str, str]) -> xr.Dataset:
    """Each run under another's name."""
    both = names | {new: old for old, new in names.items()}
    return dataset.assign_coords({dim: [both.get(str(name), str(name)) for name in dataset[dim].values]})


def exchanged(dataset: xr.Dataset, one: str, other: str) -> xr.Dataset:
    """The networks of two runs under each other's name; what is predicted of them stays."""
    network = renamed(dataset[["network"]], "run", {one: other}).network
    return dataset.assign(network=network.sel(run=dataset.run))


def better(dataset: xr.Dataset, where: bool | xr.DataArray) -> xr.Dataset:
    """FLOW with 20 points more."""
    return dataset.assign(accuracy=dataset.accuracy + 0.2 * ((dataset.run == "flow") & where))


def all_of_flow(dataset: xr.Dataset) -> xr.DataArray:
    """Where a language model was trained under FLOW's own weights and not averaged."""
    return dataset.way.isin(["flow", "flow-sequence"])


FLOW, STANDARD = "flow-same-mean-step", "standard-same-mean-step"
OTHERWISE = {
    "the networks as the Gaussian theory has them": (
        "teacher-student-stall",
        lambda d: d.assign(measured=d.predicted.broadcast_like(d.measured), linearized=d.predicted),
        "Yes",
    ),
    "networks of two runs exchanged": (
        "teacher-student-stall",
        lambda d: exchanged(d, FLOW, "standard"),
        "No",
    ),
    "no narrower for its width": (
        "lazy-limit",
        lambda d: d.assign(gap=d.gap * d.width / 64),
        "Partly",
    ),
    "neither law": ("lazy-limit", lambda d: d.assign(gap=d.gap * d.width / 64 / d.distance), "No"),
    "FLOW keeps more at equal learning": (
        "digits-label-noise",
        lambda d: d.assign(kept=d.kept + 0.2 * (d.keeper == "flow")),
        "Yes",
    ),
    "FLOW as with its weights shuffled, to the end": (
        "digits-label-noise",
        lambda d: renamed(d, "long_run", {"flow": "permuted"}),
        "No",
    ),
    "FLOW the worst": ("conflicting-labels", lambda d: renamed(d, "run", {"flow": "standard"}), "No"),
    "FLOW the best": (
        "conflicting-labels",
        lambda d: d.assign(
            accuracy=d.accuracy + 0.2 * (d.run == "flow"), curve=d.curve + 0.2 * (d.trained == "flow")
        ),
        "Yes",
    ),
    "FLOW gets all right at small rates": (
        "hard-samples",
        lambda d: d.assign(by_decile=xr.where((d.run == "flow") & (d.rate < 0.2), 1.0, d.by_decile)),
        "Partly",
    ),
    "FLOW gets all right": (
        "hard-samples",
        lambda d: d.assign(by_decile=xr.where(d.run == "flow", 1.0, d.by_decile)),
        "No",
    ),
    "up to 30 degrees": ("squared-digits", lambda d: d.sel(angle=[10.0, 30.0]), "Yes"),
    "networks exchanged": ("squared-digits", lambda d: exchanged(d, FLOW, "standard"), "No"),
    "FLOW keeps all": ("language", lambda d: d.assign(kept=d.kept.where(~all_of_flow(d), 0.0)), "Yes"),
    "FLOW keeps nothing": ("language", lambda d: d.assign(kept=d.kept.where(~all_of_flow(d), 9.0)), "No"),
    "the product to the end": (
        "product-of-experts",
        lambda d: d.assign(
            {
                f"{name}_to_product": d[f"{name}_to_product"].where(
                    d.run != "flow", 0.4 * d[f"{name}_to_standard"]
                )
                for name in ("digits", "images")
            }
        ),
        "Yes",
    ),
    "FLOW as with its weights shuffled": (
        "product-of-experts",
        lambda d: renamed(d, "run", {"flow": "permuted"}),
        "No",
    ),
    "FLOW ahead in both": ("where-it-fails", lambda d: better(d, True), "Yes"),
    "FLOW ahead in one": ("where-it-fails", lambda d: better(d, d.setting == "clean"), "Partly"),
}


@pytest.mark.parametrize(("name", "change", "says"), OTHERWISE.values(), ids=OTHERWISE)
def test_another_outcome_has_another_answer(name, change, says):
    changed = change(stored(name))
    assert answer(name, changed.assign_attrs(stored(name).attrs)) == says


def test_an_answer_is_yes_no_or_partly():
    assert [
        statistics.answer(*parts) for parts in ((True, True), (False, False), (True, False), (False, True))
    ] == [
        "Yes",
        "No",
        "Partly",
        "Partly",
    ]


def test_points_are_more_or_fewer():
    one = xr.DataArray([0.50, 0.52], dims="seed")
    assert statistics.points_more(one, one - 0.1) == "10.0 ± 0.0 points more"
    assert statistics.points_more(one - 0.1, one) == "10.0 ± 0.0 points fewer"


def test_ahead_is_by_students_quantile_and_never_where_a_seed_diverged():
    one, zero = xr.DataArray([0.1, 0.3, 0.2, 0.3], dims="seed"), xr.DataArray(np.zeros(4), dims="seed")
    assert statistics.apart(one) < float(statistics.sigmas(one)) < 1.5 * statistics.apart(one)
    assert statistics.ahead(one, zero)
    assert not statistics.ahead(zero, one)
    assert not statistics.ahead(one - 0.1, zero)
    assert not statistics.ahead(one.where(one < 0.3), zero)


@each
def test_what_fits_is_not_listed_with_what_does_not(name):
    """Sorted by the numbers, no sentence in both lists."""
    verdict = ENTRIES[name].verdict(stored(name))
    assert not set(verdict.findings) & set(verdict.measured)
    assert verdict.measured


@each
def test_no_machine_is_told_but_its_chip(name):
    dataset = shipped.stored(ENTRIES[name])
    assert dataset is not None
    texts = [str(value) for value in dataset.attrs.values()]
    assert not any("/" in text.replace(" / ", "") for text in texts)
