"""The agreement table: a row for every public function, made by the comparisons that the tests make."""

from __future__ import annotations

import inspect
import json

import pytest

import linear_theory as lt
from benchmarks import agreement
from benchmarks.agreement import LAWS, Law
from benchmarks.routes import EXCUSED
from linear_theory import testing

STORED = json.loads(agreement.STORED.read_text(encoding="utf-8"))
PAGE = agreement.TRUST.read_text(encoding="utf-8")


NAMESPACES = {name: getattr(lt, name) for name in lt.__all__ if inspect.ismodule(getattr(lt, name))}


def computes(thing):
    """Whether it is a function, or a class that is there for what it computes: a rule, a family of labels."""
    if not inspect.isclass(thing) or getattr(thing, "_is_protocol", False):
        return inspect.isfunction(thing)
    return any(inspect.isfunction(vars(thing).get(name)) for name in ("log_weights", "product"))


def public():
    """By the name that one would write, each once: what a namespace has of the package itself counts there."""
    own = {name: getattr(lt, name) for name in lt.__all__ if inspect.isfunction(getattr(lt, name))}
    for space, module in NAMESPACES.items():
        for name in module.__all__:
            thing = getattr(module, name)
            if computes(thing) and getattr(lt, name, None) is not thing:
                own[f"{space}.{name}"] = thing
    return own


def test_every_public_function_has_a_row():
    wanted, rows = set(public()), {row["function"] for row in STORED["rows"]}
    assert len(wanted) > 80
    assert wanted - set(EXCUSED) <= rows
    assert rows - {"NormalEquations"} <= wanted


def test_what_is_excused_is_little_and_shown():
    """Nothing that has a row, or is gone."""
    assert set(EXCUSED) <= set(public()) - {law.function for law in LAWS}
    assert len(EXCUSED) <= 4
    assert all(f"- `{name}` {reason}" in PAGE.splitlines() for name, reason in EXCUSED.items())


def test_a_new_function_of_a_namespace_is_one_without_a_row(monkeypatch):
    def forgetting(path):
        return path

    monkeypatch.setattr(lt.sequences, "forgetting", forgetting, raising=False)
    monkeypatch.setattr(lt.sequences, "__all__", [*lt.sequences.__all__, "forgetting"])
    with pytest.raises(AssertionError, match="forgetting"):
        test_every_public_function_has_a_row()


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
