"""The agreement table: a row for every public function, made by the comparisons that the tests make."""

from __future__ import annotations

import inspect
import json

import pytest

import linear_theory as lt
from benchmarks import agreement
from benchmarks.agreement import LAWS, Law
from linear_theory import testing

STORED = json.loads(agreement.STORED.read_text(encoding="utf-8"))
PAGE = agreement.PAGE.read_text(encoding="utf-8")


def test_every_public_function_has_a_row():
    functions = {name for name in lt.__all__ if inspect.isfunction(getattr(lt, name))}
    assert len(functions) > 40
    assert functions <= {row["function"] for row in STORED["rows"]}
    assert {row["function"] for row in STORED["rows"]} <= set(lt.__all__)


def test_the_rows_are_the_laws_that_the_tests_check():
    """tests/test_testing.py checks every one, and that a thousandth is noticed."""
    told = [(row["function"], row["against"], row["route"]) for row in STORED["rows"]]
    assert told == [(law.function, law.quantity.name, law.quantity.statement) for law in LAWS]


@pytest.mark.parametrize("row", STORED["rows"], ids=lambda row: f"{row['function']} by {row['against']}")
def test_what_is_stored_agrees(row):
    assert row["compared"] >= 3
    assert row["undecided"] <= row["compared"]
    assert row["of bound"] <= 1


def test_the_page_shows_the_stored_numbers():
    assert agreement.rendered(PAGE, STORED) == PAGE
    changed = json.loads(json.dumps(STORED))
    changed["rows"][3]["largest"] = 77.0
    assert agreement.rendered(PAGE, changed) != PAGE


def test_a_row_is_measured_and_a_wrong_function_has_none():
    said = []
    (row,) = agreement.measured([Law("weight_mass", "weight_mass", lt.weight_mass)], said.append)
    assert row["compared"] > 10
    assert 0 < row["largest"] < 16
    assert said == [agreement._line(row)]
    half = Law(
        "weight_mass", "weight_mass", lambda problem, temperature: lt.weight_mass(problem, temperature / 2)
    )
    with pytest.raises(SystemExit, match="is not weight_mass"):
        agreement.measured([half], said.append)
    assert isinstance(half.quantity, testing.Quantity)
