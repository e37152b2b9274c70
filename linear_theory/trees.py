"""Arguments as JAX sees them: trees whose leaves are arrays, known or still traced."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterable, Iterator
from typing import Any, TypeVar, dataclass_transform

import jax
import numpy as np
from jax.core import Tracer

__all__ = ["construct_unchecked", "is_concrete", "is_traced", "leaves", "pytree"]

T = TypeVar("T")


def is_traced(value: object) -> bool:
    """Whether this is a JAX tracer: an array without a value yet."""
    return isinstance(value, Tracer)


def leaves(tree: object) -> list[Any]:
    """Whatever is in these arguments; an iterator, which is no array and of which JAX would warn, whole."""
    return jax.tree.leaves(tree, is_leaf=lambda node: isinstance(node, Iterator))


def is_concrete(*values: object) -> bool:
    """Whether every leaf has a value that can be looked at now."""
    return not any(is_traced(leaf) for leaf in leaves(values))


@dataclass_transform(frozen_default=True, eq_default=False)
def pytree(cls: type[T]) -> type[T]:
    """A frozen dataclass whose fields JAX may trace through.

    Unflattening goes round ``__init__``: JAX rebuilds objects from placeholders, which no value check in
    ``__post_init__`` would accept.
    """
    cls = dataclasses.dataclass(frozen=True, eq=False, repr=False)(cls)
    if cls.__repr__ is object.__repr__:
        cls.__repr__ = _on_a_screen  # pyright: ignore[reportAttributeAccessIssue]
    names = tuple(field.name for field in dataclasses.fields(cls))  # pyright: ignore[reportArgumentType]
    build = cls.__init__

    @functools.wraps(build)
    def initialise(self: T, *args: Any, **kwargs: Any) -> None:
        build(self, *args, **kwargs)
        for name in names:  # a number is NumPy's scalar, never an array without axes
            value = getattr(self, name)
            if type(value) is np.ndarray and value.ndim == 0:
                object.__setattr__(self, name, value[()])

    cls.__init__ = initialise

    def unflatten(_: None, leaves: Iterable[object]) -> T:
        return construct_unchecked(cls, **dict(zip(names, leaves, strict=True)))

    def flatten(instance: T) -> tuple[tuple[object, ...], None]:
        return tuple(getattr(instance, name) for name in names), None

    jax.tree_util.register_pytree_node(cls, flatten, unflatten)
    return cls


def construct_unchecked(kind: type[T], **fields: Any) -> T:
    """An object of this kind with these fields, round its ``__init__`` and so without its checks."""
    new = object.__new__(kind)
    for name, value in fields.items():
        object.__setattr__(new, name, value)
    return new


def _on_a_screen(instance: Any) -> str:
    """The fields of a result, each on a line of its own that fits a screen, long arrays by their shape."""
    values = [(field.name, getattr(instance, field.name, None)) for field in dataclasses.fields(instance)]
    parts = [f"{name}={_briefly(value)}" for name, value in values if value is not None]
    together = f"{type(instance).__name__}({', '.join(parts)})"
    if len(together) <= WIDTH and "\n" not in together:
        return together
    lines = [part.replace("\n", "\n    ") for part in parts]
    return f"{type(instance).__name__}(\n    " + ",\n    ".join(lines) + "\n)"


WIDTH = 80
"""Columns of a screen."""


def _briefly(value: Any) -> str:
    """A number as it is, a short array whole, a longer one by its shape, and whatever else as it says itself."""
    try:
        if isinstance(value, np.ndarray | np.generic | jax.Array) and not is_traced(value):
            text = (
                str(value.item()) if value.ndim == 0 else np.array2string(np.asarray(value), separator=", ")
            )
            text = " ".join(text.split()).replace("[ ", "[")
            return text if len(text) <= WIDTH - 30 and value.size <= 8 else f"array of shape {value.shape}"
        if isinstance(value, tuple | list):
            inside = ", ".join(map(_briefly, value)) + "," * (len(value) == 1)
            return f"({inside})"
        text = repr(value)
    except Exception:  # a deleted buffer, a key, an object half built: an echo must not fail
        text = f"a {type(value).__name__}"
    lines = text.splitlines()
    return text if max(map(len, lines), default=0) <= WIDTH else f"{text[:40]}...{text[-20:]}"
