"""What to choose: when to stop, at which temperature, how strongly to penalise, and which of these methods is best."""

from .early_stop import EarlyStop, best_early_stop
from .flow import BestFlow, best_flow
from .penalty import ridge_optimum
from .temperature import BestTemperature, best_temperature

__all__ = [
    "BestFlow",
    "BestTemperature",
    "EarlyStop",
    "best_early_stop",
    "best_flow",
    "best_temperature",
    "ridge_optimum",
]
