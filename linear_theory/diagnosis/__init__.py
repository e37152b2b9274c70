"""A user's own rows: what will the weights stall here, how long, at what price, and does the theory apply."""

from .checks import Check
from .measured import diagnose
from .paths import Paths
from .result import Diagnosis

__all__ = ["Check", "Diagnosis", "Paths", "diagnose"]
