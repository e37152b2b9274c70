"""Rows that do not fit in memory: the same sums, medians and solutions from chunks, in flat memory.

A source is anything that can be gone through again and again and gives chunks (X, y) or (X, y, weights) of
arrays (b, d), (b,), (b,): a list, :func:`from_arrays`, :func:`from_npy`, :func:`from_parquet`, or a function
without arguments that returns a fresh iterator. A generator will do where one pass is enough. Chunks may hold
whatever :func:`linear_theory.solve` takes; here all of it, JAX arrays too, is read and answered by NumPy in float64,
and done with before the next chunk is asked for.

Examples
--------
>>> import numpy as np
>>> import linear_theory as lt
>>> np.save("X.npy", np.ones((4, 1)))
>>> np.save("y.npy", np.array([1.0, 2.0, 3.0, 6.0]))
>>> source, start = lt.streaming.from_npy("X.npy", "y.npy", rows=2), np.zeros(1)
>>> tau = lt.streaming.median_loss(source, start).value
>>> solution = lt.streaming.solve(source, start, tau)
>>> print(solution.theta.round(4), solution.passes)
[1.6421] 1
"""

from .fitting import Solution, normal_equations, solve
from .losses import MedianLoss, losses, median_loss
from .sources import Chunks, from_arrays, from_npy, from_parquet

__all__ = [
    "Chunks",
    "MedianLoss",
    "Solution",
    "from_arrays",
    "from_npy",
    "from_parquet",
    "losses",
    "median_loss",
    "normal_equations",
    "solve",
]
