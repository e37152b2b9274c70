"""scikit-learn's digits as a pre-training and a fine-tuning task: 0-4 as they are, 5-9 changed; split by seed."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy import ndimage
from sklearn.datasets import load_digits

CLASSES = 5
COUNT = 901  # images of 0-4
SIZES = {"train": 500, "validation": 180}  # the rest, some 216 images, is the test set


class Part(NamedTuple):
    """Images (n, 64) in [0, 1] and labels (n,) in 0 … 4; ``truth`` are the labels before any noise."""

    images: np.ndarray
    labels: np.ndarray
    truth: np.ndarray


Parts = dict[str, Part]


def rotated(images: np.ndarray, degrees: float) -> np.ndarray:
    """Every 8 × 8 image turned, what turns in from outside is background."""
    turned = ndimage.rotate(
        images.reshape(-1, 8, 8), degrees, axes=(2, 1), reshape=False, order=1, mode="constant"
    )
    return turned.reshape(len(images), 64)


def inverted(images: np.ndarray) -> np.ndarray:
    """Ink for paper and paper for ink."""
    return 1.0 - images


def split(digits: range, rng: np.random.Generator, noise: float = 0.0, change=lambda images: images) -> Parts:
    """These five digits, labelled 0 … 4, as train, validation and test.

    A share ``noise`` of the labels of train and validation, which is all that one has in practice, is moved to one of
    the four wrong classes; test labels are true.
    """
    images, labels = map(np.asarray, load_digits(return_X_y=True))
    chosen = np.isin(labels, digits)
    images, truth = change(images[chosen] / 16.0), labels[chosen] - digits.start
    order = rng.permutation(len(truth))
    ends = np.cumsum([0, *SIZES.values()]).tolist()
    places = {name: order[a:b] for name, a, b in zip(SIZES, ends[:-1], ends[1:], strict=True)}
    places["test"] = order[ends[-1] :]
    parts = {}
    for name, place in places.items():
        given = truth[place].copy()
        if name != "test":
            wrong = rng.permutation(len(given))[: round(noise * len(given))]
            given[wrong] = (given[wrong] + rng.integers(1, CLASSES, len(wrong))) % CLASSES
        parts[name] = Part(
            images[place].astype(np.float32), given.astype(np.int32), truth[place].astype(np.int32)
        )
    return parts


def stacked(many: list[Parts]) -> Parts:
    """The splits of several seeds, seeds first."""
    return {
        name: Part(*(np.stack([getattr(parts[name], field) for parts in many]) for field in Part._fields))
        for name in many[0]
    }
