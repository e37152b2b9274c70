"""``results/table.json`` → ``results/table.md``, the same table in docs/speed.md, and the picture.

``python -m benchmarks.report`` writes them again from the stored numbers.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from .goals import Goal
from .packages import OURS
from .sections import written

RESULTS = Path(__file__).with_name("results")
ROOT = Path(__file__).parents[1]
PICTURE = ROOT / "figures" / "gallery" / "benchmarks.png"
PAGE = ROOT / "docs" / "speed.md"
PLAN = ROOT / "docs" / "howto" / "large_data.md"
COST = "cost of a pass"
FENCE = "<!-- benchmarks: written by python -m benchmarks.report -->\n", "<!-- /benchmarks -->"
"""What the table stands between."""
MIB = 2**20


def short(value: float) -> str:
    """Three digits, or all of the integer part."""
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    digits = max(0, 2 - math.floor(math.log10(abs(value))))
    return f"{value:.{digits}f}"


def spread(numbers: list[float], unit: str = "") -> str:
    """Median and, where it was measured more than once, quartiles."""
    low, median, high = numbers
    if low == high:
        return short(median) + unit
    return f"{short(median)}{unit} ({short(low)} … {short(high)})"


def verdict(goal: Goal, median: float) -> str:
    """Met, or missed by how much of the goal."""
    missed = goal.shortfall(median)
    return "met" if missed <= 0 else f"missed by {short(100 * missed)} %"


def goal_lines(results: dict[str, Any]) -> list[str]:
    lines = ["| work | what | goal | measured | | × the limit |", "|---|---|---|---|---|---|"]
    last = None
    for stored in results["goals"].values():
        goal = Goal(*stored["goal"])
        work, last = ("″" if goal.work == last else goal.work), goal.work
        limit = f"{spread(stored['multiple'])} {stored['per']}" if "multiple" in stored else "–"
        aim = f"{goal.sense} {goal.bound:g}{goal.unit}"
        measured = stored["measured"]
        cells = work, goal.measured, aim, spread(measured, goal.unit), verdict(goal, measured[1]), limit
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def package_lines(packages: dict[str, Any], memory: dict[str, Any] | None = None) -> list[str]:
    """The leader first, the others from fast to slow."""
    heads = ["package", "time, in ours", "× the limit", *(["MiB beyond the inputs"] if memory else [])]
    lines = ["| " + " | ".join(heads) + " |", "|---" * len(heads) + "|"]
    for name, one in sorted(packages.items(), key=lambda item: (item[0] != OURS, item[1]["slower"][1])):
        cells = [name, spread(one["slower"]), spread(one["multiple"])]
        if memory:
            cells.append(short(memory[name]["resident"] / MIB))
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def gpu_lines(runs: list[dict[str, Any]]) -> list[str]:
    """The same works in absolute times, a column a chip."""
    if not runs:
        return ["Not run on a GPU. `python -m benchmarks.gpu`, on a machine with one, writes this table."]
    lines = [
        "| work | " + " | ".join(run["device"] for run in runs) + " |",
        "|---|" + "---|" * len(runs),
    ]
    for work in runs[0]["works"]:
        cells = (_absolute(run["works"].get(work)) for run in runs)
        lines.append(f"| {work} | " + " | ".join(cells) + " |")
    return lines


def _absolute(one: dict[str, Any] | None) -> str:
    if one is None:
        return "–"
    if "bytes" in one:
        return f"{short(one['bytes'] / MIB)} MiB"
    low, median, high = (1e3 * value for value in one["seconds"])
    limit = f", {short(one['multiple'])} × n·d² flops" if "multiple" in one else ""
    return spread([low, median, high], " ms") + limit


def render(results: dict[str, Any], gpu: list[dict[str, Any]]) -> str:
    """The whole table in Markdown."""
    machine = results["machine"]
    n, d = results["sizes"]["solve"]
    quick = ["**A quick run: not the sizes that the goals are stated for.**", ""] if results["quick"] else []
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    lines = [
        *quick,
        f"{machine['processor']}, {machine['cores']} cores, float64. Ratios within one process, taken in turn: "
        "median (quartiles). The limit: "
        f"{machine['cores']} concurrent single-threaded matrix products, measured before and after each "
        f"call, here {spread([rate / 1e9 for rate in machine['rate']])} Gflop/s; “n·d²” is the time of so many "
        f"flops at that rate, “product” that of one {machine['side']}³ product on every core.",
        "",
        *goal_lines(results),
        "",
        f"The weighted solve at n = {n}, d = {d} in every package, all answers alike to 1e-10:",
        "",
        *package_lines(results["packages"], results["memory"]),
        "",
        "With a ridge that pulls toward the start:",
        "",
        *package_lines(results["ridge"]),
        "",
        "On a GPU, float64, absolute times:",
        "",
        *gpu_lines(gpu),
        "",
        f"{versions}.",
    ]
    return "\n".join(lines) + "\n"


def cost_lines(results: dict[str, Any], rows: float = 1e11) -> list[str]:
    """What a pass over so many rows costs: seconds of the stream and of the solve, a row, times the cores."""
    cores, sizes = results["machine"]["cores"], results["sizes"]
    measured = {
        sizes["width"]: results["goals"]["stream"]["seconds"][1] / sizes["streamed"],
        sizes["solve"][1]: results["packages"][OURS]["seconds"][1] / sizes["solve"][0],
    }
    lines = [
        "| columns | a row, on one core | 10¹¹ rows, core hours | to be read, TB |",
        "|---|---|---|---|",
    ]
    for width, seconds in measured.items():
        core, terabytes = cores * seconds, 8 * (width + 1) * rows / 1e12
        lines.append(
            f"| {width} | {short(1e9 * core)} ns | {short(core * rows / 3600)} | {short(terabytes)} |"
        )
    return lines


def store(results: Any, file: Path) -> None:
    """Measurements as JSON, for people to read too."""
    file.write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def gpu_runs(folder: Path = RESULTS) -> list[dict[str, Any]]:
    """What was measured on GPUs, one file a chip."""
    return [json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("gpu-*.json"))]


def between(page: str, table: str) -> str:
    """The page with this table in its place."""
    before, rest = page.split(FENCE[0])
    _, after = rest.split(FENCE[1])
    return f"{before}{FENCE[0]}{table}{FENCE[1]}{after}"


def write(folder: Path = RESULTS, picture: Path = PICTURE) -> str:
    """Table and picture from the numbers stored in the folder; from the project's own, docs/speed.md too."""
    from .picture import draw

    results = json.loads((folder / "table.json").read_text(encoding="utf-8"))
    table = render(results, gpu_runs(folder))
    (folder / "table.md").write_text(table, encoding="utf-8")
    if folder == RESULTS:
        PAGE.write_text(between(PAGE.read_text(encoding="utf-8"), table), encoding="utf-8")
        plan = written(PLAN.read_text(encoding="utf-8"), {COST: cost_lines(results)})
        PLAN.write_text(plan, encoding="utf-8")
    draw(results).savefig(picture, metadata={"Software": None})
    return table


if __name__ == "__main__":
    print(write())
