"""``out/beyond/report.html``: what the theory says beyond the paper."""

from __future__ import annotations

from pathlib import Path

from paper_reproduction import registry, report
from paper_reproduction.store import Store


def write(store: Store) -> Path:
    """Render all records of a store beside its datasets."""
    return report.put(store, render(store))


def render(store: Store) -> str:
    """The page as text."""
    facts = report.shared(store, registry.BEYOND)
    return report.template("beyond.html.j2").render(**facts, **report.making(store))
