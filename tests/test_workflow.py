"""docs/trust.md tells every job of continuous integration, and when it runs."""

from __future__ import annotations

import re

import yaml

from tests.processes import ROOT

JOBS = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8"))["jobs"]
PAGE = (ROOT / "docs" / "trust.md").read_text(encoding="utf-8")
TOLD = dict(re.findall(r"^\| `(\w+)` \|.*\| ([\w ,]+) \|$", PAGE.split("## What runs when")[1], re.MULTILINE))


def test_every_job_is_told():
    assert set(TOLD) == set(JOBS)


def test_the_hour_is_right():
    for name, job in JOBS.items():
        nightly = job["if"] == "github.event.schedule == '0 2 * * *'"
        assert nightly == (TOLD[name] == "each night"), name
        assert nightly or job["if"] == "github.event.schedule != '0 2 * * *'", name


def test_every_python_that_runs_the_readme_is_told():
    row = next(line for line in PAGE.splitlines() if line.startswith("| `readme`"))
    assert re.findall(r"3\.\d+", row) == JOBS["readme"]["strategy"]["matrix"]["python"]
