"""Iterative solvers on data: solver objects, one loop, and no loop where the solver is linear."""

from .conjugate import ConjugateGradient
from .linear import GradientDescent, HeavyBall, Nesterov
from .objective import Objective
from .path import Path
from .run import Solver, descend
from .stochastic import StochasticGradient

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
