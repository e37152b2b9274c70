"""A user's own rows: what will the weights stall here, how long, at what price, and does the theory apply."""

from .checks import Check
from .paths import Paths
from .result import Diagnosis, diagnose

__all__ = ["Check", "Diagnosis", "Paths", "diagnose"]
