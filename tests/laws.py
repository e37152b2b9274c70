"""What the law tests share: problems for hypothesis, and the ways a problem may be rewritten without changing it."""

from __future__ import annotations

from hypothesis import strategies as st

import linear_theory as lt
from linear_theory import testing
from linear_theory.testing.tolerances import spectral_condition
from tests.strategies import DIMS, NOISE, PLANE_OR_MORE, RELATIVE_TEMPERATURES, RHOS, log_uniform


def problems(dims=DIMS, noise=NOISE, **options):
    """Any problem whose default step converges."""
    return testing.problems_by_spectrum(dims, noise, **options)


def paper_problems(dims=PLANE_OR_MORE, noise=NOISE):
    """The paper's problem, eq. (3)."""
    return testing.paper_problems(dims, noise=noise, correlation=RHOS, norms=log_uniform(1e-3, 1e3))


NOISELESS = st.just(0.0)
FINITE_TEMPERATURES = log_uniform(1e-6, 1e6)

__all__ = [
    "FINITE_TEMPERATURES",
    "NOISELESS",
    "RELATIVE_TEMPERATURES",
    "RHOS",
    "condition",
    "paper_problems",
    "problems",
    "remade",
    "rotated",
    "scaled",
    "size",
    "squared",
]


def squared(problem):
    """‖e‖², the unit of temperatures and noise."""
    return float(problem.shift @ problem.shift)


def size(problem):
    """The largest parameter in play: θ_K is θ̃* plus something, so it is rounded on this scale."""
    return max(abs(problem.pretrained).max(), abs(problem.target).max())


def condition(problem):
    """d · cond(Σ̃)."""
    return spectral_condition(problem.target_covariance)


def remade(problem, **changes):
    """The same problem with some arguments changed."""
    fields = ("pretrained", "target", "target_covariance", "pretrain_covariance", "noise_variance")
    return lt.FineTuningProblem(**{name: changes.get(name, getattr(problem, name)) for name in fields})


def rotated(problem, basis):
    """The problem in another orthonormal basis; symmetric to the last bit again."""
    turn = lambda A: None if A is None else (basis @ A @ basis.T + (basis @ A @ basis.T).T) / 2
    return remade(
        problem,
        pretrained=basis @ problem.pretrained,
        target=basis @ problem.target,
        target_covariance=turn(problem.target_covariance),
        pretrain_covariance=turn(problem.pretrain_covariance),
    )


def scaled(problem, factor):
    """Parameters and labels in other units: e → ce, σ² → c²σ²."""
    return remade(
        problem,
        pretrained=factor * problem.pretrained,
        target=factor * problem.target,
        noise_variance=factor**2 * problem.noise_variance,
    )
