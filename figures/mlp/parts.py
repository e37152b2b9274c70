"""A dataset about several networks: each has its own variables, and its own dimensions of these names."""

from __future__ import annotations

from typing import Any

OWN = ("seed", "mark")


def named(d: Any, network: str) -> Any:
    """The variables and own dimensions of a dataset, with the network's name before theirs."""
    return d.rename({name: f"{network}_{name}" for name in (*d.data_vars, *OWN)})


def of(d: Any, network: str) -> Any:
    """What :func:`named` named, under the names that all networks share."""
    start = f"{network}_"
    mine = [name for name in map(str, d.data_vars) if name.startswith(start)]
    return d[mine].rename({start + name: name for name in OWN} | {name: name[len(start) :] for name in mine})


def networks(d: Any, names: tuple[str, ...]) -> dict[str, Any]:
    """Those of these networks that the dataset is about."""
    return {name: of(d, name) for name in names if f"{name}_seed" in d.dims}
