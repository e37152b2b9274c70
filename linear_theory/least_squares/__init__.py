"""Weighted least squares from a start: normal equations that merge, and the minimiser closest to the start."""

from .equations import NormalEquations
from .rows import Sample, checked_sample
from .solution import Solution
from .solver import solve
from .temperatures import TemperaturePath, temperature_path

__all__ = [
    "NormalEquations",
    "Sample",
    "Solution",
    "TemperaturePath",
    "checked_sample",
    "solve",
    "temperature_path",
]
