"""Arrays on a mesh of devices with explicit axes, the default of ``jax.make_mesh``: computed on automatic ones."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar

import jax
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from .trees import is_concrete, is_traced, leaves

__all__ = ["on_automatic_mesh", "with_automatic_axes"]

T = TypeVar("T")


def with_automatic_axes(array: Any) -> Any:
    """``array``; where its mesh has explicit axes, on the same devices, unmoved, with axes
    that the compiler takes care of. Otherwise JAX asks for every sum over sharded rows where it is to lie.
    """
    sharding = getattr(jax.typeof(array), "sharding", None) if isinstance(array, jax.Array) else None
    if not (isinstance(sharding, NamedSharding) and AxisType.Explicit in sharding.mesh.axis_types):
        return array
    if is_traced(array):
        mesh = sharding.mesh.update(axis_types=(AxisType.Auto,) * len(sharding.mesh.axis_names))
        return jax.lax.with_sharding_constraint(array, NamedSharding(mesh, sharding.spec))
    placed: Any = array.sharding
    mesh = Mesh(placed.mesh.devices, placed.mesh.axis_names)
    return jax.device_put(array, NamedSharding(mesh, placed.spec))


def on_automatic_mesh(function: Callable[..., T]) -> Callable[..., T]:
    """``function``, also of arrays on a mesh with explicit axes (the default of ``jax.make_mesh``).

    On such a mesh JAX asks of every sum over sharded rows where it is to lie. Here the compiler decides, as it does
    on automatic axes, and hands back to the caller's mesh: what has the shape of an argument lies as that
    does, all else on every device. Derivatives come back the way the arguments went.
    """

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> T:
        given = leaves((args, kwargs))
        places = [place for leaf in given if (place := _explicit(leaf))]
        if not places:
            return function(*args, **kwargs)
        mesh: Any = places[0][1].mesh
        reshard = jax.sharding.reshard
        automatic = mesh.update(axis_types=(AxisType.Auto,) * len(mesh.axis_names))
        devices = next((leaf.sharding.mesh for leaf in given if _explicit(leaf) and is_concrete(leaf)), None)
        lies = {shape: place.spec for shape, place in places}

        def enter(leaf: Any) -> Any:  # no spec: automatic axes keep what lies there
            return reshard(leaf, NamedSharding(automatic, PartitionSpec())) if _explicit(leaf) else leaf

        def leave(leaf: Any) -> Any:
            if not isinstance(leaf, jax.Array) or _explicit(leaf):
                return leaf
            spec = lies.get(leaf.shape, PartitionSpec())
            if is_traced(leaf):
                return reshard(leaf, NamedSharding(mesh, spec))
            return jax.device_put(leaf, NamedSharding(devices, spec)) if devices else leaf

        with jax.sharding.use_abstract_mesh(automatic):
            found = function(*jax.tree.map(enter, args), **jax.tree.map(enter, kwargs))
        return jax.tree.map(leave, found)

    return call


def _explicit(leaf: object) -> tuple[tuple[int, ...], NamedSharding] | None:
    """The shape of an array on a mesh with explicit axes, and how it lies there."""
    if not isinstance(leaf, jax.Array):
        return None
    place = jax.typeof(leaf).sharding
    return (leaf.shape, place) if AxisType.Explicit in place.mesh.axis_types else None
