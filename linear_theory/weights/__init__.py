"""From losses to weights: the rules, and the median temperature (section 4).

``rules`` has FLOW's and its nearest kin, ``robust`` those of robust statistics and of focal losses; ``losses`` makes
weights of losses.
"""

from .losses import effective_sample_size, flow_weights, median_temperature
from .robust import Cauchy, Clipped, Focal, HardSamples, Huber, Power, Tukey
from .rules import KLDRO, Flow, HardThreshold, Uniform, WeightRule, as_rule

__all__ = [
    "KLDRO",
    "Cauchy",
    "Clipped",
    "Flow",
    "Focal",
    "HardSamples",
    "HardThreshold",
    "Huber",
    "Power",
    "Tukey",
    "Uniform",
    "WeightRule",
    "as_rule",
    "effective_sample_size",
    "flow_weights",
    "median_temperature",
]
