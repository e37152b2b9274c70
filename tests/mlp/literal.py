"""Minibatch descent on a tanh network by hand: NumPy, one row of thought a line, nothing shared with training.run."""

from __future__ import annotations

import numpy as np

Leaves = list[np.ndarray]  # W, b of each layer of the trunk, then of the head: (out, in) and (out,)


def layers(leaves: Leaves) -> list[tuple[np.ndarray, np.ndarray]]:
    return list(zip(leaves[::2], leaves[1::2], strict=True))


def logits(leaves: Leaves, X: np.ndarray) -> np.ndarray:
    *trunk, (V, c) = layers(leaves)
    for W, b in trunk:
        X = np.tanh(X @ W.T + b)
    return X @ V.T + c


def softmax(z: np.ndarray) -> np.ndarray:
    odds = np.exp(z - z.max(axis=1, keepdims=True))
    return odds / odds.sum(axis=1, keepdims=True)


def gradient(leaves: Leaves, X: np.ndarray, labels: np.ndarray, weights: np.ndarray, over: float) -> Leaves:
    """Of Σ w ℓ / ``over``, ℓ the cross-entropy, by back-propagation."""
    *trunk, (V, _) = layers(leaves)
    seen = [X]
    for W, b in trunk:
        seen.append(np.tanh(seen[-1] @ W.T + b))
    z = logits(leaves, X)
    back = weights[:, None] * (softmax(z) - np.eye(z.shape[1])[labels]) / over
    found = [back.T @ seen[-1], back.sum(axis=0)]
    back = back @ V
    for (W, _), before, after in zip(trunk[::-1], seen[-2::-1], seen[:0:-1], strict=True):
        back = back * (1 - after**2)
        found = [back.T @ before, back.sum(axis=0), *found]
        back = back @ W
    return found


def descend(
    start: Leaves, rows: tuple[np.ndarray, np.ndarray], order: np.ndarray, weights: np.ndarray, rate: float,
    pull: float = 0.0, trunk: float = 1.0, over_weights: bool = False, momentum: float = 0.0,
) -> Leaves:  # fmt: skip
    """Every batch in turn; the loss is a mean over the rows of the batch (or, wrongly, over their weights)."""
    X, labels = rows
    leaves = [leaf.copy() for leaf in start]
    speed = [np.zeros_like(leaf) for leaf in start]
    for place in order.reshape(-1, order.shape[-1]):
        w = weights[place]
        slope = gradient(leaves, X[place], labels[place], w, w.sum() if over_weights else len(place))
        for k, leaf in enumerate(leaves):
            in_trunk = k < len(leaves) - 2
            full = slope[k] + 2 * pull * (leaf - start[k]) if in_trunk else slope[k]
            speed[k] = momentum * speed[k] + (trunk if in_trunk else 1.0) * full
            leaves[k] = leaf - rate * speed[k]
    return leaves


def descend_low_rank(
    start: Leaves, factors: list[tuple[np.ndarray, np.ndarray]], rows: tuple[np.ndarray, np.ndarray],
    order: np.ndarray, weights: np.ndarray, rate: float,
) -> Leaves:  # fmt: skip
    """The matrices of the trunk are W + LR with L and R trained and W and the biases as they were; and the head."""
    X, labels = rows
    factors, head = (
        [(left.copy(), right.copy()) for left, right in factors],
        [leaf.copy() for leaf in start[-2:]],
    )

    def built() -> Leaves:
        moved = list(start[:-2])
        for k, (left, right) in enumerate(factors):
            moved[2 * k] = start[2 * k] + left @ right
        return [*moved, *head]

    for place in order.reshape(-1, order.shape[-1]):
        slope = gradient(built(), X[place], labels[place], weights[place], len(place))
        factors = [
            (left - rate * slope[2 * k] @ right.T, right - rate * left.T @ slope[2 * k])
            for k, (left, right) in enumerate(factors)
        ]
        head = [leaf - rate * g for leaf, g in zip(head, slope[-2:], strict=True)]
    return built()
