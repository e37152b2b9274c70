"""One weighted least-squares problem started at θ₀, as each package solves it.

A package is given the rows in its own kind of array, outside the clock, and hands back a call without
arguments that returns θ. What its user has to do by hand (scale by √w, shift by the start) is inside the call.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .works import Array, Rows, solve

Call = Callable[[], Array]

TIGHT = 1e-12
"""Where LSQR and LSMR stop: near the digits that the direct ones have."""


def ours(rows: Rows) -> Call:
    return lambda: solve(rows)


def linear_regression(rows: Rows) -> Call:
    from sklearn.linear_model import LinearRegression

    model = LinearRegression(fit_intercept=False)
    X, y, start, weights, _ = _without_ridge(rows)
    return lambda: start + model.fit(X, y - X @ start, sample_weight=weights).coef_


def ridge_regression(rows: Rows) -> Call:
    from sklearn.linear_model import Ridge

    X, y, start, weights, ridge = rows
    model = Ridge(alpha=len(y) * ridge, fit_intercept=False)
    return lambda: start + model.fit(X, y - X @ start, sample_weight=weights).coef_


def wls(rows: Rows) -> Call:
    from statsmodels.regression.linear_model import WLS  # pyright: ignore[reportMissingImports]

    X, y, start, weights, _ = _without_ridge(rows)
    return lambda: start + WLS(y - X @ start, X, weights=weights).fit().params


def lstsq(rows: Rows) -> Call:
    start = _without_ridge(rows).start
    return lambda: start + np.linalg.lstsq(*scaled(rows), rcond=None)[0]


def lsqr(rows: Rows) -> Call:
    from scipy.sparse import linalg

    damp = np.sqrt(len(rows.y) * rows.ridge)
    run = lambda A, b: linalg.lsqr(A, b, damp=damp, atol=TIGHT, btol=TIGHT)[0]
    return lambda: rows.start + run(*scaled(rows))


def lsmr(rows: Rows) -> Call:
    from scipy.sparse import linalg

    damp = np.sqrt(len(rows.y) * rows.ridge)
    run = lambda A, b: linalg.lsmr(A, b, damp=damp, atol=TIGHT, btol=TIGHT)[0]
    return lambda: rows.start + run(*scaled(rows))


def lineax_qr(rows: Rows) -> Call:
    """What lineax chooses by itself for a tall matrix."""
    import lineax  # pyright: ignore[reportMissingImports]

    return _lineax(rows, lineax.AutoLinearSolver(well_posed=None))


def lineax_normal(rows: Rows) -> Call:
    """The fastest that lineax offers."""
    import lineax  # pyright: ignore[reportMissingImports]

    return _lineax(rows, lineax.Normal(lineax.Cholesky()))


def lineax_svd(rows: Rows) -> Call:
    """What lineax advises where the rank may be deficient."""
    import lineax  # pyright: ignore[reportMissingImports]

    return _lineax(rows, lineax.AutoLinearSolver(well_posed=False))


def _lineax(rows: Rows, solver: Any) -> Call:
    import jax
    import jax.numpy as jnp
    import lineax  # pyright: ignore[reportMissingImports]

    @jax.jit
    def run(X: Array, y: Array, start: Array, weights: Array) -> Array:
        root = jnp.sqrt(weights)
        scaled = lineax.MatrixLinearOperator(X * root[:, None])
        return start + lineax.linear_solve(scaled, root * (y - X @ start), solver).value

    with jax.enable_x64(True):
        held = tuple(jnp.asarray(value) for value in _without_ridge(rows)[:4])

    def call() -> Array:
        with jax.enable_x64(True):
            return np.asarray(run(*held))

    return call


def scaled(rows: Rows) -> tuple[Array, Array]:
    """√w X and √w (y − X·start)."""
    root = np.sqrt(rows.weights)
    return rows.X * root[:, None], root * (rows.y - rows.X @ rows.start)


def _without_ridge(rows: Rows) -> Rows:
    if rows.ridge:
        raise ValueError("this package solves the problem without a ridge only")
    return rows


OURS = "linear_theory"

PACKAGES: dict[str, Callable[[Rows], Call]] = {
    OURS: ours,
    "scikit-learn LinearRegression": linear_regression,
    "scikit-learn Ridge": ridge_regression,
    "statsmodels WLS": wls,
    "numpy lstsq": lstsq,
    "scipy lsqr": lsqr,
    "scipy lsmr": lsmr,
    "lineax QR": lineax_qr,
    "lineax normal equations": lineax_normal,
}
"""All of them solve the problem without a ridge."""

WITH_RIDGE = (OURS, "scikit-learn Ridge", "scipy lsqr", "scipy lsmr")
"""Those that can pull toward the start."""
