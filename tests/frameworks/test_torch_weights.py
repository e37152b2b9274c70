"""Weights from real PyTorch tensors: framework, dtype and device kept, gradients refused, memory left alone."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import linear_theory as lt
from linear_theory.weights import KLDRO, Flow, HardThreshold, Uniform
from tests.strategies import log_uniform

torch = pytest.importorskip("torch", reason="PyTorch is the extra [torch]")

FLOATS = [torch.float64, torch.float32, torch.float16, torch.bfloat16]
LOSSES = hnp.arrays(
    np.float64, st.integers(1, 20), elements=st.floats(0.125, 1024, width=16, allow_subnormal=False)
)
GOOD = torch.tensor([0.5, 1.0, 3.0, 2.0])


@given(LOSSES, log_uniform(1e2, 1e4), st.sampled_from(FLOATS))
def test_weights_are_those_of_numpy_rounded_once(losses, tau, dtype):
    tensor = torch.tensor(losses, dtype=dtype)
    exact = tensor.to(torch.float64).numpy()
    weights = lt.flow_weights(tensor, tau)
    assert weights.dtype == dtype
    assert weights.device == tensor.device
    assert not weights.requires_grad
    assert torch.equal(weights, torch.from_numpy(lt.flow_weights(exact, tau)).to(dtype))
    assert torch.equal(lt.flow_weights(tensor, torch.tensor(tau, dtype=torch.float64)), weights)
    assert lt.median_temperature(tensor) == np.median(exact)
    assert type(lt.median_temperature(tensor)) is float
    assert lt.effective_sample_size(weights) == lt.effective_sample_size(weights.to(torch.float64).numpy())


@pytest.mark.parametrize("rule", [Flow(2.0), KLDRO(torch.tensor(2.0)), HardThreshold(1.1), Uniform()])
def test_log_weights_of_every_rule_answer_in_kind(rule):
    found = rule.log_weights(GOOD)
    assert found.dtype == torch.float32
    assert torch.equal(found, torch.from_numpy(rule.log_weights(GOOD.double().numpy())).float())


def test_the_median_is_the_mean_of_the_middle_two():
    """``torch.median`` takes the lower one: with few samples another temperature."""
    assert lt.median_temperature(GOOD) == 1.5
    assert float(GOOD.median()) == 1.0


VIEWS = {
    "every second": lambda x: x[::2],
    "offset": lambda x: x[1:],
    "a column": lambda x: x.reshape(3, 4)[:, 1],
    "expanded": lambda x: x[:1].expand(5),
    "negated lazily": lambda x: torch._neg_view(-x),
    "the imaginary part of a conjugate": lambda x: torch.complex(x, -x).conj().imag,
    "a parameter that is not trained": lambda x: torch.nn.Parameter(x, requires_grad=False),
    "integers": lambda x: (10 * x).to(torch.int64),
}


COMPLEX = (torch.float32, torch.float64)
"""The precisions in which PyTorch has complex numbers and does not warn of them."""


@pytest.mark.parametrize(
    ("name", "dtype"),
    [(name, dtype) for name in VIEWS for dtype in (COMPLEX if "conjugate" in name else FLOATS)],
    ids=str,
)
def test_losses_may_lie_anyhow_in_memory(name, dtype):
    losses = VIEWS[name](torch.linspace(0.5, 2.0, 12, dtype=torch.float64).to(dtype))
    weights = lt.flow_weights(losses)
    exact = torch.from_numpy(lt.flow_weights(losses.resolve_neg().to(torch.float64).numpy()))
    assert weights.dtype == (dtype if losses.dtype == dtype else torch.float32)
    assert torch.equal(weights, exact.to(weights.dtype))


def test_what_dlpack_says_of_a_lazy_sign_is_wrong():
    """The variant that reads the memory as it lies: why a sign is resolved first."""
    lazily = torch._neg_view(-GOOD)
    assert (np.from_dlpack(lazily) == -GOOD.numpy()).all()
    assert torch.equal(lt.flow_weights(lazily), lt.flow_weights(GOOD))


@pytest.mark.parametrize(
    ("losses", "family", "says"),
    [
        (GOOD.clone().requires_grad_(), lt.InvalidTypeError, "gradient.*detach"),
        (2 * torch.nn.Parameter(GOOD), lt.InvalidTypeError, "gradient.*detach"),
        (GOOD.to_sparse(), lt.InvalidTypeError, "cannot be read"),
        (GOOD.to("meta"), lt.InvalidTypeError, "cannot be read"),
        (GOOD.to("meta")[0], lt.InvalidTypeError, "cannot be read"),
        (GOOD > 1, lt.InvalidTypeError, "real numbers"),
        (torch.complex(GOOD, GOOD), lt.InvalidTypeError, "real numbers"),
        (torch.complex(GOOD, GOOD).conj(), lt.InvalidTypeError, "conjugate"),
        (GOOD[None], lt.InvalidValueError, "must be a vector"),
        (GOOD[0], lt.InvalidValueError, "must be a vector"),
        (GOOD[:0], lt.InvalidValueError, "is empty"),
        (-GOOD, lt.InvalidValueError, "≥ 0"),
        (GOOD * float("nan"), lt.InvalidValueError, "finite"),
        (0 * GOOD, lt.InvalidValueError, "already fits half"),
    ],
)
def test_bad_losses_are_refused(losses, family, says):
    with pytest.raises(family, match=says):
        lt.flow_weights(losses)


def test_a_function_transform_cannot_look_at_values():
    with pytest.raises(lt.InvalidTypeError, match="cannot be read"):
        torch.func.vmap(lambda losses: lt.flow_weights(losses))(torch.ones(2, 3))


def test_the_callers_memory_is_neither_written_nor_kept():
    for dtype in FLOATS:
        losses = GOOD.to(dtype)
        weights = lt.flow_weights(losses)
        weights.add_(1)  # writable, and nobody else's
        assert torch.equal(losses, GOOD.to(dtype))


def test_the_solvers_read_tensors_and_answer_in_numpy():
    torch.manual_seed(0)
    X, y, start = torch.randn(20, 3, dtype=torch.float64), torch.randn(20), torch.zeros(3)
    weights = lt.flow_weights(y**2)
    arrays = [value.numpy() for value in (X, y, start, weights)]
    for found, expected in (
        (lt.solve(X, y, start, weights).theta, lt.solve(*arrays).theta),
        (lt.descend(X, y, start, weights, steps=3).theta, lt.descend(*arrays, steps=3).theta),
        (lt.diagnose(X, y, start).weighted_shift, lt.diagnose(*arrays[:3]).weighted_shift),
    ):
        assert type(found) is type(expected)
        assert np.array_equal(found, expected)
    with pytest.raises(lt.InvalidTypeError, match=r"X = .*require gradient.*detach"):
        lt.solve(X.requires_grad_(), y, start)


def test_weights_enter_a_loss_as_constants():
    torch.manual_seed(0)
    model = torch.nn.Linear(3, 1)
    X, y = torch.randn(8, 3), torch.randn(8)
    losses = lambda: (model(X).squeeze(-1) - y) ** 2
    with torch.no_grad():
        weights = lt.flow_weights(losses())
    (weights * losses()).mean().backward()
    by_hand = 2 * (weights * (model(X).squeeze(-1) - y).detach()) @ X / 8
    torch.testing.assert_close(model.weight.grad.squeeze(0), by_hand)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_losses_on_a_gpu_come_and_go(dtype):
    losses = GOOD.to("cuda", dtype)
    weights = lt.flow_weights(losses)
    assert weights.device == losses.device
    assert torch.equal(weights.cpu(), lt.flow_weights(losses.cpu()))
