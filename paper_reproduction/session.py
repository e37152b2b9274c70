"""What the command does once its words are understood: which claims, from where, and what the user sees of them."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NoReturn

import typer

from paper_reproduction import (
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
)
from paper_reproduction.claim import Settings
from paper_reproduction.options import Options
from paper_reproduction.outcome import Outcome
from paper_reproduction.registry import Entry
from paper_reproduction.sources import Source
from paper_reproduction.store import Store


@dataclass(frozen=True)
class Work:
    """Claims to settle in a store, from which sources, and what is said of them."""

    chosen: Sequence[Entry]
    store: Store
    sources: Sequence[Source]
    page: Callable[[Store], object] = report.write
    noun: str = "claims"
    heading: str = ""
    on_record: Callable[[Entry, Outcome], None] = lambda entry, outcome: None  # once a record is on disk

    @property
    def done(self) -> list[Entry]:
        """What has been settled so far."""
        return [entry for entry in self.chosen if entry.name in self.store.settled]

    @property
    def holds(self) -> bool:
        """Whether everything chosen was settled and holds."""
        return self._holding == len(self.chosen)

    @property
    def _holding(self) -> int:
        return sum(self.store.records[entry.name].holds for entry in self.done)

    @property
    def summary(self) -> str:
        """How many of the chosen hold, as a phrase."""
        return f"{self._holding} of {len(self.chosen)} {self.noun} hold"


def run_everything(options: Options) -> NoReturn:
    """All claims, then the stored network results."""
    claims, experiments = _claims_work(_claims(), None, options), _experiments()
    _perform(claims)
    networks = _stored_networks(experiments, options)
    if networks.chosen:
        _perform(networks)
        report.write(claims.store)  # now that there is a page to link to
    _leave(claims, networks)


def run_claims(names: Sequence[str], options: Options) -> NoReturn:
    """The claims of these names."""
    work = _claims_work(_claims(), names, options)
    _perform(work)
    _leave(work)


def list_everything() -> None:
    """Every claim and every network experiment."""
    terminal.show_claims(_claims())
    if experiments := _experiments():
        terminal.show_claims(experiments, "network experiments, for the word mlp")


def run_networks(names: Sequence[str] | None, options: Options, seeds: int | None, publish: bool) -> NoReturn:
    """Train the networks of these experiments, or of all."""
    if publish and options.quick:
        _refuse("--publish is for full runs; leave out --quick")
    entries = _experiments() or _refuse("there are no network experiments to run")
    chosen = _named(entries, names, "experiment") if names else list(entries)
    terminal.say(f"on {provenance.device()}, jax {provenance.versions()['jax']}")
    store = Store(options.directory / "mlp", entries, _settings(options, seeds), provenance.network_stamp())

    def publish_stored(entry: Entry, outcome: Outcome) -> None:
        if not publish or outcome.error:
            return
        try:
            shipped.publish(entry, store, provenance.backend())
        except OSError as error:
            _refuse(f"cannot publish {entry.name}: {error.strerror or error}")

    work = Work(
        chosen, store, _sources(options), network_report.write, "experiments", on_record=publish_stored
    )
    _perform(work)
    _leave(work)


def write_explorer(options: Options) -> None:
    """The page of sliders."""
    page = options.directory / "explorer.html"
    try:
        page.parent.mkdir(parents=True, exist_ok=True)
        explorer.write(page)
    except OSError as error:
        _refuse(f"cannot write to --out {page.parent}: {error.strerror or error}")
    terminal.say(f"open {page} in a browser")


def write_opening_picture(options: Options) -> None:
    """The picture that opens the README, and the stall in motion."""
    from figures import hero as drawing

    still, moving = options.directory / "hero.png", options.directory / "stall.gif"
    dataset = hero.compute()
    try:
        still.parent.mkdir(parents=True, exist_ok=True)
        drawing.draw(dataset).savefig(still, dpi=150, metadata={"Software": None})
        drawing.animate(dataset, moving)
    except OSError as error:
        _refuse(f"cannot write to --out {still.parent}: {error.strerror or error}")
    terminal.say(f"open {still} and {moving}")


def _settings(options: Options, seeds: int | None = None) -> Settings:
    """What the claims are told."""
    return Settings(seed=options.seed or 0, quick=options.quick, seeds=seeds)


def _sources(options: Options) -> tuple[Source, ...]:
    """Where arrays come from: kept where that is wanted and possible, else computed."""
    return (sources.kept, sources.computed) if options.resume else (sources.computed,)


def _claims() -> tuple[Entry, ...]:
    return _discovered(registry.discover) or _refuse("there are no claims to run")


def _experiments() -> tuple[Entry, ...]:
    return _discovered(registry.experiments)


def _discovered(discover: Callable[[], tuple[Entry, ...]]) -> tuple[Entry, ...]:
    runner.prepare_process()
    try:
        return discover()
    except registry.RegistryError as error:
        _refuse(str(error))


def _named(entries: Sequence[Entry], names: Sequence[str], noun: str) -> list[Entry]:
    """The entries of these names, each once, in the order of the tables."""
    known = [entry.name for entry in entries]
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(name.replace("_", "-"), known, n=3, cutoff=0.5)
            near += [other for other in known if name in other and other not in near]
            hint = f"did you mean {' or '.join(near)}?" if near else f"the {noun}s are {', '.join(known)}"
            _refuse(f"no {noun} is named {name!r}; {hint}")
    return [entry for entry in entries if entry.name in names]


def _claims_work(entries: Sequence[Entry], names: Sequence[str] | None, options: Options) -> Work:
    """The claims of these names, or all."""
    chosen = entries if names is None else _named(entries, names, "claim")
    store = Store(options.directory, entries, _settings(options))
    return Work(chosen, store, _sources(options))


def _stored_networks(entries: Sequence[Entry], options: Options) -> Work:
    """What there is of network results without computing: the user's own, else those of the repository."""
    store = Store(options.directory / "mlp", entries, _settings(options), provenance.network_stamp())
    there = [e for e in entries if sources.earlier(e, store) or shipped.path(e, "cpu").is_file()]
    known = (sources.earlier, sources.stored)
    return Work(there, store, known, network_report.write, "stored network results", "stored network results")


def _perform(work: Work) -> None:
    """Settle the work before the user's eyes; leave with 2 if it cannot start, 130 if interrupted."""
    try:
        work.store.open()
        interrupted = _watch(work, terminal.Board(work.chosen, work.store, work.noun))
    except OSError as error:
        _refuse(f"cannot write to --out {work.store.directory}: {error.strerror or error}")
    done = work.done
    terminal.show_result(done, work.store, work.heading)
    terminal.show_troubles(done, work.store)
    if interrupted:
        terminal.complain(
            f"interrupted after {len(done)} of {len(work.chosen)} {work.noun}; --resume goes on from there"
        )
        raise typer.Exit(130)


def _watch(work: Work, board: terminal.Board) -> bool:
    """Let the claims run before the board; True if the user stopped them."""
    with board:
        try:
            for event in runner.run(work.chosen, work.store, work.sources, work.page):
                board.update(event)
                if isinstance(event, runner.Finished):
                    work.on_record(event.entry, event.outcome)
        except KeyboardInterrupt:
            return True
    return False


def _leave(*works: Work) -> NoReturn:
    """Say how many hold and where the pages are; 0 if everything holds, 1 if not."""
    shown = [work for work in works if work.chosen]
    pages = [work.store.directory / "report.html" for work in shown]
    terminal.show_summary(", ".join(work.summary for work in shown), pages)
    raise typer.Exit(0 if all(work.holds for work in works) else 1)


def _refuse(reason: str) -> NoReturn:
    """One clear sentence, no traceback, exit status 2."""
    terminal.complain(f"error: {reason}")
    raise typer.Exit(2)
