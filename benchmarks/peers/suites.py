"""Which tests of whom, and where our solver goes in."""

from __future__ import annotations

from dataclasses import dataclass, field

from . import adapters
from .adapters import Replacement


@dataclass(frozen=True)
class Suite:
    """A peer's installed test modules that fit by least squares, and its solvers that ours replaces meanwhile.

    ``excused``: tests that must fail, by the beginning of their name and why. One that does not fail, and one
    that fails without standing here, are both reported.
    """

    package: str
    tests: tuple[str, ...]
    replaced: tuple[Replacement, ...]
    excused: dict[str, str] = field(default_factory=dict)


SUITES = {
    "SciPy lstsq": Suite(
        "scipy",
        ("scipy.linalg.tests.test_basic::TestLstsq",),
        (Replacement("scipy.linalg", "lstsq", adapters.lstsq),),
    ),
    "SciPy lsqr and lsmr": Suite(
        "scipy",
        (
            "scipy.sparse.linalg._isolve.tests.test_lsqr",
            "scipy.sparse.linalg._isolve.tests.test_lsmr",
        ),
        (
            Replacement("scipy.sparse.linalg", "lsqr", adapters.lsqr),
            Replacement("scipy.sparse.linalg", "lsmr", adapters.lsmr),
        ),
    ),
    "scikit-learn": Suite(
        "scikit-learn",
        ("sklearn.linear_model.tests.test_base", "sklearn.linear_model.tests.test_ridge"),
        (
            Replacement("sklearn.linear_model._base", "linalg", adapters.linalg_of_regression),
            Replacement("sklearn.linear_model._base", "lsqr", adapters.lsqr),
            Replacement("sklearn.linear_model._ridge", "_solve_cholesky", adapters.ridge_direct),
            Replacement("sklearn.linear_model._ridge", "_solve_svd", adapters.ridge_direct),
            Replacement("sklearn.linear_model._ridge", "_solve_cholesky_kernel", adapters.ridge_dual),
            Replacement("sklearn.linear_model._ridge", "_solve_sparse_cg", adapters.ridge_iterative),
            Replacement("sklearn.linear_model._ridge", "_solve_lsqr", adapters.ridge_lsqr),
        ),
        {
            "sklearn.linear_model.tests.test_ridge::test_n_iter": "asks an iterative solver to stop after as many "
            "iterations as given; a direct one counts 1",
            "sklearn.linear_model.tests.test_ridge::test_ridge_regression_convergence_fail": "asks for the warning "
            "that conjugate gradients cannot reach a tolerance of 0; a direct solver has none to give",
        },
    ),
    "statsmodels": Suite(
        "statsmodels",
        tuple(
            f"statsmodels.regression.tests.test_{name}"
            for name in (
                "cov",
                "dimred",
                "glsar_gretl",
                "glsar_stata",
                "predict",
                "processreg",
                "recursive_ls",
                "regression",
                "robustcov",
                "rolling",
                "theil",
                "tools",
            )
        ),
        (
            Replacement("statsmodels.regression.linear_model", "pinv_extended", adapters.pseudoinverse),
            Replacement("statsmodels.regression.rolling", "np", adapters.numpy_of_rolling),
            Replacement("statsmodels.regression._tools", "np", adapters.numpy_of_rolling),
        ),
    ),
}
"""lineax ships its tests neither in its wheel nor in its source archive: they cannot be run as installed."""
