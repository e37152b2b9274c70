"""Hypothesis profiles, JAX in float64 with strict promotion, pictures without a screen."""

from __future__ import annotations

import importlib.metadata
import os

os.environ.setdefault("MPLBACKEND", "Agg")
# Every test compiles its own small functions and calls each once, so nearly all its time would be XLA's optimisation:
# it is switched off, unless the caller's XLA_FLAGS say otherwise (XLA_FLAGS= for what users get; .ci/run does both).
# The second flag is one of an experiment in jaxlib, and a process that meets a flag it does not know is aborted.
os.environ.setdefault(
    "XLA_FLAGS",
    "--xla_backend_optimization_level=0 --xla_cpu_use_fusion_emitters=false"
    if importlib.metadata.version("jaxlib").startswith(("0.8.", "0.9.", "0.10."))
    else "--xla_backend_optimization_level=0",
)

import jax
from hypothesis import HealthCheck, settings

jax.config.update("jax_enable_x64", True)
jax.config.update("jax_numpy_dtype_promotion", "strict")

# No deadline: the first call of a jitted function compiles.
_COMMON = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow, HealthCheck.data_too_large]}
settings.register_profile("dev", max_examples=15, **_COMMON)
settings.register_profile("ci", max_examples=60, derandomize=True, print_blob=True, **_COMMON)
settings.register_profile("deep", max_examples=1000, **_COMMON)

_in_ci = os.environ.get("CI", "").lower() in {"1", "true", "yes"}
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE") or ("ci" if _in_ci else "dev"))
