"""A residual network on the digits 0-4, then on 5-9 with a head of their own, until it knows wrong labels by heart."""

from __future__ import annotations

from dataclasses import replace

import xarray as xr

from paper_reproduction.claim import Check, Claim, Settings, Table, Verdict
from paper_reproduction.mlp import choice, comparison, images
from paper_reproduction.mlp.equal_learning import kept_table, most
from paper_reproduction.mlp.experiments._image_runs import (
    BOTH_ARMS,
    LEVEL,
    gains,
    recipe,
    splits,
    temperatures,
)
from paper_reproduction.mlp.methods import (
    COMPARED,
    CONTROLS,
    FLOW,
    LAST_STEP,
    METHODS,
    SAME,
    SHUFFLED,
    STANDARD,
    label_of,
)
from paper_reproduction.mlp.protocol import MEMORISED, prepare
from paper_reproduction.mlp.statistics import (
    ahead,
    answer,
    beyond,
    difference,
    percent,
    sorted_out,
    survivors,
    told,
)

CLAIM = Claim(
    name="images-own-head",
    title="FLOW's weights delay learning wrong labels by heart; a smaller step and shuffled weights do so less",
    question="Do FLOW's weights delay learning wrong labels by heart, at no cost where all are right?",
    statement=(
        "A residual network learns the handwritten digits 0-4 (MNIST, 14 × 14), then gets a new head for 5-9, with a "
        "share of the training labels wrong. The head is probed first, the weights come from the losses of the probed "
        "model, and training goes on until standard fine-tuning reproduces the wrong labels. We show the share of the "
        "wrong labels that is reproduced, and accuracy on both tasks, along training; FLOW stands beside standard "
        "fine-tuning, standard at the same mean step and FLOW with its weights in random order. The five splits share "
        "no image."
    ),
    equation="section 4, Tables 1, 3 and 5 in miniature",
    formula=r"\frac1n\sum_i w_i\,\ell_i(\theta),\qquad w_i=e^{-\ell_i(\theta_*)/\tau}",
    functions=("flow_weights", "effective_sample_size"),
    seconds=1200,
    quick_seconds=20,
    order=75,
)

RUNS = {run: label_of(run) for run in (*BOTH_ARMS, LAST_STEP)}
OTHERS = (STANDARD, *CONTROLS)
NOISES, QUICK_NOISES = (0.0, 0.2, 0.4), (0.4,)
RECIPE = recipe(5, 40, (0.003, 0.006, 0.012, 0.024), 0.012)
QUICK = replace(RECIPE, rates=RECIPE.rates[2:3], points=5)


def compute(settings: Settings) -> xr.Dataset:
    """Every run on every split at each noise level; temperatures at one rate."""
    seeds = settings.repetitions(images.SPLITS, images.SPLITS)
    noises = QUICK_NOISES if settings.quick else NOISES
    levels = [_level(settings, seeds, noise) for noise in noises]
    once = "by_temperature"  # at the highest noise alone
    alike = [level.drop_vars(once, errors="ignore") for level in levels]
    joined = xr.concat(alike, "noise", combine_attrs="drop").assign_coords(noise=list(noises))
    return joined.assign({once: levels[-1][once]} if once in levels[-1] else {}).assign_attrs(seeds=seeds)


def _level(settings: Settings, seeds: int, noise: float) -> xr.Dataset:
    old, new = splits(settings, seeds, range(5), 5), splits(settings, seeds, range(5, 10), 5, noise)
    ready = prepare(settings, QUICK if settings.quick else RECIPE, old, new)
    runs = COMPARED if settings.quick else tuple(RUNS)
    found = comparison.compare(settings, ready, runs, overlap=0.0)
    if noise == NOISES[-1] and not settings.quick:
        found = found.assign(by_temperature=temperatures(settings, ready, found))
    return found


# ------------------------------------------------------------------------------------------- the verdict


def _levels(d: xr.Dataset) -> list[xr.Dataset]:
    return [d.isel(noise=i) for i in range(d.sizes["noise"])]


def _noisy(d: xr.Dataset) -> list[xr.Dataset]:
    return [cell for cell in _levels(d) if float(cell.noise) > 0]


def _clean(d: xr.Dataset) -> list[xr.Dataset]:
    """The level without wrong labels; none in a quick run."""
    return [cell for cell in _levels(d) if float(cell.noise) == 0]


def _share(cell: xr.Dataset) -> str:
    return f"{100 * float(cell.noise):.0f} % wrong labels"


def _end(cell: xr.Dataset, run: str, place: str) -> xr.DataArray:
    """The end of training at the rate that all are compared at, (seed,)."""
    return choice.at(cell.accuracy, run).sel(place=place)


def _peak(cell: xr.Dataset, run: str) -> xr.DataArray:
    """(seed, place) at that rate, where the new task's validation rows are best."""
    return choice.peak(choice.at(cell.curve, run), ["mark"], choice.NEW)


def _hardest(cell: xr.Dataset, run: str) -> xr.DataArray:
    """The tenth of the new task's test images that the probed model finds hardest, at that rate, (seed,)."""
    return choice.at(cell.by_decile, run).isel(decile=-1)


def _by_heart(d: xr.Dataset) -> dict[str, xr.DataArray]:
    """What each of the others reproduces of the wrong labels more than FLOW, at each noise level, (seed,)."""
    more = lambda cell, run: _end(cell, run, MEMORISED) - _end(cell, FLOW, MEMORISED)
    return {
        f"{_share(cell)}, equal rate: {METHODS[run]} learns more of them by heart than FLOW": more(cell, run)
        for cell in _noisy(d)
        for run in OTHERS
    }


def _learned(cell: xr.Dataset) -> dict[str, xr.DataArray]:
    """At the end, how much more of the new task FLOW has right than each of the others, (seed,)."""
    return {METHODS[run]: _end(cell, FLOW, "target") - _end(cell, run, "target") for run in OTHERS}


def _cost(cell: xr.Dataset) -> dict[str, xr.DataArray]:
    """How much fewer images of the new task, all and the hardest tenth, FLOW has right than each of the others."""
    all_of = {
        f"{name} has more of the new task right than FLOW": -gap for name, gap in _learned(cell).items()
    }
    hard = {
        f"{METHODS[run]} has more of the hardest tenth right than FLOW": _hardest(cell, run)
        - _hardest(cell, FLOW)
        for run in OTHERS
    }
    return all_of | hard


def verdict(dataset: xr.Dataset) -> Verdict:
    """FLOW learns fewer wrong labels by heart than all others and is better for it; with right ones it pays."""
    d = dataset
    noise = _levels(d)[-1]
    checks = (
        Check("pre-trained errors", 1 - float(d.before.sel(place="pretrain").mean("seed", skipna=False).min()), 0.1),
        Check(f"{_share(noise)}, equal rate: share that standard does not learn by heart",
              1 - float(_end(noise, STANDARD, MEMORISED).mean("seed", skipna=False)), 0.2),
        *(beyond(name, gap) for name, gap in _by_heart(d).items()),
        *(
            beyond(f"{_share(noise)}, equal rate: FLOW ends with more of the new task right than {name}", gap)
            for name, gap in _learned(noise).items()
        ),
        *(
            beyond(f"right labels, equal rate: {name}", gap)
            for cell in _clean(d)
            for name, gap in _cost(cell).items()
        ),
    )  # fmt: skip
    return Verdict(checks, headline=_headline(d), **_also(d))


def _headline(d: xr.Dataset) -> str:
    noise = _levels(d)[-1]
    real = survivors(_by_heart(d))
    fewer = all(real[name] and float(gap.mean("seed")) > 0 for name, gap in _by_heart(d).items())
    free = [not ahead(gap, 0 * gap) for cell in _clean(d) for gap in _cost(cell).values()]
    of = lambda cell, place: ", ".join(
        f"{METHODS[run]} {percent(_end(cell, run, place))} %" for run in COMPARED
    )
    right = [f"; with right labels alone {of(cell, 'target')}" for cell in _clean(d)]
    return (
        f"{answer(fewer, *free)}: with {_share(noise)}, at equal rate and to the end, of those are known by heart: "
        f"{of(noise, MEMORISED)}; of the new task's test images are right: {of(noise, 'target')}{''.join(right)}."
    )


def _also(d: xr.Dataset) -> dict[str, tuple[str, ...]]:
    cells = _levels(d)
    per_level = lambda tell: "; ".join(f"{_share(cell)}: {tell(cell)}" for cell in cells)
    listed = lambda of, runs=COMPARED: ", ".join(f"{METHODS[run]} {of(run)}" for run in runs)
    old = lambda cell: listed(lambda run: f"{percent(_end(cell, run, 'pretrain'))} %")
    turns = lambda cell: listed(
        lambda run: (
            f"{percent(_peak(cell, run).sel(place='target'))} % and {percent(_end(cell, run, 'target'))} %"
        )
    )
    equal, better = _at_equal_learning(cells)
    last = cells[-1]
    sentences = [
        (better, equal),
        (all(ahead(_end(last, FLOW, "target"), _end(last, run, "target")) for run in OTHERS),
         f"Accuracy on the new task at equal rate, peak (by its validation rows) and end: {per_level(turns)}."),
        (_first(d) == FLOW, _who_wins(cells)),
        (not ahead(_hardest(cells[0], STANDARD), _hardest(cells[0], FLOW)),
         "Right on the tenth of the new test images that the probed model finds hardest, at equal rate: "
         + per_level(lambda cell: listed(lambda run: f"{percent(_hardest(cell, run))} %")) + "."),
        (True, f"Of the old task is kept at the end, at equal rate: {per_level(old)}."),
        (True, f"The weights: {per_level(_weights)}."),
    ]  # fmt: skip
    if LAST_STEP in d.run.values:
        change = lambda cell: difference(_end(cell, LAST_STEP, "target"), _end(cell, FLOW, "target"))
        helps = all(ahead(_end(cell, LAST_STEP, "target"), _end(cell, FLOW, "target")) for cell in cells)
        text = "The head trained alone at the end, on the unweighted loss, changes FLOW's new task by"
        sentences.append((helps, f"{text}: {per_level(change)}."))
    if "by_temperature" in d:
        sentences.append((True, _temperatures(last)))
    return sorted_out(*sentences)


def _weights(cell: xr.Dataset) -> str:
    return (
        f"τ {told(cell.temperature, 2)}, mean {told(cell.mean_weight, 2)}, effective share {told(cell.effective, 2)}, "
        f"below 0.01 {told(cell.idle, 2)}"
    )


def _at_equal_learning(cells: list[xr.Dataset]) -> tuple[str, bool]:
    """What FLOW keeps more at equal learning; whether more than each at every noise level, beyond error (Holm)."""
    family = {f"{float(cell.noise):g} {run}": gap for cell in cells for run, gap in gains(cell).items()}
    real = survivors(family)
    more = [real[key] and float(gap.mean("seed")) > 0 for key, gap in family.items()]
    parts = []
    for cell in cells:
        there = cell.kept.sel(learned=LEVEL)
        of = lambda run, there=there: f"{percent(there.sel(keeper=run))} %"
        best = most(there)
        start = percent(cell.before.sel(place="target"))
        level = 100 * float(cell.level.sel(learned=LEVEL))
        parts.append(
            f"{_share(cell)}, at {level:.0f} % on the new task (the probed head has {start} %), FLOW {of(FLOW)}, "
            f"standard {of(STANDARD)}, same mean step {of(SAME)}, weights shuffled {of(SHUFFLED)}, the most "
            f"{label_of(best)}, {of(best)}"
        )
    text = (
        "Of the old task is kept where the new one is learned as well, each method at the rate that then keeps the "
        f"most: {'; '.join(parts)}. FLOW keeps more in {sum(more)} of {len(more)} comparisons beyond error (Holm)."
    )
    return text, all(more)


def _means(cell: xr.Dataset) -> dict[str, xr.DataArray]:
    """The mean of both tasks at the end, each run at the rate that validation rows of both choose."""
    best = choice.own_best(cell, choice.BOTH)
    return {str(run): choice.both(cell, str(run), best) for run in cell.run.values}


def _first(d: xr.Dataset) -> str:
    means = _means(_levels(d)[-1])
    return max(means, key=lambda run: float(means[run].mean()))


def _who_wins(cells: list[xr.Dataset]) -> str:
    parts = []
    for cell in cells:
        means = _means(cell)
        order = sorted(means, key=lambda run: -float(means[run].mean()))
        told_of = ", ".join(f"{label_of(run)} {percent(means[run])} %" for run in order[:3])
        parts.append(
            f"{_share(cell)}: {told_of}; FLOW number {order.index(FLOW) + 1} of {len(order)}, {percent(means[FLOW])} %"
        )
    return (
        "By the mean of both at the end, rates chosen on validation rows of both: " + "; ".join(parts) + "."
    )


def _temperatures(cell: xr.Dataset) -> str:
    parts = [
        f"× {float(one.factor):g}: {percent(one.sel(place='pretrain'))} %, {percent(one.sel(place='target'))} % and "
        f"{percent(one.sel(place=MEMORISED))} %"
        for one in cell.by_temperature.transpose("factor", ...)
    ]
    return (
        f"FLOW by temperature in median losses, {_share(cell)}, at equal rate, old task, new task and by heart: "
        + "; ".join(parts)
        + "."
    )


def tables(dataset: xr.Dataset) -> tuple[Table, ...]:
    """One table a noise level, at equal rate and at each method's own best; what is kept at equal learning."""
    cells = _levels(dataset)
    made = []
    for cell in cells:
        best = choice.own_best(cell, choice.BOTH)
        rows = [("probed head", *choice.row_before(cell.before), "–", "–", *choice.row_before(cell.before))]
        for run in map(str, cell.run.values):
            heart, hard = _end(cell, run, MEMORISED), _hardest(cell, run)
            rows.append((
                ("*" if run == FLOW else "") + label_of(run),
                *choice.row(cell, run),
                percent(heart) if float(cell.noise) > 0 else "–",
                percent(hard),
                *choice.row(cell, run, best),
            ))  # fmt: skip
        header = (
            "method", "old", "new", "mean", "by heart", "hardest tenth", "old, own best", "new, own best",
            "mean, own best",
        )  # fmt: skip
        caption = (
            f"{100 * float(cell.noise):.0f} % of the labels wrong: end of training in %, mean ± s.e. over "
            f"{cell.sizes['seed']} splits that share no image, at rate {float(cell.equal_rate):.2g} and each method's "
            "own best"
        )
        note = "Own best: the smallest rate within one s.e. of the best on validation rows of both tasks."
        made.append(Table(caption, header, tuple(rows), note))
    named = {f"{100 * float(cell.noise):.0f} % wrong: ": cell for cell in cells}
    return (*made, kept_table(named, [LEVEL]), _peak_table(cells))


def _peak_table(cells: list[xr.Dataset]) -> Table:
    rows = []
    for cell in cells:
        for run in COMPARED:
            both = (_peak(cell, run), choice.at(cell.curve, run).isel(mark=-1))
            name = f"{100 * float(cell.noise):.0f} % wrong, {METHODS[run]}"
            rows.append(
                (
                    name,
                    *(percent(one.sel(place=p)) for one in both for p in ("pretrain", "target", MEMORISED)),
                )
            )
    caption = "Peak (by the new task's validation rows) and end of training at equal rate, in %"
    header = ("run", "old, peak", "new, peak", "by heart, peak", "old, end", "new, end", "by heart, end")
    return Table(caption, header, tuple(rows))
