"""The many Gaussian rows of the claim about real rows catch a wrong formula, and its checks wrong arrays."""

from __future__ import annotations

import math

import numpy as np
import pytest
import xarray as xr

import linear_theory as lt
from paper_reproduction.claims import _diabetes as diabetes
from paper_reproduction.claims import _real_rows
from paper_reproduction.claims import real_data as claim
from tests import kept


@pytest.fixture(scope="module")
def dataset() -> xr.Dataset:
    return kept.quick(claim.compute)


def failures(dataset: xr.Dataset) -> list[str]:
    return [check.name for check in claim.verdict(dataset).checks if not check.holds]


@pytest.mark.parametrize(
    ("name", "factor", "part"),
    [
        ("identity", 1e6, "standard fine-tuning on the rows"),
        ("off_large", 30, "many Gaussian rows"),
        ("off_large_wrong", 0.01, "wrong μ"),
    ],
)
def test_it_fails_on_wrong_arrays(dataset: xr.Dataset, name: str, factor: float, part: str) -> None:
    assert any(part in failed for failed in failures(dataset.assign({name: dataset[name] * factor})))


def test_gaussian_rows_catch_a_wrong_fixed_point(
    dataset: xr.Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    """κ = τ/(τ + σ²) in the package, its 2 forgotten."""

    def wrong(problem: lt.FineTuningProblem, temperature: float) -> np.ndarray:
        kappa = temperature / (temperature + problem.noise_variance)
        return problem.pretrained - kappa * problem.shift

    monkeypatch.setattr(lt, "fixed_point", wrong)
    problem = diabetes.split("sex").problem
    rng = np.random.default_rng(0)
    rows = [diabetes.gaussian_rows(problem, 4000, rng) for _ in range(8)]
    found = [_real_rows.measure(*row, problem.pretrained) for row in rows]
    gap = np.array([m[0]["kappa"] - m[1]["kappa"] for m in found])
    assert abs(gap.mean()) > 10 * gap.std(ddof=1) / math.sqrt(len(gap))


def test_whitening_changes_no_prediction() -> None:
    """Σ = I, and θ* predicts what least squares on the raw features predicts."""
    from sklearn.datasets import load_diabetes

    groups = diabetes.split("sex")
    gram = groups.pretrain_x.T @ groups.pretrain_x / len(groups.pretrain_y)
    assert np.allclose(gram, np.eye(9), atol=1e-10)
    data = load_diabetes()
    low = data.data[:, diabetes.SEX] < 0
    raw = np.delete(data.data, diabetes.SEX, axis=1)[low]
    fitted = np.column_stack([np.ones(low.sum()), raw])
    plain = fitted @ np.linalg.lstsq(fitted, data.target[low], rcond=None)[0]
    plain = (plain - plain.mean()) / data.target[low].std()
    assert np.allclose(groups.pretrain_x @ groups.start, plain, atol=1e-9)
