"""Claims on wrong formulas: every claim has its formulas, a wrong one is noticed, and the page says what was not."""

from __future__ import annotations

import pytest

from benchmarks.mutants import engine, reasons
from benchmarks.mutants.engine import Answer
from benchmarks.mutants.reasons import Reason
from benchmarks.mutants.trial import SURVIVED, Trial
from benchmarks.mutants.verdicts import page
from benchmarks.mutants.verdicts.__main__ import BY_CHECK, complaints, in_turn, noticed, summary, tried
from benchmarks.mutants.verdicts.formulas import FORMULAS, TANGENT, WITHOUT, Formula
from paper_reproduction import registry

CLAIM = "claims.closed_form"


def silent(line: str) -> None:
    pass


def test_every_claim_has_its_formulas_or_a_reason_why_not():
    chapters = (registry.PAPER, registry.BEYOND)
    room = lambda chapter: chapter.claims.rpartition(".")[2]
    claims = [f"{room(c)}.{name.replace('-', '_')}" for c in chapters for name in c.names()]
    assert sorted([*FORMULAS, *WITHOUT]) == sorted(claims)


@pytest.mark.parametrize("claim", FORMULAS)
def test_every_formula_has_its_line_and_each_has_a_turn(claim):
    every = in_turn(claim)
    names = [mutant.name for _, mutant in every]
    assert len(set(names)) == len(names)
    first = [formula for formula, _ in every[: len(FORMULAS[claim])]]
    assert sorted(first) == sorted(FORMULAS[claim])


def test_a_formula_whose_line_is_gone_is_an_error():
    for gone in (TANGENT._replace(line="no such line"), TANGENT._replace(function="nothing")):
        with pytest.raises(LookupError, match=r"has no .* with a line"):
            _ = gone.mutants


def test_a_wrong_formula_is_noticed_by_a_check_of_the_claim(tmp_path):
    wrong = next(iter(TANGENT.mutants))
    trial = tried(CLAIM, wrong, silent, tmp_path)
    assert trial.killed
    assert trial.by.startswith(BY_CHECK)


def test_a_trial_is_held_again_only_where_its_sources_have_changed(tmp_path, monkeypatch):
    wrong, asked = next(iter(TANGENT.mutants)), []
    answer = Answer(["off"], None, False, False, 1.0, "")
    monkeypatch.setattr(engine, "called", lambda *call, **more: asked.append(call) or answer)
    first = tried(CLAIM, wrong, silent, tmp_path)
    assert first.by == BY_CHECK + "off"
    assert tried(CLAIM, wrong, silent, tmp_path) == first
    assert [call[2] for call in asked] == ["paper_reproduction.claims.closed_form"]
    monkeypatch.setattr("benchmarks.mutants.verdicts.__main__.claim_fingerprint", lambda source: "another")
    assert tried(CLAIM, wrong, silent, tmp_path).mark != first.mark
    assert len(asked) == 2


@pytest.mark.parametrize(
    ("answer", "by"),
    [
        (Answer([], None, False, False, 1.0, ""), SURVIVED),
        (Answer(["this", "that"], None, False, False, 1.0, ""), "check: this"),
        (Answer(None, "ValueError: no", False, False, 1.0, ""), "an error: ValueError: no"),
        (Answer(None, None, True, False, 300.0, ""), "the time limit"),
    ],
)
def test_what_a_claim_may_answer(answer, by):
    assert noticed(answer) == by


def example(why: str | None) -> tuple[list[tuple[Formula, object, Trial]], dict]:
    (one, kept), (_, killed), (_, broken) = in_turn(CLAIM)[:3]
    outcomes = ((kept, SURVIVED), (killed, f"{BY_CHECK}off"), (broken, "an error: no"))
    trials = [(one, mutant, Trial(mutant.name, by, 1.0, "")) for mutant, by in outcomes]
    return trials, {CLAIM: summary(CLAIM, 9, trials)}


def test_the_page_says_what_was_noticed_and_why_the_rest_was_not(monkeypatch):
    mutants = [mutant for _, mutant in in_turn(CLAIM)]
    told = lambda mutant: Reason(mutant.file, mutant.function, mutant.was, mutant.now, "because")
    for known, why, stale in (
        ((), "**not known**", 0),
        ((told(mutants[0]),), "because", 0),
        ((told(mutants[0]), told(mutants[1])), "because", 1),
    ):
        monkeypatch.setattr(reasons, "OF_CLAIMS", {CLAIM: known})
        trials, asked = example(why)
        lines = page.rows(asked)
        assert lines[0].startswith(
            "4 formulas of 1 claims can be changed in 9 ways, of which 3 were tried. 2 were"
        )
        left = [int(why == "because"), int(why != "because")]
        assert f"| closed-form | 4 | 9 | 3 | 2 | 1 | {left[0]} | {left[1]} |" in lines
        assert lines[-1].endswith(f"`{mutants[0].now}` | {why} |")
        assert complaints(CLAIM, mutants, trials, silent) == stale
    assert "network-stall (trains" in "\n".join(lines)


def test_the_page_shows_what_is_stored():
    text = page.TRUST.read_text(encoding="utf-8")
    assert page.rendered(text, page.kept(page.STORED)) == text
    assert page.rendered(text, example(None)[1]) != text


def test_every_reason_is_of_a_change_that_can_be_made():
    for claim, known in reasons.OF_CLAIMS.items():
        mutants = [mutant for _, mutant in in_turn(claim)]
        assert all(any(each.fits(mutant) for mutant in mutants) and each.why for each in known)
