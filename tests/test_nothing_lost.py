"""Whatever ends a run, or lies in its folder: what was finished survives, and the resumed run is bit for bit the same.

The fast tests end a run inside its writing: the step at which it ends is done by half, and nothing is tidied up after
it, as after SIGKILL. The deep ones kill real processes.
"""

from __future__ import annotations

import errno
import io
import json
import os
import random
import re
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5netcdf
import h5py
import pytest
import xarray as xr

from paper_reproduction import netcdf, registry, runner, shipped, sources, store, terminal, writing
from paper_reproduction.claim import Settings
from paper_reproduction.store import Store
from tests.processes import LIMIT
from tests.workshop import Workshop, wait_for

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals, locks and limits of POSIX")
NAMES = ["first", "second", "third"]
PAIR = NAMES[:2]
COSTS = {"seconds", "compute_seconds", "draw_seconds", "over_budget", "commit", "dirty", "arrays"}
"""Of a record: what it took, what is edited meanwhile, and the seal of the arrays, which covers both."""
VARIES = re.compile(rb"[\d.]+ s\b|commit \w+( with local changes)?")
"""The same on a page."""


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Workshop]:
    """Three claims, with small pictures."""
    import jax

    workshop = Workshop(tmp_path)
    workshop.install(monkeypatch)
    monkeypatch.setattr(store, "PIXELS", 100)
    for order, name in enumerate(NAMES):
        workshop.claim(name, order=order)
    before = jax.config.read("jax_enable_x64")
    yield workshop
    jax.config.update("jax_enable_x64", before)


def contents(folder: Path) -> dict[str, Any]:
    """What lies in a folder, but for what it cost."""
    found: dict[str, Any] = {}
    for path in sorted(folder.iterdir()):
        data = path.read_bytes()
        if path.suffix == ".nc":
            dataset = netcdf.decoded(data).dataset
            kept = {key: str(value) for key, value in dataset.attrs.items() if key not in COSTS}
            found[path.name] = kept, [(name, v.dims, v.values.tobytes()) for name, v in dataset.items()]
        elif path.suffix == ".json":
            records = json.loads(data)["claims"]
            found[path.name] = [{k: v for k, v in one.items() if k not in COSTS} for one in records]
        else:
            found[path.name] = VARIES.sub(b"", data) if path.suffix == ".html" else data
    return found


def recorded(folder: Path) -> set[str]:
    """The claims that ``claims.json`` says are finished."""
    return {one["name"] for one in store.records_in(folder) if one["holds"]}


# a run that is ended inside its writing ----------------------------------------------------------------


class Killed(BaseException):
    """The end of a process; whatever would be tidied up after it meets it again."""


def ended_process() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


@contextmanager
def ending(after: int) -> Iterator[list[int]]:
    """All writing ends at that step, and stays ended; gives the number of steps that were done."""
    done, write, replace, unlink = [0], writing._write, os.replace, Path.unlink

    def ends() -> bool:
        done[0] += 1
        return done[0] > after

    def half(draft: Path, data: bytes) -> None:
        if ends():
            if done[0] == after + 1:
                draft.write_bytes(data[: len(data) // 2])
            raise Killed
        write(draft, data)

    def move(source: Any, target: Any) -> None:
        if ends():
            raise Killed
        replace(source, target)

    def tidy(path: Path, missing_ok: bool = False) -> None:
        if done[0] > after:
            raise Killed
        unlink(path, missing_ok=missing_ok)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(writing, "_write", half)
        patch.setattr(os, "replace", move)
        patch.setattr(Path, "unlink", tidy)
        yield done


def killed_and_resumed(shop: Workshop, after: int, whole: dict[str, Any]) -> None:
    """The law: what was said to be finished is not computed or drawn again, and in the end nothing has happened."""
    shop.out = shop.path / f"ended after {after}"
    finished: set[str] = set()

    class Told(terminal.Board):
        def update(self, event: Any) -> None:
            if isinstance(event, runner.Finished):
                finished.add(event.outcome.name)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(terminal, "Board", Told)
        with ending(after), pytest.raises(Killed):
            shop("run", *PAIR)
    for draft in shop.out.glob(".*.part"):  # of a process that runs no longer
        draft.rename(draft.with_name(draft.name.replace(str(os.getpid()), str(ended_process()))))
    shop.computed()
    assert shop("run", *PAIR, "--resume").exit_code == 0
    again = shop.computed()
    assert not finished & set(again)
    assert again.count("draw") <= len(PAIR) - len(finished)
    assert contents(shop.out) == whole


def undisturbed(shop: Workshop, names: list[str] = PAIR) -> tuple[dict[str, Any], int]:
    """What a run that nothing disturbs leaves, and in how many steps it is written."""
    shop.out = shop.path / "whole"
    with ending(10**9) as steps:
        assert shop("run", *names).exit_code == 0
    return contents(shop.out), steps[0]


def test_a_run_that_ends_in_any_step_of_its_writing_is_resumed_bit_for_bit(shop: Workshop) -> None:
    whole, steps = undisturbed(shop)
    assert set(whole) == {f"{name}.{kind}" for name in PAIR for kind in ("nc", "png", "pdf")} | {
        "claims.json", "report.html"
    }  # fmt: skip
    for after in random.Random(0).sample(range(2, steps), 5):
        killed_and_resumed(shop, after, whole)


@pytest.mark.deep
def test_a_run_may_end_in_every_step_of_its_writing(shop: Workshop) -> None:
    whole, steps = undisturbed(shop)
    for after in range(steps):
        killed_and_resumed(shop, after, whole)


def test_what_was_published_stays_until_the_next_is_whole(shop: Workshop) -> None:
    results = shop.path / "results"
    (entry,) = (replace(one, results=results) for one in registry.PAPER.discover() if one.name == "first")
    for seed in (0, 1):
        here = Store(shop.out, [entry], Settings(seed=seed))
        for _ in runner.run([runner.Task(entry, here, (sources.computed,))]):
            pass
        if seed == 0:
            published = shipped.publish(entry, here, "cpu").read_bytes()
    for after in range(2):
        with ending(after), pytest.raises(Killed):
            shipped.publish(entry, here, "cpu")
        assert shipped.path(entry, "cpu").read_bytes() == published
    with pytest.raises(
        netcdf.Unusable, match="of another run, by its seed"
    ):  # which has replaced it in the folder
        shipped.publish(entry, Store(shop.out, [entry], Settings(seed=0)), "cpu")
    assert shipped.publish(entry, here, "cpu").read_bytes() != published


def in_place(path: Path, data: bytes) -> None:
    """A writer that is wrong: it writes where the file is."""
    path.parent.mkdir(parents=True, exist_ok=True)
    writing._write(path, data)


def test_the_law_rejects_a_writer_that_writes_in_place(
    shop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "put", in_place)
    whole, _ = undisturbed(shop)
    # A page is still written in two steps.
    files = ["probe", *["nc", "png", "pdf", "records", "page", "page"] * 2]
    second = [step for step, file in enumerate(files) if file == "records"][1]
    with pytest.raises(AssertionError):
        killed_and_resumed(shop, second, whole)


# what may lie in the folder ----------------------------------------------------------------------------


def sealed(data: bytes) -> bytes:
    """The bytes with a right seal, as somebody makes it who knows how."""
    import hashlib

    return data + f"\nsha256:{hashlib.sha256(data).hexdigest()}\n".encode()


def made(make: Callable[[h5py.File], object]) -> bytes:
    """An HDF5 file, sealed."""
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        make(file)
    return sealed(buffer.getvalue())


def renamed(path: Path, name: str) -> bytes:
    dataset = netcdf.read(path).dataset
    return netcdf.encoded(dataset.assign_attrs(name=name))


def with_bit_flipped(data: bytes) -> bytes:
    place = random.Random(1).randrange(len(data) - 80)
    return data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]


def without_seal(path: Path) -> bytes:
    dataset = netcdf.read(path).dataset
    buffer = io.BytesIO()
    with h5netcdf.File(buffer, "w") as file:
        dataset.dump_to_store(xr.backends.H5NetCDFStore(file))
    return buffer.getvalue()


def huge(file: h5py.File) -> None:
    file.create_dataset("x", (10**6, 10**6), "f8", chunks=(100, 100), compression="gzip")


def much_of_nothing(file: h5py.File) -> None:
    file.create_dataset("x", (2**28,), "f8", chunks=(2**20,), compression="gzip", fillvalue=0.0)


DAMAGES: dict[str, tuple[Callable[[Path], bytes], str]] = {
    "empty": (lambda path: b"", "does not end in a seal"),
    "cut": (lambda path: path.read_bytes()[:-1000], "does not end in a seal"),
    "flipped": (lambda path: with_bit_flipped(path.read_bytes()), "was changed after it was written"),
    "page": (lambda path: b"<html><script>alert(1)</script>", "does not end in a seal"),
    "unsealed": (without_seal, "does not end in a seal"),
    "no-netcdf": (lambda path: sealed(b"<html>"), "cannot be read: OSError"),
    "others": (lambda path: path.with_name("first.nc").read_bytes(), "holds the arrays of 'first'"),
    "named": (lambda path: renamed(path, "<b>\x1b[2J"), r"holds the arrays of '<b>\x1b[2J'"),
    "huge": (lambda path: made(huge), "declares arrays of 8000000000000 bytes"),
    "nothing": (lambda path: made(much_of_nothing), "declares arrays of 2147483648 bytes"),
    "linked": (lambda path: made(lambda f: f.__setitem__("x", h5py.ExternalLink("first.nc", "x"))), "holds 'x'"),
    "outside": (
        lambda path: made(lambda f: f.create_dataset("x", (8,), "u1", external=[("first.nc", 0, 8)])), "holds 'x'"
    ),
    "grouped": (lambda path: made(lambda f: f.create_group("x")), "holds 'x'"),
}  # fmt: skip


def test_what_is_damaged_or_foreign_is_named_and_computed_again(shop: Workshop) -> None:
    """Each kind of damage at a claim of its own, in one run; the other claims are left alone."""
    for order, name in enumerate(DAMAGES, start=10):
        shop.claim(name, order=order)
    assert shop().exit_code == 0
    whole = contents(shop.out)
    shop.computed()
    for name, (damage, _) in DAMAGES.items():
        path = shop.out / f"{name}.nc"
        path.write_bytes(damage(path))
    again = shop("--resume")
    assert again.exit_code == 0, again.output
    assert [name for name in shop.computed() if name != "draw"] == list(DAMAGES)
    told = dict(line.split(": ", 1) for line in again.stderr.splitlines())
    assert set(told) == set(DAMAGES)
    for name, (_, said) in DAMAGES.items():
        assert told[name].startswith(f"{shop.out / name}.nc ")
        assert said in told[name]
        assert told[name].endswith("; computed again")
    assert contents(shop.out) == whole


def test_of_another_run_is_told_and_not_called_damaged(shop: Workshop) -> None:
    assert shop("run", "first").exit_code == 0
    told = shop("run", "first", "--resume", "--seed", "1").stderr
    assert told == f"first: {shop.out / 'first.nc'} is of another run, by its seed, command; computed again\n"


def test_damage_would_be_kept_by_a_reader_that_looks_at_no_seal(
    shop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert shop("run", "first").exit_code == 0
    before, path = contents(shop.out), shop.out / "first.nc"
    values = netcdf.read(path).dataset.x.values.tobytes()
    data = path.read_bytes()
    place = data.index(values)
    path.write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
    monkeypatch.setattr(netcdf, "_seal", lambda data: "0")
    shop.computed()
    shop("run", "first", "--resume")
    assert "first" not in shop.computed()
    assert contents(shop.out) != before


def test_a_picture_that_was_changed_is_drawn_again(shop: Workshop) -> None:
    assert shop("run", "first").exit_code == 0
    before = contents(shop.out)
    for kind in ("png", "pdf"):
        path = shop.out / f"first.{kind}"
        path.write_bytes(path.read_bytes() + b"\n")
        shop.computed()
        assert shop("run", "first", "--resume").exit_code == 0
        assert shop.computed() == ["draw"]
        assert contents(shop.out) == before


def test_an_obstacle_where_a_file_should_be_costs_one_claim(shop: Workshop) -> None:
    shop.out.mkdir()
    (shop.out / "first.nc").mkdir()
    (shop.out / "second.png").mkdir()
    (shop.out / "third.nc").symlink_to(shop.path / "nowhere")
    done = shop("--resume")
    assert done.exit_code == 1
    assert {name: record["state"] for name, record in shop.records().items()} == {
        "first": "error", "second": "error", "third": "holds"
    }  # fmt: skip
    assert "Is a directory" in done.stderr
    assert not (shop.path / "nowhere").exists()
    (shop.out / "first.nc").rmdir()
    (shop.out / "second.png").rmdir()
    os.mkfifo(shop.out / "first.nc")  # which nobody writes to
    assert shop("--resume").exit_code == 0


RECORDS = {
    "list": b"[]", "word": b'{"claims": "first"}', "number": b'{"claims": [1, null, {"name": {}}]}',
    "bytes": b"\xff\xfe", "deep": b'{"claims": ' + b"[" * 200_000, "half": b'{"claims": [{"name": "first", "checks": [',
}  # fmt: skip


def test_records_that_are_damaged_cost_nothing_but_pictures(shop: Workshop) -> None:
    assert shop("run", "first").exit_code == 0
    before, path = contents(shop.out), shop.out / "claims.json"
    for text in RECORDS.values():
        path.write_bytes(text)
        shop.computed()
        assert shop("run", "first", "--resume").exit_code == 0
        assert shop.computed() == ["draw"]
        assert contents(shop.out) == before
    assert shop("--resume").exit_code == 0
    shop.computed()
    records = json.loads(path.read_bytes())
    del records["claims"][1]["checks"]
    path.write_text(json.dumps(records))
    assert shop("--resume").exit_code == 0
    assert shop.computed() == ["draw"]  # of the one that is damaged, and of no other
    path.unlink()
    os.mkfifo(path)
    assert shop("--resume").exit_code == 0
    path.unlink()
    path.mkdir()
    told = shop("--resume")
    assert told.exit_code == 2
    assert f"cannot write to --out {shop.out}: Is a directory ({path})" in told.stderr


# disks ---------------------------------------------------------------------------------------------------


def test_a_disk_that_is_full_leaves_no_half_file(shop: Workshop) -> None:
    """By the largest file that the system lets this process write: arrays, pictures, and then pages fail."""
    whole, _ = undisturbed(shop)
    sizes = sorted((shop.path / "whole" / f"first.{kind}").stat().st_size for kind in ("nc", "pdf"))
    page = (shop.path / "whole" / "report.html").stat().st_size
    _, most = resource.getrlimit(resource.RLIMIT_FSIZE)
    for limit in (min(sizes) - 1, max(sizes) - 1, page - 1):
        shop.out = shop.path / f"of {limit}"
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, most))
        try:
            done = shop("run", *PAIR)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
        assert done.exit_code == 2
        assert "Traceback" not in done.stderr
        assert f"cannot write to --out {shop.out}: File too large ({shop.out}" in done.stderr
        kept = contents(shop.out)  # whatever is there can be read
        assert not [name for name in kept if name.startswith(".")]
        assert shop("run", *PAIR, "--resume").exit_code == 0
        assert contents(shop.out) == whole


def test_a_folder_that_becomes_read_only_is_one_sentence(
    shop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, steps = undisturbed(shop)
    write = writing._write
    for after in (0, steps // 4):
        shop.out, done = shop.path / f"read-only after {after}", [0]

        def refuse(draft: Path, data: bytes, after: int = after, done: list[int] = done) -> None:
            done[0] += 1
            if done[0] > after:
                raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(draft))
            write(draft, data)

        with monkeypatch.context() as patch:
            patch.setattr(writing, "_write", refuse)
            said = shop("run", *PAIR)
        assert said.exit_code == 2
        assert "Read-only file system" in said.stderr
        assert "Traceback" not in said.stderr
        assert shop("run", *PAIR, "--resume").exit_code == 0
        assert contents(shop.out) == whole


def test_a_folder_that_is_deleted_under_way_is_made_again(shop: Workshop) -> None:
    whole, _ = undisturbed(shop, NAMES)
    shop.out = shop.path / "deleted"
    shop.claim("second", order=1, body=f"import shutil; shutil.rmtree({str(shop.out)!r})")
    assert shop("run", *NAMES).exit_code == 0
    assert {path.name for path in shop.out.glob("*.nc")} == {"second.nc", "third.nc"}
    shop.claim("second", order=1)
    shop.computed()
    assert shop("run", *NAMES, "--resume").exit_code == 0
    assert "third" not in shop.computed()
    assert contents(shop.out) == whole


# two runs in one folder ---------------------------------------------------------------------------------


def settle(shop: Workshop, seed: int = 0) -> Callable[[str], None]:
    """A run of its own in the folder, which settles the claim of a name when it is told to."""
    entries = registry.PAPER.discover()
    here = Store(shop.out, entries, Settings(seed=seed))

    def one(name: str) -> None:
        entry = next(entry for entry in entries if entry.name == name)
        for _ in runner.run([runner.Task(entry, here, (sources.kept, sources.computed))]):
            pass

    return one


def test_what_two_runs_finish_in_one_folder_is_recorded_of_both(shop: Workshop) -> None:
    whole, _ = undisturbed(shop, NAMES)
    shop.out = shop.path / "both"
    one, other = settle(shop), settle(shop)
    one("first"), other("second"), one("third")
    assert contents(shop.out) == whole


def test_a_run_that_looks_at_no_others_records_would_lose_them(
    shop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, _ = undisturbed(shop, NAMES)
    shop.out = shop.path / "both"
    one, other = settle(shop), settle(shop)
    monkeypatch.setattr(store, "records_in", lambda folder: [])
    one("first"), other("second"), one("third")
    assert contents(shop.out) != whole


def test_the_picture_of_another_run_is_neither_kept_nor_shown(shop: Workshop) -> None:
    """Two runs of two seeds write one claim in turn: the arrays are of one run, and the picture of the other."""
    whole, _ = undisturbed(shop, NAMES)
    shop.out = shop.path / "both"
    settle(shop, seed=1)("first")
    other = {kind: (shop.out / f"first.{kind}").read_bytes() for kind in ("png", "pdf")}
    shutil.rmtree(shop.out)
    settle(shop)("first")
    for kind, data in other.items():
        (shop.out / f"first.{kind}").write_bytes(data)
    settle(shop)("second")  # writes the page
    assert (shop.out / "report.html").read_text(encoding="utf-8").count(
        "<img"
    ) == 2  # the opening's, the second's
    assert shop("run", *NAMES, "--resume").exit_code == 0
    assert contents(shop.out) == whole


def test_drafts_of_a_process_that_runs_are_left_to_it(tmp_path: Path) -> None:
    mine, dead = (tmp_path / f".x.nc.{process}.part" for process in (os.getpid(), ended_process()))
    for draft in (mine, dead):
        draft.touch()
    writing.drop_drafts(tmp_path)
    assert list(tmp_path.iterdir()) == [mine]


# processes ---------------------------------------------------------------------------------------------

SLOW = "open(os.environ['FAKE_LOG'] + '.pid', 'w').write(str(os.getpid())); time.sleep(60)"


def started_slowly(shop: Workshop, jobs: str) -> subprocess.Popen[str]:
    """A run that has finished the first claim, and is slow at the second."""
    shop.claim("second", order=1, body=SLOW)
    process = shop.start("run", "first", "second", "--jobs", jobs)
    assert process.stdout is not None
    assert any(re.match("first +holds ", line) for line in process.stdout)
    wait_for(lambda: Path(f"{shop.log}.pid").exists() and Path(f"{shop.log}.pid").read_text() != "")
    return process


def goes_away(shop: Workshop) -> None:
    slow = int(Path(f"{shop.log}.pid").read_text())
    wait_for(lambda: not writing._runs(slow) or Path(f"/proc/{slow}/cmdline").read_bytes() == b"")


@pytest.mark.parametrize("jobs", ["1", pytest.param("2", marks=pytest.mark.deep)])
def test_a_run_that_is_asked_to_end_says_how_to_go_on(shop: Workshop, jobs: str) -> None:
    process = started_slowly(shop, jobs)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=LIMIT)
    assert process.returncode == 128 + signal.SIGTERM
    assert "interrupted after 1 of 2; what is finished is kept. Go on with:\n" in err
    assert recorded(shop.out) == {"first"}
    goes_away(shop)


def test_no_process_outlives_a_run_that_is_killed(shop: Workshop) -> None:
    process = started_slowly(shop, "2")
    process.kill()
    process.communicate(timeout=LIMIT)
    goes_away(shop)
    assert recorded(shop.out) == {"first"}


@pytest.mark.deep
@pytest.mark.parametrize("jobs", ["1", "2"])
def test_fifty_runs_are_killed_at_random_moments(shop: Workshop, jobs: str) -> None:
    """25 for each way of running; five times in the same folder, which is then finished."""
    chance, whole = random.Random(int(jobs)), contents_of_a_process(shop, jobs)
    for folder in range(5):
        shop.out = shop.path / f"killed {folder}"
        for _ in range(5):
            shop.computed()
            finished = recorded(shop.out)
            process = shop.start("run", *NAMES, "--jobs", jobs, "--resume")
            wait_for(lambda: shop.log.exists() or process.poll() is not None)  # noqa: B023 - waits here
            try:
                process.communicate(timeout=chance.uniform(0, 2))
            except subprocess.TimeoutExpired:
                process.kill()
                process.communicate(timeout=LIMIT)
            assert finished <= recorded(shop.out)
            assert not finished & set(shop.computed())
        process = shop.start("run", *NAMES, "--jobs", jobs, "--resume")
        _, err = process.communicate(timeout=LIMIT)
        assert process.returncode == 0, err
        assert contents(shop.out) == whole


@pytest.mark.deep
def test_two_runs_at_once_leave_what_one_leaves(shop: Workshop) -> None:
    whole = contents_of_a_process(shop, "1")
    for folder in range(5):
        shop.out = shop.path / f"both {folder}"
        both = [shop.start("run", *names, "--resume") for names in (NAMES, NAMES[::-1])]
        for process in both:
            _, err = process.communicate(timeout=LIMIT)
            assert process.returncode == 0, err
        assert contents(shop.out) == whole


def contents_of_a_process(shop: Workshop, jobs: str) -> dict[str, Any]:
    """What an undisturbed run in a process of its own leaves: there pictures have their full size."""
    shop.out = shop.path / "whole"
    process = shop.start("run", *NAMES, "--jobs", jobs)
    _, err = process.communicate(timeout=LIMIT)
    assert process.returncode == 0, err
    return contents(shop.out)
