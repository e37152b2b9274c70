"""``out/report.html``: one page that holds everything and asks the network for nothing."""

from __future__ import annotations

import base64
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template
from markupsafe import Markup

from paper_reproduction import mathml, numbers, provenance
from paper_reproduction.claim import Check
from paper_reproduction.outcome import Outcome
from paper_reproduction.registry import Entry
from paper_reproduction.store import Store, atomic


def write(store: Store) -> Path:
    """Render all records of a store beside its datasets."""
    path = store.directory / "report.html"
    with atomic(path) as draft:
        draft.write_text(render(store), encoding="utf-8")
    return path


def render(store: Store) -> str:
    """The page as text."""
    commit, dirty = provenance.commit()
    sections = [_section(store, entry) for entry in store.entries if entry.name in store.records]
    own = [section for section in sections if not section["stale"]]
    return _template().render(
        sections=sections,
        missing=[entry.claim for entry in store.entries if entry.name not in store.records],
        held=sum(section["holds"] for section in own),
        total=len(own),
        stale=len(sections) - len(own),
        findings=sum(len(section["findings"]) for section in own),
        seconds=numbers.seconds(sum(section["raw_seconds"] for section in own)),
        seed=store.settings.seed,
        quick=store.settings.quick,
        versions=provenance.versions(),
        commit=commit[:12],
        dirty=dirty,
    )


@cache
def _template() -> Template:
    loader = FileSystemLoader(Path(__file__).with_name("templates"))
    environment = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.get_template("report.html.j2")


def _section(store: Store, entry: Entry) -> dict[str, Any]:
    claim, outcome = entry.claim, store.records[entry.name]
    verdict = outcome.verdict
    return {
        "id": claim.name,
        "title": mathml.prose(claim.title),
        "alt": f"Figure: {claim.title}".replace("$", ""),
        "equation": claim.equation,
        "statement": mathml.prose(claim.statement),
        "formula": mathml.formula_or_source(claim.formula, "block"),
        "functions": claim.functions,
        "state": outcome.state,
        "holds": outcome.holds,
        "tightest": _check(verdict.tightest) if verdict else None,
        "checks": [_check(check) for check in verdict.checks] if verdict else [],
        "findings": [mathml.prose(sentence) for sentence in verdict.findings] if verdict else [],
        "error": outcome.error,
        "picture": _picture(store, entry, outcome),
        "raw_seconds": outcome.seconds if outcome.seconds == outcome.seconds else 0.0,
        "seconds": numbers.seconds(outcome.seconds),
        "budget": numbers.seconds(outcome.budget),
        "over_budget": outcome.over_budget,
        "stale": outcome.stale,
        "command": _command(outcome),
    }


def _check(check: Check) -> dict[str, Any]:
    figure, bound = numbers.plain(check)
    return {
        "name": mathml.prose(check.name),
        "figure": numbers.html(figure),
        "bound": Markup("{}&nbsp;{}").format(check.sense.value, numbers.html(bound)),
        "holds": check.holds,
    }


def _picture(store: Store, entry: Entry, outcome: Outcome) -> str | None:
    """The PNG inside a data URI, if this outcome has one."""
    path = store.path(entry, "png")
    if not outcome.figure_fingerprint or not path.is_file():
        return None
    return "data:image/png;base64," + base64.b64encode(path.read_bytes()).decode("ascii")


def _command(outcome: Outcome) -> str:
    quick = " --quick" if outcome.quick else ""
    return f"python -m paper_reproduction run {outcome.name} --seed {outcome.seed}{quick}"
