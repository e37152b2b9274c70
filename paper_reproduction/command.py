"""The command ``python -m paper_reproduction``: its words, its options, and its first line.

What they do is imported where it is done, so that neither ``--help`` nor the first line waits for JAX and Matplotlib.
"""

from __future__ import annotations

import contextlib
import difflib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from linear_theory import __version__
from paper_reproduction.interruption import endings_interrupt, exit_status
from paper_reproduction.options import Options
from paper_reproduction.output import complain, refuse, say

if TYPE_CHECKING:
    from paper_reproduction.registry import Chapter

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)

Quick = Annotated[bool, typer.Option("--quick", help="Smaller problems: some seconds a claim.")]
Out = Annotated[Path | None, typer.Option("--out", help="Where results go.  [default: out]", metavar="DIR")]
Seed = Annotated[
    int | None, typer.Option("--seed", min=0, metavar="N", help="Seed of all that is random.  [default: 0]")
]
Resume = Annotated[
    bool, typer.Option("--resume", help="Go on: compute nothing again that is finished with these settings.")
]
Jobs = Annotated[
    int | None,
    typer.Option(
        "--jobs", min=1, metavar="N", help="So many claims side by side.  [default: one a core, at most 4]"
    ),
]
Budgets = Annotated[
    bool,
    typer.Option(
        "--budgets", help="For developers: show what each claim may cost, and say where it costs more."
    ),
]
Seeds = Annotated[
    int | None, typer.Option("--seeds", min=2, metavar="N", help="Random repetitions of each experiment.")
]
Publish = Annotated[
    bool, typer.Option("--publish", help="Also store the results in the repository, for the plain command.")
]
LIST = "list"


def _version(asked: bool) -> None:
    if asked:
        say(f"linear-theory {__version__}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def main(
    context: typer.Context,
    quick: Quick = False,
    out: Out = None,
    seed: Seed = None,
    resume: Resume = False,
    jobs: Jobs = None,
    budgets: Budgets = False,
    version: Annotated[
        bool, typer.Option("--version", help="Name and version.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    """Compute, check and draw every statement of the paper's linear section, and show what is stored beyond it."""
    context.obj = options = Options(quick, out, seed, resume, jobs, budgets)
    if context.invoked_subcommand is None:
        size = "smaller problems, less than a minute" if quick else "some minutes; with --quick less than one"
        with _interruptible(options.resuming()):
            say(f"computing and checking the paper's claims ({size}); results go to {options.directory}")
            from paper_reproduction import session

            session.run_everything(options, options.resuming())


@app.command(LIST)
def list_everything(context: typer.Context, budgets: Budgets = False) -> None:
    """Name every claim and every network experiment."""
    from paper_reproduction import registry

    options = context.obj.then(Options(budgets=budgets))
    with _interruptible():
        for i, chapter in enumerate(one for one in registry.chapters() if one.names()):
            if i:
                say("")
            _list(options, chapter.word)


@app.command("run")
def run_some(
    context: typer.Context,
    names: Annotated[
        list[str] | None, typer.Argument(metavar="NAME", help=f"Claims to run, or {LIST} to name them.")
    ] = None,
    quick: Quick = False,
    out: Out = None,
    seed: Seed = None,
    resume: Resume = False,
    jobs: Jobs = None,
    budgets: Budgets = False,
) -> None:
    """Run the claims of these names."""
    options = context.obj.then(Options(quick, out, seed, resume, jobs, budgets))
    if names == [LIST]:
        with _interruptible():
            _list(options, "run")
        return
    names = _known(names or [], "run")
    again = options.resuming("run", *names)
    with _interruptible(again):
        say(f"computing and checking {', '.join(names)}; results go to {options.directory}")
        from paper_reproduction import session

        session.run_claims(_chapter("run"), names, options, again)


@app.command("beyond")
def run_beyond(
    context: typer.Context,
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="NAME", help=f"Claims to run, or {LIST} to name them.  [default: all]"),
    ] = None,
    quick: Quick = False,
    out: Out = None,
    seed: Seed = None,
    resume: Resume = False,
    jobs: Jobs = None,
    publish: Publish = False,
    budgets: Budgets = False,
) -> None:
    """Compute, check and draw what the theory says beyond the paper."""
    options = context.obj.then(Options(quick, out, seed, resume, jobs, budgets))
    if names == [LIST]:
        with _interruptible():
            _list(options, "beyond")
        return
    size = "less than a minute" if options.quick else "some minutes"
    _run_stored("beyond", "computing", f"what goes beyond the paper ({size})", names, options, publish)


@app.command("mlp")
def run_networks(
    context: typer.Context,
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="NAME", help=f"Experiments to run, or {LIST} to name them.  [default: all]"),
    ] = None,
    seeds: Seeds = None,
    quick: Quick = False,
    out: Out = None,
    seed: Seed = None,
    resume: Resume = False,
    jobs: Jobs = None,
    publish: Publish = False,
    budgets: Budgets = False,
) -> None:
    """Train the networks and check what the theory says of them."""
    options = context.obj.then(Options(quick, out, seed, resume, jobs, budgets))
    if names == [LIST]:
        with _interruptible():
            _list(options, "mlp")
        return
    size = "some minutes" if options.quick else "under an hour"
    _run_stored("mlp", "training", f"networks ({size})", names, options, publish, seeds)


def _run_stored(
    word: str,
    doing: str,
    everything: str,
    names: Sequence[str] | None,
    options: Options,
    publish: bool,
    seeds: int | None = None,
) -> None:
    """The claims of these names, or all, of a chapter whose results lie in the repository."""
    if publish and options.quick:
        refuse("--publish is for full runs; leave out --quick")
    chosen = _known(names, word) if names else None
    extra = [*(["--seeds", str(seeds)] if seeds else []), *(["--publish"] if publish else [])]
    again = options.resuming(word, *(chosen or []), *extra)
    chapter = _chapter(word)
    with _interruptible(again):
        what = ", ".join(chosen) if chosen else everything
        say(f"{doing} and checking {what}; results go to {options.directory / chapter.room}")
        from paper_reproduction import session

        session.run_claims(chapter, chosen, options, again, seeds, publish)


@app.command("explorer")
def write_explorer(context: typer.Context, out: Out = None) -> None:
    """Write the page of sliders, one HTML file."""
    options = context.obj.then(Options(out=out))
    with _interruptible():
        say("writing the page of sliders")
        from paper_reproduction import session

        session.write_explorer(options)


@app.command("picture")
def write_opening_picture(context: typer.Context, out: Out = None) -> None:
    """Draw the opening picture and the stall in motion."""
    options = context.obj.then(Options(out=out))
    with _interruptible():
        say("drawing the opening picture and the stall in motion")
        from paper_reproduction import session

        session.write_opening_picture(options)


def _chapter(word: str) -> Chapter:
    """The chapter of a word of the command."""
    from paper_reproduction import registry

    return next(chapter for chapter in registry.chapters() if chapter.word == word)


def _list(options: Options, word: str) -> None:
    chapter = _chapter(word)
    say(f"{chapter.noun.many}, for the word {word}")
    from paper_reproduction import session

    session.list_claims(chapter, options)


def _known(names: Sequence[str], word: str) -> list[str]:
    """These names, each once; one that nothing is called is refused before a claim is imported."""
    from paper_reproduction import registry

    chapter = _chapter(word)
    noun, known = chapter.noun.short, chapter.names()
    if not names:
        refuse(f"which {noun}s? They are {', '.join(known)}")
    for name in names:
        if name in known:
            continue
        for other in registry.chapters():
            if name in other.names():
                told = f"a {other.noun.full}: the word for it is {other.word}, as in {other.word} {name}"
                refuse(f"{name!r} is {told}")
        near = difflib.get_close_matches(name.replace("_", "-"), known, n=3, cutoff=0.5)
        near += [one for one in known if name in one and one not in near]
        hint = f"did you mean {' or '.join(near)}?" if near else f"the {noun}s are {', '.join(known)}"
        refuse(f"no {noun} is named {name!r}; {hint}")
    return list(dict.fromkeys(names))


@contextlib.contextmanager
def _interruptible(again: str = "") -> Iterator[None]:
    """Ctrl-C, or being ended, before there is anything to show: one line, and how to go on."""
    try:
        with endings_interrupt():
            yield
    except KeyboardInterrupt as stop:
        complain(f"interrupted; go on with:\n{again}" if again else "interrupted")
        raise typer.Exit(exit_status(stop)) from None
