"""``out/mlp/report.html``: the network experiments, each with its answer and what a GPU said."""

from __future__ import annotations

import contextlib
import functools
from pathlib import Path
from typing import Any

from paper_reproduction import mathml, numbers, registry, report, shipped
from paper_reproduction.claim import Verdict
from paper_reproduction.mlp.overview import overview
from paper_reproduction.mlp.paper_numbers import TABLES
from paper_reproduction.netcdf import Unusable
from paper_reproduction.outcome import Outcome
from paper_reproduction.registry import Entry
from paper_reproduction.store import Store


def write(store: Store) -> Path:
    """Render all records of a store beside its datasets."""
    return report.put(store, render(store))


def render(store: Store) -> str:
    """The page as text."""
    facts = report.shared(store, registry.NETWORKS)
    entries = {entry.name: entry for entry in store.entries}
    for section in facts["sections"]:
        section["gpu"] = _gpu(entries[section["id"]], store.records[section["id"]])
    return report.template("networks.html.j2").render(
        **facts,
        **report.making(store),
        paper=[report.table(item) for item in TABLES],
        overview=_overview(store, entries),
    )


def _overview(store: Store, entries: dict[str, Entry]) -> list[dict[str, Any]]:
    """What the results of this page say together."""
    results = {}
    for name, outcome in store.records.items():
        if outcome.verdict and not outcome.stale and name in entries:
            with contextlib.suppress(Unusable):  # its section is there all the same, from its record
                found = store.present(entries[name])
                if found is not None and found.seal == outcome.arrays:
                    results[name] = found.dataset
    return [
        {
            "question": part.question,
            "sentences": [mathml.prose(numbers.spelled(sentence)) for sentence in part.sentences],
            "table": report.table(part.table) if part.table else None,
        }
        for part in overview(results)
    ]


def _gpu(entry: Entry, outcome: Outcome) -> dict[str, Any] | None:
    """What the published run on a GPU says, check by check beside this one; None where there is none."""
    try:
        file = shipped.path(entry, "gpu")
        if outcome.device.startswith("gpu") or not file.is_file():
            return None
        verdict, attributes = _judged(entry, file.stat().st_mtime_ns)
        made = outcome.of(attributes)
    except Exception as error:  # whatever a verdict may raise: the page says so
        return {"error": f"{type(error).__name__}: {error}"}
    return {
        "error": "",
        "rows": _side_by_side(verdict, outcome.verdict),
        "device": made.device,
        "seeds": made.seeds,
        "seed": made.seed,
        "commit": made.commit[:12],
        "versions": dict(made.versions),
        "command": made.command,
        "changed": made.fingerprint != entry.fingerprint,
    }


@functools.cache  # the page is written anew whenever one of its experiments is finished
def _judged(entry: Entry, changed: int) -> tuple[Verdict, dict[Any, Any]]:
    """The verdict on what a GPU computed, and how that was made: of the file that was last ``changed`` then."""
    dataset = shipped.read(entry, "gpu")
    assert dataset is not None
    return entry.verdict(dataset), dataset.attrs


def _side_by_side(gpu: Verdict, here: Verdict | None) -> list[dict[str, Any]]:
    """One row for each check of the GPU's verdict, with the figure of the check of that name here."""
    own = {check.name: report.check_row(check)["figure"] for check in here.checks} if here else {}
    rows = ((check, report.check_row(check)) for check in gpu.checks)
    return [
        {
            "name": row["name"],
            "here": own.get(check.name, "–"),
            "there": row["figure"],
            "bound": row["bound"],
            "holds": row["holds"],
        }
        for check, row in rows
    ]
