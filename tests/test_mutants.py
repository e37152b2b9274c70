"""Mutation testing: what is changed and what is not, and that a process has its mutant, whatever becomes of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.mutants import found
from benchmarks.mutants.engine import called, module_of

AREA = '''
"""A disc, of radius 2 if need be."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    LIMIT = 3

__all__ = ["area"][0:1]


def area(radius: float | int = 2.0, n: tuple[int, int] | None = None) -> float:
    """3 r², about, 3 × 3 for instance."""
    if radius < 0:
        raise ValueError(f"not {radius + 1}, which is less than {5 - 5}")
    return 3 * radius**2


def forever(n: int) -> int:
    while n > 0:
        n -= 1
    return n


class Pair:
    def product(self, a, b):
        return (a @ b.T).sum(axis=0)
'''


@pytest.fixture
def toy(tmp_path, monkeypatch) -> Path:
    """A module ``plane.disc``, where Python finds it."""
    package = tmp_path / "plane"
    package.mkdir()
    (package / "__init__.py").write_text("", encoding="utf-8")
    (package / "disc.py").write_text(AREA, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    return package / "disc.py"


def changes(path: Path, function: str) -> set[str]:
    return {mutant.now for mutant in found.mutants(path, function)}


# ------------------------------------------------------------------------------------------------ what is changed


def test_every_expression_that_counts_is_changed_and_no_other(toy):
    assert changes(toy, "area") == {
        "def area(radius: float | int = 3.0, n: tuple[int, int] | None = None) -> float:",
        "if radius <= 0:",
        "if radius < 1:",
        "return 4 * radius**2",
        "return 2 * radius**2",
        "return 3 / radius**2",
        "return 3 * radius * 2",
        "return 3 * radius**3",
        "return 3 * radius**1",
    }
    assert changes(toy, "Pair.product") == {
        "return (b.T @ a).sum(axis=0)",
        "return (a @ b).sum(axis=0)",
        "return (a @ b.T).sum()",
        "return (a @ b.T).sum(axis=1)",
    }
    assert {mutant.function for mutant in found.mutants(toy)} == {"area", "forever", "Pair.product"}


def test_a_mutant_is_one_change_and_its_name_outlives_what_happens_elsewhere(toy):
    mutants = found.mutants(toy)
    before = AREA.splitlines()
    for mutant in mutants:
        after = mutant.source.splitlines()
        assert [i + 1 for i, (a, b) in enumerate(zip(before, after, strict=True)) if a != b] == [mutant.line]
        assert before[mutant.line - 1].strip() == mutant.was
        assert after[mutant.line - 1].strip() == mutant.now
    moved = toy.with_name("moved.py")
    moved.write_text(AREA.replace("class Pair", "\n\nclass Pair"), encoding="utf-8")
    names = lambda path: [mutant.name for mutant in found.mutants(path)]
    assert len(set(names(toy))) == len(mutants)
    moved.replace(toy)
    found.mutants.cache_clear()
    assert names(toy) == [mutant.name for mutant in mutants]


def test_the_same_change_twice_in_a_function_has_two_names(tmp_path):
    path = tmp_path / "twice.py"
    path.write_text("def f(x):\n    x = x + 1\n    x = x + 1\n    return x\n", encoding="utf-8")
    mutants = found.mutants(path)
    assert len({mutant.name for mutant in mutants}) == len(mutants) == 6
    assert len({mutant.now for mutant in mutants}) == 3


def test_the_package_is_mutated_but_for_its_tests():
    names = {path.relative_to(found.PACKAGE).as_posix() for path in found.files()}
    assert {"risk.py", "weights/rules.py", "command/app.py"} <= names
    assert not any(name.startswith("testing/") for name in names)
    assert module_of(found.PACKAGE / "weights" / "rules.py") == "linear_theory.weights.rules"
    assert module_of(found.PACKAGE / "weights" / "__init__.py") == "linear_theory.weights"


# ----------------------------------------------------------------------------------------- a process with a mutant


def mutant_of(path: Path, now: str) -> found.Mutant:
    return next(mutant for mutant in found.mutants(path) if mutant.now == now)


def test_a_call_sees_the_mutant_and_nothing_else_does(toy):
    right, wrong = (
        called(None, "plane.disc:area", 2),
        called(mutant_of(toy, "return 3 * radius**3"), "plane.disc:area", 2),
    )
    assert (right.value, wrong.value) == (12, 24)
    assert right.error is wrong.error is None
    assert toy.read_text(encoding="utf-8") == AREA
    assert called(None, "plane.disc:area", 2).value == 12


def test_what_such_a_process_starts_has_the_mutant_too(toy):
    command = ["-c", "from plane.disc import area; print(area(2))"]
    for mutant, printed in ((None, "12"), (mutant_of(toy, "return 4 * radius**2"), "16")):
        answer = called(mutant, "tests.processes:printed", command, str(toy.parents[1]))
        assert answer.value == printed, answer


def test_errors_endless_loops_and_ends_are_answers(toy):
    error = called(mutant_of(toy, "if radius <= 0:"), "plane.disc:area", 0)
    assert error.value is None
    assert error.error is not None
    assert error.error.startswith("ValueError: not 1,")
    assert "Traceback" in error.said
    endless = called(mutant_of(toy, "n += 1"), "plane.disc:forever", 3, limit=2)
    assert (endless.value, endless.error, endless.ended) == (None, None, True)
    assert called(None, "plane.disc:forever", 3).value == 0
    crash = called(None, "os:_exit", 7)
    assert crash.error == "the process ended by itself, with code 7"


def test_a_claim_is_asked_by_name():
    path = found.PACKAGE / "theorems.py"
    claim = "paper_reproduction.claims.spectrum"
    assert called(None, "benchmarks.mutants.checks:failing", claim).value == []
    wrong = found.mutants(path, "stall_spectrum")[-1]
    answer = called(wrong, "benchmarks.mutants.checks:failing", claim)
    assert answer.value or answer.error, str(wrong)
