"""Second routes for what the namespaces of ``linear_theory`` offer, and the laws that hold the package against them.

None calls what it is held against.
"""

from __future__ import annotations

from . import entries, experts, high_dimension, sequences, streaming

EXCUSED = {
    "covariance.checked_covariance": "gives back the matrix that it is given, or refuses it",
    "streaming.from_arrays": "hands over rows as they are",
    "streaming.from_npy": "hands over the rows of files as they are",
    "streaming.from_parquet": "hands over the columns of a file as they are",
}
"""Public functions that compute nothing, and so have no second route."""

_ALL = (module.LAWS for module in (entries, experts, high_dimension, sequences, streaming))
LAWS = tuple(sorted((law for laws in _ALL for law in laws), key=lambda law: law.function))
