"""What a weight does to a Gaussian: exact moments under each rule (Lemma F.1), the twin of ``weights``.

``residual`` and ``robust`` have what each rule makes of the residual, two numbers; ``population`` what those make of a
problem.
"""

from . import robust as robust  # registers its rules
from .population import (
    WeightedMoments,
    displacement,
    population_effective_sample_size,
    population_median_temperature,
    sample_moments,
    weight_mass,
    weighted_covariance,
    weighted_moments,
)
from .residual import ResidualTilt, gaussian_tilt, residual_tilt, squared

__all__ = [
    "ResidualTilt",
    "WeightedMoments",
    "displacement",
    "gaussian_tilt",
    "population_effective_sample_size",
    "population_median_temperature",
    "residual_tilt",
    "sample_moments",
    "squared",
    "weight_mass",
    "weighted_covariance",
    "weighted_moments",
]
