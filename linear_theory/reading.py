"""The one door through which every array argument comes: what an argument is as an array, with nothing lost.

A masked entry, a missing one, a gradient, a column that is no number: each would vanish in ``numpy.asarray`` or
end in an error of somebody else's. Here each is an error of ours that names the argument and the remedy. What holds
numbers is read, wherever it comes from: NumPy, JAX, tensors, data frames, xarray, dask, and sequences of them.
"""

from __future__ import annotations

import array
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .errors import InvalidTypeError, InvalidValueError
from .interchange import UNREADABLE, framework, from_framework
from .tables import from_table, is_table

__all__ = ["read"]

_PLAIN = (int, float, complex, str, bytes, np.generic, type(None))
_BUFFERS = (str, bytes, bytearray, memoryview, array.array, range)
"""Sequences that NumPy reads at once, and text, each letter of which is a sequence again."""

_RAGGED = "must be a rectangular array of numbers"


def read(name: str, value: Any, dtype: Any = None) -> Any:
    """``value`` as an array of NumPy or JAX, of whatever it holds: whether these are numbers is not asked yet.

    ``dtype`` is how lists are to be read: ``object`` keeps Python's integers, which may be of any size.

    Raises
    ------
    InvalidValueError, InvalidTypeError
        For masked or missing entries, rows of different lengths, a data frame's column that holds no numbers, an
        iterator, a sparse matrix, and what its own library does not hand out.
    """
    if isinstance(value, jax.Array):
        return value
    if isinstance(value, Sequence) and not isinstance(value, _BUFFERS):
        return _stacked(name, value, dtype)
    if isinstance(value, Iterator):
        raise InvalidTypeError(
            name, value, "must be an array, not an iterator, which is gone once read; list(…) of it"
        )
    if type(value).__module__.startswith("scipy.sparse"):
        raise InvalidTypeError(name, value, "must be dense; pass .toarray() of the sparse matrix")
    if framework(value):
        return from_framework(name, value)
    foreign: Any = value
    try:
        if (
            hasattr(foreign, "__dask_graph__") and foreign.__dask_graph__() is not None
        ):  # else computed already
            return read(name, foreign.compute())
        if is_table(value):
            return from_table(name, value)
        # As it comes out of ``__array__``: there a mask would be lost, too.
        return _unmasked(name, np.asanyarray(value))
    except (InvalidValueError, InvalidTypeError):
        raise
    except UNREADABLE as refused:
        remedy = f"must be an array of numbers; it cannot be read as one ({str(refused).rstrip('.')})"
        raise InvalidTypeError(name, value, remedy) from None


def _stacked(name: str, values: Sequence[Any], dtype: Any) -> Any:
    """A sequence: of plain numbers at once, of anything else entry by entry."""
    try:
        if all(issubclass(kind, _PLAIN) for kind in set(map(type, values))):
            return np.array(values, dtype=dtype)
        parts = [read(name, value, dtype) for value in values]
        floats = [part.dtype for part in parts if isinstance(part, jax.Array)]
        if not floats:
            return np.array([part[()] for part in parts], dtype=dtype)
        kind = jnp.result_type(*floats)
        return jnp.stack([part.astype(kind) for part in parts])
    except (InvalidValueError, InvalidTypeError):
        raise
    except (ValueError, OverflowError):
        raise InvalidValueError(name, values, _RAGGED) from None


def _unmasked(name: str, value: np.ndarray) -> np.ndarray:
    """A plain array, if no entry is masked."""
    mask = None if type(value) is np.ndarray else getattr(value, "mask", None)
    hidden = 0 if mask is None or value.dtype.names else int(np.count_nonzero(mask))
    if hidden:
        many = "1 masked entry" if hidden == 1 else f"{hidden} masked entries"
        remedy = f"has {many}, and a mask would be lost here; remove those rows, or fill them in (.filled)"
        raise InvalidValueError(name, value, remedy)
    return np.asarray(value)
