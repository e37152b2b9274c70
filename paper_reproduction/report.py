"""``out/report.html``: one page that holds everything and asks the network for nothing.

What the pages of the other chapters share with it is public here: sections, tables, the environment.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template
from markupsafe import Markup

import figures
from paper_reproduction import fonts, mathml, numbers, provenance, registry
from paper_reproduction.claim import Check, Table
from paper_reproduction.outcome import Outcome
from paper_reproduction.policy import hashed
from paper_reproduction.registry import Chapter, Entry
from paper_reproduction.store import Store, records_in
from paper_reproduction.writing import put as put_file

TEMPLATES = Path(__file__).with_name("templates")


def write(store: Store) -> Path:
    """Render all records of a store beside its datasets."""
    return put(store, render(store))


def put(store: Store, text: str) -> Path:
    """Write a page, whole or not at all."""
    path = store.directory / "report.html"
    put_file(path, text.encode("utf-8", errors="replace"))
    return path


def render(store: Store) -> str:
    """The page as text."""
    return template("report.html.j2").render(
        **shared(store, registry.PAPER),
        seed=store.settings.seed,
        quick=store.settings.quick,
        versions=store.stamp.versions(),
    )


def _opening() -> str | None:
    """The picture that opens everything, as the repository holds it."""
    path = Path(figures.__file__).with_name("gallery") / "hero.png"
    return _data_uri(path.read_bytes()) if path.is_file() else None


def shared(store: Store, chapter: Chapter) -> dict[str, Any]:
    """What every page says: its sections, how many hold, what is missing or of another run."""
    from paper_reproduction import hero  # loads the mathematics, which not every command needs

    commit, dirty = provenance.commit()
    sections = [_section(store, entry) for entry in store.entries if entry.name in store.records]
    own = [section for section in sections if not section["stale"]]
    return {
        "sections": sections,
        "missing": [entry.claim for entry in store.entries if entry.name not in store.records],
        "held": sum(section["holds"] for section in own),
        "total": len(own),
        "stale": len(sections) - len(own),
        "findings": sum(len(section["findings"]) for section in own),
        "seconds": numbers.seconds(sum(section["raw_seconds"] for section in own)),
        "commit": commit[:12],
        "dirty": dirty,
        "opening": _opening(),
        "opening_alt": hero.ALT,
        "fonts": fonts,
        "neighbours": _neighbours(store.directory, chapter),
        **_script(),
    }


@cache
def _script() -> dict[str, str]:
    """The one script of a page, and its hash: the page's policy lets run nothing else."""
    text = (TEMPLATES / "page.js").read_text(encoding="utf-8")
    return {"script": Markup(text), "script_hash": hashed(text)}


@cache
def template(name: str) -> Template:
    """A page's template."""
    loader = FileSystemLoader(TEMPLATES)
    environment = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.get_template(name)


def making(store: Store) -> dict[str, Any]:
    """On what, from which seeds and with which versions the results of a page were made, each said once."""
    outcomes = [outcome for outcome in store.records.values() if not outcome.stale]
    known = [outcome for outcome in outcomes if outcome.versions]
    versions = [dict(outcome.versions) for outcome in known] or [store.stamp.versions()]
    return {
        "devices": _distinct(outcome.device for outcome in known) or [store.stamp.device],
        "seeds": _distinct(outcome.seed for outcome in known) or [store.settings.seed],
        "modes": _distinct("quick run" if outcome.quick else "full run" for outcome in outcomes),
        "versions": versions[0] if all(other == versions[0] for other in versions) else {},
        "not_here": sum(bool(outcome.origin) for outcome in outcomes),
    }


def _distinct(values: Iterable[Any]) -> list[Any]:
    return list(dict.fromkeys(values))


def _neighbours(directory: Path, chapter: Chapter) -> list[dict[str, Any]]:
    """The pages of the other chapters that lie beside this one, with how many of their claims hold."""
    root = directory.parent if chapter.room else directory
    found = []
    for other in registry.chapters():
        counted = None if other == chapter else _counted(root / other.room)
        if counted:
            place = f"{'../' if chapter.room else ''}{other.room}{'/' if other.room else ''}report.html"
            found.append({"heading": other.heading, "page": place, "many": other.noun.many, **counted})
    return found


def _counted(directory: Path) -> dict[str, int] | None:
    """How many claims hold by the records beside a page, where there is one."""
    try:
        own = [record for record in records_in(directory) if not record["stale"]]
        held = sum(bool(record["holds"]) for record in own)
    except (KeyError, TypeError):
        return None
    return {"held": held, "total": len(own)} if (directory / "report.html").is_file() else None


def _first_clause(text: str) -> str:
    """What a slide has room for."""
    clause = re.split(r"(?<=\.) (?=[A-Z])|;", text, maxsplit=1)[0]
    return clause.removesuffix(".") + "." if clause else ""


def _section(store: Store, entry: Entry) -> dict[str, Any]:
    claim, outcome = entry.claim, store.records[entry.name]
    verdict = outcome.verdict
    return {
        "id": claim.name,
        "title": mathml.prose(claim.title),
        "alt": entry.seen,
        "equation": claim.equation,
        "statement": mathml.prose(claim.statement),
        "formula": mathml.displayed_or_source(claim.formula),
        "functions": claim.functions,
        "state": outcome.state,
        "holds": outcome.holds,
        "tightest": check_row(verdict.tightest) if verdict else None,
        "checks": [check_row(check) for check in verdict.checks] if verdict else [],
        "findings": [mathml.prose(sentence) for sentence in verdict.findings] if verdict else [],
        "measured": [mathml.prose(sentence) for sentence in verdict.measured] if verdict else [],
        "error": outcome.error,
        "picture": _picture(store, entry, outcome),
        "raw_seconds": outcome.seconds if outcome.seconds == outcome.seconds else 0.0,
        "seconds": numbers.seconds(outcome.seconds),
        "stale": outcome.stale,
        "command": outcome.command or store.stamp.command(outcome.name, store.settings),
        "question": mathml.prose(claim.question),
        "headline": mathml.prose(verdict.headline) if verdict else "",
        "answer": mathml.prose(_first_clause(verdict.headline)) if verdict else "",
        "tables": [table(item) for item in outcome.tables],
        "origin": mathml.prose(outcome.origin[:1].upper() + outcome.origin[1:]),
        "changed": not outcome.stale and outcome.fingerprint != entry.fingerprint,
        "commit": outcome.commit[:12],
        "dirty": outcome.dirty,
        "device": outcome.device,
        "seed": outcome.seed,
        "seeds": outcome.seeds,
        "versions": dict(outcome.versions),
    }


def table(item: Table) -> dict[str, Any]:
    """A claim's table with its formulas set; the star before a cell becomes a mark that it is bold."""
    return {
        "caption": mathml.prose(item.caption),
        "header": [_cell(cell) for cell in item.header],
        "rows": [[_cell(cell) for cell in row] for row in item.rows],
        "note": mathml.prose(item.note),
    }


def _cell(text: str) -> dict[str, Any]:
    return {"text": mathml.prose(text.removeprefix("*")), "strong": text.startswith("*")}


def check_row(check: Check) -> dict[str, Any]:
    """A check with its numbers set."""
    figure, bound = numbers.plain(check)
    return {
        "name": mathml.prose(check.name),
        "figure": numbers.html(figure),
        "bound": Markup("{}&nbsp;{}").format(check.sense.value, numbers.html(bound)),
        "holds": check.holds,
    }


def _picture(store: Store, entry: Entry, outcome: Outcome) -> str | None:
    """The PNG inside a data URI, if this outcome has one."""
    picture = store.picture(entry, outcome, "png")
    return _data_uri(picture) if picture and outcome.figure_fingerprint else None


def _data_uri(png: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(png).decode("ascii")
