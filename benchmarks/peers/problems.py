"""Least-squares problems that are known to be hard, each with the start and the weights it is solved with.

The truth is the exact solution of the *floats* that a solver is handed, so that no decimal's rounding is held
against it. NIST's problems are those of its Statistical Reference Datasets for linear regression whose data an
installed package carries (Norris, Longley) or whose definition gives them (NoInt, Wampler); Pontius and Filip
are neither.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import resources

import numpy as np

from ..works import Array, Rows

DEPENDENT = "a dependent column"


def plain(X: Array, y: Array) -> Rows:
    """Unweighted, from the start 0."""
    X = np.asarray(X, dtype=float)
    return Rows(X, np.asarray(y, dtype=float), np.zeros(X.shape[1]), np.ones(len(X)))


def powers(x: Array, degree: int) -> Array:
    """1, x, …, x^degree, a column each."""
    return np.asarray(x, dtype=float)[:, None] ** np.arange(degree + 1)


# ------------------------------------------------------------------------------------------ NIST's StRD, linear


def norris() -> Rows:
    """A line through 36 points; the data are in SciPy's tests."""
    file = resources.files("scipy.stats.tests.data.nist_linregress") / "Norris.dat"
    rows = [line.split() for line in file.read_text(encoding="utf-8").splitlines()[60:]]
    y, x = np.array([row for row in rows if len(row) == 2], dtype=float).T
    return plain(powers(x, 1), y)


def longley() -> Rows:
    """Employment against six economic series that move together; the data are statsmodels'."""
    from statsmodels.datasets import longley  # pyright: ignore[reportMissingImports]

    data = longley.load_pandas()
    exog = np.asarray(data.exog, dtype=float)
    return plain(np.column_stack([np.ones(len(exog)), exog]), np.asarray(data.endog, dtype=float))


def noint1() -> Rows:
    return plain(np.arange(60, 71)[:, None], np.arange(130, 141))


def noint2() -> Rows:
    return plain([[4], [5], [6]], [3, 4, 4])


WAMPLER = [759, -2048, 2048, -2048, 2523, -2048, 2048, -2048, 1838, -2048]
"""What Wampler added, on x = 0 … 9; 2048 at 10, and the same backwards: orthogonal to every power up to x⁵."""


def wampler(slopes: float, disturbed: float) -> Callable[[], Rows]:
    """y = Σ slopesᵏ xᵏ, k ≤ 5, on x = 0 … 20, and a disturbance that leaves the exact coefficients alone."""

    def rows() -> Rows:
        X = powers(np.arange(21), 5)
        noise = np.array([*WAMPLER, 2048, *WAMPLER[::-1]], dtype=float)
        return plain(X, X @ slopes ** np.arange(6) + disturbed * noise)

    return rows


# --------------------------------------------------------------------------------------------- classic matrices


def polynomial() -> Rows:
    """Degree 10 at 82 points of [−9, −3], where Filip's lie: 1, x, x², … are nearly dependent there."""
    x = np.linspace(-9, -3, 82)
    return plain(powers(x, 10), np.round(0.85 + 0.05 * np.sin(x), 4))


def hilbert() -> Rows:
    """1/(i + j + 1), 12 × 8, and noise that no polynomial fits."""
    i, j = np.ogrid[:12, :8]
    return plain(1 / (i + j + 1.0), np.cos(np.arange(12)))


def vandermonde() -> Rows:
    """Powers up to the 11th at 25 points of [0, 1]."""
    x = np.linspace(0, 1, 25)
    return plain(powers(x, 11), np.exp(x))


def lauchli() -> Rows:
    """A row of ones over 1e-8 times the identity: the normal equations are singular in float64."""
    X = np.vstack([np.ones(5), 1e-8 * np.eye(5)])
    return plain(X, [12.0, *(1e-8 * np.array([1.0, 2.0, 3.0, 4.0, 5.0]))])


def powell_reid() -> Rows:
    """Two light rows and two heavy ones, which decide in which order a QR may take them; θ is (1, 1, 1)."""
    heavy = 2.0**60
    X = np.array([[0, 2, 1], [heavy, heavy, 0], [heavy, 0, heavy], [0, 1, 1]])
    return plain(X, X.sum(axis=1))


def cold_weights() -> Rows:
    """Weights over 60 decades, powers of 4, as a temperature far below the losses leaves them."""
    rng = np.random.default_rng(7)
    X, y = rng.standard_normal((40, 5)), rng.standard_normal(40)
    return plain(X, y)._replace(weights=4.0 ** -np.linspace(0, 100, 40).round())


def column_scales() -> Rows:
    """Columns in units from 1 to 1e-30, otherwise harmless."""
    rng = np.random.default_rng(8)
    return plain(rng.standard_normal((40, 6)) * 2.0 ** -np.arange(0, 120, 20), rng.standard_normal(40))


def well_conditioned() -> Rows:
    rng = np.random.default_rng(9)
    return plain(rng.standard_normal((200, 5)), rng.standard_normal(200))


def far_start() -> Rows:
    """Norris, seen from a start 1e9 away."""
    return norris()._replace(start=np.array([1e9, -1e9]))


def wide() -> Rows:
    """5 rows, 9 columns: of all that fit, the closest to a start."""
    x = np.linspace(0.1, 1, 5)
    return plain(powers(x, 8), np.exp(x))._replace(start=np.arange(1.0, 10.0))


def wide_in_units() -> Rows:
    """Two rows that both fit, and a column in a unit 1e8 times as large: the rows' inner products hide it."""
    return plain([[1, 0, 1e8], [0, 1, 1]], [1, 1])


def dependent() -> Rows:
    """A third column that is the sum of two others, exactly."""
    rng = np.random.default_rng(10)
    X = rng.integers(-50, 50, (20, 2)).astype(float)
    return plain(np.column_stack([X, X.sum(axis=1)]), rng.integers(-9, 9, 20))


PROBLEMS: dict[str, Callable[[], Rows]] = {
    "Norris": norris,
    "NoInt1": noint1,
    "NoInt2": noint2,
    "Wampler1": wampler(1.0, 0.0),
    "Wampler2": wampler(0.1, 0.0),
    "Wampler3": wampler(1.0, 1.0),
    "Wampler4": wampler(1.0, 100.0),
    "Wampler5": wampler(1.0, 10_000.0),
    "Longley": longley,
    "degree 10 on [−9, −3]": polynomial,
    "Hilbert, 12 × 8": hilbert,
    "Vandermonde, 25 × 12": vandermonde,
    "Läuchli": lauchli,
    "Powell–Reid rows": powell_reid,
    "weights over 60 decades": cold_weights,
    "columns from 1 to 1e-30": column_scales,
    "wide, 5 × 9": wide,
    "wide, a column of 1e8": wide_in_units,
    DEPENDENT: dependent,
    "Gaussian, 200 × 5": well_conditioned,
    "Norris from a start 1e9 away": far_start,
}
