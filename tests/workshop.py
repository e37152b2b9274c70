"""Fake claims and network experiments, made for the tests of the command."""

from __future__ import annotations

import dataclasses
import importlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from paper_reproduction import registry
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
        for part in ("claims", "figures", "beyond", "views", "experiments", "pictures"):
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

    def chapters(self) -> dict[str, dict[str, Any]]:
        """Where the registry finds the fakes, and where ``--publish`` writes and the plain command reads."""
        rooms = {
            "PAPER": ("claims", "figures"),
            "BEYOND": ("beyond", "views"),
            "NETWORKS": ("experiments", "pictures"),
        }
        where: dict[str, dict[str, Any]] = {
            name: {"claims": f"{self.package}.{claims}", "figures": f"{self.package}.{figures}"}
            for name, (claims, figures) in rooms.items()
        }
        where["BEYOND"]["results"] = self.path / "results beyond"
        where["NETWORKS"]["results"] = self.shipped
        return where

    @property
    def shipped(self) -> Path:
        """Where the results of experiments are published."""
        return self.path / "results"

    def install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Put the fakes in the place of the real claims, experiments and results."""
        monkeypatch.syspath_prepend(str(self.path))
        monkeypatch.setenv("FAKE_LOG", str(self.log))
        for name, where in self.chapters().items():
            monkeypatch.setattr(registry, name, dataclasses.replace(getattr(registry, name), **where))

    def __call__(self, *arguments: str) -> Result:
        """The command in this process, one claim after another."""
        for module in [name for name in sys.modules if name.startswith(self.package + ".")]:
            del sys.modules[module]
        importlib.invalidate_caches()
        one = () if {"mlp", "beyond", "list", "--jobs"} & set(arguments) else ("--jobs", "1")
        return CliRunner().invoke(app, [*one, *arguments, "--out", str(self.out)], catch_exceptions=False)

    def start(self, *arguments: str, first: str = "", **options: Any) -> subprocess.Popen[str]:
        """The same in a process of its own, which may have others; ``first`` is done in it before all else."""
        driver = self.path / "driver.py"
        driver.write_text(
            f"import dataclasses, signal, sys\nfrom pathlib import PosixPath, WindowsPath\n{first}\n"
            "from paper_reproduction import registry\n"
            f"for name, where in {self.chapters()!r}.items():\n"
            "    setattr(registry, name, dataclasses.replace(getattr(registry, name), **where))\n"
            "if __name__ == '__main__':\n"
            "    signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # ignored in a shell's background job
            "    from paper_reproduction.command import app\n"
            "    app(prog_name='paper')\n",
            encoding="utf-8",
        )
        environment = os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{self.path}", "FORCE_COLOR": "1"}
        place = () if "list" in arguments else ("--out", str(self.out))
        command = [sys.executable, str(driver), *arguments, *place]
        pipe = subprocess.PIPE
        ways = {"stdout": pipe, "stderr": pipe, "text": True, "encoding": "utf-8", "env": environment}
        return subprocess.Popen(command, **(ways | options))

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
