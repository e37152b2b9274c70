"""The example loops of docs/examples, as modules."""

from __future__ import annotations

import functools
import importlib.util

from tests.processes import ROOT


@functools.cache
def example(name):
    spec = importlib.util.spec_from_file_location(name, ROOT / "docs" / "examples" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def told(capsys, table):
    """The table that the example printed holds the numbers that it returned."""
    printed = capsys.readouterr().out
    for name, loss in table.items():
        line = next(line for line in printed.splitlines() if line.startswith(f"{name} "))
        assert [float(part) for part in line.removeprefix(name).split()] == [
            round(loss[task], 3) for task in ("old", "new")
        ]
    return printed
