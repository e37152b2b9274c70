"""Weighted least squares from a start: normal equations that merge, and the minimiser closest to the start."""

from .equations import NormalEquations
from .rows import Rows, checked_rows
from .solution import Solution, solve
from .temperatures import TemperaturePath, temperature_path

__all__ = [
    "NormalEquations",
    "Rows",
    "Solution",
    "TemperaturePath",
    "checked_rows",
    "solve",
    "temperature_path",
]
