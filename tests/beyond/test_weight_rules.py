"""The claim sees a wrong moment, a wrong rule, shuffled weights and missing numbers."""

from __future__ import annotations

import math

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

import linear_theory as lt
from linear_theory.testing.tolerances import near
from linear_theory.tilting import ResidualTilt
from linear_theory.weights import robust, rules
from paper_reproduction.beyond import weight_rules as claim
from paper_reproduction.beyond._rule_moments import TEN
from paper_reproduction.claim import Settings
from tests import kept
from tests.beyond.spoilt import failing
from tests.strategies import log_uniform


@pytest.fixture(scope="module")
def dataset() -> xr.Dataset:
    return kept.quick(claim.compute)


failures = failing(claim)


READ = ("mass", "share", "written_share", "digits", "cold", "tail_share", "rate", "sampled", "sampled_exact")


@pytest.mark.parametrize("array", READ)
@pytest.mark.parametrize("spoil", [1.1, np.nan])
def test_it_fails_on_wrong_or_missing_numbers(dataset: xr.Dataset, array: str, spoil: float) -> None:
    assert failures(dataset.assign({array: dataset[array] * spoil}))


@pytest.mark.parametrize("part", ["mass", "ratio"])
def test_it_fails_where_a_moment_is_off(part: str, monkeypatch: pytest.MonkeyPatch) -> None:
    right = lt.residual_tilt

    def off(rule, variance):
        found = right(rule, variance)
        return ResidualTilt(**(vars(found) | {part: getattr(found, part) * (1 + 1e-9)}))

    monkeypatch.setattr(lt, "residual_tilt", off)
    assert failures(claim.compute(Settings(quick=True)))


@pytest.mark.parametrize("wrong", ["shuffled", "mean"])
def test_it_fails_where_the_weights_do_not_belong_to_their_rows(
    wrong: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for kind in (robust.Cauchy, rules.Flow):
        right = kind.log_weights

        def weights(self, losses, right=right):
            found = right(self, losses)
            if wrong == "mean":
                return np.full_like(found, np.log(np.exp(found).mean()))
            return np.random.default_rng(0).permutation(found.ravel()).reshape(found.shape)

        monkeypatch.setattr(kind, "log_weights", weights)
    assert any("sampled rows" in name for name in failures(claim.compute(Settings(quick=True))))


@given(log_uniform(0.5, 8), st.sampled_from(sorted(set(TEN) - {"KL-DRO"})))
def test_easy_samples_up_keep_less_and_hard_samples_up_more(a: float, name: str) -> None:
    mass, square = TEN[name].moments(np.float64(a))
    easy = name not in ("focal", "hard samples")
    assert (square <= mass * (1 + 1e-12)) == easy or near(square, mass, 1e4)


@given(log_uniform(1e-3, 30), st.floats(0.1, 0.95))
def test_tails_below_one_keep_at_least_their_limit(a: float, alpha: float) -> None:
    """h falls with the cutoff to 1 − α, and never below."""
    h = lt.residual_tilt(lt.weights.Power(a, alpha / 2), 1.0).ratio
    assert h >= (1 - alpha) * (1 - 1e-12)
    assert math.isfinite(h)
