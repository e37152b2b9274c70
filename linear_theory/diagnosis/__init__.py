"""A user's own rows: what will the weights stall here, how long, at what price, and does the theory apply."""

from .checks import Check
from .diagnose import Diagnosis, diagnose
from .new_rows import NewRows, Predicted
from .paths import Paths

__all__ = ["Check", "Diagnosis", "NewRows", "Paths", "Predicted", "diagnose"]
