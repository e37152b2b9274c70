"""The stored results: those of a full run, at least ten seeds, and they still say what is claimed."""

from __future__ import annotations

import pytest
from matplotlib.figure import Figure

from paper_reproduction import registry, shipped
from tests.verdicts import close

ENTRIES = {entry.name: entry for entry in registry.experiments()}
each = pytest.mark.parametrize("name", ENTRIES)


@each
def test_a_full_run_is_stored_and_holds(name):
    dataset = shipped.read(ENTRIES[name], "cpu")
    assert dataset is not None
    assert not dataset.attrs["quick"]
    assert dataset.attrs["seeds"] >= 10
    assert dataset.attrs["command"].startswith(f"python -m paper_reproduction mlp {name}")
    verdict = ENTRIES[name].verdict(dataset)
    assert [check.name for check in verdict.checks if not check.holds] == []
    assert close(verdict) == []
    assert isinstance(ENTRIES[name].draw(dataset), Figure)


@each
def test_no_machine_is_told_but_its_chip(name):
    dataset = shipped.read(ENTRIES[name], "cpu")
    assert dataset is not None
    texts = [str(value) for value in dataset.attrs.values()]
    assert not any("/" in text.replace(" / ", "") for text in texts)
