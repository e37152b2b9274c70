"""Finds the claims: every module in a chapter's package that has a figure of the same name.

There are three chapters: the paper, what goes beyond it, and the networks. Nothing is listed by hand, so adding a
claim is two files and no third. Modules whose name starts with an underscore are helpers, not claims.
"""

from __future__ import annotations

import ast
import importlib
import importlib.util
import pkgutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from paper_reproduction import provenance
from paper_reproduction.claim import Claim, Settings, Table, Verdict

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.figure import Figure


class RegistryError(Exception):
    """A claim is not in order: a name that does not match its file, a missing figure, a missing function."""


def no_tables(dataset: xr.Dataset) -> tuple[Table, ...]:
    """What a claim that has none shows below its picture."""
    return ()


@dataclass(frozen=True)
class Entry:
    """A claim with its functions, its figure, and the fingerprints of the sources behind them."""

    claim: Claim
    compute: Callable[[Settings], xr.Dataset]
    verdict: Callable[[xr.Dataset], Verdict]
    figure_module: str
    fingerprint: str  # of what decides the arrays
    figure_fingerprint: str  # of what decides the picture
    results: Path | None = None  # where its stored results lie, if its chapter has such
    tables: Callable[[xr.Dataset], tuple[Table, ...]] = no_tables

    @property
    def name(self) -> str:
        """The claim's name."""
        return self.claim.name

    def draw(self, dataset: xr.Dataset) -> Figure:
        """The picture. The figure is imported here, so that a broken one fails its claim and no other."""
        return importlib.import_module(self.figure_module).draw(dataset)

    @property
    def seen(self) -> str:
        """What is seen in the picture: the first sentences of the module that draws it, or else the claim's title.

        Read and not imported, so that a broken figure fails its claim and no page.
        """
        figure = importlib.util.find_spec(self.figure_module)
        try:
            source = Path(str(figure and figure.origin)).read_text(encoding="utf-8")
            told = ast.get_docstring(ast.parse(source)) or self.claim.title
        except (OSError, SyntaxError):
            told = self.claim.title
        return " ".join(told.partition("\n\n")[0].split())


@dataclass(frozen=True)
class Noun:
    """What a claim of a chapter is called: among its own, beside others, several of them, and what they leave."""

    short: str
    full: str
    many: str
    results: str


@dataclass(frozen=True)
class Chapter:
    """Claims that one word of the command computes and one page shows."""

    word: str  # of the command
    heading: str  # of its page, where another leads there
    noun: Noun
    claims: str  # the package of their modules
    figures: str  # the package of their pictures
    room: str = ""  # their directory under --out
    results: Path | None = None  # where the repository keeps theirs, if not everybody computes them

    def discover(self) -> tuple[Entry, ...]:
        """All of its claims, in order. Raises :class:`RegistryError` where one is not in order."""
        return discover(self.claims, self.figures, self.results)

    def names(self) -> list[str]:
        """What its claims are called, by their files alone: none of them is imported."""
        return [module.replace("_", "-") for module in _modules(self.claims)]


_HERE = Path(__file__).parent
PAPER = Chapter(
    "run",
    "The linear theory, checked",
    Noun("claim", "claim", "claims", "results"),
    "paper_reproduction.claims",
    "figures",
)
BEYOND = Chapter(
    "beyond",
    "Beyond the paper",
    Noun("claim", "claim beyond the paper", "claims beyond the paper", "results beyond the paper"),
    "paper_reproduction.beyond",
    "figures.beyond",
    "beyond",
    _HERE / "beyond" / "results",
)
NETWORKS = Chapter(
    "mlp",
    "From the line to the network",
    Noun("experiment", "network experiment", "network experiments", "network results"),
    "paper_reproduction.mlp.experiments",
    "figures.mlp",
    "mlp",
    _HERE / "mlp" / "results",
)


def chapters() -> tuple[Chapter, ...]:
    """All of them, in the order in which they are read."""
    return PAPER, BEYOND, NETWORKS


def discover(claims: str, figures: str, results: Path | None = None) -> tuple[Entry, ...]:
    """All claims of a package, in order. Raises :class:`RegistryError` where one is not in order."""
    modules = _modules(claims)
    found = [
        _entry(importlib.import_module(f"{claims}.{name}"), f"{figures}.{name}", results) for name in modules
    ]
    found.sort(key=lambda entry: entry.claim.order)
    _distinct_order(found)
    return tuple(found)


def _modules(claims: str) -> list[str]:
    package = importlib.import_module(claims)
    return [info.name for info in pkgutil.iter_modules(package.__path__) if not info.name.startswith("_")]


def _entry(module: ModuleType, figure_module: str, results: Path | None) -> Entry:
    claim = getattr(module, "CLAIM", None)
    if not isinstance(claim, Claim):
        raise RegistryError(f"{module.__name__} has no CLAIM; helpers start with an underscore")
    if claim.module != module.__name__.rpartition(".")[2]:
        raise RegistryError(
            f"{module.__name__} calls its claim {claim.name!r}; file and claim share one name"
        )
    for function in ("compute", "verdict"):
        if not callable(getattr(module, function, None)):
            raise RegistryError(f"{module.__name__} has no {function}()")
    figure = importlib.util.find_spec(figure_module)
    if figure is None or figure.origin is None:
        raise RegistryError(
            f"claim {claim.name!r} has no figure: {figure_module.replace('.', '/')}.py is missing"
        )
    more = {"tables": module.tables} if hasattr(module, "tables") else {}
    return Entry(
        claim=claim,
        compute=module.compute,
        verdict=module.verdict,
        figure_module=figure_module,
        fingerprint=provenance.claim_fingerprint(Path(str(module.__file__))),
        figure_fingerprint=provenance.figure_fingerprint(Path(figure.origin)),
        results=results,
        **more,
    )


def _distinct_order(entries: Iterable[Entry]) -> None:
    seen: dict[int, str] = {}
    for entry in entries:
        other = seen.setdefault(entry.claim.order, entry.name)
        if other != entry.name:
            raise RegistryError(f"claims {other!r} and {entry.name!r} both have order {entry.claim.order}")
