"""Linear models fine-tuned from a pre-trained solution with weights by pre-trained loss: the exact theory.

The array you hold decides the engine, the problem you state decides the formula. Squared error carries no
½ anywhere: a gradient step is θ ← θ − 2ηΣ'(θ − …). Equation numbers are those of Sanyal et al., ICML 2025.

Examples
--------
>>> import linear_theory as lt
>>> problem = lt.paper_problem(rho=0.6)
>>> theta = lt.iterate(problem, steps=10**12, temperature=1e-12)  # the weights stall the shift
>>> print(f"{lt.total_error(problem, theta):.4f}, {lt.total_error(problem, problem.pretrained):.4f} at the start")
0.5227, 1.0000 at the start
"""

from . import covariance, descent, streaming, weights
from .choice import EarlyStop, best_early_stop
from .descent import Path, descend
from .diagnosis import Diagnosis, diagnose
from .errors import DivergenceError, InvalidTypeError, InvalidValueError, LinearTheoryError
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
from .sgd import sgd_error, sgd_stability_limit
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

__version__ = "0.1.0"

__all__ = [
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
    "TemperaturePath",
    "best_average_weight",
    "best_early_stop",
    "best_model_average",
    "closed_form",
    "covariance",
    "descend",
    "descent",
    "diagnose",
    "displacement",
    "effective_sample_size",
    "fixed_point",
    "flow_weights",
    "gap_closed",
    "gradient_flow",
    "half_life",
    "hard_sample_error",
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
    "sgd_error",
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
    "streaming",
    "target_error",
    "temperature_path",
    "total_error",
    "weight_mass",
    "weighted_covariance",
    "weights",
]
