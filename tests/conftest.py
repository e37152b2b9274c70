"""Hypothesis profiles, JAX in float64 with strict promotion, pictures without a screen."""

from __future__ import annotations

import atexit
import os
import platform
import shutil
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

# Where no bytecode may be written, and none lies beside the sources, each of the hundred processes that tests start
# would compile JAX anew, three seconds of its five: they share what the first compiles, in a folder that goes with
# the run.
if sys.dont_write_bytecode and "PYTHONPYCACHEPREFIX" not in os.environ:
    os.environ["PYTHONPYCACHEPREFIX"] = tempfile.mkdtemp(prefix="bytecode-")
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    atexit.register(shutil.rmtree, os.environ["PYTHONPYCACHEPREFIX"], ignore_errors=True)

# Matrices of tests are small: there the threads of BLAS wait for each other, twice the processor time for the same
# numbers. Read when NumPy is first imported; an empty value asks for what users get.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("MPLBACKEND", "Agg")
import jax
import pytest
from hypothesis import HealthCheck, settings

from tests import kept, nightly

jax.config.update("jax_enable_x64", True)
jax.config.update("jax_numpy_dtype_promotion", "strict")

# Every test compiles its own small functions and calls each once, so most of its time would be XLA's optimisation: it
# is switched off, unless the caller's XLA_FLAGS say otherwise (empty ones ask for what users get; .ci/run does both).
_quick = "--xla_backend_optimization_level=1"
# Without its fusion emitters XLA compiles four times as fast. With the fused multiply-adds of AVX2, jaxlib 0.10.2 then
# gives wrong gradients; AVX has none, other processors have no such switch. The emitters belong to an experiment, and a
# process that meets a flag it does not know is aborted, so only the versions that were tried are told.
if platform.machine() in {"x86_64", "AMD64"} and version("jaxlib").startswith(("0.8.", "0.9.", "0.10.")):
    _quick += (
        " --xla_cpu_use_fusion_emitters=false --xla_cpu_max_isa=AVX --xla_cpu_parallel_codegen_split_count=1"
    )
_compiles_quickly = os.environ.setdefault("XLA_FLAGS", _quick) == _quick  # read when JAX first compiles


@pytest.hookimpl(tryfirst=True)  # before -m looks at the marks
def pytest_collection_modifyitems(config, items):
    nightly.mark(items, whole=not any("::" in argument for argument in config.args))


@pytest.fixture(autouse=True)
def _optimised_where_networks_train(request):
    """Networks run long enough for some optimisation to pay."""
    trains = "mlp" in request.path.parts or "network-stall" in request.node.name
    jax.config.update("jax_disable_most_optimizations", _compiles_quickly and not trains)


@pytest.fixture(autouse=True, scope="session")
def _datasets_are_shared(tmp_path_factory):
    own = tmp_path_factory.getbasetemp()
    kept.FOLDER[:] = [own.parent if "PYTEST_XDIST_WORKER" in os.environ else own]


@pytest.fixture(autouse=True, scope="module")
def _compiled_code_is_let_go():
    """Linux lets a process map 65 530 pieces of memory; compiled code takes thousands a module, and then it dies.

    Until half of them are taken what modules share is kept, for it need not be compiled again.
    """
    yield
    mapped = Path("/proc/self/maps")
    if not mapped.exists() or mapped.read_bytes().count(b"\n") > 30_000:
        jax.clear_caches()


# The same examples each time, so that what fails has been changed; "deep" goes looking, with new ones at each run. No
# deadline: the first call of a jitted function compiles.
_COMMON = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow, HealthCheck.data_too_large]}
settings.register_profile("dev", max_examples=15, derandomize=True, print_blob=True, **_COMMON)
settings.register_profile("ci", max_examples=30, derandomize=True, print_blob=True, **_COMMON)
settings.register_profile("night", max_examples=60, derandomize=True, print_blob=True, **_COMMON)
settings.register_profile("deep", max_examples=1000, **_COMMON)

_in_ci = os.environ.get("CI", "").lower() in {"1", "true", "yes"}
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE") or ("ci" if _in_ci else "dev"))
