"""Losses of any framework: read by DLPack, answered in kind. The framework here is a stand-in that offers DLPack
and the array API's ``asarray`` and nothing else; tests/frameworks has the real ones.
"""

from __future__ import annotations

import sys
import tracemalloc
import types

import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import linear_theory as lt
from linear_theory.weights import KLDRO, Flow, Focal, HardThreshold, Uniform
from tests.strategies import log_uniform
from tests.test_public_api import in_a_fresh_interpreter


class Tensor:
    """An array that NumPy can read by DLPack alone, and only on the host."""

    def __init__(self, values, device="host"):
        self.values, self.device = values, device

    shape = property(lambda self: self.values.shape)
    dtype = property(lambda self: f"{self.framework}.{self.values.dtype}")

    def __array__(self, *_, **__):
        raise AssertionError("read through another door")

    def __dlpack_device__(self):
        return (1, 0) if self.device == "host" else (2, 0)

    def __dlpack__(self, *, dl_device=None, max_version=None, copy=None, stream=None):
        if self.device != "host" and dl_device != (1, 0):
            raise BufferError("the memory is on another device")
        return self.values.__dlpack__(max_version=max_version)


def framework(name, cls=Tensor, places=True, **own):
    """A module with arrays of its own: ``asarray`` takes a dtype, by its own name for it, and a device."""
    module = types.ModuleType(name)
    module.Tensor = type("Tensor", (cls,), {"__module__": f"{name}.core", "framework": name, **own})

    def asarray(values, dtype=f"{name}.float32", device="host"):
        return module.Tensor(np.array(values, dtype=dtype.removeprefix(f"{name}.")), device)

    module.asarray = asarray if places else lambda values, dtype: asarray(values, dtype, "current")
    module.from_dlpack = lambda tensor: module.Tensor(np.from_dlpack(tensor))
    return module


FAR = framework("far", cpu=lambda self: type(self)(self.values, "host"))
FRAMEWORKS = {
    "near": framework("near"),
    "far": FAR,
    "placeless": framework("placeless", places=False),
    "homeless": types.ModuleType("homeless"),
}


@pytest.fixture(autouse=True, scope="module")
def imported():
    with pytest.MonkeyPatch.context() as patch:
        for name, module in FRAMEWORKS.items():
            patch.setitem(sys.modules, name, module)
        yield


def near(values, device="host"):
    return FRAMEWORKS["near"].Tensor(np.asarray(values), device)


DTYPES = st.sampled_from([np.float16, np.float32, np.float64])
LOSSES = DTYPES.flatmap(
    lambda dtype: hnp.arrays(
        dtype, st.integers(1, 20), elements=st.floats(0.125, 1024, width=16, allow_subnormal=False)
    )
)
RULES = st.one_of(
    *(st.builds(rule, log_uniform(1e2, 1e4)) for rule in (Flow, KLDRO)),
    st.builds(HardThreshold, log_uniform(1e-2, 1e2)),
    st.just(Uniform()),
)


def same(tensor, values, like):
    """Bit for bit what NumPy computes in float64, rounded once."""
    assert type(tensor) is type(like)
    assert tensor.dtype == like.dtype
    assert tensor.device == like.device
    assert tensor.shape == like.shape
    return bool((tensor.values == values.astype(like.values.dtype)).all())


@given(LOSSES, log_uniform(1e2, 1e4))
def test_weights_are_those_of_numpy_rounded_once(losses, tau):
    tensor, exact = near(losses), losses.astype(np.float64)
    assert same(lt.flow_weights(tensor, tau), lt.flow_weights(exact, tau), tensor)
    assert same(lt.flow_weights(losses=tensor, temperature=near(tau)), lt.flow_weights(exact, tau), tensor)
    assert same(lt.flow_weights(tensor, np.inf), np.ones(len(losses)), tensor)


@given(LOSSES)
def test_numbers_are_floats_in_full_precision(losses):
    tensor, exact = near(losses), losses.astype(np.float64)
    for function in (lt.median_temperature, lt.effective_sample_size):
        found = function(tensor)
        assert type(found) is float
        assert found == function(exact)


@given(LOSSES, RULES)
def test_log_weights_of_every_rule_answer_in_kind(losses, rule):
    tensor = near(losses)
    assert same(rule.log_weights(tensor), rule.log_weights(losses.astype(np.float64)), tensor)


@pytest.mark.parametrize(
    "mutant",
    [
        lambda f: np.exp(-f / np.median(f)),
        lambda f: np.exp(-f / np.median(f).astype(np.float16)),
        lambda f: np.exp(-f / np.sort(f)[(len(f) - 1) // 2]),
        lambda f: lt.flow_weights(f) / lt.flow_weights(f).mean(),
    ],
    ids=["in float32", "τ in float16", "the lower median, as torch.median", "normalised"],
)
def test_comparison_rejects(mutant):
    losses = np.random.default_rng(0).exponential(size=1000).astype(np.float32)
    tensor = near(losses)
    found = lt.flow_weights(tensor)
    assert same(found, lt.flow_weights(losses.astype(np.float64)), tensor)
    assert not same(found, mutant(losses), tensor)


VIEWS = {"reversed": slice(None, None, -1), "every third": slice(None, None, 3), "offset": slice(1, None)}


@pytest.mark.parametrize("view", VIEWS.values(), ids=VIEWS.keys())
def test_losses_may_lie_anyhow_in_memory(view):
    losses = np.linspace(0.5, 2.0, 10)
    tensor = near(losses[view])
    assert same(lt.flow_weights(tensor), lt.flow_weights(losses[view].copy()), tensor)


@pytest.mark.parametrize(
    "name", ["near", "far"], ids=["by the standard's dl_device", "by the array's own cpu()"]
)
def test_losses_on_an_accelerator_come_and_go(name):
    tensor = FRAMEWORKS[name].Tensor(np.array([0.5, 1.0, 4.0]), "accelerator")
    assert same(lt.flow_weights(tensor), lt.flow_weights(tensor.values), tensor)
    assert lt.median_temperature(tensor) == 1.0


def test_a_framework_without_devices_puts_them_on_its_current_one():
    """As CuPy does."""
    found = lt.flow_weights(FRAMEWORKS["placeless"].Tensor(np.array([0.5, 1.0, 4.0])))
    assert found.device == "current"
    assert (found.values == lt.flow_weights([0.5, 1.0, 4.0])).all()


def test_integers_are_answered_in_the_frameworks_own_default():
    found = lt.flow_weights(near(np.array([1, 2, 3])))
    assert found.dtype == "near.float32"
    assert (found.values == lt.flow_weights([1, 2, 3]).astype(np.float32)).all()


def test_the_callers_memory_is_neither_written_nor_kept():
    losses = np.array([0.5, 1.0, 4.0])
    tensor, before = near(losses), losses.copy()
    weights = lt.flow_weights(tensor)
    assert (losses == before).all()
    weights.values += 1  # writable, and nobody else's
    assert (losses == before).all()
    assert not np.shares_memory(weights.values, losses)
    assert not np.shares_memory(Uniform().log_weights(tensor).values, losses)


def test_no_more_memory_than_for_numpy():
    """A float64 copy, the exponents and the weights: three vectors."""
    losses = near(np.random.default_rng(0).random(300_000, dtype=np.float32))
    tracemalloc.start()
    lt.flow_weights(losses)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 3.1 * 8 * 300_000


def test_what_has_no_home_to_go_back_to_is_read_by_numpy():
    """Lists, pandas, and arrays with DLPack whose module takes nothing back, as pyarrow's."""
    homeless = type(
        "Array", (), {"__module__": "homeless", "__dlpack__": None, "__array__": lambda *_, **__: np.ones(2)}
    )
    for losses in ([1.0, 2.0], pd.Series([1.0, 2.0]), homeless()):
        weights = lt.flow_weights(losses)
        assert type(weights) is np.ndarray
        assert weights.dtype == np.float64


def refusing(values):
    class Refusing(FRAMEWORKS["near"].Tensor):
        def __dlpack__(self, **_):
            raise BufferError("it requires a gradient.")

    return Refusing(np.asarray(values))


GOOD = [0.5, 1.0, 4.0]
BAD = {
    "empty": (near([]), "losses", lt.InvalidValueError, "empty"),
    "a number": (near(1.0), "losses", lt.InvalidValueError, "must be a vector"),
    "a matrix": (near([GOOD]), "losses", lt.InvalidValueError, "must be a vector"),
    "NaN": (near([1.0, np.nan]), "losses", lt.InvalidValueError, "finite"),
    "infinite": (near([1.0, np.inf]), "losses", lt.InvalidValueError, "finite"),
    "negative": (near([1.0, -1e-300]), "losses", lt.InvalidValueError, "≥ 0"),
    "boolean": (near([True, False]), "losses", lt.InvalidTypeError, "real numbers"),
    "complex": (near([1j, 1.0]), "losses", lt.InvalidTypeError, "real numbers"),
    "unreadable": (
        refusing(GOOD),
        "losses",
        lt.InvalidTypeError,
        r"cannot be read \(it requires a gradient\); .*detach",
    ),
}


@pytest.mark.parametrize(("losses", "argument", "family", "says"), BAD.values(), ids=BAD.keys())
@pytest.mark.parametrize("function", [lt.flow_weights, lt.median_temperature])
def test_bad_losses_are_refused_as_numpys_are(function, losses, argument, family, says):
    with pytest.raises(family, match=says) as caught:
        function(losses)
    assert caught.value.argument == argument


@pytest.mark.parametrize("temperature", [near(0.0), near(-1.0), near(np.nan), near([1.0, 2.0]), near(True)])
def test_bad_temperatures_too(temperature):
    with pytest.raises((lt.InvalidValueError, lt.InvalidTypeError)) as caught:
        lt.flow_weights(near(GOOD), temperature)
    assert caught.value.argument == "temperature"


def test_a_median_of_zero_is_an_error_in_any_framework():
    with pytest.raises(lt.InvalidValueError, match="already fits half"):
        lt.flow_weights(near([0.0, 0.0, 1.0]))


@pytest.mark.parametrize(
    ("losses", "temperature", "argument"),
    [
        (near(GOOD), FAR.Tensor(np.array(1.0)), "temperature"),
        (near(GOOD), jnp.asarray(1.0), "temperature"),
        (jnp.asarray(GOOD), near(1.0), "losses"),
    ],
)
def test_two_frameworks_in_one_call_are_refused(losses, temperature, argument):
    with pytest.raises(lt.InvalidTypeError, match="must come from the framework of") as caught:
        lt.flow_weights(losses, temperature)
    assert caught.value.argument == argument


def test_a_rule_in_jax_refuses_a_tensor():
    """And names the parameter of the rule."""
    for rule, argument in (
        (Flow(jnp.asarray(1.0)), "temperature"),
        (HardThreshold(jnp.asarray(1.0)), "cutoff"),
        (Focal(jnp.asarray(1.0), 2.0), "temperature"),
    ):
        with pytest.raises(lt.InvalidTypeError, match="must come from the framework of losses") as caught:
            rule.log_weights(near(GOOD))
        assert caught.value.argument == argument


def test_numpy_beside_a_tensor_is_no_other_framework():
    found = lt.flow_weights(np.array(GOOD), near(2.0))
    assert (found.values == lt.flow_weights(GOOD, 2.0)).all()


def test_weights_that_a_short_precision_makes_zero_are_an_error():
    losses = np.array([20.0, 30.0])
    assert lt.flow_weights(near(losses), 1.0).values.all()
    with pytest.raises(lt.InvalidValueError, match=r"underflows to 0 in near\.float16"):
        lt.flow_weights(near(losses.astype(np.float16)), 1.0)
    assert not lt.flow_weights(near(np.float16([1.0, 20.0])), 1.0).values[1]  # one that counts is enough

    with pytest.raises(lt.InvalidValueError, match=r"underflows to 0 in near\.float32"):
        lt.flow_weights(near(np.array([300, 400])), 1.0)


def test_what_a_short_precision_cannot_hold_is_an_error():
    """The logarithm of a weight, which had become infinite: no weight at all."""
    for losses, rule, kind in (
        (np.float16([1.0, 200.0]), Flow(1e-3), "float16"),
        (np.float16([1.0, 200.0]), KLDRO(1e-3), "float16"),
        (np.float32([1.0, 1e9]), Flow(1e-30), "float32"),
        (np.array([1, 10**9]), Flow(1e-30), "float32"),
    ):
        assert np.isfinite(rule.log_weights(losses.astype(float))).all()
        with pytest.raises(lt.InvalidValueError, match=rf"beyond the largest near\.{kind}; pass a higher"):
            rule.log_weights(near(losses))
    dropped = Flow(1.0).log_weights(near(np.float16([1.0, np.inf])))
    assert same(dropped, np.array([-1.0, -np.inf]), dropped)


def test_the_package_imports_no_framework():
    check = (
        "import sys, linear_theory as lt; lt.flow_weights([1.0, 2.0]); lt.median_temperature([1.0]);"
        "print([m for m in ('torch', 'transformers', 'accelerate', 'cupy', 'tensorflow', 'equinox', 'optax')"
        " if m in sys.modules])"
    )
    assert in_a_fresh_interpreter(check) == "[]"
