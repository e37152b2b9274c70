"""The package's errors: each names the argument, its value and the remedy."""

from __future__ import annotations

from typing import Any, NoReturn

import jax
import numpy as np

from .trees import is_traced

__all__ = [
    "DivergenceError",
    "InvalidTypeError",
    "InvalidValueError",
    "LinearTheoryError",
    "reject",
    "short",
]


class LinearTheoryError(Exception):
    """Base of every error this package raises; names the argument, its value and the remedy."""

    def __init__(self, argument: str, value: object, remedy: str) -> None:
        self.argument, self.value = argument, value
        self.remedy = " ".join(remedy.split())  # on one line, whatever another library has said
        super().__init__(f"{argument} = {short(value)}: {self.remedy}")


class InvalidValueError(LinearTheoryError, ValueError):
    """An argument of the right type with an impossible value or shape."""


class InvalidTypeError(LinearTheoryError, TypeError):
    """An argument of the wrong type."""


class DivergenceError(InvalidValueError):
    """A step size with which gradient descent would diverge."""


def short(value: object) -> str:
    """``value`` on one line of at most 80 characters."""
    try:
        text = " ".join(_repr(value).split())  # a matrix on one line
    except Exception:  # whatever another library's array says of itself, or does not
        text = f"an array of {type(value).__module__}"
    return text if len(text) <= 80 else f"{text[:38]}...{text[-39:]}"  # a path keeps its file name


def _repr(value: Any) -> str:
    shape = getattr(value, "shape", None)
    if isinstance(shape, tuple) and shape and np.prod(shape) > 8:
        return f"array of shape {tuple(shape)}"
    array = isinstance(value, np.ndarray | np.generic | jax.Array) and hasattr(value.dtype, "kind")
    plain = array and not isinstance(value, np.ma.MaskedArray) and not is_traced(value)
    return repr(value.item() if plain and shape == () else value)


def reject(name: str, value: object, remedy: str) -> NoReturn:
    raise InvalidValueError(name, value, remedy)
