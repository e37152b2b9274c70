"""FLOW in a PyTorch loop: a linear model moves to a new task, and forgets more or less of its old one.

python docs/examples/pytorch_loop.py
"""

from __future__ import annotations

import copy

import torch
from torch.utils.data import DataLoader, TensorDataset

import linear_theory as lt


def sample_losses(model: torch.nn.Module, X: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Your loss, one value a sample: here (y − ⟨x, θ⟩)²."""
    return (y - model(X).squeeze(-1)) ** 2


def flow_rows(model: torch.nn.Module, X: torch.Tensor, y: torch.Tensor) -> TensorDataset:
    """The rows with their weights as a third column, so that a shuffle moves them together. Before training, once."""
    with torch.no_grad():  # weights are constants
        weights = lt.flow_weights(sample_losses(model, X, y))
    return TensorDataset(X, y, weights)


def fine_tune(
    model: torch.nn.Module, rows: TensorDataset, rate: float, epochs: int, batch: int, seed: int = 0
) -> torch.nn.Module:
    """A copy of the model after SGD on (1/n) Σ wᵢ · lossᵢ: over the size of a batch, not over its weights."""
    model = copy.deepcopy(model)
    shuffle = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.SGD(model.parameters(), lr=rate)
    for _ in range(epochs):
        for X, y, weights in DataLoader(rows, batch_size=batch, shuffle=True, generator=shuffle):
            optimizer.zero_grad()
            # The last batch may be smaller; over its own size each of its rows would count for more.
            ((weights * sample_losses(model, X, y)).sum() / batch).backward()
            optimizer.step()
    return model


def tasks(n: int = 2000, dim: int = 10, seed: int = 0) -> tuple[torch.nn.Module, dict[str, tuple]]:
    """A model that knows its old task, and rows (X, y) of the old and of the new one, which shifts along one input."""
    torch.manual_seed(seed)
    model = torch.nn.Linear(dim, 1, bias=False, dtype=torch.float64)
    mix = torch.eye(dim, dtype=torch.float64)
    mix[1, 0] = 0.75  # inputs 0 and 1 are correlated in the new task
    old = torch.randn(n, dim, dtype=torch.float64)
    new = torch.randn(n, dim, dtype=torch.float64) @ mix.T
    truth = model.weight.detach().squeeze(0)
    shifted = truth + torch.eye(dim, dtype=torch.float64)[0]
    noise = 0.1 * torch.randn(n, dtype=torch.float64)
    return model, {"old": (old, old @ truth), "new": (new, new @ shifted + noise)}


def main() -> dict[str, dict[str, float]]:
    pretrained, data = tasks()
    X, y = data["new"]
    weighted = flow_rows(pretrained, X, y)
    weights = weighted.tensors[2]
    unweighted = TensorDataset(X, y, torch.ones_like(weights))
    rate, shared = 0.02, {"epochs": 4, "batch": 50}
    models = {
        "pre-trained": pretrained,
        "standard": fine_tune(pretrained, unweighted, rate, **shared),
        "same mean step": fine_tune(pretrained, unweighted, rate * float(weights.mean()), **shared),
        "FLOW": fine_tune(pretrained, weighted, rate, **shared),
    }
    with torch.no_grad():
        table = {
            name: {task: float(sample_losses(model, *rows).mean()) for task, rows in data.items()}
            for name, model in models.items()
        }
    worth = lt.effective_sample_size(weights)
    print(f"temperature {lt.median_temperature(sample_losses(pretrained, X, y).detach()):.3f}, ", end="")
    print(f"{len(y)} samples worth {worth:.0f}, mean weight {float(weights.mean()):.3f}")
    print(f"{'mean squared error':30}{'old task':>10}{'new task':>10}")
    for name, loss in table.items():
        print(f"{name:30}{loss['old']:10.3f}{loss['new']:10.3f}")
    return table


if __name__ == "__main__":
    main()
