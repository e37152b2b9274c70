"""The example loops of docs/examples, as modules."""

from __future__ import annotations

import functools
import importlib.util
import sys
from unittest import mock

from tests.processes import ROOT

EXAMPLES = ROOT / "docs" / "examples"


@functools.cache
def example(name):
    """An example as a module, which finds the others beside it as it does where it is run."""
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    with mock.patch.object(sys, "path", [str(EXAMPLES), *sys.path]):
        spec.loader.exec_module(module)
    return module


def told(capsys, table, tasks=("old", "new"), digits=3):
    """The table that the example printed holds the numbers that it returned."""
    printed = capsys.readouterr().out
    for name, loss in table.items():
        line = next(line for line in printed.splitlines() if line.startswith(f"{name} "))
        assert [float(part) for part in line.removeprefix(name).split()] == [
            round(loss[task], digits) for task in tasks
        ]
    return printed
