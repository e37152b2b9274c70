"""Processes that settle claims side by side, one claim at a time each."""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Iterator, Sequence
from multiprocessing.connection import wait
from types import TracebackType
from typing import Any

from paper_reproduction.interruption import left_to_the_parent
from paper_reproduction.outcome import Outcome
from paper_reproduction.registry import Entry
from paper_reproduction.runner import Finished, Started, Task, lost, prepare_process, settle
from paper_reproduction.sources import Source
from paper_reproduction.store import Store

MOST = 4
"""Beyond that the longest claim decides, and each process takes some seconds and half a gigabyte to start."""


Line = Any
"""One end of a pipe; its class has another name on Windows."""


class Workers:
    """So many processes, started at once and ended with the block: at once as well, whatever they do."""

    def __init__(self, count: int) -> None:
        self._threads = max(1, _cores() // count)
        self._processes: dict[Line, Any] = {}
        self._busy: dict[Line, Task] = {}
        with left_to_the_parent():
            for _ in range(count):
                self._start()

    def __enter__(self) -> Workers:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        for connection in list(self._processes):
            self._end(connection)
        for task in self._busy.values():
            task.store.drop_drafts()

    def __call__(self, tasks: Sequence[Task]) -> Iterator[Started | Finished]:
        """Settle them all, the longest first; tell of each as it begins and as it ends."""
        ahead = sorted(tasks, key=lambda task: -task.seconds)
        idle, busy = list(self._processes), self._busy
        while ahead or busy:
            while ahead and idle:
                connection, task = idle.pop(), ahead.pop(0)
                busy[connection] = task
                yield Started(task)
                connection.send((task.entry, task.store.of(task.entry), task.sources, self._threads))
            ready: list[Line] = list(wait(list(busy)))
            for connection in ready:
                task = busy.pop(connection)
                try:
                    outcome = connection.recv()
                except (EOFError, OSError):  # killed, for want of memory for instance
                    code = self._end(connection)
                    with left_to_the_parent():
                        connection = self._start()
                    outcome = lost(task, f"its process ended with status {code}")
                idle.append(connection)
                yield Finished(task, outcome)

    def _start(self) -> Line:
        spawn = multiprocessing.get_context("spawn")  # JAX does not survive a fork
        ours, theirs = spawn.Pipe()
        process = spawn.Process(target=_serve, args=(theirs,), daemon=True)
        process.start()
        theirs.close()
        self._processes[ours] = process
        return ours

    def _end(self, connection: Line) -> int | None:
        process = self._processes.pop(connection)
        process.kill()
        process.join()
        connection.close()
        return process.exitcode


def _cores() -> int:
    from linear_theory.threads import cores

    return cores()


def default_count() -> int:
    """One a core; a single one where claims would share an accelerator's memory."""
    from paper_reproduction.provenance import backend

    return min(_cores(), MOST) if backend() == "cpu" else 1


def _end_with_the_parent() -> None:
    """A process that outlives the command would write into its directory while the next run does."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _serve(connection: Line) -> None:
    """The life of one process."""
    threading.Thread(target=_end_with_the_parent, daemon=True).start()
    prepare_process()
    while True:
        try:
            work = connection.recv()
        except EOFError:
            return
        connection.send(_settle(*work))


def _settle(entry: Entry, store: Store, sources: Sequence[Source], threads: int) -> Outcome:
    """One claim, on its share of the cores."""
    from threadpoolctl import threadpool_limits

    with threadpool_limits(threads):
        return settle(entry, store, sources)
