"""The tables that people see while claims run and when they are done.

In a terminal: a live table, then a coloured final one. Anywhere else: a line a claim on standard output as it
finishes and nothing more, so that a log or a pipe stays readable. Complaints go to standard error in both cases.
"""

from __future__ import annotations

import os
import re
import sys
import time
import unicodedata
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
from paper_reproduction.claim import Claim
from paper_reproduction.outcome import Outcome
from paper_reproduction.output import complain, say
from paper_reproduction.registry import Entry
from paper_reproduction.runner import Finished, Started, Task
from paper_reproduction.store import Store

_COLOUR = {
    "holds": "green",
    "fails": "bold red",
    "error": "bold red",
    "running": "bold cyan",
    "waiting": "dim",
}
_RESULT = ("claim", "result", "in the paper", "closest of its checks: number and bound")
_LONGEST_RESULT = len("holds, stored")
_ROOM_FOR_NUMBERS = 120


def is_live(stream: TextIO | None) -> bool:
    """Whether a table can be redrawn there."""
    return stream is not None and stream.isatty() and os.environ.get("TERM", "") not in ("dumb", "unknown")


class Board:
    """A live table where somebody watches, with state and clock of each claim; elsewhere a line a claim as it ends."""

    def __init__(self, tasks: Sequence[Task], budgets: bool = False) -> None:
        self.tasks = tasks
        self.budgets = budgets
        self.outcomes: dict[Task, Outcome] = {}
        self.running: dict[Task, float] = {}
        self.live: Live | None = None
        longest = lambda texts: max(map(len, texts), default=0)
        self.widths = (
            longest([task.entry.name for task in tasks]),
            _LONGEST_RESULT,
            longest([_RESULT[2], *(task.entry.claim.equation for task in tasks)]),
            0,
        )

    def __enter__(self) -> Board:
        if is_live(sys.stdout):
            console = Console(file=sys.stdout)
            self.live = Live(
                get_renderable=self.render, console=console, transient=True, refresh_per_second=5
            )
            self.live.start()
        else:
            say(_line(_RESULT, self.widths))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        if self.live is not None:
            self.live.stop()
            done = [task for task in self.tasks if task in self.outcomes]
            if done:
                _print_results([_result_row(task.entry, self.outcomes[task]) for task in done])

    def update(self, event: Started | Finished) -> None:
        """Take in what happened."""
        if isinstance(event, Started):
            self.running[event.task] = time.monotonic()
            return
        self.outcomes[event.task] = event.outcome
        self.running.pop(event.task, None)
        if self.live is None:
            say(_line(_result_row(event.task.entry, event.outcome), self.widths))

    def render(self) -> Group:
        """The table as it stands."""
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
        for name in ("claim", "in the paper", "result"):
            table.add_column(name, no_wrap=True, overflow="ellipsis")
        table.add_column("seconds / budget" if self.budgets else "seconds", no_wrap=True, justify="right")
        for task in self.tasks:
            table.add_row(*self._row(task))
        return Group(table, Text(f"\n{len(self.outcomes)} of {len(self.tasks)} done", style="dim"))

    def _row(self, task: Task) -> tuple[Text, ...]:
        outcome, state, label = self.outcomes.get(task), "waiting", "waiting"
        if outcome is not None:
            state, label = outcome.state, _label(outcome)
        elif task in self.running:
            state = label = "running" if task.computes else "reading"
        names = Text(task.entry.name), Text(task.entry.claim.equation)
        return *names, Text(label, style=_COLOUR.get(state, "")), self._clock(task, outcome)

    def _clock(self, task: Task, outcome: Outcome | None) -> Text:
        """Seconds spent now; nothing where nothing is computed."""
        if not task.computes or (outcome is not None and _whence(outcome)):
            return Text("")
        began = self.running.get(task)
        spent = outcome.seconds if outcome else time.monotonic() - began if began else float("nan")
        if not self.budgets:
            return Text(numbers.seconds(spent) if spent == spent else "")
        budget = task.entry.claim.budget(task.store.settings.quick)
        style = "yellow" if spent > budget else ""
        return Text(f"{numbers.seconds(spent)} / {numbers.seconds(budget)}", style=style)


def show_claims(entries: Sequence[Entry], budgets: bool = False) -> None:
    """The answer to ``list``."""
    costs = ("seconds", "with --quick") if budgets else ()
    header = ("claim", "in the paper", *costs, "says")
    rows = [
        (e.name, e.claim.equation, *(_budgets(e.claim) if budgets else ()), plain_text(e.claim.title))
        for e in entries
    ]
    if is_live(sys.stdout):
        Console(file=sys.stdout).print(_rich_table(header, rows))
    else:
        widths = [max(len(line[i]) for line in (header, *rows)) for i in range(len(header))]
        say("\n".join(_line(line, widths) for line in (header, *rows)))


def show_troubles(entries: Sequence[Entry], store: Store, budgets: bool = False) -> None:
    """Errors, broken checks, results of other runs, and exceeded budgets if asked for: one line each, on stderr."""
    for entry in entries:
        outcome = store.records.get(entry.name)
        if outcome is None:
            continue
        if outcome.replaced:
            complain(f"{entry.name}: {outcome.replaced}")
        if outcome.error:
            complain(f"{entry.name}: {outcome.error}")
        for check in outcome.verdict.checks if outcome.verdict else ():
            if not check.holds:
                figure, bound = numbers.plain(check)
                complain(
                    f"{entry.name}: {plain_text(check.name)}: {figure} is not {check.sense.value} {bound}"
                )
        if budgets and outcome.over_budget:
            spent, budget = numbers.seconds(outcome.seconds), numbers.seconds(outcome.budget)
            complain(f"{entry.name}: over its time budget, {spent} s of {budget} s")
    for outcome in store.records.values():
        if outcome.stale:
            complain(f"{outcome.name}: the result in {store.directory} is from another run ({outcome.stale})")


def show_summary(sentence: str, pages: Sequence[Path]) -> None:
    """The last lines: how many hold, and where to look next."""
    say(f"\n{sentence}\nopen {' and '.join(map(str, pages))}")


def plain_text(prose: str) -> str:
    r"""A sentence without its markup: ``$\delta$`` is δ, ``$n^{-1/2}$`` is n^(−1/2)."""
    return re.sub(r"\$([^$]+)\$", lambda formula: _plain_formula(formula.group(1)), prose)


def _plain_formula(latex: str) -> str:
    text = re.sub(
        r"([\^_])\{([^{}]*)\}", lambda m: f"{m[1]}({m[2]})" if len(m[2]) > 1 else m[1] + m[2], latex
    )
    text = re.sub(r"\\([A-Za-z]+)", lambda m: _greek(m[1]), text)
    return text.replace("{", "").replace("}", "").replace("-", "−")


def _greek(name: str) -> str:
    case = "CAPITAL" if name[0].isupper() else "SMALL"
    try:
        return unicodedata.lookup(f"GREEK {case} LETTER {name.upper()}")
    except KeyError:
        return name


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    """Columns two spaces apart, no lines and no colour."""
    return "  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip()


def _rich_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for name in header:
        narrow = name in ("claim", "result", "seconds", "with --quick")
        right = name in ("seconds", "with --quick")
        table.add_column(name, no_wrap=narrow, justify="right" if right else "left")
    for row in rows:
        table.add_row(*(Text(cell, style=_COLOUR.get(cell.partition(",")[0], "")) for cell in row))
    return table


def _print_results(rows: Sequence[Sequence[str]]) -> None:
    """The final table, with the numbers where a line has room for them; the report has them all."""
    console = Console(file=sys.stdout)
    columns = len(_RESULT) if console.width >= _ROOM_FOR_NUMBERS else len(_RESULT) - 1
    console.print(_rich_table(_RESULT[:columns], [row[:columns] for row in rows]))


def _result_row(entry: Entry, outcome: Outcome) -> tuple[str, ...]:
    said = "–"
    if outcome.verdict is not None:
        check = outcome.verdict.tightest
        figure, bound = numbers.plain(check)
        relation = check.sense.value if check.holds else f"is not {check.sense.value}"
        said = f"{plain_text(check.name)}: {figure} {relation} {bound}"
    return entry.name, _label(outcome), entry.claim.equation, said


def _label(outcome: Outcome) -> str:
    """Whether it holds and, if its arrays were not computed now, where they come from."""
    return ", ".join(filter(None, (outcome.state, _whence(outcome))))


def _whence(outcome: Outcome) -> str:
    """One word or two for arrays that were not computed now: stored, computed earlier, kept."""
    return outcome.origin.partition(":")[0] or ("kept" if outcome.kept else "")


def _budgets(claim: Claim) -> tuple[str, str]:
    return numbers.seconds(claim.seconds), numbers.seconds(claim.quick_seconds)
