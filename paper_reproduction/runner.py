"""Runs claims and tells what happens as it happens.

A claim that raises is recorded with its exception and the others still run. After every claim the records and
the report are on disk, so an interruption costs the claims under way and nothing else.
"""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from paper_reproduction import provenance, report, sources
from paper_reproduction.claim import Table, Verdict
from paper_reproduction.netcdf import Unusable
from paper_reproduction.outcome import Outcome
from paper_reproduction.registry import Entry
from paper_reproduction.sources import Arrays, Source
from paper_reproduction.store import Store


@dataclass(frozen=True, eq=False)
class Task:
    """A claim to settle in a store, its arrays from the first source that has them; and the page that shows it."""

    entry: Entry
    store: Store
    sources: Sequence[Source]
    page: Callable[[Store], object] = report.write

    @property
    def computes(self) -> bool:
        """Whether arrays may be computed; else they are only read."""
        return sources.computed in self.sources

    @property
    def seconds(self) -> float:
        """What it is expected to take at most, for who wants to begin with the longest."""
        return self.entry.claim.budget(self.store.settings.quick) if self.computes else 0.0


@dataclass(frozen=True)
class Started:
    """A claim begins."""

    task: Task


@dataclass(frozen=True)
class Finished:
    """A claim has its record."""

    task: Task
    outcome: Outcome


def prepare_process() -> None:
    """What only the command sets for its whole process: 64-bit JAX, and pictures without a screen.

    Call it before any claim is imported, because a claim may make JAX arrays as it is imported.
    """
    import jax
    import matplotlib

    jax.config.update("jax_enable_x64", True)
    matplotlib.use("Agg")


def run(
    tasks: Sequence[Task], way: Callable[[Sequence[Task]], Iterator[Started | Finished]] | None = None
) -> Iterator[Started | Finished]:
    """Settle each task, in this process one after another or in another way.

    Records and page are on disk before :class:`Finished` is told.
    """
    for event in (way or one_after_another)(tasks):
        if isinstance(event, Finished):
            with event.task.store.alone():
                event.task.store.record(event.outcome)
                event.task.page(event.task.store)
        yield event


def one_after_another(tasks: Sequence[Task]) -> Iterator[Started | Finished]:
    """In the order given, in this process."""
    for task in tasks:
        yield Started(task)
        yield Finished(task, settle(task.entry, task.store, task.sources))


def settle(entry: Entry, store: Store, sources: Sequence[Source]) -> Outcome:
    """From nothing, or from stored arrays, to the record of one claim. Never raises what a claim raises."""
    outcome, cost, clock = _blank(entry, store), "compute_seconds", time.perf_counter()
    try:
        arrays, outcome = _arrays_and_verdict(entry, store, sources, outcome)
        cost, clock = "draw_seconds", time.perf_counter()
        return _picture(entry, store, arrays, outcome)
    except Exception as error:  # whatever a claim may raise: it fails, the others go on
        store.drop_picture(entry)
        spent: dict[str, Any] = {cost: time.perf_counter() - clock}
        return replace(outcome, error=_explain(error), **spent)


def lost(task: Task, reason: str) -> Outcome:
    """The record of a claim whose process ended under it; what it left half done is taken away."""
    task.store.drop_drafts()
    task.store.drop_picture(task.entry)
    return replace(_blank(task.entry, task.store), error=reason)


def _blank(entry: Entry, store: Store) -> Outcome:
    commit, dirty = provenance.commit()
    settings = store.settings
    return Outcome(
        name=entry.name,
        seed=settings.seed,
        quick=settings.quick,
        fingerprint=entry.fingerprint,
        commit=commit,
        dirty=dirty,
        budget=entry.claim.budget(settings.quick),
    )


def _arrays_and_verdict(
    entry: Entry, store: Store, sources: Sequence[Source], outcome: Outcome
) -> tuple[Arrays, Outcome]:
    """The verdict is read from the file, also on a first run, so that a resumed run says exactly the same."""
    arrays, replaced = _arrays(entry, store, sources)
    verdict = entry.verdict(arrays.dataset)
    if not isinstance(verdict, Verdict):
        raise TypeError(f"verdict() returned {type(verdict).__name__}, not a Verdict")
    made = outcome.of(arrays.dataset.attrs)
    return arrays, replace(
        made,
        arrays=arrays.seal,
        kept=arrays.kept,
        replaced=replaced,
        origin=arrays.origin,
        budget=entry.claim.budget(made.quick),
        verdict=verdict,
        tables=_tables(entry, arrays),
    )


def _arrays(entry: Entry, store: Store, sources: Sequence[Source]) -> tuple[Arrays, str]:
    """The arrays of the first source that has them, and why a source before it could not use what it found."""
    unusable: Unusable | None = None
    for source in sources:
        try:
            arrays = source(entry, store)
        except Unusable as error:
            unusable = error
            continue
        if arrays is not None:
            what = "shown is the stored result" if arrays.origin else "computed again"
            return arrays, f"{store.path(entry, 'nc')} {unusable}; {what}" if unusable else ""
    raise unusable or LookupError("there are no arrays")


def _tables(entry: Entry, arrays: Arrays) -> tuple[Table, ...]:
    tables = tuple(entry.tables(arrays.dataset))
    if strange := [type(table).__name__ for table in tables if not isinstance(table, Table)]:
        raise TypeError(f"tables() returned {strange[0]}, not Table")
    return tables


def _picture(entry: Entry, store: Store, arrays: Arrays, outcome: Outcome) -> Outcome:
    """Drawn anew unless the arrays were kept and the figure's sources are what they were."""
    clock = time.perf_counter()
    if outcome.kept and store.has_picture(entry, arrays.seal):
        earlier = store.records[entry.name]
        pictures, seconds = earlier.pictures, earlier.draw_seconds
    else:
        pictures = store.save_picture(entry, entry.draw(arrays.dataset))
        seconds = time.perf_counter() - clock
    return replace(
        outcome, figure_fingerprint=entry.figure_fingerprint, pictures=pictures, draw_seconds=seconds
    )


def _explain(error: Exception) -> str:
    """The exception in one line, with the last line of source it passed, by file name alone."""
    text = traceback.format_exception_only(error)[-1].strip()
    frames = traceback.extract_tb(error.__traceback__)
    return f"{text} ({Path(frames[-1].filename).name}, line {frames[-1].lineno})" if frames else text
