"""The live view of the network experiments: one bar each over its cells, and the time left.

Draws nothing where nobody watches, like :class:`paper_reproduction.terminal.Board`.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TaskID, TextColumn
from rich.text import Text

from paper_reproduction.registry import Entry
from paper_reproduction.runner import Finished, Started
from paper_reproduction.terminal import colour, is_live


class _TimeLeft(ProgressColumn):
    """Cells to come times the mean time of a computed one; rich's own estimate forgets slow cells."""

    max_refresh = 0.5

    def render(self, task: Task) -> Text:
        seconds = left(task.completed, task.total, task.fields["spent"], task.elapsed or 0.0)
        if task.finished or seconds is None:
            return Text("")
        minutes, rest = divmod(round(seconds), 60)
        return Text(f"{minutes}:{rest:02d} left", style="cyan")


def left(done: float, total: float | None, spent: Sequence[float], elapsed: float) -> float | None:
    """Seconds until the last known cell is done; None where no cell has been computed yet."""
    if total is None or not spent:
        return None
    under_way = max(0.0, elapsed - sum(spent))
    return max(0.0, (total - done) * sum(spent) / len(spent) - under_way)


class CellBoard:
    """Bars for the experiments of a run; :meth:`watch` is what the checkpoints tell their progress to."""

    def __init__(self, entries: Sequence[Entry], console: Console | None = None) -> None:
        self.live = console is not None or is_live(sys.stdout)
        self.progress = Progress(
            TextColumn("{task.description}"),
            TextColumn("{task.fields[state]}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            _TimeLeft(),
            console=console or Console(file=sys.stdout),
            transient=True,
            refresh_per_second=4,
        )
        self.tasks: dict[str, TaskID] = {
            entry.name: self.progress.add_task(
                entry.name, start=False, total=None, state=_state("waiting"), spent=()
            )
            for entry in entries
        }

    def __enter__(self) -> CellBoard:
        if self.live:
            self.progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        if self.live:
            self.progress.stop()

    def update(self, event: Started | Finished) -> None:
        """An experiment begins or has its record."""
        task = self.tasks[event.entry.name]
        if isinstance(event, Started):
            self.progress.start_task(task)
            self.progress.update(task, state=_state("running"))
        else:
            self.progress.update(task, state=_state(event.outcome.state))
            self.progress.stop_task(task)

    def watch(self, name: str, done: int, known: int, spent: tuple[float, ...]) -> None:
        """So many cells of an experiment are done, of so many."""
        self.progress.update(self.tasks[name], completed=done, total=known, spent=spent)


def _state(state: str) -> str:
    style = colour(state)
    return f"[{style}]{state:<7}[/]" if style else state
