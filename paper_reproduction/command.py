"""The command ``python -m paper_reproduction``: its words, its options, and its first line.

What they do is imported where it is done, so that neither ``--help`` nor the first line waits for JAX and Matplotlib.
"""

from __future__ import annotations

import contextlib
import difflib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated

import typer

from linear_theory import __version__
from paper_reproduction.options import Options
from paper_reproduction.output import complain, refuse, say

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
    """Compute, check and draw every statement of the paper's linear section, and show the stored network results."""
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
    options = context.obj.then(Options(budgets=budgets))
    with _interruptible():
        _list_claims(options)
        say("")
        _list_experiments(options)


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
            _list_claims(options)
        return
    names = _known(names or [], "claim")
    again = options.resuming("run", *names)
    with _interruptible(again):
        say(f"computing and checking {', '.join(names)}; results go to {options.directory}")
        from paper_reproduction import session

        session.run_claims(names, options, again)


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
            _list_experiments(options)
        return
    if publish and options.quick:
        refuse("--publish is for full runs; leave out --quick")
    chosen = _known(names, "experiment") if names else None
    what = (
        ", ".join(chosen) if chosen else f"networks ({'some minutes' if options.quick else 'under an hour'})"
    )
    extra = [*(["--seeds", str(seeds)] if seeds else []), *(["--publish"] if publish else [])]
    again = options.resuming("mlp", *(chosen or []), *extra)
    with _interruptible(again):
        say(f"training and checking {what}; results go to {options.directory / 'mlp'}")
        from paper_reproduction import session

        session.run_networks(chosen, options, seeds, publish, again)


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


def _list_claims(options: Options) -> None:
    say("claims, for the word run")
    from paper_reproduction import session

    session.list_claims(options)


def _list_experiments(options: Options) -> None:
    say("network experiments, for the word mlp")
    from paper_reproduction import session

    session.list_experiments(options)


def _known(names: Sequence[str], noun: str) -> list[str]:
    """These names, each once; one that nothing is called is refused before anything is imported."""
    from paper_reproduction import registry

    known = registry.names(registry.CLAIMS if noun == "claim" else registry.EXPERIMENTS)
    other = registry.names(registry.EXPERIMENTS if noun == "claim" else registry.CLAIMS)
    if not names:
        refuse(f"which {noun}s? They are {', '.join(known)}")
    for name in names:
        if name in known:
            continue
        if name in other:
            word, what = ("mlp", "a network experiment") if noun == "claim" else ("run", "a claim")
            refuse(f"{name!r} is {what}: the word for it is {word}, as in {word} {name}")
        near = difflib.get_close_matches(name.replace("_", "-"), known, n=3, cutoff=0.5)
        near += [one for one in known if name in one and one not in near]
        hint = f"did you mean {' or '.join(near)}?" if near else f"the {noun}s are {', '.join(known)}"
        refuse(f"no {noun} is named {name!r}; {hint}")
    return list(dict.fromkeys(names))


@contextlib.contextmanager
def _interruptible(again: str = "") -> Iterator[None]:
    """Ctrl-C before there is anything to show: one line, and how to go on."""
    try:
        yield
    except KeyboardInterrupt:
        complain(f"interrupted; go on with:\n{again}" if again else "interrupted")
        raise typer.Exit(130) from None
