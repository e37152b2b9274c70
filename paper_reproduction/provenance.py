"""Where a result comes from: versions, commit, and fingerprints of the sources that decide it.

The fingerprint is what ``--resume`` trusts: same seed, same mode, same sources, hence the same arrays.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import importlib.metadata
import platform
import subprocess
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from paper_reproduction.claim import Settings

ROOT = Path(__file__).resolve().parent.parent
_HERE = "paper_reproduction"
# Published results are no sources: writing one must not mark the next as made with local changes.
_SOURCES = ("linear_theory", "figures", _HERE, f":(exclude){_HERE}/mlp/results")


@dataclass(frozen=True)
class Stamp:
    """What the datasets of one family of claims say of their making, beyond settings, sources and cost."""

    word: str = "run"  # the word of the command that computes one of them
    device: str = ""  # named where it decides the arrays
    repeats: bool = False  # whether they repeat over random seeds
    packages: tuple[str, ...] = ()  # whose versions decide a digit, beyond those of every claim

    def command(self, name: str, settings: Settings) -> str:
        """The command line that computes this claim, without anything of the machine."""
        seeds = "" if settings.seeds is None else f" --seeds {settings.seeds}"
        quick = " --quick" if settings.quick else ""
        return f"python -m paper_reproduction {self.word} {name} --seed {settings.seed}{seeds}{quick}"

    def versions(self) -> dict[str, str]:
        """The versions that can change a digit."""
        return versions(self.packages)


def network_stamp() -> Stamp:
    """The stamp of the network experiments, made on the device that JAX uses by default."""
    return Stamp("mlp", device(), repeats=True, packages=("equinox", "optax"))


@functools.cache
def device() -> str:
    """JAX's default device in words: "cpu (AMD EPYC, 2 cores)", "gpu (NVIDIA H100 80GB HBM3)"."""
    import jax

    from linear_theory.threads import cores

    if backend() == "cpu":
        count = cores()
        return f"cpu ({_processor()}, {count} {'core' if count == 1 else 'cores'})"
    return f"{backend()} ({jax.devices()[0].device_kind})"


def backend() -> str:
    """The kind of that device: "cpu", "gpu"."""
    import jax

    return jax.default_backend()


def _processor() -> str:
    described = Path("/proc/cpuinfo")
    lines = described.read_text(encoding="utf-8").splitlines() if described.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


@functools.cache
def versions(more: tuple[str, ...] = ()) -> dict[str, str]:
    """Versions of Python, of what every claim uses and of ``more``, where installed, and of linear_theory."""
    found = {"python": platform.python_version()}
    for package in ("numpy", "scipy", "jax", "xarray", *more):
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = "not installed"
    found["linear_theory"] = _own_version()
    return found


def _own_version() -> str:
    try:
        return importlib.metadata.version("linear-theory")
    except importlib.metadata.PackageNotFoundError:
        import linear_theory

        return str(getattr(linear_theory, "__version__", "unknown"))


@functools.cache
def commit() -> tuple[str, bool]:
    """This checkout's commit and whether its sources differ from it; ("unknown", False) outside one."""
    try:
        top, head = _git("rev-parse", "--show-toplevel"), _git("rev-parse", "HEAD")
        if Path(top).resolve() != ROOT:  # unpacked inside somebody else's repository
            return "unknown", False
        return head, bool(_git("status", "--porcelain", "--", *_SOURCES))
    except (OSError, subprocess.SubprocessError):
        return "unknown", False


def _git(*arguments: str) -> str:
    command = ["git", "-C", str(ROOT), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=20).stdout.strip()


def claim_fingerprint(module: Path) -> str:
    """Hash of what decides a claim's arrays: the mathematics, ``claim.py``, the claim and its helpers."""
    own = {ROOT / _HERE / "claim.py", *_with_helpers(module.resolve())}
    return _digest([*mathematics(), *own])


def figure_fingerprint(module: Path) -> str:
    """Hash of what decides a picture: the figure, its helpers (underscore modules) and the house style."""
    house = ROOT / "figures"
    helpers = [*house.glob("_*.py"), house / "style.py", house / "house.mplstyle"]
    return _digest({module.resolve(), *helpers})


def mathematics() -> list[Path]:
    """The sources of linear_theory."""
    return list((ROOT / "linear_theory").rglob("*.py"))


def _digest(paths: Iterable[Path]) -> str:
    digest = hashlib.sha256()
    for path in sorted(paths):
        name = path.relative_to(ROOT).as_posix() if path.is_relative_to(ROOT) else path.name
        digest.update(name.encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:16]


def _with_helpers(module: Path) -> set[Path]:
    """The module and the modules of this package that it imports, at any distance."""
    found: set[Path] = set()
    ahead = [module]
    while ahead:
        path = ahead.pop()
        if path not in found:
            found.add(path)
            ahead.extend(_imports(path))
    return found


def _imports(path: Path) -> Iterator[Path]:
    for node in ast.walk(ast.parse(path.read_bytes())):
        for name in _imported_names(node):
            stem = ROOT.joinpath(*name.split("."))
            yield from (file for file in (stem.with_suffix(".py"), stem / "__init__.py") if file.is_file())


def _imported_names(node: ast.AST) -> Iterator[str]:
    """Dotted names inside this package that an import statement may load (nothing here is relative)."""
    names: list[str] = []
    if isinstance(node, ast.Import):
        names = [alias.name for alias in node.names]
    elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
        names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    yield from (name for name in names if name.split(".")[0] == _HERE)
