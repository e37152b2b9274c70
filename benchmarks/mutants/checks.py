"""Checks that a mutant may be asked, called by name: ``engine.called(mutant, "benchmarks.mutants.checks:failing", …)``.

This module imports nothing that can be mutated before a function of it runs.
"""

from __future__ import annotations

import importlib


def failing(claim: str) -> list[str]:
    """The checks that do not hold in a quick run of a claim's ``compute`` and ``verdict``, by its module's name."""
    module = importlib.import_module(claim)
    settings = importlib.import_module("paper_reproduction.claim").Settings(quick=True)
    return [check.name for check in module.verdict(module.compute(settings)).checks if not check.holds]
