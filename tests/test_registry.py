"""The real claims are in order: names, figures, formulas, functions, budgets."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

import linear_theory
from figures.style import COLOURS
from paper_reproduction import mathml, registry
from paper_reproduction.registry import Entry, RegistryError

ENTRIES = registry.discover()
each = pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.name)

# Issue 2 names these; later issues add theirs.
FOUNDATION = {
    "entropic-weights",
    "tilted-covariance",
    "vanilla-iterates",
    "flow-iterates",
    "spectrum",
    "closed-form",
    "stall",
    "model-averaging",
    "error-comparison",
    "finite-data",
    "real-data",
}


def test_the_claims_of_the_foundation_are_all_there() -> None:
    assert {entry.name for entry in ENTRIES} >= FOUNDATION


def test_the_claims_are_ordered_without_ties() -> None:
    orders = [entry.claim.order for entry in ENTRIES]
    assert orders == sorted(set(orders))


def test_the_foundation_keeps_its_time_budget() -> None:
    claims = [entry.claim for entry in ENTRIES if entry.name in FOUNDATION]
    assert sum(claim.seconds for claim in claims) <= 300
    assert sum(claim.quick_seconds for claim in claims) <= 45


@each
def test_a_claim_has_a_figure_that_draws(entry: Entry) -> None:
    assert callable(importlib.import_module(entry.figure_module).draw)


@each
def test_every_formula_of_a_claim_can_be_set(entry: Entry) -> None:
    claim = entry.claim
    for latex in (claim.formula, *mathml.formulas_in(claim.statement), *mathml.formulas_in(claim.title)):
        mathml.formula(latex)


@each
def test_a_claim_says_what_it_exercises(entry: Entry) -> None:
    claim = entry.claim
    assert claim.functions
    for name in claim.functions:
        owner = linear_theory
        for part in name.split("."):
            owner = getattr(owner, part)


def test_every_method_has_a_colour_of_its_own() -> None:
    assert len(set(COLOURS.values())) == len(COLOURS)


def _package(tmp_path: Path, claim: str, figure: str) -> tuple[str, str]:
    name = tmp_path.name.replace("-", "_")
    for part, file in (("claims", claim), ("figures", figure)):
        folder = tmp_path / name / part
        folder.mkdir(parents=True)
        (folder / "__init__.py").touch()
        if file:
            (folder / f"{file}.py").touch()
    (tmp_path / name / "__init__.py").touch()
    if claim:
        (tmp_path / name / "claims" / f"{claim}.py").write_text(
            "from paper_reproduction.claim import Claim\n"
            "CLAIM = Claim('one-claim', 't', 's', 'e', 'f', ('g',), 1, 1, 1)\n"
            "def compute(settings): ...\ndef verdict(dataset): ...\n"
        )
    return f"{name}.claims", f"{name}.figures"


@pytest.mark.parametrize(
    ("claim", "figure", "complaint"),
    [("other_name", "other_name", "share one name"), ("one_claim", "", "no figure")],
)
def test_disorder_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, claim: str, figure: str, complaint: str
) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(RegistryError, match=complaint):
        registry.discover(*_package(tmp_path, claim, figure))


def test_helpers_are_no_claims(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    assert registry.discover(*_package(tmp_path, "_helper", "")) == ()
