"""Where a claim's arrays come from: computed now, kept from an earlier run, or stored with the package.

A :data:`Source` looks for the arrays of one claim, leaves them as ``<name>.nc`` in the store, and returns what
lies there, so that the verdict is always read from the file; or it returns None, and the next source is asked.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import xarray as xr

from paper_reproduction import shipped
from paper_reproduction.netcdf import Unusable
from paper_reproduction.registry import Entry
from paper_reproduction.store import Store


@dataclass(frozen=True)
class Arrays:
    """A claim's dataset, as it lies in the store."""

    dataset: xr.Dataset
    seal: str = ""  # of the file
    kept: bool = False  # the file is untouched, so that its picture may be right still
    origin: str = ""  # as in Outcome


Source = Callable[[Entry, Store], Arrays | None]
"""It may also raise :class:`~paper_reproduction.netcdf.Unusable`, where what it finds cannot be used."""


def computed(entry: Entry, store: Store) -> Arrays:
    """Computed now."""
    clock = time.perf_counter()
    dataset = entry.compute(store.settings)
    if not isinstance(dataset, xr.Dataset):
        raise TypeError(f"compute() returned {type(dataset).__name__}, not an xarray.Dataset")
    return Arrays(*store.save(entry, dataset, time.perf_counter() - clock))


def kept(entry: Entry, store: Store) -> Arrays | None:
    """Kept, where this run would compute the very same arrays."""
    found = store.finished(entry)
    return None if found is None else Arrays(*found, kept=True)


def earlier(entry: Entry, store: Store) -> Arrays | None:
    """Whatever the user computed in this directory before, under any settings."""
    found = store.present(entry)
    if found is None or found.dataset.attrs.get("origin"):
        return None
    return Arrays(*found, kept=True, origin=f"computed earlier: {_making(found.dataset.attrs)}")


def has_earlier(entry: Entry, store: Store) -> bool:
    """Whether there is such, or what should be such and is damaged, of which the run will tell."""
    try:
        return earlier(entry, store) is not None
    except Unusable:
        return True


def stored(entry: Entry, store: Store) -> Arrays | None:
    """The result that lies in the repository."""
    dataset = shipped.stored(entry)
    if dataset is None:
        return None
    origin = f"stored: {_making(dataset.attrs)}"
    return Arrays(*store.adopt(entry, dataset, origin), origin=origin)


def _making(attributes: dict[Any, Any]) -> str:
    parts = (attributes["device"], f"seed {attributes['seed']}", attributes["command"])
    return ", ".join(part for part in parts if part)
