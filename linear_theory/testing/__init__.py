"""Is my derivation right? Whoever has a formula of their own for a quantity of this theory finds out in ten lines.

:func:`check` holds it against the quantity in 60 digits (``QUANTITIES``), on problems that Hypothesis draws, with a
tolerance that is derived; what it prints of a wrong one is the smallest problem on which it is wrong. :func:`refutes`
shows that the same check rejects a wrong variant. Extra: ``pip install "linear-theory[testing]"``.
"""

try:
    import hypothesis as _hypothesis  # noqa: F401
    import mpmath as _mpmath  # noqa: F401
except ImportError as error:
    raise ImportError(
        f"{error}; linear_theory.testing needs it: pip install 'linear-theory[testing]'"
    ) from error

from .derivation import Agreement, Comparison, agree, check, refutes
from .quantities import QUANTITIES, Quantity, Simulation
from .spectra import random_problem, random_rows
from .strategies import (
    DIMENSIONS,
    correlations,
    covariances,
    learning_rates,
    log_uniform,
    noise_variances,
    paper_problems,
    problems,
    problems_by_spectrum,
    rows,
    rows_by_spectrum,
    rules,
    seeds,
    steps,
    temperatures,
    times,
    vectors,
)

__all__ = [
    "DIMENSIONS",
    "QUANTITIES",
    "Agreement",
    "Comparison",
    "Quantity",
    "Simulation",
    "agree",
    "check",
    "correlations",
    "covariances",
    "learning_rates",
    "log_uniform",
    "noise_variances",
    "paper_problems",
    "problems",
    "problems_by_spectrum",
    "random_problem",
    "random_rows",
    "refutes",
    "rows",
    "rows_by_spectrum",
    "rules",
    "seeds",
    "steps",
    "temperatures",
    "times",
    "vectors",
]
