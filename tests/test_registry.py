"""The real claims and experiments are in order: formulas, functions, budgets."""

from __future__ import annotations

import functools
from pathlib import Path

import pytest

import linear_theory
from figures.style import COLOURS
from paper_reproduction import mathml, registry
from paper_reproduction.registry import Entry, RegistryError

CLAIMS, EXPERIMENTS = registry.discover(), registry.experiments()
each = pytest.mark.parametrize("entry", [*CLAIMS, *EXPERIMENTS], ids=lambda entry: entry.name)


def test_time_budgets():
    assert sum(entry.claim.seconds for entry in CLAIMS) <= 300
    assert sum(entry.claim.quick_seconds for entry in CLAIMS) <= 60
    assert sum(entry.claim.quick_seconds for entry in EXPERIMENTS) / 2 <= 90  # side by side on two cores
    assert all(0 < entry.claim.quick_seconds <= entry.claim.seconds for entry in (*CLAIMS, *EXPERIMENTS))


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
    for package, entries in ((registry.CLAIMS, CLAIMS), (registry.EXPERIMENTS, EXPERIMENTS)):
        assert sorted(registry.names(package)) == sorted(entry.name for entry in entries)


def test_helpers_are_no_claims(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    assert registry.discover(*_package(tmp_path, "_helper", "")) == ()
