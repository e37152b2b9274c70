"""What the experiments say together: every part is there, and another outcome is told otherwise."""

from __future__ import annotations

import re

import numpy as np
import pytest

from paper_reproduction import registry, shipped
from paper_reproduction.mlp.overview import overview, tally

RESULTS = {
    entry.name: stored for entry in registry.experiments() if (stored := shipped.stored(entry)) is not None
}


def sentences(results) -> str:
    return "\n".join(sentence for part in overview(results) for sentence in part.sentences)


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
    assert sentences(without) != sentences(RESULTS)


def test_where_flow_would_keep_more_it_is_counted():
    found = tally(RESULTS)
    ahead = {
        name: d.assign(kept=d.kept + 0.5 * (d.keeper == "flow")) if "keeper" in d.dims else d
        for name, d in RESULTS.items()
    }
    changed = tally(ahead)
    assert (found.more, changed.more) == (0, changed.comparisons)
    assert (found.averaging, changed.averaging) == (found.settings, 0)


def test_a_peak_that_is_no_better_is_told_against_flow():
    """Stopping in time is told where it makes up for the weights, and there alone."""
    d = RESULTS["images-own-head"]
    alike = d.curve.copy()
    alike.loc[{"trained": "flow"}] = d.curve.sel(trained="permuted").values
    told = sentences(RESULTS | {"images-own-head": d.assign(curve=alike)})
    assert "Stopped at its best time" in sentences(RESULTS)
    assert "Stopped at its best time" not in told
    assert np.diff([text.count("Where training is stopped") for text in (sentences(RESULTS), told)]) == 1
