"""The real claims and experiments are in order: formulas, functions, budgets."""

from __future__ import annotations

import functools
from pathlib import Path

import pytest

import linear_theory
from figures.style import COLOURS
from paper_reproduction import mathml, registry
from paper_reproduction.registry import Entry, RegistryError

CHAPTERS = {chapter.word: chapter.discover() for chapter in registry.chapters()}
ALL = [entry for entries in CHAPTERS.values() for entry in entries]
each = pytest.mark.parametrize("entry", ALL, ids=lambda entry: entry.name)


def test_time_budgets():
    full = {word: sum(entry.claim.seconds for entry in entries) for word, entries in CHAPTERS.items()}
    quick = {word: sum(entry.claim.quick_seconds for entry in entries) for word, entries in CHAPTERS.items()}
    assert full["run"] <= 300
    assert full["beyond"] / 2 <= 360  # side by side on two cores
    assert quick["run"] <= 60
    assert quick["beyond"] / 2 <= 60
    assert quick["mlp"] / 2 <= 90
    assert all(0 < entry.claim.quick_seconds <= entry.claim.seconds for entry in ALL)


@each
def test_every_formula_of_a_claim_can_be_set(entry: Entry) -> None:
    claim = entry.claim
    for latex in (claim.formula, *mathml.formulas_in(claim.statement), *mathml.formulas_in(claim.title)):
        mathml.formula(latex)


@each
def test_a_claim_says_which_functions_it_uses(entry: Entry) -> None:
    assert entry.claim.functions
    for name in entry.claim.functions:
        owner = linear_theory.Linearization if hasattr(linear_theory.Linearization, name) else linear_theory
        functools.reduce(getattr, name.split("."), owner)


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


def test_names_are_known_without_an_import() -> None:
    """By the files: what the registry imports has the same ones."""
    for chapter in registry.chapters():
        assert sorted(chapter.names()) == sorted(entry.name for entry in CHAPTERS[chapter.word])


def test_helpers_are_no_claims(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    assert registry.discover(*_package(tmp_path, "_helper", "")) == ()
