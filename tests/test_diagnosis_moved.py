"""What the report says of single parameters: their errors are those of FLOW's minimiser, or nothing is said."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

import linear_theory as lt
from linear_theory.diagnosis import moved as package
from linear_theory.diagnosis.moved import moved
from linear_theory.significance import SIGMAS
from linear_theory.weights import HardThreshold

TITLE = "What FLOW has moved, trained to the end"


def drawn(seed=0, n=400, shift=(1.0, 0.0, 0.3), noise=1.0):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, 3))
    return X, -X @ np.array(shift) + noise * rng.standard_normal(n), np.zeros(3)


@pytest.mark.parametrize("temperature", [None, 1.0])
def test_moves_and_errors_are_those_of_the_minimiser(temperature):
    X, y, start = drawn()
    found = moved(lt.diagnose(X, y, start, temperature))
    known = lt.standard_errors(X, y, start, temperature)
    assert found is not None
    assert np.allclose(found.distance, known.theta, rtol=1e-12)
    assert np.allclose(found.error, known.standard_errors, rtol=1e-12)
    assert np.allclose(found.p, 2 * stats.norm.sf(abs(known.theta / known.standard_errors)), rtol=1e-9)


def test_the_errors_of_the_median_are_counted():
    X, y, start = drawn()
    counted, known = (moved(lt.diagnose(X, y, start, tau)) for tau in (None, np.median(y**2) * (1 + 1e-9)))
    assert counted is not None
    assert known is not None
    assert counted.error[0] > 1.1 * known.error[0]


def test_nothing_is_moved_where_there_is_no_shift():
    """At most one family in twenty is told to have moved."""
    draws = 300
    told = [moved(lt.diagnose(*drawn(seed, 200, (0.0, 0.0, 0.0)))) for seed in range(draws)]
    share = np.mean([found is not None and found.beyond.any() for found in told])
    assert share <= 0.05 + SIGMAS * math.sqrt(0.05 * 0.95 / draws)


@pytest.mark.parametrize(
    ("rows", "options"),
    [
        (drawn(), {"sample_weight": np.full(400, 2.0)}),
        (drawn(), {"temperature": HardThreshold(1.0)}),
        (drawn(noise=0.0), {}),
        (drawn(n=3), {}),
    ],
    ids=["prior weights", "another rule", "no noise", "few rows"],
)
def test_nothing_is_said_where_no_error_can_be_told(rows, options):
    diagnosis = lt.diagnose(*rows, **options)
    assert moved(diagnosis) is None
    assert TITLE not in diagnosis.report()


@pytest.mark.parametrize("temperature", [None, 1.0])
def test_the_report_names_the_surest_first(temperature):
    section = (
        lt.diagnose(*drawn(), temperature).report(names=["dose", "age", "sex"]).split(TITLE)[1].split("\n\n")
    )
    assert [line.split()[0] for line in section[0].splitlines()[3:]] == ["dose", "sex", "age"]
    said = " ".join(section[1].split())
    assert "FLOW has moved 2 of 3 parameters" in said
    assert ("its own error is counted" in said) == (temperature is None)


def test_of_many_parameters_some_are_told():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((600, 14))
    report = lt.diagnose(X, X[:, 0] + rng.standard_normal(600), np.zeros(14)).report()
    section = report.split(TITLE)[1].split("What the theory assumes")[0]
    assert "The table has the 10 surest." in " ".join(section.split())
    assert section.count("column ") == 10


def test_a_fit_without_noise_has_no_error_to_tell():
    X, y, start = drawn(noise=1e-13)
    assert moved(lt.diagnose(X, y, start)) is None
    X, y, start = drawn(noise=1e-6)
    assert package.moved(lt.diagnose(X, y, start)) is not None
