"""The public names, one list: importing this module imports all of the mathematics."""

from . import covariance, descent, experts, high_dimension, sequences, streaming, weights
from .checkpoints import checkpoint_weights
from .choice import (
    BestFlow,
    BestTemperature,
    EarlyStop,
    best_early_stop,
    best_flow,
    best_temperature,
    ridge_optimum,
)
from .descent import Path, descend
from .diagnosis import Diagnosis, diagnose
from .errors import DivergenceError, InvalidTypeError, InvalidValueError, LinearTheoryError
from .inference import StandardErrors, UndoneAveraging, standard_errors, undo_averaging
from .least_squares import NormalEquations, Solution, TemperaturePath, solve, temperature_path
from .linearization import Linearization, linearize
from .problem import FineTuningProblem, paper_problem
from .risk import (
    best_average_weight,
    best_model_average,
    gap_closed,
    hard_sample_error,
    joint_optimum,
    model_average,
    pretrain_error,
    target_error,
    total_error,
)
from .sgd import sgd_error, sgd_errors, sgd_stability_limit
from .stalling import Stall, stall
from .theorems import (
    closed_form,
    half_life,
    model_average_weight,
    squared_mass,
    stall_approximation,
    stall_direction,
    stall_parameter,
    stall_spectrum,
    stall_temperature,
)
from .tilting import (
    ResidualTilt,
    displacement,
    population_effective_sample_size,
    population_median_temperature,
    residual_tilt,
    weight_mass,
    weighted_covariance,
)
from .trajectories import fixed_point, gradient_flow, iterate, stable_learning_rate
from .weights import effective_sample_size, flow_weights, median_temperature

__all__ = [
    "BestFlow",
    "BestTemperature",
    "Diagnosis",
    "DivergenceError",
    "EarlyStop",
    "FineTuningProblem",
    "InvalidTypeError",
    "InvalidValueError",
    "LinearTheoryError",
    "Linearization",
    "NormalEquations",
    "Path",
    "ResidualTilt",
    "Solution",
    "Stall",
    "StandardErrors",
    "TemperaturePath",
    "UndoneAveraging",
    "best_average_weight",
    "best_early_stop",
    "best_flow",
    "best_model_average",
    "best_temperature",
    "checkpoint_weights",
    "closed_form",
    "covariance",
    "descend",
    "descent",
    "diagnose",
    "displacement",
    "effective_sample_size",
    "experts",
    "fixed_point",
    "flow_weights",
    "gap_closed",
    "gradient_flow",
    "half_life",
    "hard_sample_error",
    "high_dimension",
    "iterate",
    "joint_optimum",
    "linearize",
    "median_temperature",
    "model_average",
    "model_average_weight",
    "paper_problem",
    "population_effective_sample_size",
    "population_median_temperature",
    "pretrain_error",
    "residual_tilt",
    "ridge_optimum",
    "sequences",
    "sgd_error",
    "sgd_errors",
    "sgd_stability_limit",
    "solve",
    "squared_mass",
    "stable_learning_rate",
    "stall",
    "stall_approximation",
    "stall_direction",
    "stall_parameter",
    "stall_spectrum",
    "stall_temperature",
    "standard_errors",
    "streaming",
    "target_error",
    "temperature_path",
    "total_error",
    "undo_averaging",
    "weight_mass",
    "weighted_covariance",
    "weights",
]
