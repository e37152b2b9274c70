"""A start and a pre-training covariance from files: .npy, .npz or .csv."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ..arrays import Array
from ..files import without_advice
from .files import (
    DAMAGED,
    FileError,
    as_finite,
    as_number,
    as_real,
    csv_lines,
    is_number,
    kind_of,
    npz_arrays,
    quoted,
)

__all__ = ["read_covariance", "read_start"]

KINDS = (".npy", ".npz", ".csv")
NAME = re.compile(r"\s*(?!(?:nan|inf|infinity)\s*$)[^\W\d]", re.IGNORECASE)
"""What a header may begin with, and a number that is misspelt does not."""


def read_start(path: Path, names: Sequence[str]) -> Array:
    """One number a feature: a vector in .npy or .npz, or a .csv of numbers in order, or of name,value."""
    kind = kind_of(path, KINDS)
    values = _start_csv(path, names) if kind == ".csv" else _single(path, kind)
    if values.shape == (1, len(names)) or values.shape == (len(names), 1):
        values = values.ravel()
    if values.shape != (len(names),):
        wanted = f"must have ({len(names)},), one number a feature ({quoted(list(names))})"
        raise FileError(path, f"has shape {values.shape}, {wanted}")
    return values


def _single(path: Path, kind: str) -> Array:
    """The array of an .npy, or the only one of an .npz."""
    if kind == ".npz":
        arrays = npz_arrays(path)
        if len(arrays) > 1:
            raise FileError(path, f"holds {len(arrays)} arrays ({quoted(list(arrays))}), must hold one")
        ((name, array),) = arrays.items()
    else:
        try:
            name, array = path.name, np.load(path, allow_pickle=False)
        except DAMAGED as error:
            raise FileError(path, f"is damaged, or no .npy file: {without_advice(error)}") from None
    return as_finite(path, f"array {name!r}", as_real(path, name, array))


def _start_csv(path: Path, names: Sequence[str]) -> Array:
    lines = list(csv_lines(path))
    first = lines[0][1] if lines else []
    if first and (NAME.match(first[-1]) or (len(first) == 2 and not first[0].strip())):
        lines = lines[1:]  # a header; above row labels pandas writes an empty cell and 0
    widths = {len(cells) for _, cells in lines}
    if widths == {1}:
        return np.array([as_number(path, f"line {line}", cells[0]) for line, cells in lines])
    named: dict[str, float] = {}
    for line, cells in lines:
        if len(cells) != 2:
            raise FileError(
                path, f"line {line} has {len(cells)} cells, must have name,value or a value alone"
            )
        name = cells[0].strip()
        if name in named:
            raise FileError(path, f"line {line}: {name!r} is there twice")
        if name not in names:
            raise FileError(
                path, f"line {line}: {name!r} is no feature; the features are {quoted(list(names))}"
            )
        named[name] = as_number(path, f"line {line}, {name!r}", cells[1])
    missing = [name for name in names if name not in named]
    if missing:
        raise FileError(path, f"has no value for {quoted(missing)}")
    return np.array([named[name] for name in names])


def read_covariance(path: Path, names: Sequence[str]) -> Array:
    """The pre-training covariance (d, d): .npy, .npz, or .csv with the features' names as header or without."""
    kind, order = kind_of(path, KINDS), list(range(len(names)))
    if kind == ".csv":
        lines = list(csv_lines(path))
        if lines and not all(map(is_number, lines[0][1])):
            header = [cell.strip() for cell in lines.pop(0)[1]]
            if sorted(header) != sorted(names):
                raise FileError(
                    path, f"line 1 names {quoted(header)}, the features are {quoted(list(names))}"
                )
            order = [header.index(name) for name in names]
        for line, cells in lines:
            if len(cells) != len(names):
                raise FileError(
                    path, f"line {line} has {len(cells)} cells, must have {len(names)}: one a feature"
                )
        table = [[as_number(path, f"line {line}", cell) for cell in cells] for line, cells in lines]
        values = np.array(table, dtype=float).reshape(len(table), -1)
    else:
        values = _single(path, kind)
    if values.shape != (len(names), len(names)):
        raise FileError(path, f"has shape {values.shape}, must have {(len(names),) * 2}: one row a feature")
    return values[np.ix_(order, order)]
