"""Rows in PyTorch: read as NumPy's in every function that takes rows, or refused with an error of ours."""

from __future__ import annotations

import numpy as np
import pytest

import linear_theory as lt

torch = pytest.importorskip("torch")

RNG = np.random.default_rng(0)
X, Y, START = RNG.standard_normal((12, 2)), RNG.standard_normal(12), np.zeros(2)
TAKES_ROWS = {
    "solve": lambda X, y, start: lt.solve(X, y, start).theta,
    "descend": lambda X, y, start: lt.descend(X, y, start, steps=3).theta,
    "diagnose": lambda X, y, start: lt.diagnose(X, y, start).shift,
    "NormalEquations": lambda X, y, start: lt.NormalEquations.of(X, y, start).gram,
    "temperature_path": lambda X, y, start: lt.temperature_path(X, y, start, [1.0]).theta,
    "streaming": lambda X, y, start: lt.streaming.solve([(X, y)], start).theta,
    "from_arrays": lambda X, y, start: lt.streaming.solve(lt.streaming.from_arrays(X, y), start).theta,
}
FUNCTION = pytest.mark.parametrize("function", TAKES_ROWS.values(), ids=TAKES_ROWS.keys())


@FUNCTION
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
def test_tensors_of_every_precision_are_read(function, dtype):
    tensors = [torch.tensor(value, dtype=dtype) for value in (X, Y, START)]
    exact = [tensor.to(torch.float64).numpy() for tensor in tensors]
    found = function(*tensors)
    assert type(found) is np.ndarray
    assert np.array_equal(found, function(*exact))
    assert np.array_equal(function(tensors[0], *exact[1:]), function(*exact))


REFUSED = {
    "a gradient": lambda: torch.tensor(X, requires_grad=True),
    "a gradient in bfloat16": lambda: torch.tensor(X, dtype=torch.bfloat16, requires_grad=True),
    "a parameter": lambda: torch.nn.Parameter(torch.tensor(X)),
    "sparse": lambda: torch.tensor(X).to_sparse(),
    "without data": lambda: torch.empty(12, 2, device="meta"),
    "complex": lambda: torch.tensor(X + 0j),
    "boolean": lambda: torch.tensor(X > 0),
}


@FUNCTION
@pytest.mark.parametrize("make", REFUSED.values(), ids=REFUSED.keys())
def test_what_cannot_be_read_is_one_error_of_ours(function, make):
    with pytest.raises(lt.InvalidTypeError, match=r"cannot be read|must hold real numbers") as caught:
        function(make(), Y, START)
    assert caught.value.argument == "X"


def test_the_population_functions_read_tensors_too():
    problem = lt.FineTuningProblem(
        torch.ones(2), torch.zeros(2), torch.eye(2), noise_variance=torch.tensor(0.5)
    )
    assert problem.target_covariance.dtype == np.float64
    assert lt.weight_mass(problem, torch.tensor(2.0)) == lt.weight_mass(problem, 2.0)
    assert np.array_equal(lt.iterate(problem, torch.tensor([0, 3])), lt.iterate(problem, [0, 3]))
    with pytest.raises(lt.InvalidTypeError, match=r"theta = .*detach"):
        lt.total_error(problem, torch.ones(2, requires_grad=True))
