"""How many digits each package has right on the hard problems."""

from __future__ import annotations

import logging
import math
import warnings
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np

from linear_theory.testing.reference.rational import closest, rational

from ..packages import OURS, PACKAGES, Call, lineax_svd, scaled
from ..works import Array, Rows
from .problems import DEPENDENT, PROBLEMS

FULL = 16.0
"""All the digits a float64 has, and what an exact answer is shown as."""


def scipy_lstsq(driver: str) -> Callable[[Rows], Call]:
    def prepared(rows: Rows) -> Call:
        from scipy import linalg

        solve: Any = linalg.lstsq
        return lambda: rows.start + solve(*scaled(rows), lapack_driver=driver)[0]

    return prepared


def statsmodels_qr(rows: Rows) -> Call:
    from statsmodels.regression.linear_model import WLS  # pyright: ignore[reportMissingImports]

    residual = rows.y - rows.X @ rows.start
    return lambda: rows.start + WLS(residual, rows.X, weights=rows.weights).fit(method="qr").params


SOLVERS: dict[str, Callable[[Rows], Call]] = {
    OURS: PACKAGES[OURS],
    "numpy lstsq": PACKAGES["numpy lstsq"],
    "scipy gelsd": scipy_lstsq("gelsd"),
    "scipy gelsy": scipy_lstsq("gelsy"),
    "scikit-learn": PACKAGES["scikit-learn LinearRegression"],
    "statsmodels pinv": PACKAGES["statsmodels WLS"],
    "statsmodels QR": statsmodels_qr,
    "lineax QR": PACKAGES["lineax QR"],
    "lineax SVD": lineax_svd,
}
"""Each with its own defaults, cut-offs included."""


def truth(rows: Rows) -> list[Fraction]:
    return nearest(*rows[:4])


def nearest(X: Any, y: Any, start: Any, weights: Any) -> list[Fraction]:
    """θ, of Σ w (y − ⟨x, θ⟩)² least and then of ‖θ − start‖ least, of floats or fractions."""
    away = closest(X, y, start, weights).displacement
    return [a + b for a, b in zip(rational(start), away, strict=True)]


def digits(theta: Array, right: list[Fraction]) -> float:
    """−log₁₀ of the largest relative error of a coefficient, NIST's measure, in [0, 16]; 0 for NaN too."""
    theta = np.asarray(theta, dtype=float)
    return agreement(rational(theta), right) if np.isfinite(theta).all() else 0.0


def agreement(theta: list[Fraction], right: list[Fraction]) -> float:
    """The digits of the coefficient that has fewest."""
    worst = max(abs(a - b) / abs(b) for a, b in zip(theta, right, strict=True))
    return FULL if worst == 0 else min(FULL, max(0.0, -math.log10(min(worst, 1))))


def held_by_the_data(rows: Rows, right: list[Fraction], draws: int = 5) -> float:
    """The digits that stay when each entry of X and y moves by its own rounding, ±2⁻⁵³ relative: median draw.

    More than that is more than a solver can promise which stores each number once.
    """
    rng = np.random.default_rng(0)
    signs = lambda count: rng.choice([-1, 1], count).tolist()
    moved = lambda values: [
        v + v * Fraction(s, 2**53) for v, s in zip(values, signs(len(values)), strict=True)
    ]
    X, y, start, weights = (rational(part) for part in rows[:4])
    found = [
        agreement(nearest([moved(row) for row in X], moved(y), start, weights), right) for _ in range(draws)
    ]
    return float(np.median(found))


def measured(say: Callable[[str], None] = print) -> dict[str, Any]:
    """``{problem: {"shape": [n, d], "data": …, "digits": {package: …}}}``.

    A dependent column holds no digits in this sense: moved, it is independent.
    """
    results = {}
    for name, given in PROBLEMS.items():
        rows = given()
        right = truth(rows)
        one = {package: digits(quietly(prepare(rows)), right) for package, prepare in SOLVERS.items()}
        results[name] = {
            "shape": list(rows.X.shape),
            "data": None if name == DEPENDENT else round(held_by_the_data(rows, right), 2),
            "digits": {package: round(value, 2) for package, value in one.items()},
        }
        say(f"{name}: " + ", ".join(f"{package} {value:.1f}" for package, value in one.items()))
    return results


def quietly(call: Call) -> Array:
    """θ, or NaN where the package refuses; its warnings are not what is measured."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logging.disable()
        try:
            return call()
        except (ValueError, np.linalg.LinAlgError, RuntimeError):
            return np.array([np.nan])
        finally:
            logging.disable(logging.NOTSET)
