"""The claim sees a wrong exponent, constant or population."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

import linear_theory as lt
from paper_reproduction.claims import finite_data as claim
from paper_reproduction.claims._gaussian_influence import Rows
from tests import kept


@pytest.fixture(scope="module")
def dataset() -> xr.Dataset:
    return kept.quick(claim.compute)


def failures(dataset: xr.Dataset) -> list[str]:
    return [check.name for check in claim.verdict(dataset).checks if not check.holds]


def judged(dataset: xr.Dataset, **arrays) -> list[str]:
    return failures(claim._with_slopes(dataset.assign(arrays)))


@pytest.mark.parametrize("exponent", [-0.4, -0.6])
def test_it_sees_a_wrong_exponent(dataset: xr.Dataset, exponent: float) -> None:
    bent = dataset.squared * (dataset.n / 1e4) ** (2 * exponent + 1)
    assert any(name.startswith("slope") for name in judged(dataset, squared=bent))


def test_it_sees_a_wrong_constant(dataset: xr.Dataset) -> None:
    assert any(name.startswith("constant") for name in judged(dataset, constant=dataset.wrong_constant))


def test_it_sees_a_wrong_population(dataset: xr.Dataset) -> None:
    """μ with its 2 forgotten: the deviation of the mass stops falling."""
    right = float(lt.weight_mass(lt.paper_problem(0.5, noise_variance=0.25), 0.5))
    flat = dataset.squared + xr.where(dataset["quantity"] == "mass", (0.05 * right) ** 2, 0.0)
    assert any(name.startswith("slope") for name in judged(dataset, squared=flat))


def test_the_influence_of_a_row_is_the_derivative_of_the_iterate() -> None:
    """The forms are linear in the rows: a finite difference of the population iterate in Σ̃ finds them."""
    problem = lt.paper_problem(0.5, dim=3, noise_variance=0.25)
    rows = Rows(problem.target_covariance, problem.shift, 0.25)
    delta, forms = rows.iterate(8, 1.0, np.inf)
    assert np.allclose(problem.pretrained + delta, lt.iterate(problem, 8), rtol=1e-12, atol=1e-12)
    rng = np.random.default_rng(1)
    change = rng.standard_normal((4, 4))
    change = (change + change.T) / 2
    step = 1e-6

    def moved(sign: float) -> np.ndarray:
        joint = rows.joint() + sign * step * change
        gram, moment = joint[:-1, :-1], joint[:-1] @ rows.residual
        theta = np.zeros(3)
        for _ in range(8):
            theta = theta + moment - gram @ theta
        return theta

    numeric = (moved(1) - moved(-1)) / (2 * step)
    assert np.allclose(np.einsum("iab,ab->i", forms, change), numeric, rtol=1e-7, atol=1e-7)
