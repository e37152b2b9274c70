"""A peer's tests in a process of their own, three times: with its solver, with ours, and with a wrong one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Collection
from importlib.metadata import version
from pathlib import Path
from typing import Any

from .plugin import WRONG
from .suites import SUITES, Suite

ROOT = Path(__file__).parents[2]
PATIENCE = 1200
"""Seconds a run of one suite may take before it is given up."""

OWN = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "JAX_PLATFORMS": "cpu"}
"""One thread, so that sums are taken in one order, and no plugin but those that are named."""


def outcomes(
    suite: str, solver: str, tests: Collection[str] = (), modules: Collection[str] = ()
) -> dict[str, Any]:
    """``{"calls": …, "tests": {name: {"outcome", "calls", "message"}}}`` of the suite, or of some of its tests."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "pytest.ini").write_text("[pytest]\n", encoding="utf-8")  # not this project's
        file = Path(folder) / "outcomes.json"
        options = [
            "-c",
            f"{folder}/pytest.ini",
            "--rootdir",
            folder,
            "-p",
            "no:cacheprovider",
            "-q",
            "--tb=line",
        ]
        chosen = ["-p", "benchmarks.peers.plugin", "--suite", suite, "--solver", solver]
        chosen += ["--outcomes", str(file), "--modules", ",".join(modules)]
        ids = list(tests or SUITES[suite].tests)
        done = subprocess.run(
            [sys.executable, "-m", "pytest", *options, *chosen, "--pyargs", *ids],
            cwd=ROOT,
            env=os.environ | OWN | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTEST_ADDOPTS": ""},
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        if done.returncode not in (0, 1) or not file.exists():
            raise RuntimeError(
                f"the tests of {suite} did not run:\n{done.stdout[-3000:]}{done.stderr[-3000:]}"
            )
        return json.loads(file.read_text(encoding="utf-8"))


def measured(name: str, say: Callable[[str], None] = print) -> dict[str, Any]:
    """What the page tells of one suite."""
    runs = {}
    for solver in ("theirs", "ours"):
        runs[solver] = _timed(name, solver, (), say)
    callers = [test for test, kept in runs["ours"]["tests"].items() if kept["calls"]]
    runs["wrong"] = _timed(name, "wrong", {test.partition("::")[0] for test in callers}, say)
    return compared(SUITES[name], runs)


def _timed(name: str, solver: str, modules: Collection[str], say: Callable[[str], None]) -> dict[str, Any]:
    began = time.perf_counter()
    run = outcomes(name, solver, modules=modules)
    counted = ", ".join(f"{count} {what}" for what, count in counts(run).items())
    say(f"{name}, solver {solver}: {counted}, {run['calls']} calls, {time.perf_counter() - began:.0f} s")
    return run


def counts(run: dict[str, Any]) -> dict[str, int]:
    """How many tests passed, failed, …"""
    return dict(sorted(Counter(kept["outcome"] for kept in run["tests"].values()).items()))


def compared(suite: Suite, runs: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Counts, the failures that are new with our solver, and how many tests noticed the wrong one.

    ``stale``: what is excused in vain.
    """
    theirs, ours, wrong = (runs[solver]["tests"] for solver in ("theirs", "ours", "wrong"))
    passed = lambda tests: {test for test, kept in tests.items() if kept["outcome"] == "passed"}
    new = sorted(passed(theirs) - passed(ours))
    excuse = lambda test: next((why for start, why in suite.excused.items() if test.startswith(start)), None)
    failures = [
        {"test": test, "message": ours.get(test, {}).get("message", "did not run"), "reason": excuse(test)}
        for test in new
    ]
    return {
        "package": f"{suite.package} {version(suite.package)}",
        "tests": list(suite.tests),
        "replaced": [f"{each.module}.{each.name}" for each in suite.replaced],
        "theirs": counts(runs["theirs"]),
        "ours": counts(runs["ours"]),
        "calls": runs["ours"]["calls"],
        "callers": sum(bool(kept["calls"]) for kept in ours.values()),
        "wrong": {"error": WRONG, "noticed": len(passed(ours) & set(wrong) - passed(wrong))},
        "failures": failures,
        "stale": [start for start in suite.excused if not any(test.startswith(start) for test in new)],
    }
