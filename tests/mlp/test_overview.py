"""What the experiments say together: every part is there, and another outcome is told otherwise."""

from __future__ import annotations

import functools
import re

import pytest

from paper_reproduction import registry, shipped
from paper_reproduction.mlp.overview import overview, tally

RESULTS = {
    entry.name: stored
    for entry in registry.NETWORKS.discover()
    if (stored := shipped.stored(entry)) is not None
}


def sentences(results) -> str:
    return "\n".join(sentence for part in overview(results) for sentence in part.sentences)


@functools.cache
def as_stored() -> str:
    """What the stored results say."""
    return sentences(RESULTS)


def test_four_questions_are_answered_with_numbers():
    parts = overview(RESULTS)
    assert len(parts) == 4
    assert all(part.question.endswith("?") for part in parts)
    for part in parts:
        for sentence in part.sentences:
            assert re.search(r"\d", sentence)
            assert "nan" not in sentence
    assert [bool(part.table) for part in parts] == [False, False, True, False]


def test_of_no_results_nothing_is_said():
    assert overview({}) == ()


@pytest.mark.parametrize("name", RESULTS)
def test_each_experiment_has_a_say(name):
    without = {other: dataset for other, dataset in RESULTS.items() if other != name}
    assert sentences(without) != as_stored()


def test_where_flow_would_keep_more_it_is_counted():
    found = tally(RESULTS)
    ahead = {
        name: d.assign(kept=d.kept + 0.5 * (d.keeper == "flow")) if "keeper" in d.dims else d
        for name, d in RESULTS.items()
    }
    changed = tally(ahead)
    assert (found.more, changed.more) == (0, changed.comparisons)
    assert (found.averaging, changed.averaging) == (found.settings, 0)


def test_settings_with_nothing_to_learn_are_left_out():
    d = RESULTS["digits-label-noise"]
    known = d.assign(before=d.before * 0 + 1.0)
    without = RESULTS | {"digits-label-noise": known}
    assert tally(RESULTS).settings - tally(without).settings == d.sizes["noise"]
    assert "digits, head of its own" not in str(overview(without)[2].table)


def exchanged(d, dim, one, other):
    """What is said of one run is said of the other."""
    names = {one: other, other: one}
    return d.assign_coords({dim: [names.get(str(run), str(run)) for run in d[dim].values]})


WORDS = [
    ("teacher-student-stall", {"run": ("flow-same-mean-step", "standard")}, "It stalls", "It does not stall"),
    ("hard-samples", {"path": ("flow-same-mean-step", "standard")}, "lowers it", "lowers it"),
    ("hard-samples", {"run": ("flow", "permuted")}, "loses the hard samples", "keeps the hard samples"),
    ("images-own-head", {"run": ("flow", "permuted")}, "They delay", "They do not delay"),
    ("language", {"run": ("flow", "permuted")}, "keeps more and learns less", "keeps less and learns more"),
]


@pytest.mark.parametrize(("name", "exchange", "said", "otherwise"), WORDS)
def test_the_words_are_those_of_the_arrays(name, exchange, said, otherwise):
    changed = RESULTS[name]
    for dim, (one, other) in exchange.items():
        changed = exchanged(changed, dim, one, other)
    assert said in as_stored()
    assert otherwise in sentences(RESULTS | {name: changed})


def test_a_peak_that_is_better_is_told_for_flow():
    """Of how many controls FLOW is ahead where training is stopped is read off the curves."""
    d = RESULTS["images-own-head"]
    of = lambda results: overview(results)[-1].sentences
    stopped = lambda results: next(
        text for text in of(results) if text.startswith("The residual network, stopped so")
    )
    better, alike = d.curve.copy(), d.curve.copy()
    better.loc[{"trained": "flow", "place": "target"}] += 0.3
    alike.loc[{"trained": "flow"}] = d.curve.sel(trained="permuted").values
    assert "ahead of both controls" in stopped(RESULTS | {"images-own-head": d.assign(curve=better)})
    assert "ahead of neither control" in stopped(RESULTS | {"images-own-head": d.assign(curve=alike)})
