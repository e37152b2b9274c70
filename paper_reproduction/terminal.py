"""What people see while claims run and when they are done.

In a terminal: a live table, then a coloured final one. Anywhere else: one plain table on standard output and
nothing more, so that a log or a pipe stays readable. Complaints go to standard error in both cases.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import TextIO

from rich import box
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from paper_reproduction import numbers
from paper_reproduction.outcome import Outcome
from paper_reproduction.registry import Entry
from paper_reproduction.runner import Finished, Started
from paper_reproduction.store import Store

_COLOUR = {
    "holds": "green",
    "fails": "bold red",
    "error": "bold red",
    "running": "bold cyan",
    "waiting": "dim",
}
_HEADER = ("claim", "equation", "holds", "figure", "bound")


def is_live(stream: TextIO) -> bool:
    """Whether a table can be redrawn there."""
    return stream.isatty() and os.environ.get("TERM", "") not in ("dumb", "unknown")


def say(text: str, stream: TextIO | None = None) -> None:
    """Print plainly, also where the stream's encoding knows no ≤."""
    stream = stream or sys.stdout
    encoding = getattr(stream, "encoding", None) or "utf-8"
    for mark, ascii_mark in (("≤", "<="), ("≥", ">="), ("–", "-")):
        try:
            mark.encode(encoding)
        except UnicodeEncodeError:
            text = text.replace(mark, ascii_mark)
    print(text.encode(encoding, errors="replace").decode(encoding), file=stream, flush=True)


def complain(text: str) -> None:
    """One line to standard error."""
    say(text, sys.stderr)


class Board:
    """The live table: claim, equation, state, seconds against budget. Draws nothing where nobody watches."""

    def __init__(self, entries: Sequence[Entry], store: Store, noun: str = "claims") -> None:
        self.entries = entries
        self.noun = noun
        self.quick = store.settings.quick
        self.outcomes: dict[str, Outcome] = {}
        self.running = ""
        self.since = 0.0
        self.live: Live | None = None

    def __enter__(self) -> Board:
        if is_live(sys.stdout):
            console = Console(file=sys.stdout)
            self.live = Live(
                get_renderable=self.render, console=console, transient=True, refresh_per_second=5
            )
            self.live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        if self.live is not None:
            self.live.stop()

    def update(self, event: Started | Finished) -> None:
        """Take in what happened; the next redraw shows it."""
        if isinstance(event, Finished):
            self.outcomes[event.entry.name] = event.outcome
            self.running = ""
        else:
            self.running, self.since = event.entry.name, time.monotonic()

    def render(self) -> Group:
        """The table as it stands."""
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
        for name in ("claim", "equation", "state"):
            table.add_column(name, no_wrap=True, overflow="ellipsis")
        table.add_column("seconds / budget", no_wrap=True, justify="right")
        for entry in self.entries:
            table.add_row(*self._row(entry))
        count = f"\n{len(self.outcomes)} of {len(self.entries)} {self.noun} done"
        return Group(table, Text(count, style="dim"))

    def _row(self, entry: Entry) -> tuple[Text, ...]:
        outcome = self.outcomes.get(entry.name)
        budget = entry.claim.budget(self.quick)
        state, spent = "waiting", float("nan")
        if outcome is not None:
            state, spent = outcome.state, outcome.seconds
        elif entry.name == self.running:
            state, spent = "running", time.monotonic() - self.since
        label = f"{state} (kept)" if outcome is not None and outcome.kept else state
        clock = Text(
            f"{numbers.seconds(spent)} / {numbers.seconds(budget)}", style="yellow" if spent > budget else ""
        )
        return Text(entry.name), Text(entry.claim.equation), Text(label, style=_COLOUR[state]), clock


def show_result(entries: Sequence[Entry], store: Store, heading: str = "") -> None:
    """The final table of the claims of this run."""
    _show(_HEADER, [_result_row(entry, store.records[entry.name]) for entry in entries], heading)


def show_claims(entries: Sequence[Entry], heading: str = "") -> None:
    """The answer to ``list``."""
    _show(("claim", "equation", "seconds", "quick", "says"), [_list_row(entry) for entry in entries], heading)


def _show(header: Sequence[str], rows: Sequence[Sequence[str]], heading: str) -> None:
    if heading:
        say(f"\n{heading}")
    if is_live(sys.stdout):
        Console(file=sys.stdout).print(_rich_table(header, rows))
    else:
        say(plain_table(header, rows))


def show_troubles(entries: Sequence[Entry], store: Store) -> None:
    """Errors, broken checks, exceeded budgets and results of other runs, one line each, on standard error."""
    for entry in entries:
        outcome = store.records.get(entry.name)
        if outcome is None:
            continue
        if outcome.error:
            complain(f"{entry.name}: {outcome.error}")
        for check in outcome.verdict.checks if outcome.verdict else ():
            if not check.holds:
                figure, bound = numbers.plain(check)
                complain(f"{entry.name}: {check.name}: {figure} is not {check.sense.value} {bound}")
        if outcome.over_budget:
            spent, budget = numbers.seconds(outcome.seconds), numbers.seconds(outcome.budget)
            complain(f"{entry.name}: over its time budget, {spent} s of {budget} s")
    for outcome in store.records.values():
        if outcome.stale:
            complain(f"{outcome.name}: the result in {store.directory} is from another run ({outcome.stale})")


def show_summary(sentence: str, pages: Sequence[Path]) -> None:
    """The last lines: how many hold, and where to look next."""
    say(f"\n{sentence}\nopen {' and '.join(map(str, pages))}")


def plain_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns two spaces apart, numbers where they are, no lines and no colour."""
    lines = [header, *rows]
    widths = [max(len(line[i]) for line in lines) for i in range(len(header))]
    return "\n".join(
        "  ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)).rstrip() for line in lines
    )


def _rich_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for name in header:
        wraps = name in ("equation", "says")
        table.add_column(name, no_wrap=not wraps, justify="right" if name in ("seconds", "quick") else "left")
    for row in rows:
        table.add_row(*(Text(cell, style=_COLOUR.get(cell, "")) for cell in row))
    return table


def _result_row(entry: Entry, outcome: Outcome) -> tuple[str, ...]:
    figure, bound = "–", "–"
    if outcome.verdict is not None:
        check = outcome.verdict.tightest
        figure, bound = numbers.plain(check)
        bound = f"{check.sense.value} {bound}"
    return entry.name, entry.claim.equation, outcome.state, figure, bound


def _list_row(entry: Entry) -> tuple[str, ...]:
    claim = entry.claim
    budgets = numbers.seconds(claim.seconds), numbers.seconds(claim.quick_seconds)
    return claim.name, claim.equation, *budgets, claim.title.replace("$", "")
