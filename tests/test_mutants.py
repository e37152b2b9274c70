"""Mutation testing: what is changed and what is not, and that a process has its mutant, whatever becomes of it."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from scipy.stats import binom, chi2

from benchmarks.mutants import __main__ as command
from benchmarks.mutants import engine, found, page, reach, reasons, trial
from benchmarks.mutants.__main__ import complaints, named, summary
from benchmarks.mutants.engine import Answer, called, module_of
from benchmarks.mutants.found import drawn
from benchmarks.mutants.reach import Reach, Test
from benchmarks.mutants.reasons import Reason
from benchmarks.mutants.trial import SURVIVED, UNREACHED, Trial, tried

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
    assert crash.crashed
    assert crash.error == "the process ended by itself, with code 7"


def test_a_claim_is_asked_by_name():
    path = found.PACKAGE / "theorems.py"
    claim = "paper_reproduction.claims.spectrum"
    assert called(None, "benchmarks.mutants.checks:failing", claim).value == []
    wrong = found.mutants(path, "stall_spectrum")[-1]
    answer = called(wrong, "benchmarks.mutants.checks:failing", claim)
    assert answer.value or answer.error, str(wrong)


# ------------------------------------------------------------------------------------------------------ the trials

SPECTRUM = found.PACKAGE / "theorems.py"
WRONG = found.mutants(SPECTRUM, "stall_spectrum")[-1]


def reach_of(*tests: tuple[str, float, dict[str, list[int]]]) -> Reach:
    """Tests with the lines that they run of the file of ``WRONG``, by function, from where it begins."""
    return Reach(tuple(Test(name, seconds, {WRONG.file: lines}) for name, seconds, lines in tests))


PLACE = WRONG.line - found.spans(SPECTRUM)[WRONG.function][0]


def test_those_that_run_the_line_come_first_wherever_the_function_stands():
    """A test of a module in which none enters the function is not asked."""
    reach = reach_of(
        ("a.py::slow", 9.0, {WRONG.function: [PLACE]}),
        ("a.py::quick", 1.0, {WRONG.function: [1, PLACE]}),
        ("a.py::elsewhere", 0.1, {"": [3]}),
        ("b.py::beside", 0.2, {f"{WRONG.function}.inner": [0]}),
        ("c.py::elsewhere", 0.1, {"stall": [PLACE]}),
    )
    exact, rest = reach.of(WRONG)
    assert [test.name for test in exact] == ["a.py::quick", "a.py::slow"]
    assert [test.name for test in rest] == ["a.py::elsewhere", "b.py::beside"]
    unknown = reach_of(("a.py::quick", 1.0, {"stall": [1]}), ("b.py::quick", 1.0, {"": [9]}))
    assert len(unknown.of(WRONG)[0]) == 2  # of a function that was not there, the whole file


def test_a_test_is_measured_anew_when_its_text_changes_and_no_other(tmp_path):
    """Of a module with another test, that one; what one runs is counted from where each function begins."""
    path = found.ROOT / "tests" / "test_problem.py"
    first = reach.measured(path, print, tmp_path)
    assert reach.kept(path, tmp_path) == (first, set())
    spans = found.spans(found.PACKAGE / "problem.py")
    entered = [function for test in first for function in test.lines["linear_theory/problem.py"].items()]
    assert entered
    for function, lines in entered:
        begin, end = spans.get(function, (0, 10_000))
        assert 0 <= min(lines) <= max(lines) <= end - begin
    file = next(tmp_path.iterdir())
    content = json.loads(file.read_text(encoding="utf-8"))
    name = first[0].function
    content["texts"] |= {name: "other", "": "other"}
    file.write_text(json.dumps(content), encoding="utf-8")
    tests, missing = reach.kept(path, tmp_path)
    assert missing == {name}
    assert tests == [test for test in first if test.function != name]
    said: list[str] = []
    again = reach.measured(path, said.append, tmp_path)
    assert {test.name for test in again} == {test.name for test in first}
    assert f": {len(first) - len(tests)} tests measured" in said[0]
    file.write_text("{}", encoding="utf-8")
    assert reach.kept(path, tmp_path) == ([], set(content["texts"]))


SHARP = "tests/test_theorems.py::test_spectrum"
BLUNT = "tests/test_architecture.py::test_a_circle_would_be_seen"
LINES = {WRONG.function: [PLACE]}


def test_a_mutant_is_noticed_by_a_test_that_fails_with_it(tmp_path):
    trial = tried(WRONG, reach_of((SHARP, 5.0, LINES), (BLUNT, 1.0, LINES)), stored=tmp_path)
    assert trial.by.startswith(SHARP)
    survivor = tried(WRONG, reach_of((BLUNT, 1.0, LINES)), stored=tmp_path / "other")
    assert (survivor.by, survivor.killed) == (SURVIVED, False)
    assert tried(WRONG, Reach(()), stored=tmp_path / "none").by == UNREACHED


@pytest.fixture
def asked(monkeypatch) -> Iterator[list[tuple[bool, list[str]]]]:
    """Calls are noted, with and without the mutant, and not made: with it all tests of ``t.py`` fail, and without it
    ``t.py::broken``.
    """
    noted = []

    def answer(mutant, function, names, **more):
        noted.append((mutant is not None, names))
        fails = lambda name: name.startswith("t.py") if mutant else name == "t.py::broken"
        return Answer(next(filter(fails, names), ""), None, False, False, 1.0, "")

    monkeypatch.setattr(engine, "called", answer)
    trial._passes.cache_clear()
    yield noted
    trial._passes.cache_clear()


def test_a_test_that_fails_without_the_mutant_notices_nothing(tmp_path, asked):
    """Those behind it are asked all the same."""
    broken, fine = ("t.py::broken", 1.0, LINES), ("u.py::fine", 2.0, LINES)
    assert tried(WRONG, reach_of(broken, fine), stored=tmp_path).by == SURVIVED
    assert asked == [
        (True, ["t.py::broken", "u.py::fine"]), (False, ["t.py::broken"]), (True, ["u.py::fine"]),
    ]  # fmt: skip
    assert tried(WRONG, reach_of(broken, ("t.py::good", 2.0, LINES)), stored=tmp_path).by == "t.py::good"


def test_a_trial_is_not_held_twice_on_the_same_sources(tmp_path, asked):
    reach = reach_of(("t.py::a", 1.0, LINES), ("u.py::b", 2.0, LINES))
    first = tried(WRONG, reach, stored=tmp_path)
    assert tried(WRONG, reach, stored=tmp_path) == first
    assert [mutated for mutated, _ in asked] == [True, False]
    file = tmp_path / f"{WRONG.name}.json"
    for mark in (first.mark, first.asked["t.py::a"]):  # its file, and a test's module
        file.write_text(file.read_text(encoding="utf-8").replace(mark, "other"), encoding="utf-8")
        asked.clear()
        assert tried(WRONG, reach, stored=tmp_path).by == first.by
        assert asked


def test_a_survivor_is_asked_by_the_tests_that_are_new(tmp_path, asked):
    fine = ("u.py::b", 2.0, LINES)
    assert tried(WRONG, reach_of(fine), stored=tmp_path).by == SURVIVED
    assert tried(WRONG, reach_of(fine), stored=tmp_path).by == SURVIVED
    assert tried(WRONG, reach_of(fine, ("v.py::c", 1.0, LINES)), stored=tmp_path).by == SURVIVED
    assert asked == [(True, ["u.py::b"]), (True, ["v.py::c"])]
    assert tried(WRONG, reach_of(fine, ("t.py::a", 1.0, LINES)), stored=tmp_path).by == "t.py::a"


def test_the_module_of_tests_that_speaks_of_the_places_comes_first(tmp_path):
    for name, text in (("a", "def test_root(): ..."), ("b", "stall.spectrum(theorems)"), ("c", "theorems")):
        (tmp_path / f"{name}.py").write_text(text, encoding="utf-8")
    order = sorted(tmp_path.iterdir(), key=lambda path: -named(path, [WRONG]))
    assert [path.stem for path in order] == ["b", "c", "a"]


def test_only_what_is_left_waits_for_tests_that_were_not_measured(monkeypatch):
    """Three mutants: one is noticed at once, one by the module measured first, and one has its reason."""
    sample = list(found.mutants(SPECTRUM)[:3])
    at_once, later, explained = sample
    paths = [Path("a.py"), Path("b.py"), Path("c.py")]
    told = Reason(explained.file, explained.function, explained.was, explained.now, "because")
    measured: list[str] = []

    def trial_of(mutant, reach, most):
        names = {test.name for test in reach.tests}
        notices = {at_once.name: "a.py::x", later.name: "b.py::x"}.get(mutant.name, "")
        return Trial(mutant.name, notices if notices in names else SURVIVED, 1.0, "")

    def measure(path, say):
        measured.append(path.name)
        return [Test(f"{path.name}::x", 1.0, {})]

    monkeypatch.setattr(command, "known", lambda paths: ([Test("a.py::x", 1.0, {})], list(paths[1:])))
    monkeypatch.setattr(command, "named", lambda path, left: path.name == "b.py")
    monkeypatch.setattr(command, "measured", measure)
    monkeypatch.setattr(command, "tried", trial_of)
    for known, until, modules, unmeasured in (
        ((told,), math.inf, ["b.py"], 0),
        ((), math.inf, ["b.py", "c.py"], 0),
        ((told,), 0.0, [], 2),
    ):
        measured.clear()
        monkeypatch.setattr(reasons, "REASONS", known)
        trials, tests, left = command.sifted(sample, paths, 1.0, until, print)
        assert (measured, left) == (modules, unmeasured)
        assert len(tests) == 1 + len(modules)
        assert [trials[mutant.name].killed for mutant in sample] == [True, bool(modules), False]


def test_a_draw_of_more_keeps_what_was_drawn(toy):
    every = list(found.mutants(toy))
    assert drawn(every, 3, seed=1) == drawn(every[::-1], 5, seed=1)[:3]
    assert drawn(every, 3, seed=1) != drawn(every, 3, seed=2)
    counts = Counter(mutant.name for seed in range(400) for mutant in drawn(every, 1, seed))
    expected = 400 / len(every)
    assert len(counts) == len(every)
    assert sum((count - expected) ** 2 / expected for count in counts.values()) < chi2.isf(
        1e-3, len(every) - 1
    )


# -------------------------------------------------------------------------------------------- what is said of them


def test_a_survivor_has_its_reason_and_a_reason_its_survivor(toy, monkeypatch):
    kept, killed = found.mutants(toy, "area")[:2]
    told = lambda mutant: Reason(mutant.file, mutant.function, mutant.was, mutant.now, "because")
    trials = {m.name: Trial(m.name, by, 1.0, "") for m, by in ((kept, SURVIVED), (killed, "t.py::a"))}
    every = list(found.mutants(toy))
    said: list[str] = []
    for known, unexplained, stale in (((), 1, 0), ((told(kept),), 0, 0), ((told(kept), told(killed)), 0, 1)):
        monkeypatch.setattr(reasons, "REASONS", known)
        results = {"mutants": 9, "seed": 0, "tests": 3, "unmeasured": 0, "most": 60.0} | summary(
            [kept, killed], trials
        )
        assert results["killed"] == 1
        assert complaints(results, every, [killed], said.append) == unexplained + stale
        assert ("because" in "\n".join(page.expressions(results))) == (not unexplained)
    monkeypatch.setattr(reasons, "REASONS", (replace(told(kept), was="return 5"),))
    assert len(reasons.outdated(every, [])) == 1


def test_the_share_has_its_exact_interval():
    """Clopper and Pearson's: P(as many or more | low) = P(as few or fewer | high) = 2.5 %."""
    low, high = (float(number) / 100 for number in re.findall(r"[(…] ?([\d.]+)", page.share(95, 100)))
    assert binom.sf(94, 100, low) == pytest.approx(0.025, abs=3e-3)
    assert binom.cdf(95, 100, high) == pytest.approx(0.025, abs=3e-3)


def test_the_page_shows_what_is_stored():
    text = page.TRUST.read_text(encoding="utf-8")
    assert page.rendered(text, page.kept()) == text
    one = {"file": "a.py", "function": "", "was": "a | b", "now": "a & b", "reached": True, "reason": None}
    sample = {
        "mutants": 9,
        "seed": 0,
        "tests": 3,
        "unmeasured": 0,
        "most": 60.0,
        "tried": 2,
        "killed": 1,
        "survivors": [one],
    }
    assert page.rendered(text, sample) != text
    assert "| `a.py`, `the module` | `a \\| b` | `a & b` | **not known** |" in page.expressions(sample)
    assert page.expressions(sample)[0].startswith(
        "9 single expressions of `linear_theory` can be changed; 2 were drawn"
    )
    measured_in_part = page.expressions(sample | {"unmeasured": 4})[0]
    assert measured_in_part.endswith(
        "s a round. 4 modules of tests were not measured in full: few of their tests were asked."
    )


def test_every_reason_is_of_a_change_that_can_be_made():
    mutants = [mutant for r in {r.file for r in reasons.REASONS} for mutant in found.mutants(found.ROOT / r)]
    assert reasons.outdated(mutants, []) == []
    assert all(r.why for r in reasons.REASONS)
