"""What became of one claim in one run, and how that is written to ``claims.json`` and read back."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from paper_reproduction.claim import Check, Sense, Settings, Table, Verdict
from paper_reproduction.registry import Entry


@dataclass(frozen=True)
class Outcome:
    """The record of one claim: verdict or error, what it cost, and under what it was computed."""

    name: str
    seed: int
    quick: bool
    fingerprint: str
    commit: str
    dirty: bool
    budget: float
    compute_seconds: float = math.nan
    draw_seconds: float = 0.0
    arrays: str = ""  # the seal of their file
    figure_fingerprint: str = ""  # empty: there is no picture
    pictures: Mapping[str, str] = field(default_factory=dict)  # the hash of each, by its suffix
    verdict: Verdict | None = None
    error: str = ""
    kept: bool = False  # --resume found it finished
    replaced: str = ""  # what was wrong with the file that lay there
    origin: str = ""  # empty: computed in this run; else where the arrays come from
    command: str = ""  # the command line that computed them
    device: str = ""  # on what, where that decides them
    seeds: int = 0  # random repetitions; 0: not said
    versions: Mapping[str, str] = field(default_factory=dict)
    tables: tuple[Table, ...] = ()
    stale: str = ""  # why it does not belong to the run beside which it is shown

    @property
    def holds(self) -> bool:
        """True only where the claim ran to its end and every check holds."""
        return not self.error and self.verdict is not None and self.verdict.holds

    @property
    def state(self) -> str:
        """One word: holds, fails or error."""
        if self.error or self.verdict is None:
            return "error"
        return "holds" if self.verdict.holds else "fails"

    @property
    def seconds(self) -> float:
        """What the claim cost: arrays and picture."""
        return self.compute_seconds + self.draw_seconds

    @property
    def over_budget(self) -> bool:
        """Slower than declared. No failure, but never hidden; a budget binds this run alone."""
        return not self.origin and self.seconds > self.budget

    def of(self, attributes: Mapping[Any, Any]) -> Outcome:
        """The same record, of arrays that say this of their making."""
        versions = {
            str(key).removeprefix("version_"): str(value)
            for key, value in attributes.items()
            if str(key).startswith("version_")
        }
        return replace(
            self,
            seed=int(attributes["seed"]),
            quick=bool(attributes["quick"]),
            seeds=int(attributes.get("seeds", 0)),
            fingerprint=str(attributes["fingerprint"]),
            commit=str(attributes["commit"]),
            dirty=bool(attributes["dirty"]),
            compute_seconds=float(attributes["seconds"]),
            command=str(attributes["command"]),
            device=str(attributes["device"]),
            versions=versions,
        )

    def beside(self, entry: Entry, settings: Settings) -> Outcome:
        """The same record, marked stale where a run under ``settings`` would come out differently.

        A record that tells its origin claims no more than it is, and is never stale.
        """
        if self.origin:
            return self
        reasons = []
        if self.seed != settings.seed:
            reasons.append(f"seed {self.seed}, this run has {settings.seed}")
        if self.quick != settings.quick:
            reasons.append("computed with --quick" if self.quick else "computed without --quick")
        if self.fingerprint != entry.fingerprint:
            reasons.append("the sources have changed since")
        return replace(self, stale="; ".join(reasons))

    def as_json(self, entry: Entry) -> dict[str, Any]:
        """A plain dictionary; numbers that JSON cannot write become the strings NaN, Infinity, -Infinity."""
        claim, verdict = entry.claim, self.verdict
        return {
            "name": self.name,
            "title": claim.title,
            "equation": claim.equation,
            "functions": list(claim.functions),
            "state": self.state,
            "holds": self.holds,
            "figure": _number(verdict.figure) if verdict else None,
            "sense": verdict.tightest.sense.value if verdict else None,
            "bound": _number(verdict.bound) if verdict else None,
            "checks": [_check_json(check) for check in verdict.checks] if verdict else [],
            "findings": list(verdict.findings) if verdict else [],
            "measured": list(verdict.measured) if verdict else [],
            "headline": verdict.headline if verdict else "",
            "tables": [asdict(table) for table in self.tables],
            "error": self.error,
            "seconds": _number(self.seconds),
            "compute_seconds": _number(self.compute_seconds),
            "draw_seconds": _number(self.draw_seconds),
            "budget": self.budget,
            "over_budget": self.over_budget,
            "seed": self.seed,
            "quick": self.quick,
            "fingerprint": self.fingerprint,
            "figure_fingerprint": self.figure_fingerprint,
            "arrays": self.arrays,
            "pictures": dict(self.pictures),
            "commit": self.commit,
            "dirty": self.dirty,
            "origin": self.origin,
            "command": self.command,
            "device": self.device,
            "seeds": self.seeds,
            "versions": dict(self.versions),
            "stale": self.stale,
        }


def from_json(data: dict[str, Any]) -> Outcome:
    """The record behind :meth:`Outcome.as_json`; KeyError, TypeError or ValueError on anything else."""
    verdict = None
    if data["checks"]:
        checks = tuple(_check(item) for item in data["checks"])
        sentences = {name: tuple(data[name]) for name in ("findings", "measured")}
        verdict = Verdict(checks, headline=str(data["headline"]), **sentences)
    return Outcome(
        name=str(data["name"]),
        seed=int(data["seed"]),
        quick=bool(data["quick"]),
        fingerprint=str(data["fingerprint"]),
        commit=str(data["commit"]),
        dirty=bool(data["dirty"]),
        budget=float(data["budget"]),
        compute_seconds=float(data["compute_seconds"]),
        draw_seconds=float(data["draw_seconds"]),
        figure_fingerprint=str(data["figure_fingerprint"]),
        arrays=str(data["arrays"]),
        pictures=dict(data["pictures"]),
        verdict=verdict,
        error=str(data["error"]),
        origin=str(data["origin"]),
        command=str(data["command"]),
        device=str(data["device"]),
        seeds=int(data["seeds"]),
        versions=dict(data["versions"]),
        tables=tuple(Table(**table) for table in data["tables"]),
    )


def _check_json(check: Check) -> dict[str, Any]:
    return {
        "name": check.name,
        "figure": _number(check.figure),
        "sense": check.sense.value,
        "bound": _number(check.bound),
        "margin": _number(check.margin),
        "holds": check.holds,
    }


def _check(data: dict[str, Any]) -> Check:
    return Check(str(data["name"]), float(data["figure"]), float(data["bound"]), Sense(data["sense"]))


def _number(value: float) -> float | str:
    if math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else ("Infinity" if value > 0 else "-Infinity")
