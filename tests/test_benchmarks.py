"""What the benchmarks are worth: an answer that is wrong does not count, and the table shows what was stored."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

import linear_theory as lt
from benchmarks import gpu, works
from benchmarks.by_hand import Plan, solver
from benchmarks.goals import QUICK, Goal, goals, spaced
from benchmarks.packages import PACKAGES, ours
from benchmarks.race import Products, Race, Spread
from benchmarks.report import (
    COST,
    PAGE,
    PLAN,
    RESULTS,
    between,
    cost_lines,
    goal_lines,
    gpu_lines,
    gpu_runs,
    render,
    verdict,
)
from benchmarks.sections import written

TINY = replace(
    QUICK,
    solve=(400, 6),
    path=(300, 5),
    temperatures=(12,),
    steps=1000,
    chosen=20,
    streamed=4_000,
    width=4,
    chunk=500,
    dim=1000,
    cells=500,
)
GIVEN = works.rows(400, 6)


# ----------------------------------------------------------------------------- answers are held against another route


def test_every_package_that_is_installed_agrees():
    """scikit-learn and NumPy are; the benchmark itself asserts it of all."""
    for name in (
        "scikit-learn LinearRegression",
        "scikit-learn Ridge",
        "numpy lstsq",
        "scipy lsqr",
        "scipy lsmr",
    ):
        theta = PACKAGES[name](GIVEN)()
        assert works.relative_error(theta, ours(GIVEN)(), GIVEN.start) <= works.AGREE
    pulled = GIVEN._replace(ridge=0.1)
    for name in ("scikit-learn Ridge", "scipy lsqr", "scipy lsmr"):
        theta = PACKAGES[name](pulled)()
        assert works.relative_error(theta, ours(pulled)(), GIVEN.start) <= works.AGREE
        assert works.relative_error(theta, ours(GIVEN)(), GIVEN.start) > works.AGREE
    with pytest.raises(ValueError, match="without a ridge"):
        PACKAGES["numpy lstsq"](pulled)


@pytest.mark.parametrize("plan", [Plan(64, 1), Plan(64, 2), Plan(300, 2), Plan(1000, 1)])
def test_by_hand_agrees_whatever_the_blocks(plan):
    for given in (GIVEN, GIVEN._replace(ridge=0.1)):
        assert works.relative_error(solver(given, plan)(), ours(given)(), given.start) <= works.AGREE
    unweighted = GIVEN._replace(weights=np.ones(len(GIVEN.y)))
    assert works.relative_error(solver(unweighted, plan)(), ours(GIVEN)(), GIVEN.start) > works.AGREE


TAUS = works.two_decades(GIVEN, 12)
STEPS = works.chosen_steps(1000, 20)
START, PARTS = works.chunks(500, 4)
CELLS = works.cells(300)
IN_A_THOUSAND = lt.paper_problem(works.RHO, dim=1000)

CHECKS = {
    "temperatures": (
        lambda answer: works.check_temperatures(GIVEN, TAUS, answer),
        lambda: works.temperatures(TAUS)(GIVEN),
        lambda: works.temperatures(TAUS * (1 + 1e-6))(GIVEN),
    ),
    "path": (
        lambda answer: works.check_path(GIVEN, STEPS, answer),
        lambda: works.path(STEPS)(GIVEN),
        lambda: works.path(STEPS + 1)(GIVEN),
    ),
    "stream": (
        lambda answer: works.check_stream(START, PARTS, 4000, answer),
        lambda: works.streamed(START, PARTS, 4000),
        lambda: works.streamed(START, [(X, y, w + 1e-9) for X, y, w in PARTS], 4000),
    ),
    "iterate": (
        lambda answer: works.check_iterate(10**9, answer),
        lambda: works.iterate(10**9)(IN_A_THOUSAND),
        lambda: lt.iterate(IN_A_THOUSAND, 10**9, temperature=works.stalled(10**9) * (1 + 1e-9)),
    ),
    "cells": (
        lambda answer: works.check_cells(CELLS, answer),
        lambda: works.closed_forms(CELLS),
        lambda: works.closed_forms(CELLS._replace(steps=CELLS.steps + 1)),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CHECKS)
def test_a_wrong_answer_does_not_count(name):
    check, right, wrong = CHECKS[name]
    check(right())
    with pytest.raises(AssertionError):
        check(wrong())


def test_chosen_steps_are_as_many_as_asked_and_reach_the_end():
    steps = works.chosen_steps(10**5, 100)
    assert len(steps) == 100
    assert (np.diff(steps) > 0).all()
    assert (steps[0], steps[-1]) == (1, 10**5)
    with pytest.raises(ValueError, match="whole number of chunks"):
        works.handed_over(PARTS, 501)


# ------------------------------------------------------------------------------------------------------------ the race


def test_a_race_clocks_every_call_between_two_looks_at_the_limit():
    calls = {"one": lambda: 1, "two": lambda: 2}
    race = Race(calls, Products(side=16), rounds=4, patience=0.01, repeats=1).run()
    assert race.answers == {"one": 1, "two": 2}
    assert len(race.seconds["one"]) == race.rounds >= 3
    assert all(at + 1 < len(race.rates) for name in calls for at in race.before[name])
    ratio = race.ratio("one", "two") * race.ratio("two", "one")
    assert np.allclose(ratio, 1)


def test_goals_say_by_how_much_they_are_missed():
    low, high = Goal("w", "m", "≤", 2.0, "×"), Goal("w", "m", "≥", 50.0, " %")
    assert [verdict(low, v) for v in (1.0, 2.0, 3.0)] == ["met", "met", "missed by 50.0 %"]
    assert [verdict(high, v) for v in (60.0, 50.0, 25.0)] == ["met", "met", "missed by 50.0 %"]
    assert [spaced(n) for n in (100, 200_000, 10**6)] == ["100", "200 000", "10⁶"]
    one = {"goal": goals(TINY)["solve"], "measured": Spread(1.0, 1.2, 1.4)}
    assert goal_lines({"goals": {"solve": one}})[-1].count("|") == 7


# ------------------------------------------------------------------------------------------------------- what is stored


def test_the_table_is_that_of_the_stored_numbers():
    results = json.loads((RESULTS / "table.json").read_text(encoding="utf-8"))
    table = render(results, gpu_runs())
    assert (RESULTS / "table.md").read_text(encoding="utf-8") == table
    assert not results["quick"]
    assert {name: Goal(*one["goal"]) for name, one in results["goals"].items()} == goals()
    changed = json.loads(json.dumps(results))
    changed["goals"]["solve"]["measured"][1] *= 2
    assert render(changed, gpu_runs()) != table


def test_the_page_shows_the_table():
    page = PAGE.read_text(encoding="utf-8")
    table = (RESULTS / "table.md").read_text(encoding="utf-8")
    assert between(page, table) == page
    assert between(page, table.replace("1", "2")) != page


def test_the_plan_shows_what_a_pass_costs():
    results = json.loads((RESULTS / "table.json").read_text(encoding="utf-8"))
    page = PLAN.read_text(encoding="utf-8")
    assert written(page, {COST: cost_lines(results)}) == page
    assert written(page, {COST: cost_lines(results, rows=2e11)}) != page


# ----------------------------------------------------------------------------------------------------- an accelerator


def test_the_accelerators_works_run_and_are_right(tmp_path, monkeypatch, capsys):
    """The code path, on whatever device there is; the answers are checked on the way."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(gpu, "QUICK", TINY)
    monkeypatch.setattr(gpu, "ROUNDS", 2)
    written = gpu.main(["--quick"])
    run = json.loads(written.read_text(encoding="utf-8"))
    assert run["quick"]
    assert len(run["works"]) == 6
    assert all(len(one["seconds"]) == 3 for one in run["works"].values())
    shown = capsys.readouterr().out
    assert all(line in shown for line in gpu_lines([run]))


def test_without_an_accelerator_nothing_is_measured(capsys):
    if gpu.jax.devices()[0].platform != "cpu":
        pytest.skip("there is one")
    with pytest.raises(SystemExit):
        gpu.main([])
    assert "finds no accelerator" in capsys.readouterr().err
    assert "Not run on a GPU" in gpu_lines([])[0]
