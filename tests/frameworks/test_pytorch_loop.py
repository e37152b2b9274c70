"""The PyTorch loop: against the package's own gradient descent, and against the usual ways to get it wrong."""

from __future__ import annotations

import copy

import numpy as np
import pytest

import linear_theory as lt
from linear_theory.testing.tolerances import bound
from tests.frameworks.loops import example, told

torch = pytest.importorskip("torch", reason="PyTorch is the extra [torch]")
loop = example("pytorch_loop")

RATE, STEPS = 0.05, 60


@pytest.fixture(scope="module")
def rows():
    model, data = loop.tasks(n=200, dim=4)
    return model, *data["new"]


def trained(model, X, y, weights, fine_tune=None):
    """θ after STEPS full batches."""
    dataset = torch.utils.data.TensorDataset(X, y, weights)
    found = (fine_tune or loop.fine_tune)(model, dataset, RATE, epochs=STEPS, batch=len(y))
    return found.weight.detach().squeeze(0).numpy()


def theory(model, X, y, weights):
    """The same steps by the exact eigenbasis of the weighted rows, and how far their rounding errors may add up."""
    X, y, weights = (np.asarray(value) for value in (X, y, weights))
    start = model.weight.detach().squeeze(0).numpy()
    path = lt.descend(X, y, start, weights, lt.descent.GradientDescent(RATE), steps=[STEPS])
    return path.theta[-1], bound(STEPS) * np.abs(path.theta[-1]).max()


def agrees(model, X, y, weights, found):
    exact, allowed = theory(model, X, y, weights)
    return bool(np.abs(found - exact).max() <= allowed)


def test_full_batches_are_the_gradient_descent_of_the_theory(rows):
    model, X, y = rows
    weights = loop.flow_rows(model, X, y).tensors[2]
    assert agrees(model, X, y, weights, trained(model, X, y, weights))
    assert agrees(model, X, y, torch.ones_like(y), trained(model, X, y, torch.ones_like(y)))


def steps(loss_of):
    def fine_tune(model, rows, rate, epochs, batch):
        found = copy.deepcopy(model)
        optimizer = torch.optim.SGD(found.parameters(), lr=rate)
        for _ in range(epochs):
            optimizer.zero_grad()
            loss_of(loop.sample_losses(found, *rows.tensors[:2]), rows.tensors[2]).backward()
            optimizer.step()
        return found

    return fine_tune


MUTANTS = {
    "divided by the sum of the weights": lambda losses, weights: (weights * losses).sum() / weights.sum(),
    "weights of the moment": lambda losses, _: (lt.flow_weights(losses.detach()) * losses).mean(),
    "weights with a gradient": lambda losses, _: (
        torch.exp(-losses / losses.median().detach()) * losses
    ).mean(),
    "weights of other rows": lambda losses, weights: (weights.roll(1) * losses).mean(),
    "half the gradient": lambda losses, weights: (weights * losses).mean() / 2,
}


@pytest.mark.parametrize("mutant", MUTANTS.values(), ids=MUTANTS.keys())
def test_comparison_with_the_theory_rejects(rows, mutant):
    model, X, y = rows
    weights = loop.flow_rows(model, X, y).tensors[2]
    right = steps(lambda losses, weights: (weights * losses).mean())
    assert agrees(model, X, y, weights, trained(model, X, y, weights, right))
    assert not agrees(model, X, y, weights, trained(model, X, y, weights, steps(mutant)))


def poisoned(X, y, value):
    """Every third row has weight 0 and a label that would ruin the model."""
    weights = torch.ones_like(y)
    weights[::3] = 0
    return torch.utils.data.TensorDataset(X, torch.where(weights == 0, value, y), weights)


def in_order(model, rows, rate, epochs, batch):
    """The usual mistake: shuffled rows, weights by their place in the batch."""
    X, y, weights = rows.tensors
    shuffled = torch.randperm(len(y), generator=torch.Generator().manual_seed(0))
    return loop.fine_tune(
        model, torch.utils.data.TensorDataset(X[shuffled], y[shuffled], weights), rate, epochs, batch
    )


def test_a_shuffle_moves_weights_with_their_samples(rows):
    model, X, y = rows
    tuned = lambda train, value: train(model, poisoned(X, y, value), 0.01, epochs=2, batch=10).weight
    assert torch.equal(tuned(loop.fine_tune, 0.0), tuned(loop.fine_tune, 1e3))
    assert not torch.allclose(tuned(in_order, 0.0), tuned(in_order, 1e3))


def own_size(model, rows, rate, epochs, batch):
    """The usual mistake: the last batch, of 20 rows here, over 20."""
    found = copy.deepcopy(model)
    optimizer = torch.optim.SGD(found.parameters(), lr=rate)
    for X, y, weights in torch.utils.data.DataLoader(rows, batch_size=batch):
        optimizer.zero_grad()
        (weights * loop.sample_losses(found, X, y)).mean().backward()
        optimizer.step()
    return found


def test_rows_of_a_smaller_last_batch_count_like_all_others(rows):
    """An epoch of steps so small that they add up: n/batch steps of the whole batch, which NumPy takes."""
    model, X, y = rows
    weighted, (rate, batch) = loop.flow_rows(model, X, y), (1e-8, 30)
    start, (X, y, weights) = model.weight.detach().squeeze(0).numpy(), (t.numpy() for t in weighted.tensors)
    whole = rate * len(y) / batch * 2 * X.T @ (weights * (y - X @ start)) / len(y)
    # Steps change what the next one sees by rate · curvature, and θ holds steps of 1e-8 to 1e-8 of themselves.
    moved = lambda train: (
        train(model, weighted, rate, epochs=1, batch=batch).weight.detach().squeeze(0).numpy() - start
    )
    apart = lambda train: np.linalg.norm(moved(train) - whole) / np.linalg.norm(whole)
    assert apart(loop.fine_tune) < 1e-6
    assert apart(own_size) > 1e-2


def test_the_example_shows_the_same_mean_step(capsys):
    table = loop.main()
    printed = told(capsys, table)
    assert list(table) == ["pre-trained", "standard", "same mean step", "FLOW"]
    old, new = ({name: loss[task] for name, loss in table.items()} for task in ("old", "new"))
    assert old["pre-trained"] == 0
    assert new["standard"] < new["FLOW"] < new["pre-trained"]
    assert old["FLOW"] < old["same mean step"] < old["standard"]
    assert "temperature" in printed
