"""What the command does once its words are understood: which claims, from where, and what the user sees of them."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NoReturn

import typer

from paper_reproduction import (
    beyond_report,
    explorer,
    hero,
    network_report,
    provenance,
    registry,
    report,
    runner,
    shipped,
    sources,
    terminal,
    workers,
)
from paper_reproduction.claim import Settings
from paper_reproduction.interruption import exit_status
from paper_reproduction.netcdf import Unusable
from paper_reproduction.options import Options
from paper_reproduction.outcome import Outcome
from paper_reproduction.output import complain, refuse, say
from paper_reproduction.provenance import Stamp
from paper_reproduction.registry import Chapter, Entry
from paper_reproduction.runner import Finished, Task
from paper_reproduction.sources import Source
from paper_reproduction.store import Store
from paper_reproduction.writing import put


@dataclass(frozen=True)
class Work:
    """Claims of a chapter to settle in a store, from which sources, and what is said of them."""

    chapter: Chapter
    chosen: Sequence[Entry]
    store: Store
    sources: Sequence[Source]
    stored_of: int = 0  # of how many claims these are the stored results, where they are such
    on_record: Callable[[Entry, Outcome], None] = lambda entry, outcome: None  # once a record is on disk

    @property
    def tasks(self) -> list[Task]:
        """One for each claim."""
        page = _PAGES[self.chapter.word]
        return [Task(entry, self.store, self.sources, page) for entry in self.chosen]

    @property
    def done(self) -> list[Entry]:
        """What has been settled so far."""
        return [entry for entry in self.chosen if entry.name in self.store.settled]

    @property
    def holds(self) -> bool:
        """Whether everything chosen was settled and holds."""
        return self._holding == len(self.chosen)

    @property
    def broken(self) -> bool:
        """Whether a claim ended in an error, so that there is no verdict on it."""
        return any(self.store.records[entry.name].error for entry in self.done)

    @property
    def _holding(self) -> int:
        return sum(self.store.records[entry.name].holds for entry in self.done)

    @property
    def summary(self) -> str:
        """How many of the chosen hold, as a phrase; of stored results also how many there are."""
        if not self.stored_of:
            return f"{self._holding} of {len(self.chosen)} {self.chapter.noun.short}s hold"
        own = any(not self.store.records[entry.name].origin.startswith("stored") for entry in self.done)
        there = f"{len(self.chosen)} of {self.stored_of} {self.chapter.noun.results}"
        kind = f"stored{' or computed earlier' if own else ''}"
        return f"{there} {kind}, {'all' if self.holds else self._holding} of which hold"


def run_everything(options: Options, again: str) -> NoReturn:
    """All claims of the paper, and beside them the stored results of the other chapters."""
    with _side_by_side(options, workers.default_count) as way:
        paper = _work(registry.PAPER, options)
        works = [paper, *(_stored(chapter, options) for chapter in registry.chapters() if chapter.results)]
        _perform(works, options, again, way)
    if any(work.chosen for work in works[1:]):
        with paper.store.alone():
            report.write(paper.store)  # now that there are pages to link to
    _leave(works, again)


def run_claims(
    chapter: Chapter,
    names: Sequence[str] | None,
    options: Options,
    again: str,
    seeds: int | None = None,
    publish: bool = False,
) -> NoReturn:
    """The claims of these names, or all of a chapter."""
    work = _work(chapter, options, names, seeds, publish)
    if work.store.stamp.device:
        say(f"on {work.store.stamp.device}, jax {provenance.versions()['jax']}")
    with _side_by_side(options, lambda: _at_once(chapter, names, options)) as way:
        _perform([work], options, again, way)
    _leave([work], again)


def _at_once(chapter: Chapter, names: Sequence[str] | None, options: Options) -> int:
    """How many claims side by side where nothing is said: as many as there are cores, where that pays.

    Some of a chapter that are asked for by name go one after another, for they start sooner. So do networks in a full
    run, because their time is measured.
    """
    many = options.quick if chapter is registry.NETWORKS else names is None
    return workers.default_count() if many else 1


def list_claims(chapter: Chapter, options: Options) -> None:
    """Every claim of a chapter."""
    terminal.show_claims(_discovered(chapter), options.budgets)


def write_explorer(options: Options) -> None:
    """The page of sliders."""
    page = options.directory / "explorer.html"
    try:
        explorer.write(page)
    except OSError as error:
        refuse(f"cannot write to --out {page.parent}: {error.strerror or error}")
    say(f"open {page} in a browser")


def write_opening_picture(options: Options) -> None:
    """The picture that opens the README, and the stall in motion."""
    from figures import hero as drawing

    still, moving = options.directory / "hero.png", options.directory / "stall.gif"
    dataset = hero.compute()
    drawn, animated = io.BytesIO(), io.BytesIO()
    drawing.draw(dataset).savefig(drawn, dpi=150, metadata={"Software": None})
    drawing.animate(dataset, animated)
    try:
        put(still, drawn.getvalue())
        put(moving, animated.getvalue())
    except OSError as error:
        refuse(f"cannot write to --out {still.parent}: {error.strerror or error}")
    say(f"open {still} and {moving}")


def _settings(options: Options, seeds: int | None = None) -> Settings:
    """What the claims are told."""
    return Settings(seed=options.seed or 0, quick=options.quick, seeds=seeds)


def _sources(options: Options) -> tuple[Source, ...]:
    """Where arrays come from: kept where that is wanted and possible, else computed."""
    return (sources.kept, sources.computed) if options.resume else (sources.computed,)


def _discovered(chapter: Chapter) -> tuple[Entry, ...]:
    runner.prepare_process()
    try:
        return chapter.discover()
    except registry.RegistryError as error:
        refuse(str(error))


_PAGES: dict[str, Callable[[Store], object]] = {
    "run": report.write,
    "beyond": beyond_report.write,
    "mlp": network_report.write,
}


def _store(chapter: Chapter, entries: Sequence[Entry], options: Options, seeds: int | None = None) -> Store:
    """Where a chapter's results of this run go."""
    stamp = provenance.network_stamp() if chapter is registry.NETWORKS else Stamp(chapter.word)
    return Store(options.directory / chapter.room, entries, _settings(options, seeds), stamp)


def _work(
    chapter: Chapter,
    options: Options,
    names: Sequence[str] | None = None,
    seeds: int | None = None,
    publish: bool = False,
) -> Work:
    """The claims of these names, or all of a chapter, in the order of the tables, to be computed."""
    entries = _discovered(chapter) or refuse(f"there are no {chapter.noun.many} to run")
    chosen = [entry for entry in entries if not names or entry.name in names]
    store = _store(chapter, entries, options, seeds)

    def publish_stored(entry: Entry, outcome: Outcome) -> None:
        if not publish or outcome.error:
            return
        try:
            shipped.publish(entry, store, provenance.backend())
        except OSError as error:
            refuse(f"cannot publish {entry.name}: {error.strerror or error}")
        except Unusable as error:
            refuse(f"cannot publish {entry.name}: {store.path(entry, 'nc')} {error}")

    return Work(chapter, chosen, store, _sources(options), on_record=publish_stored)


def _stored(chapter: Chapter, options: Options) -> Work:
    """What there is of a chapter without computing: the user's own results, else those of the repository."""
    entries = _discovered(chapter)
    store = _store(chapter, entries, options)
    there = [entry for entry in entries if sources.has_earlier(entry, store) or shipped.shown(entry)]
    return Work(chapter, there, store, (sources.earlier, sources.stored), stored_of=len(entries))


Way = Callable[[Sequence[Task]], Iterator[runner.Started | Finished]]


@contextlib.contextmanager
def _side_by_side(options: Options, default: Callable[[], int]) -> Iterator[Way | None]:
    """Processes for so many claims at once, if more than one is wanted; they start while this one imports."""
    count = options.jobs or default()
    if count == 1:
        yield None
    else:
        with workers.Workers(count) as way:
            yield way


def _perform(works: Sequence[Work], options: Options, again: str, way: Way | None = None) -> None:
    """Settle the works before the user's eyes; leave with 2 if that cannot be, as a shell does if interrupted."""
    begun = False
    try:
        for work in works:
            if work.chosen:
                work.store.open()
        begun = True
        interrupted = _watch(works, options, way)
    except OSError as error:
        place = f" ({error.filename})" if error.filename and begun else ""
        complain(f"error: cannot write to --out {options.directory}: {error.strerror or error}{place}")
        if begun:
            complain(f"go on with:\n{again}")
        raise typer.Exit(2) from None
    for work in works:
        terminal.show_troubles(work.done, work.store, options.budgets)
    if interrupted:
        done = sum(len(work.done) for work in works)
        chosen = sum(len(work.chosen) for work in works)
        complain(f"interrupted after {done} of {chosen}; what is finished is kept. Go on with:\n{again}")
        raise typer.Exit(interrupted)


def _watch(works: Sequence[Work], options: Options, way: Way | None) -> int:
    """Let the claims run before a board; 0, or if they were stopped, the exit status that says so."""
    tasks = {task: work for work in works for task in work.tasks}
    with terminal.Board(list(tasks), options.budgets) as board:
        try:
            for event in runner.run(list(tasks), way):
                board.update(event)
                if isinstance(event, Finished):
                    tasks[event.task].on_record(event.task.entry, event.outcome)
        except KeyboardInterrupt as stop:
            return exit_status(stop)
    return 0


def _leave(works: Sequence[Work], again: str) -> NoReturn:
    """Say how many hold and where the pages are; 0 if everything holds, 1 if not."""
    shown = [work for work in works if work.chosen]
    pages = [work.store.directory / "report.html" for work in shown]
    terminal.show_summary(", ".join(work.summary for work in shown), pages)
    if any(work.broken for work in works):
        complain(f"what ended in an error is tried once more, and nothing else, by:\n{again}")
    raise typer.Exit(0 if all(work.holds for work in works) else 1)
