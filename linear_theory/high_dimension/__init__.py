"""As many rows as dimensions: what n rows in d dimensions give where n, d → ∞ with d/n → ratio.

With n ≫ d a sampled fit is the population's. Where d/n is a number, it is not: the weights flatten, FLOW averages
less, and the fit fluctuates. ``optimum`` is training to convergence, with a ridge or without; ``path`` is gradient flow
and gradient descent before that. Both are deterministic equivalents: exact in the limit, of which n rows are off by
O(1/d) in the mean. NumPy only: no derivatives, and nothing here can be traced.

The traces in them are over the spectrum of Σ̃. A matrix counts with all its d eigenvalues; an ``IdentityPlusLowRank``
with its ``scale`` alone, the low rank's share being 0 in the limit, and so does the paper's covariance beyond 100
dimensions. An ``Operator`` does not tell its spectrum and is refused.

Examples
--------
>>> import linear_theory as lt
>>> problem = lt.paper_problem(0.0, dim=1000, noise_variance=1.0)
>>> tau = lt.population_median_temperature(problem)
>>> for ratio in (0.01, 0.5, 0.9):  # the fewer rows, the less FLOW averages
...     found = lt.high_dimension.optimum(problem, ratio, temperature=tau)
...     print(f"κ = {found.displacement:.3f}, variance {found.variance:.3f}, target error {found.target_error:.3f}")
κ = 0.315, variance 0.003, target error 0.473
κ = 0.466, variance 0.777, target error 1.062
κ = 0.789, variance 22.000, target error 22.045
"""

from .equivalent import Expected
from .optimum import optimum
from .path import path

__all__ = ["Expected", "optimum", "path"]
