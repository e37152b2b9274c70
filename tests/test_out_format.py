"""docs/out_format.md and what the command writes agree, in both directions."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path

import pytest
import xarray as xr
from typer.testing import CliRunner

from paper_reproduction import mathml, outcome, registry, shipped
from paper_reproduction.claim import Table
from paper_reproduction.command import app

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "out_format.md").read_text(encoding="utf-8")
SECTIONS = dict(re.findall(r"^## (.*?)\n(.*?)(?=^## |\Z)", PAGE, flags=re.MULTILINE | re.DOTALL))


def first_column(section: str) -> set[str]:
    """The names in code that stand first in the rows of a section's table."""
    rows = re.findall(r"^\| (`.*?) \|", SECTIONS[section], flags=re.MULTILINE)
    return {name for row in rows for name in re.findall(r"`([^`]+)`", row)}


ATTRIBUTES, FIELDS = first_column("A dataset"), first_column("`claims.json`")


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    """The quickest claim, run by the command."""
    folder = tmp_path_factory.mktemp("run") / "out"
    done = CliRunner().invoke(app, ["run", "standard-iterates", "--quick", "--out", str(folder)])
    assert done.exit_code == 0, done.output
    return folder


def general(attributes: dict) -> set[str]:
    """What every dataset carries; a claim's own attributes are left out."""
    return {"version_*" if name.startswith("version_") else str(name) for name in attributes}


def test_every_file_is_on_the_page(out):
    described = first_column("Files")
    for path in out.iterdir():
        general_name = path.name.replace("standard-iterates", "NAME")
        assert general_name in described, path.name
    assert {"NAME.nc", "NAME.png", "NAME.pdf", "claims.json", "report.html"} <= described


def test_what_fits_not_and_what_was_also_measured_are_told_apart_and_read_back(out):
    (record,) = json.loads((out / "claims.json").read_text(encoding="utf-8"))["claims"]
    verdict = outcome.from_json(record).verdict
    assert verdict is not None
    assert verdict.findings
    assert verdict.measured
    assert (verdict.findings, verdict.measured) == (tuple(record["findings"]), tuple(record["measured"]))
    page = (out / "report.html").read_text(encoding="utf-8")
    sentence = lambda text: page.index(str(mathml.prose(text)))
    misfits, measured = (page.index(f">{name}<") for name in ("What does not fit", "Also measured"))
    assert misfits < sentence(verdict.findings[-1]) < measured < sentence(verdict.measured[0])


def test_every_attribute_of_a_dataset_is_on_the_page_and_there(out):
    """Attributes that all datasets share are those of the page; a claim's own are its business."""
    stored = [shipped.stored(entry) for entry in registry.NETWORKS.discover()]
    with xr.open_dataset(out / "standard-iterates.nc", engine="h5netcdf") as dataset:
        found = [general(one.attrs) for one in [dataset, *stored] if one is not None]
    assert len(found) == 1 + len(stored)
    assert set.intersection(*found) == ATTRIBUTES - {"seeds", "origin"}
    assert all("seeds" in names for names in found[1:])


def test_versions_named_are_those_recorded():
    stored = shipped.stored(registry.NETWORKS.discover()[0])
    assert stored is not None
    recorded = {
        str(name).removeprefix("version_") for name in stored.attrs if str(name).startswith("version_")
    }
    row = next(line for line in PAGE.splitlines() if line.startswith("| `version_*`"))
    assert set(re.findall(r"`(\w+)`", row)) == recorded


def test_every_field_of_a_record_is_on_the_page_and_there(out):
    written = json.loads((out / "claims.json").read_text(encoding="utf-8"))
    assert set(written) == {"run", "claims", "not_run"}
    told = SECTIONS["`claims.json`"].partition("`not_run`")[0]
    assert set(re.findall(r"`(\w+)`", told)) == {"run", *written["run"]}
    (record,) = written["claims"]
    assert set(record) == FIELDS
    row = next(line for line in PAGE.splitlines() if line.startswith("| `checks`"))
    tables = next(line for line in PAGE.splitlines() if line.startswith("| `tables`"))
    assert {field.name for field in dataclasses.fields(Table)} == set(re.findall(r"`(\w+)`", tables)) - {
        "tables"
    }
    assert set(record["checks"][0]) == set(re.findall(r"`(\w+)`", row)) - {"checks"}


def test_a_field_that_is_not_described_would_be_seen():
    assert "surprise" not in FIELDS
    assert "margin" not in FIELDS  # belongs to a check, not to a record
