"""Iterative solvers on data: solver objects, one loop, and no loop where the solver is linear."""

from .objective import Objective
from .path import Path
from .run import Solver, descend
from .solvers import ConjugateGradient, GradientDescent, HeavyBall, Nesterov, StochasticGradient

__all__ = [
    "ConjugateGradient",
    "GradientDescent",
    "HeavyBall",
    "Nesterov",
    "Objective",
    "Path",
    "Solver",
    "StochasticGradient",
    "descend",
]
