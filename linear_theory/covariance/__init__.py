"""A covariance: a matrix, the identity plus a low rank, or an operator, touched only through a few operations.

``apply`` (A v), ``quadratic`` (vᵀA v), ``dense`` (the matrix) and ``reach`` (the small space in which a path
from a vector stays, with an eigenbasis in which an eigenvalue that is zero to rounding *is* zero).
``RankOneDowndate`` is what a weight makes of another covariance.
"""

from .checked import as_covariance, checked_covariance, total
from .dense import Dense, RankOneDowndate
from .low_rank import IdentityPlusLowRank
from .operator import Operator
from .subspace import Covariance

__all__ = [
    "Covariance",
    "Dense",
    "IdentityPlusLowRank",
    "Operator",
    "RankOneDowndate",
    "as_covariance",
    "checked_covariance",
    "total",
]
