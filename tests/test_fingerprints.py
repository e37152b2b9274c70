"""The fingerprint of a claim's sources knows of all that decides its arrays, and of nothing else."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

import linear_theory as lt
from paper_reproduction import provenance, registry
from paper_reproduction.claim import Settings

HOUSE = {
    "linear_theory/__init__.py": "from .public import *",
    "linear_theory/public.py": "from . import rules\nfrom .losses import median as middle\nfrom .risk import error",
    "linear_theory/arrays.py": "",
    "linear_theory/losses.py": "from .arrays import namespace",
    "linear_theory/rules.py": "def rule(): from .deep import inner",
    "linear_theory/deep/__init__.py": "from .inner import thing",
    "linear_theory/deep/inner.py": "from ..arrays import namespace",
    "linear_theory/risk.py": "",
    "linear_theory/significance.py": "",
    "paper_reproduction/claim.py": "",
    "paper_reproduction/helper.py": "from linear_theory.significance import holm",
    "paper_reproduction/other.py": "",
    "paper_reproduction/claims/one.py": "",
}
ALWAYS = ("paper_reproduction/claim.py", "paper_reproduction/claims/one.py")


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A small house of these sources in which the fingerprints are taken."""
    for name, text in HOUSE.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(provenance, "ROOT", tmp_path)
    provenance._public_modules.cache_clear()
    yield tmp_path
    provenance._public_modules.cache_clear()


@pytest.mark.parametrize(
    ("source", "uses"),
    [
        ("import numpy", ()),
        ("import linear_theory as lt\nlt.middle(1)", ("losses", "arrays")),
        ("import linear_theory\nlinear_theory.middle(1)", ("losses", "arrays")),
        ("from linear_theory import middle", ("losses", "arrays")),
        ("def compute():\n    import linear_theory as lt\n    return lt.error", ("risk",)),
        ("import linear_theory as lt\nlt.rules.rule()", ("rules", "deep/__init__", "deep/inner", "arrays")),
        ("from linear_theory.deep.inner import thing", ("deep/inner", "arrays")),
        ("import linear_theory.deep.inner", ("deep/inner", "arrays")),
        ("from paper_reproduction import helper", ("significance",)),
        ("from paper_reproduction.helper import x", ("significance",)),
    ],
)
def test_changes_with_what_is_used_and_with_nothing_else(
    house: Path, source: str, uses: tuple[str, ...]
) -> None:
    claim = house / "paper_reproduction/claims/one.py"
    claim.write_text(source)
    used = {*ALWAYS, *(f"linear_theory/{name}.py" for name in uses)}
    used |= {"paper_reproduction/helper.py"} if "helper" in source else set()
    before = provenance.claim_fingerprint(claim)
    for name in HOUSE:
        path = house / name
        text = path.read_text()
        path.write_text(text + "\n# changed")
        assert (provenance.claim_fingerprint(claim) != before) is (name in used), name
        path.write_text(text)
    assert provenance.claim_fingerprint(claim) == before


@contextmanager
def _calls_of_the_mathematics() -> Iterator[set[Path]]:
    """The sources of linear_theory in which a function is called."""
    called: set[str] = set()

    def note(frame: FrameType, event: str, argument: Any) -> None:
        called.add(frame.f_code.co_filename)

    theory, found = provenance.ROOT / "linear_theory", set()
    sys.settrace(note)
    try:
        yield found
    finally:
        sys.settrace(None)
        found |= {path for path in map(Path, called) if path.is_relative_to(theory)}


@pytest.mark.parametrize(
    "name",
    [
        "closed-form",
        "flow-iterates",
        "real-data",
        *(pytest.param(name, marks=pytest.mark.deep) for name in ("finite-data", "squared-digits")),
    ],
)
def test_a_claim_calls_no_source_that_its_fingerprint_leaves_out(name: str) -> None:
    entry = next(
        one for one in (*registry.PAPER.discover(), *registry.NETWORKS.discover()) if one.name == name
    )
    module = sys.modules[entry.compute.__module__]
    reached = provenance.reached(Path(str(module.__file__)))
    assert len(reached & set(provenance.ROOT.glob("linear_theory/**/*.py"))) < 50  # of some seventy
    with _calls_of_the_mathematics() as called:
        entry.verdict(entry.compute(Settings(seed=0, quick=True)))
    assert called
    assert called <= reached
    assert lt.__all__  # all of it was imported before, so that nothing was called while it was


@pytest.mark.parametrize(
    ("written", "changed"),
    [
        ("paper_reproduction/mlp/results/cpu/one.nc", False),
        ("paper_reproduction/beyond/results/new.nc", False),
        ("docs/page.md", False),
        ("linear_theory/risk.py", True),
        ("paper_reproduction/claims/one.py", True),
        ("figures/new.py", True),
    ],
)
def test_local_changes_are_those_of_sources(house, written, changed):
    """What is published is none: the next result is made by the sources of its commit all the same."""
    result = house / "paper_reproduction/mlp/results/cpu/one.nc"
    result.parent.mkdir(parents=True)
    result.write_text("before")
    person = ("-c", "user.name=somebody", "-c", "user.email=somebody@example.org")
    for words in (("init", "-q"), ("add", "-A"), (*person, "commit", "-qm", "all")):
        subprocess.run(["git", "-C", str(house), *words], check=True)
    looked_at_now = provenance.commit.__wrapped__
    assert not looked_at_now()[1]
    (house / written).parent.mkdir(parents=True, exist_ok=True)
    (house / written).write_text("after")
    assert looked_at_now()[1] == changed
