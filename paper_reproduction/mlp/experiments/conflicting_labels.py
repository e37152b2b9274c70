"""One head for both tasks, the same five labels for other digits: what learns the one forgets the other."""

from __future__ import annotations

from dataclasses import replace

import xarray as xr

from paper_reproduction.claim import Check, Claim, Settings, Table, Verdict
from paper_reproduction.mlp import choice, comparison, equal_learning
from paper_reproduction.mlp.comparison import Task
from paper_reproduction.mlp.methods import (
    AVERAGED,
    COMPARED,
    CONTROLS,
    FLOW,
    METHODS,
    SAME,
    SHUFFLED,
    STANDARD,
)
from paper_reproduction.mlp.statistics import (
    ahead,
    answer,
    beyond,
    difference,
    percent,
    points_more,
    sorted_out,
    survivors,
    told,
)

CLAIM = Claim(
    name="conflicting-labels",
    title="With one head and conflicting labels everything forgets; stopping early or averaging keeps far more",
    question="Is FLOW best for both tasks where one head has to give them conflicting labels?",
    statement=(
        "The network learns the digits 0-4 as the classes 0-4 and is fine-tuned, with the same head, on the digits 5-9 "
        "called 0-4. We show the accuracy on both tasks along training, for standard fine-tuning, FLOW, standard "
        "fine-tuning at the same mean step and FLOW with its weights in random order. Beside them stand two choices "
        "that see validation rows of both tasks, which one rarely has: the best time to stop, and the best average of "
        "the parameters before and after (WiSE-FT). Methods are also compared where they have learned the same."
    ),
    equation="section 4; Remark 7.5 in networks",
    formula=r"\theta_\omega=\omega\theta_*+(1-\omega)\theta_K",
    functions=("flow_weights", "effective_sample_size"),
    seconds=30,
    quick_seconds=8,
    order=40,
)

RUNS = {run: METHODS[run] for run in COMPARED}
TASK = Task(shared=True, change=lambda images: images)
RECIPE = replace(comparison.RECIPE, points=24)


def compute(settings: Settings) -> xr.Dataset:
    """Curves along training and paths over the average, every method and rate."""
    seeds = settings.repetitions(10, 5)
    found = comparison.compare(settings, TASK.ready(settings, seeds, RECIPE), (*RUNS, *AVERAGED))
    return found.assign_attrs(seeds=seeds, steps_an_epoch=found.mark.values[-1] // RECIPE.epochs)


# ------------------------------------------------------------------------------------------- the verdict


def _points(d: xr.Dataset) -> dict[tuple[str, str], xr.DataArray]:
    """Each row of the table, by run and way to choose: accuracies (seed, place)."""
    return {(run, way): one for run in RUNS for way, one in choice.outcomes(d, run).items()}


def verdict(dataset: xr.Dataset) -> Verdict:
    """Forgetting is there, the task is learned, no choice on an edge; FLOW's own weights keep more at equal rate."""
    d = dataset
    points = _points(d)
    mean = {key: one.mean("place", skipna=False) for key, one in points.items()}
    start = d.before.sel(place="pretrain")
    end = points[STANDARD, "rate by the new task"]
    old = lambda run: points[run, "equal rate"].sel(place="pretrain")
    gain = lambda way: mean[STANDARD, f"equal rate, {way}"] - mean[STANDARD, "equal rate"]
    checks = (
        Check.at_least("standard at its best forgets, share of accuracy",
                       float((start - end.sel(place="pretrain")).mean(skipna=False)), 0.2),
        Check("standard at its best learns, errors",
              1 - float(end.sel(place="target").mean(skipna=False)), 0.1),
        beyond("equal rate, standard: the best time beats the end", gain("best time")),
        beyond("equal rate, standard: the best average beats the end", gain("best share")),
        *(
            beyond(f"equal rate: FLOW keeps more of the old task than {RUNS[run]}", old(FLOW) - old(run))
            for run in (STANDARD, *CONTROLS)
        ),
        Check.at_least("places from the edge of the rate grid", choice.from_edge(d.sel(run=list(RUNS))), 1),
    )  # fmt: skip
    return Verdict(checks, headline=_headline(points, mean), **_also(d, mean))


def _headline(points: dict[tuple[str, str], xr.DataArray], mean: dict[tuple[str, str], xr.DataArray]) -> str:
    others = (STANDARD, *CONTROLS)
    leads = lambda way: all(ahead(mean[FLOW, way], mean[other, way]) for other in others)
    chosen = "best rate and time"
    at_the_end = lambda other: points_more(mean[FLOW, "equal rate"], mean[other, "equal rate"])
    show = lambda run: f"{percent(mean[run, chosen])} %"
    end = points[STANDARD, "equal rate"].sel(place="pretrain")
    return (
        f"{answer(leads('equal rate'), leads(chosen))}: by the mean of both accuracies, at equal rate and to the end "
        f"FLOW has {at_the_end(STANDARD)} than standard fine-tuning, which keeps {percent(end)} % on the old task, "
        f"{at_the_end(SAME)} than standard at the same mean step and {at_the_end(SHUFFLED)} than with its weights "
        f"shuffled; rate and time chosen on both tasks FLOW has {show(FLOW)}, standard {show(STANDARD)}, standard at "
        f"the same mean step {show(SAME)} and FLOW with its weights shuffled {show(SHUFFLED)}."
    )


def _also(d: xr.Dataset, mean: dict[tuple[str, str], xr.DataArray]) -> dict[str, tuple[str, ...]]:
    order = sorted(mean, key=lambda key: -float(mean[key].mean()))
    level = lambda key: f"{RUNS[key[0]]}, {key[1]}, {percent(mean[key])} %"
    pair = lambda one, other: difference(mean[one], mean[other])
    chosen = "best rate and time"
    not_behind = not any(ahead(mean[run, chosen], mean[FLOW, chosen]) for run in RUNS)
    helps, equal = _at_equal_learning(d)
    return sorted_out(
        (True, f"By the mean of both accuracies: {level(order[0])}; {level(order[1])}; {level(order[2])}; last "
         f"{level(order[-1])}."),
        (not_behind, "At the best rate and time FLOW minus standard is "
         f"{pair((FLOW, chosen), (STANDARD, chosen))}, minus standard at the same mean step "
         f"{pair((FLOW, chosen), (SAME, chosen))}, minus FLOW with its weights shuffled "
         f"{pair((FLOW, chosen), (SHUFFLED, chosen))}."),
        (helps, equal),
        (True, "Standard at the best rate and time, minus standard at the best rate and share of the average: "
         f"{pair((STANDARD, chosen), (STANDARD, 'best rate and share'))}."),
        (True, f"The pre-trained model gives the new digits its old labels: τ {told(d.temperature, 2)}, effective "
         f"sample share {told(d.effective, 2)}, weights below 0.01 {told(d.idle, 2)}."),
    )  # fmt: skip


def _at_equal_learning(d: xr.Dataset) -> tuple[bool, str]:
    """Whether FLOW keeps more than each of the others at every level, and who keeps the most at each."""
    gaps, lines = {}, []
    for level, kept in zip(d.level.values, d.kept, strict=True):
        for run in (STANDARD, *CONTROLS):
            gaps[f"{RUNS[run]} at {100 * level:.0f} %"] = kept.sel(keeper=FLOW) - kept.sel(keeper=run)
        best = equal_learning.most(kept)
        of = lambda run, kept=kept: f"{percent(kept.sel(keeper=run))} %"
        lines.append(
            f"at {100 * level:.0f} % on the new ones FLOW keeps {of(FLOW)}, {METHODS[best]} the most, {of(best)}"
        )
    left = [name for name, real in survivors(gaps).items() if real]
    ahead_of = [name for name in left if float(gaps[name].mean()) > 0]
    said = (
        f"{len(left)} of {len(gaps)} differences between FLOW and standard, the same mean step and shuffled weights "
        "are beyond error (Holm)"
    )
    text = "Old digits at equal learning, each method at its own best rate: " + "; ".join(lines) + f"; {said}"
    return len(ahead_of) == len(gaps), text + (f": from {', '.join(left)}." if left else ".")


def tables(dataset: xr.Dataset) -> tuple[Table, ...]:
    """Both tasks, for each way to choose rate and time, and what is kept at equal learning."""
    rows = [("pre-trained", *choice.row_before(dataset.before))]
    rows += [(f"{RUNS[run]}, {way}", *choice.row_before(one)) for (run, way), one in _points(dataset).items()]
    caption = (
        "Accuracy in %, mean ± s.e.; rates by the validation rows of the new task or of both, times by both"
    )
    equal = equal_learning.kept_table({"": dataset}, dataset.learned.values.tolist())
    return (Table(caption, ("method", "old", "new", "mean"), tuple(rows)), equal)
