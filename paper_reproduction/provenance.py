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
_HERE, _THEORY = "paper_reproduction", "linear_theory"
# Published results are no sources: writing one must not mark the next as made with local changes.
_SOURCES = (_THEORY, "figures", _HERE, f":(exclude){_HERE}/*/results/*")


@dataclass(frozen=True)
class Stamp:
    """What the datasets of one chapter say of their making, beyond settings, sources and cost."""

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
    """Hash of what decides a claim's arrays: ``claim.py``, the claim, its helpers, and the mathematics they use."""
    return _digest({ROOT / _HERE / "claim.py", *reached(module.resolve())})


def figure_fingerprint(module: Path) -> str:
    """Hash of what decides a picture: the figure, its helpers (underscore modules) and the house style."""
    house = ROOT / "figures"
    helpers = [*house.glob("_*.py"), house / "style.py", house / "house.mplstyle"]
    return _digest({module.resolve(), *helpers})


def _digest(paths: Iterable[Path]) -> str:
    digest = hashlib.sha256()
    for path in sorted(paths):
        name = path.relative_to(ROOT).as_posix() if path.is_relative_to(ROOT) else path.name
        digest.update(name.encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:16]


def reached(module: Path) -> set[Path]:
    """The module and the sources of these packages that it uses, at any distance."""
    found: set[Path] = set()
    ahead = [module]
    while ahead:
        path = ahead.pop()
        if path not in found:
            found.add(path)
            ahead.extend(_used(path, path.read_bytes()))
    return found


@functools.cache  # most sources are used by most claims
def _used(path: Path, source: bytes) -> tuple[Path, ...]:
    """The sources that an import may load, and those of the public names that are taken from ``linear_theory``.

    Importing that loads all of it, of which a claim uses a part: what it does not use cannot change its arrays.
    """
    return tuple(_imported(path, ast.parse(source)))


def _imported(path: Path, tree: ast.AST) -> Iterator[Path]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield from _named_attributes(tree, alias) if alias.name == _THEORY else _sources(alias.name)
        elif isinstance(node, ast.ImportFrom):
            base = _absolute(node, path)
            if base != _THEORY:
                yield from _sources(base)
            for alias in node.names:
                yield from _public(alias.name) if base == _THEORY else _sources(f"{base}.{alias.name}")


def _absolute(node: ast.ImportFrom, path: Path) -> str:
    """The dotted name of what is imported from."""
    if not node.level:
        return node.module or ""
    package = path.relative_to(ROOT).parts[: -node.level]
    return ".".join((*package, *filter(None, [node.module])))


def _sources(name: str) -> Iterator[Path]:
    """The file of a module or package of this name, if it is one of ours."""
    if name.partition(".")[0] in (_HERE, _THEORY):
        stem = ROOT.joinpath(*name.split("."))
        yield from (file for file in (stem.with_suffix(".py"), stem / "__init__.py") if file.is_file())


def _named_attributes(tree: ast.AST, alias: ast.alias) -> Iterator[Path]:
    """Where the attributes are made that a source takes from what it imports as ``alias``."""
    name = alias.asname or alias.name
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == name:
            yield from _public(node.attr)


def _public(name: str) -> Iterator[Path]:
    """The source of a public name of ``linear_theory``, be it a module of it or made in one."""
    yield from _sources(f"{_THEORY}.{_public_modules().get(name, name)}")


@functools.cache
def _public_modules() -> dict[str, str]:
    """In which module each public name is made."""
    imports = ast.parse((ROOT / _THEORY / "public.py").read_bytes()).body
    found = (node for node in imports if isinstance(node, ast.ImportFrom))
    return {alias.asname or alias.name: node.module for node in found if node.module for alias in node.names}
