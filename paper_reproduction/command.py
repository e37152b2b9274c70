"""The command ``python -m paper_reproduction``: its words, its options and its exit status."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from paper_reproduction import registry, runner, terminal
from paper_reproduction.claim import Settings
from paper_reproduction.registry import Entry
from paper_reproduction.store import Store

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)

Quick = Annotated[bool, typer.Option("--quick", help="Smaller problems: everything in under a minute.")]
Out = Annotated[Path | None, typer.Option("--out", help="Where results go.  [default: out]", metavar="DIR")]
Seed = Annotated[int | None, typer.Option("--seed", min=0, help="Seed of all that is random.  [default: 0]")]
Resume = Annotated[bool, typer.Option("--resume", help="Skip claims that are finished with these settings.")]


@dataclass(frozen=True)
class Options:
    """The four options, which may stand before or after ``run``."""

    quick: bool = False
    out: Path | None = None
    seed: int | None = None
    resume: bool = False

    def then(self, later: Options) -> Options:
        """Both sets together; what is said later wins."""
        return Options(
            quick=self.quick or later.quick,
            out=self.out if later.out is None else later.out,
            seed=self.seed if later.seed is None else later.seed,
            resume=self.resume or later.resume,
        )


@app.callback(invoke_without_command=True)
def main(
    context: typer.Context, quick: Quick = False, out: Out = None, seed: Seed = None, resume: Resume = False
) -> None:
    """Redraw and check every statement of the paper's linear section."""
    context.obj = Options(quick, out, seed, resume)
    if context.invoked_subcommand is None:
        entries = _entries()
        _execute(entries, entries, context.obj)


@app.command("list")
def list_claims() -> None:
    """Name every claim, with where it stands in the paper and what it costs."""
    terminal.show_claims(_entries())


@app.command("run")
def run_some(
    context: typer.Context,
    names: Annotated[
        list[str], typer.Argument(metavar="NAME...", help="Claims to run, as `list` names them.")
    ],
    quick: Quick = False,
    out: Out = None,
    seed: Seed = None,
    resume: Resume = False,
) -> None:
    """Run the claims of these names."""
    entries = _entries()
    _execute(_named(entries, names), entries, context.obj.then(Options(quick, out, seed, resume)))


def _entries() -> tuple[Entry, ...]:
    runner.prepare_process()
    try:
        entries = registry.discover()
    except registry.RegistryError as error:
        _refuse(str(error))
    return entries or _refuse("there are no claims to run")


def _named(entries: Sequence[Entry], names: Sequence[str]) -> list[Entry]:
    """The entries of these names, each once, in the order of the tables."""
    known = [entry.name for entry in entries]
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(name.replace("_", "-"), known, n=3, cutoff=0.5)
            near += [other for other in known if name in other and other not in near]
            hint = f"did you mean {' or '.join(near)}?" if near else f"the claims are {', '.join(known)}"
            _refuse(f"no claim is named {name!r}; {hint}")
    return [entry for entry in entries if entry.name in names]


def _execute(chosen: Sequence[Entry], entries: Sequence[Entry], options: Options) -> NoReturn:
    """Leave with 0 if every chosen claim holds, 1 if not, 2 if it cannot start, 130 if interrupted."""
    settings = Settings(seed=options.seed or 0, quick=options.quick)
    store = Store(options.out or Path("out"), entries, settings)
    try:
        store.open()
        interrupted = _watch(chosen, store, options.resume)
    except OSError as error:
        _refuse(f"cannot write to --out {store.directory}: {error.strerror or error}")
    done = [entry for entry in chosen if entry.name in store.settled]
    terminal.show_result(done, store)
    terminal.show_troubles(done, store)
    if interrupted:
        terminal.complain(
            f"interrupted after {len(done)} of {len(chosen)} claims; --resume goes on from there"
        )
        raise typer.Exit(130)
    terminal.show_place(store)
    raise typer.Exit(0 if all(store.records[entry.name].holds for entry in chosen) else 1)


def _watch(chosen: Sequence[Entry], store: Store, resume: bool) -> bool:
    """Let the claims run before the board; True if the user stopped them."""
    with terminal.Board(chosen, store) as board:
        try:
            for event in runner.run(chosen, store, resume):
                board.update(event)
        except KeyboardInterrupt:
            return True
    return False


def _refuse(reason: str) -> NoReturn:
    """One clear sentence, no traceback, exit status 2."""
    terminal.complain(f"error: {reason}")
    raise typer.Exit(2)
