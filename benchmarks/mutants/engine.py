"""A function called in a process in which a mutant is true.

The process is forked from one that has imported JAX and the like, and nothing of this project: importing them anew
would take longer than most tests. Processes that the function itself starts have the mutant, too.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import math
import multiprocessing
import os
import resource
import signal
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from .found import PACKAGE, ROOT, Mutant

HOOK = Path(__file__).with_name("hook")
COMPILED = ROOT / "out" / "mutants" / "pycache"
"""Where Python keeps what it has compiled for such processes; a mutant is not kept."""
PRELOADED = (
    "hypothesis.extra.numpy",
    "jax.numpy",
    "jax.scipy.linalg",
    "matplotlib.figure",
    "mpmath",
    "pytest",
    "scipy.integrate",
    "scipy.optimize",
    "scipy.sparse.linalg",
    "scipy.special",
    "scipy.stats",
    "xarray",
    "benchmarks.mutants.engine",
)
"""None of them may start threads of its own, or import what is mutated."""
EARLY = f"{PACKAGE.name} is imported before it can be changed"
PATIENCE = 10
MEMORY = 12 * 2**30
"""Bytes that a process may ask for: a mutant without end is stopped before it takes all."""


@dataclass(frozen=True)
class Answer:
    """What a call came to: a ``value``, or an ``error`` in words, or neither where it was ended.

    ``crashed``: the process ended by itself. ``said``: what it printed.
    """

    value: Any
    error: str | None
    ended: bool
    crashed: bool
    seconds: float
    said: str


def called(
    mutant: Mutant | None, function: Callable[..., Any] | str, *arguments: Any, limit: float = 600.0
) -> Answer:
    """``function(*arguments)`` where the mutant is true (``None``: where none is).

    ``limit``: seconds of computing, so that it does not depend on who else is at work; ``PATIENCE`` times as many may
    pass.

    The function is a name, ``"module:name"``, if importing its module would import the mutant's; it, its arguments
    and its value are pickled. Whatever it does to its process (an exit, a crash, a loop without end) is the answer and
    no harm. Raises ``RuntimeError`` where the package is imported before the mutant can be.
    """
    with tempfile.TemporaryDirectory(prefix="mutant-") as folder:
        receiving, sending = _context().Pipe(duplex=False)
        process = _context().Process(
            target=_child, args=(folder, _told(mutant), limit, sending, function, arguments)
        )
        began = time.monotonic()
        process.start()
        sending.close()
        value, error, ended = _heard(receiving, PATIENCE * limit)
        if process.is_alive() and process.pid is not None:
            _end(process.pid)
        process.join()
        if error == EARLY:
            raise RuntimeError(f"{EARLY}; in a script, import it below `if __name__ == '__main__'`")
        ended |= error == "" and process.exitcode == -signal.SIGXCPU
        error = None if ended else error
        crashed = error == ""
        if crashed:
            error = f"the process ended by itself, with code {process.exitcode}"
        said = (Path(folder) / "said").read_text(encoding="utf-8", errors="replace")
        return Answer(value, error, ended, crashed, time.monotonic() - began, said)


def _context() -> Any:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(PRELOADED))
    return context


def _told(mutant: Mutant | None) -> dict[str, str] | None:
    if mutant is None:
        return None
    return {"module": module_of(mutant.path), "source": mutant.source}


def module_of(path: Path) -> str:
    """The name by which a file is imported: as a part of the outermost package that it lies in."""
    parts = [path.stem] if path.stem != "__init__" else []
    folder = path.parent
    while (folder / "__init__.py").exists():
        parts.insert(0, folder.name)
        folder = folder.parent
    return ".".join(parts)


def _heard(receiving: Connection, limit: float) -> tuple[Any, str | None, bool]:
    """Value, error and whether the time was up; an empty error where the process said nothing."""
    try:
        if not receiving.poll(limit):
            return None, None, True
        value, error = receiving.recv()
    except (EOFError, OSError):
        return None, "", False
    return value, error, False


def _end(pid: int) -> None:
    """The process and all that it started: they are a group of their own."""
    for kill in (os.killpg, os.kill):
        try:
            kill(pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            continue


def _child(
    folder: str,
    told: dict[str, str] | None,
    limit: float,
    sending: Connection,
    function: Callable | str,
    arguments: tuple,
) -> None:
    os.setsid()
    sys.pycache_prefix, sys.dont_write_bytecode = str(COMPILED), False
    threading.Thread(target=_follow, args=(os.getppid(),), daemon=True).start()
    said = os.open(os.path.join(folder, "said"), os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    os.dup2(said, 1)
    os.dup2(said, 2)
    with contextlib.suppress(OSError, ValueError):  # not every system has this limit
        resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CPU, (math.ceil(limit), resource.RLIM_INFINITY))
    early = [name for name in sys.modules if name.partition(".")[0] == PACKAGE.name]
    if early:
        sending.send((None, EARLY))
        return
    try:
        os.chdir(ROOT)
        if told is not None:
            _become(Path(folder) / "mutant.json", told)
        if isinstance(function, str):
            module, _, name = function.partition(":")
            function = getattr(importlib.import_module(module), name)
        sending.send((function(*arguments), None))  # type: ignore[operator]
    except BaseException as error:
        traceback.print_exc()
        sending.send((None, f"{type(error).__name__}: {error}"))


def _follow(parent: int) -> None:
    """Ends this process and all that it started when whoever asked for it has ended."""
    while os.getppid() == parent:
        time.sleep(1.0)
    _end(os.getpid())


def _become(file: Path, told: dict[str, str]) -> None:
    """From here on this process, and those that it starts, import the mutant."""
    file.write_text(json.dumps(told), encoding="utf-8")
    os.environ["LINEAR_THEORY_MUTANT"] = str(file)
    os.environ["PYTHONPATH"] = os.pathsep.join([str(HOOK), str(ROOT), os.environ.get("PYTHONPATH", "")])
    importlib.import_module("benchmarks.mutants.hook.sitecustomize")
