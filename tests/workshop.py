"""Fake claims and network experiments, made for the tests of the command."""

from __future__ import annotations

import functools
import importlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from paper_reproduction import registry, shipped
from paper_reproduction.command import app
from tests.processes import LIMIT

ROOT = Path(__file__).resolve().parent.parent

CLAIM = """
import os, time
import numpy as np
import xarray as xr
from paper_reproduction.claim import Check, Claim, Settings, Verdict

CLAIM = Claim(
    name={name!r}, title="The {name} claim is <small> & true",
    statement="Prose of {name} with $\\\\tau < 1$ in it.",
    equation="({order})", formula=r"\\frac{{\\lambda_1^K}}{{1+\\beta^2}} e", functions=("iterate",),
    seconds={budget}, quick_seconds={budget}, order={order},
)

def compute(settings):
    with open(os.environ["FAKE_LOG"], "a") as log:
        log.write("{name}\\n")
    {body}
    return xr.Dataset({{"x": ("i", settings.rng("x").normal(size=5))}})

def verdict(dataset):
    return {verdict}
"""
FIGURE = """\"\"\"One line.\"\"\"

import os
from figures.style import COLOURS, figure, styled, title

@styled
def draw(dataset):
    with open(os.environ["FAKE_LOG"], "a") as log:
        log.write("draw\\n")
    fig, ax = figure(width=4, height=2)
    ax.plot(dataset.x, color=COLOURS["flow"])
    title(fig, "A picture")
    return fig
"""
FINDING = '"It is <b>not</b> exact: $\\\\rho$ matters."'
HOLDS = f'Verdict((Check("size", float(abs(dataset.x).max()), 100.0),), ({FINDING},))'
BREAKS = 'Verdict((Check("broken", 2.0, 1.0), Check("fine", 0.5, 1.0)))'
NAN = 'Verdict((Check("undefined", float("nan"), 1.0),))'


class Workshop:
    """A directory with fake claims and network experiments, and the means to run the command on them, here or
    in another process.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.out, self.log = path, path / "out", path / "log"
        self.package = f"fakes_{abs(hash(path))}"
        for part in ("claims", "figures", "experiments", "pictures"):
            folder = path / self.package / part
            folder.mkdir(parents=True)
            (folder / "__init__.py").touch()
        (path / self.package / "__init__.py").touch()

    def claim(
        self, name: str, verdict: str = HOLDS, body: str = "pass", order: int = 1, budget: float = 60
    ) -> None:
        text = CLAIM.format(name=name, verdict=verdict, body=body, order=order, budget=budget)
        self.source("claims", name).write_text(text, encoding="utf-8")
        self.source("figures", name).write_text(FIGURE, encoding="utf-8")

    def experiment(self, name: str, text: str) -> None:
        """A network experiment of that source, with the picture of every fake."""
        self.source("experiments", name).write_text(text, encoding="utf-8")
        self.source("pictures", name).write_text(FIGURE, encoding="utf-8")

    def source(self, part: str, name: str) -> Path:
        return self.path / self.package / part / f"{name.replace('-', '_')}.py"

    def names(self) -> tuple[str, str]:
        return f"{self.package}.claims", f"{self.package}.figures"

    def experiment_names(self) -> tuple[str, str]:
        return f"{self.package}.experiments", f"{self.package}.pictures"

    @property
    def shipped(self) -> Path:
        """Where ``--publish`` writes, and where the plain command reads."""
        return self.path / "results"

    def install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Put the fakes in the place of the real claims, experiments and results."""
        monkeypatch.syspath_prepend(str(self.path))
        monkeypatch.setenv("FAKE_LOG", str(self.log))
        monkeypatch.setattr(registry, "discover", functools.partial(registry.discover, *self.names()))
        experiments = functools.partial(registry.experiments, *self.experiment_names())
        monkeypatch.setattr(registry, "experiments", experiments)
        monkeypatch.setattr(shipped, "RESULTS", self.shipped)

    def __call__(self, *arguments: str) -> Result:
        for module in [name for name in sys.modules if name.startswith(self.package + ".")]:
            del sys.modules[module]
        importlib.invalidate_caches()
        return CliRunner().invoke(app, [*arguments, "--out", str(self.out)], catch_exceptions=False)

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """The same in a process of its own."""
        driver = self.path / "driver.py"
        driver.write_text(
            "import functools, pathlib, signal\n"
            "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # which a shell's background job ignores
            "from paper_reproduction import registry, shipped\n"
            f"registry.discover = functools.partial(registry.discover, *{self.names()!r})\n"
            f"registry.experiments = functools.partial(registry.experiments, *{self.experiment_names()!r})\n"
            f"shipped.RESULTS = pathlib.Path({str(self.shipped)!r})\n"
            "from paper_reproduction.command import app\napp(prog_name='paper')\n",
            encoding="utf-8",
        )
        environment = os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{self.path}", "FORCE_COLOR": "1"}
        command = [sys.executable, str(driver), *arguments, "--out", str(self.out)]
        pipe = subprocess.PIPE
        return subprocess.Popen(
            command, stdout=pipe, stderr=pipe, text=True, encoding="utf-8", env=environment
        )

    def computed(self) -> list[str]:
        """The names of the claims computed since last asked; pictures count as "draw"."""
        lines = self.log.read_text().split() if self.log.exists() else []
        self.log.unlink(missing_ok=True)
        return lines

    def records(self, part: str = "") -> dict[str, dict]:
        summary = json.loads((self.out / part / "claims.json").read_text(encoding="utf-8"))
        return {record["name"]: record for record in summary["claims"]}


def wait_for(condition: Callable[[], bool], seconds: float = LIMIT) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)


class Page(HTMLParser):
    """Collects what a page would load, what it shows, and how many formulas and pictures it has."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.tags: list[str] = []
        self.alts: list[str | None] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.loads += [
            value or "" for key, value in attrs if key in ("src", "href", "srcset", "data", "action")
        ]
        self.alts += [dict(attrs).get("alt")] if tag == "img" else []

    def handle_data(self, data: str) -> None:
        self.text += data
