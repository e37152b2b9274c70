"""The command ``python -m paper_reproduction``: its words and its options.

What they do is imported where it is done, so that ``--help`` need not wait for JAX and Matplotlib.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from paper_reproduction.options import Options

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)

Quick = Annotated[bool, typer.Option("--quick", help="Smaller problems: everything in about a minute.")]
Out = Annotated[Path | None, typer.Option("--out", help="Where results go.  [default: out]", metavar="DIR")]
Seed = Annotated[int | None, typer.Option("--seed", min=0, help="Seed of all that is random.  [default: 0]")]
Resume = Annotated[bool, typer.Option("--resume", help="Skip claims that are finished with these settings.")]
Seeds = Annotated[int | None, typer.Option("--seeds", min=2, help="Random repetitions of each experiment.")]
Publish = Annotated[
    bool, typer.Option("--publish", help="Also store the results in the repository, for the plain command.")
]


@app.callback(invoke_without_command=True)
def main(
    context: typer.Context, quick: Quick = False, out: Out = None, seed: Seed = None, resume: Resume = False
) -> None:
    """Redraw and check every statement of the paper's linear section, then show the stored network results."""
    context.obj = Options(quick, out, seed, resume)
    if context.invoked_subcommand is None:
        from paper_reproduction import session

        session.run_everything(context.obj)


@app.command("list")
def list_claims() -> None:
    """Name every claim and every network experiment, with where it stands in the paper and what it costs."""
    from paper_reproduction import session

    session.list_everything()


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
    from paper_reproduction import session

    session.run_claims(names, context.obj.then(Options(quick, out, seed, resume)))


@app.command("mlp")
def run_networks(
    context: typer.Context,
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME...]", help="Experiments to run.  [default: all]")
    ] = None,
    seeds: Seeds = None,
    quick: Quick = False,
    out: Out = None,
    seed: Seed = None,
    resume: Resume = False,
    publish: Publish = False,
) -> None:
    """Train the networks and check what the theory says of them."""
    from paper_reproduction import session

    session.run_networks(names, context.obj.then(Options(quick, out, seed, resume)), seeds, publish)


@app.command("explorer")
def write_explorer(context: typer.Context, out: Out = None) -> None:
    """Write the page of sliders, one HTML file that needs no server and no network."""
    from paper_reproduction import session

    session.write_explorer(context.obj.then(Options(out=out)))


@app.command("picture")
def write_opening_picture(context: typer.Context, out: Out = None) -> None:
    """Draw the picture that opens the README, and the stall in motion."""
    from paper_reproduction import session

    session.write_opening_picture(context.obj.then(Options(out=out)))
