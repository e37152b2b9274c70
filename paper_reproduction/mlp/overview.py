"""From the line to the network on one page: what the experiments say together, for somebody who doubts it.

Four questions, each answered by sentences whose every number is read off the arrays: where the linear theory predicts a
network, what the weights do that a smaller step or shuffled weights do not, who keeps the most where all have learned
the same, and when not to use FLOW.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import xarray as xr

from paper_reproduction.claim import Table
from paper_reproduction.mlp import choice
from paper_reproduction.mlp.equal_learning import most
from paper_reproduction.mlp.experiments.images_rotated import kept_at_largest_rate
from paper_reproduction.mlp.experiments.lazy_limit import ladder
from paper_reproduction.mlp.methods import (
    AVERAGED,
    COMPARED,
    CONTROLS,
    FLOW,
    SAME,
    SHUFFLED,
    STANDARD,
    label_of,
)
from paper_reproduction.mlp.protocol import MEMORISED
from paper_reproduction.mlp.statistics import ahead, apart, error, percent, points_more, survivors, told

Results = Mapping[str, xr.Dataset]
LEARNED = 0.8  # of what can be learned: where methods are compared at equal learning
POINTS = 2.0  # of the new task that have to be learned after the probe, or there is nothing to compare


@dataclass(frozen=True)
class Part:
    """A question and what the results at hand answer."""

    question: str
    sentences: tuple[str, ...]
    table: Table | None = None


def overview(results: Results) -> tuple[Part, ...]:
    """The parts that these results, by the names of their experiments, have something to say to."""
    parts = (
        Part("Where does the linear theory predict a network, and how well?", _of(results, PREDICTED)),
        Part("What do the weights do that a smaller step or shuffled weights do not?", _of(results, WEIGHTS)),
        Part("Who keeps the most where all have learned the same?", *_equal_learning(results)),
        Part("When should FLOW not be used?", _of(results, AGAINST)),
    )
    return tuple(part for part in parts if part.sentences)


Says = Callable[[xr.Dataset], str]


def _of(results: Results, sayings: Sequence[tuple[str, Says]]) -> tuple[str, ...]:
    said = (say(results[name]) for (name, say) in sayings if name in results)
    return tuple(sentence for sentence in said if sentence)


# --------------------------------------------------------------------------------- the theory and the network


def _stall(d: xr.Dataset) -> str:
    """The tanh network whose target is itself, moved: the distance where it is nearest and farthest, and the stall."""
    clean = d.isel(cell=np.flatnonzero(d.noise == 0)).swap_dims(cell="distance").sortby("distance")
    gap = ((clean.network - clean.linear) ** 2).mean(["run", "seed", "step"], skipna=False) ** 0.5
    near = clean.isel(distance=min(1, clean.sizes["distance"] - 1))
    gaussian = abs(near.network - near.gaussian).max(["run", "step"]).mean("seed")
    far = f" and {float(gap[-1]):.2f} at δ = {float(gap.distance[-1]):g}" if len(gap) > 1 else ""
    noisy = d.isel(cell=int(np.argmin(abs(d.noise.values - 1.0))))
    left = lambda cell, run: cell.network.sel(run=run).isel(step=-1)
    flow, others = "flow-same-mean-step", ("standard", "permuted-same-mean-step")
    stalls = all(ahead(left(noisy, flow), left(noisy, other)) for other in others)
    each = lambda cell: (
        f"{told(left(cell, flow), 2)} with FLOW, {told(left(cell, others[0]), 2)} with standard fine-tuning, "
        f"{told(left(cell, others[1]), 2)} with FLOW's weights shuffled"
    )
    return (
        f"A small tanh network whose target lies at distance δ is {float(gap[0]):.4f} of the shift from "
        f"the closed form of its linearization at δ = {float(gap.distance[0]):g}{far}; the Gaussian theory, which does "
        f"not know its features, is off by up to {float(gaussian):.2f} at δ = {float(near.distance):g}. It "
        f"{'stalls' if stalls else 'does not stall'}: "
        f"with label noise (k = {float(noisy.noise):g}, δ = {float(noisy.distance):g}), after {int(d.step[-1])} steps "
        f"of the same mean length, of the shift remain {each(noisy)} (FLOW's end in theory "
        f"{float(noisy.limit.mean()):.2f}). Without noise: {each(near)}."
    )


def _lazy(d: xr.Dataset) -> str:
    """The distance at the narrowest and the widest network."""
    steps = ladder(d, "width")
    largest = 100 * steps.gap.max(["run", "step"]).mean("seed")
    narrow, wide = (int(steps.width[k]) for k in (0, -1))
    return (
        "The wider the network, the nearer: its outputs differ from the closed form by "
        f"{float(largest[0]):.2f} % of the residual at width {narrow} and by {float(largest[-1]):.3f} % at "
        f"{wide}."
    )


def _squared(d: xr.Dataset) -> str:
    """Real images and squared loss, by the angle of the new task."""
    gap = ((d.network - d.linear) ** 2).mean(["step", "seed"], skipna=False) ** 0.5
    each = ", ".join(f"{float(gap.sel(angle=a).max('run')):.2f} at {a:g}°" for a in d.angle.values)
    return (
        "Real digits with squared loss, turned for the new task, are off by this share of the shift (root mean "
        f"square over steps and seeds, the largest of the runs): {each}."
    )


def _tenths(d: xr.Dataset) -> str:
    """The hardest tenth's share of the error in the teacher-student network."""
    near = d.isel(distance=-1)
    part = lambda values: (values / values.sum("decile")).isel(decile=-1)
    share = lambda values: told(part(values), 2)
    flow, standard = near.sel(path="flow-same-mean-step"), near.network.sel(path="standard")
    moves = "lowers" if float(part(standard).mean()) < float(part(near.start).mean()) else "raises"
    return (
        f"Of the error the hardest tenth of the samples has {share(near.start)} before, {share(flow.network)} after "
        f"FLOW (Gaussian closed form {share(flow.gaussian)}); standard fine-tuning {moves} it to {share(standard)}."
    )


PREDICTED: Sequence[tuple[str, Says]] = (
    ("teacher-student-stall", _stall),
    ("lazy-limit", _lazy),
    ("squared-digits", _squared),
    ("hard-samples", _tenths),
)


# ------------------------------------------------------------------------------------------- the weights


def _each(value: Callable[[str], xr.DataArray]) -> str:
    """FLOW, both controls and standard, in per cent."""
    return (
        f"FLOW {percent(value(FLOW))} %, standard at the same mean step {percent(value(SAME))} %, FLOW "
        f"with its weights shuffled {percent(value(SHUFFLED))} %, standard {percent(value(STANDARD))} %"
    )


def _noisiest(d: xr.Dataset) -> xr.Dataset:
    return d.isel(noise=int(np.argmax(d.noise.values)))


def _by_heart(d: xr.Dataset) -> str:
    """The residual network at the largest share of wrong labels, at the end, and whether FLOW is done there."""
    cell = _noisiest(d)
    end = lambda place: lambda run: choice.at(cell.accuracy, run).sel(place=place)
    heart = choice.at(cell.curve, FLOW).sel(place=MEMORISED)
    fewer = all(ahead(end(MEMORISED)(run), end(MEMORISED)(FLOW)) for run in CONTROLS)
    return (
        f"They {'delay' if fewer else 'do not delay'} learning wrong labels by heart. Of "
        f"{100 * float(cell.noise):.0f} % wrong labels a residual network on images knows after {int(cell.mark[-1])} "
        f"steps, at one rate: {_each(end(MEMORISED))} (FLOW {percent(heart.isel(mark=-2))} % after "
        f"{int(cell.mark[-2])}: later, not never). Of the new task's test images it then has right: "
        f"{_each(end('target'))}."
    )


def _at_best(curve: xr.DataArray) -> xr.DataArray:
    """The new task where its validation rows are best along training, (seed,)."""
    return choice.peak(curve, ["mark"], choice.NEW).sel(place="target")


def _long(d: xr.Dataset) -> str:
    """The perceptron's long arm."""
    curve = d.long_curve.isel(long_rate=int(d.attrs["long_rate_place"]), long_mark=-1)
    return (
        f"So with a small perceptron on digits, {100 * float(d.attrs['long_noise']):.0f} % wrong labels and "
        f"{int(curve.long_mark)} steps; right on the new task: "
        f"{_each(lambda run: curve.sel(long_run=run, place='target'))}."
    )


def _rotated(d: xr.Dataset) -> str:
    """One head, turned images: what is kept at one large rate and equal learning; what a smaller rate keeps."""
    flow, same, shuffled = (kept_at_largest_rate(d, run) for run in (FLOW, SAME, SHUFFLED))
    here = d.kept_by_rate.sel(learned=LEARNED, trained=FLOW).isel(rate=-1)
    there = d.kept.sel(learned=LEARNED, keeper=SAME)
    return (
        f"At one large rate ({float(d.rate[-1]):.2g}), with one head and turned images, FLOW has "
        f"{points_more(flow, same)} of the old task, where as much of the new one is learned, than standard at the "
        f"same mean step and {points_more(flow, shuffled)} than with its weights shuffled. A smaller rate does "
        f"{'more' if float(there.mean()) > float(here.mean()) else 'less'}: "
        f"where {100 * float(d.level.sel(learned=LEARNED)):.0f} % of the new task are right FLOW keeps "
        f"{percent(here)} % at the large rate, standard at the same mean step {percent(there)} % at its best."
    )


def _language(d: xr.Dataset) -> str:
    """Per byte, at the rate that all are compared at."""
    rate = float(d.rate[int(np.argmin(abs(np.log(d.rate.values / 1e-3))))])
    end = d.bits.sel(rate=rate).isel(step=-1)
    gap = lambda place: end.sel(run="flow", place=place) - end.sel(run="permuted", place=place)
    keeps = "keeps more" if float(gap("pretrain").mean()) < 0 else "keeps less"
    learns = "learns less" if float(gap("target").mean()) > 0 else "learns more"
    return (
        f"A language model that goes from prose to code, weighted byte by byte, {keeps} and {learns}: "
        f"{told(gap('pretrain'), 2)} bits a byte of prose and {told(gap('target'), 2)} of code beside shuffled weights "
        "at the same rate "
        "(fewer are better). What that is worth is told at equal learning."
    )


WEIGHTS: Sequence[tuple[str, Says]] = (
    ("images-own-head", _by_heart),
    ("digits-label-noise", _long),
    ("images-rotated", _rotated),
    ("language", _language),
)


# --------------------------------------------------------------------------------------- at equal learning


def _cells(results: Results) -> Iterator[tuple[str, xr.Dataset]]:
    """Every comparison at equal learning, with its name."""
    for name, words in (
        ("digits-label-noise", "digits, head of its own"),
        ("images-own-head", "images, head of its own"),
        ("conflicting-labels", "digits, conflicting labels"),
        ("images-rotated", "images, turned"),
    ):
        if name in results and "noise" in results[name].dims:
            for cell in (results[name].isel(noise=i) for i in range(results[name].sizes["noise"])):
                if _level(cell) - _known(cell) > POINTS:
                    yield f"{words}, {100 * float(cell.noise):.0f} % wrong labels", cell
        elif name in results:
            yield words, results[name]


def _known(cell: xr.Dataset) -> float:
    """Per cent of the new task that are right before fine-tuning."""
    return 100 * float(cell.before.sel(place="target").mean("seed"))


def _level(cell: xr.Dataset) -> float:
    """Per cent of the new task that are right where methods are compared."""
    return 100 * float(cell.level.sel(learned=LEARNED))


@dataclass(frozen=True)
class Tally:
    """How often FLOW keeps more and less than a control at equal learning; and averaging."""

    higher: int  # by the mean alone
    more: int  # beyond error (Holm)
    less: int
    comparisons: int
    seen: float  # the difference that one comparison alone would tell from none, the median of all
    averaging: int  # settings in which an average keeps at least as much as FLOW
    settings: int


def tally(results: Results) -> Tally:
    """Over every comparison at equal learning that these results hold."""
    gaps, averaging, settings = {}, 0, 0
    for words, cell in _cells(results):
        kept = cell.kept.sel(learned=LEARNED)
        mean = kept.mean("seed", skipna=False)
        gaps |= {(words, run): kept.sel(keeper=FLOW) - kept.sel(keeper=run) for run in CONTROLS}
        averages = mean.sel(keeper=[run for run in AVERAGED if run in mean.keeper.values])
        averaging += bool((averages >= mean.sel(keeper=FLOW)).any())
        settings += 1
    real = survivors(gaps)
    counted = lambda sign: sum(real[key] and sign * float(gap.mean("seed")) > 0 for key, gap in gaps.items())
    higher = sum(float(gap.mean("seed")) > 0 for gap in gaps.values())
    seen = float(np.median([apart(gap) * float(error(gap)) for gap in gaps.values()]))
    return Tally(higher, counted(1), counted(-1), len(gaps), seen, averaging, settings)


def _equal_learning(results: Results) -> tuple[tuple[str, ...], Table | None]:
    """Where FLOW keeps more than both controls, and who keeps the most; one row a comparison."""
    rows, seeds = [], set()
    for words, cell in _cells(results):
        kept = cell.kept.sel(learned=LEARNED)
        best = most(kept)
        of = lambda run, kept=kept: percent(kept.sel(keeper=run))
        new = f"{_known(cell):.0f} → {_level(cell):.0f}"
        rows.append((words, new, *(of(run) for run in COMPARED), f"{label_of(best)}, {of(best)}"))
        seeds.add(kept.sizes["seed"])
    if not rows:
        return (), None
    found = tally(results)
    first = (
        f"On digits and images, of {found.comparisons} comparisons with standard at the same mean step and "
        "with shuffled weights, each method at the rate that then keeps the most, FLOW's mean of the old task is "
        f"higher in {found.higher}; beyond error it keeps more in {found.more} and less in {found.less} (Holm; one "
        f"comparison alone would see {100 * found.seen:.1f} points)."
    )
    second = (
        "The mean of one of two averages of parameters (WiSE-FT, of standard fine-tuning or of FLOW) is at least "
        f"FLOW's in {found.averaging} of {found.settings} settings."
    )
    header = ("old task, %, at equal learning", "new, %", *(label_of(run) for run in COMPARED), "the most")
    caption = (
        f"Where {100 * LEARNED:.0f} % of what can be learned of the new task is learned, mean ± s.e. over "
        f"{' or '.join(map(str, sorted(seeds)))} seeds; settings in which there is next to nothing to learn after the "
        "probe are left out"
    )
    return (first, second, *_equal_bits(results)), Table(caption, header, tuple(rows))


def _equal_bits(results: Results) -> tuple[str, ...]:
    """The language model: bits are few where accuracy is high; each kind of weight at a level that it reaches."""
    if "language" not in results:
        return ()
    d = results["language"]
    start = d.bits.sel(run="standard").isel(step=0, rate=0)
    said = []
    for level, (flow, shuffled, words) in enumerate(
        (
            ("flow", "permuted", "weighted per byte"),
            ("flow-sequence", "permuted-sequence", "weighted per sequence"),
        )
    ):
        of = lambda way, level=level: told(d.kept.isel(level=level).sel(way=way), 2)
        said.append(
            f"{words}, where code takes {float(d.level[level]):.1f}: FLOW {of(flow)}, its weights shuffled "
            f"{of(shuffled)}, standard {of('standard')} ({told(_later(d, level), 2)} at its best from there on), "
            f"WiSE-FT {of('wise')}"
        )
    before = lambda place: told(start.sel(place=place), 2)
    return (
        f"The language model's bits a byte of prose ({before('pretrain')} before, code {before('target')}), "
        f"{'; '.join(said)}.",
    )


def _later(d: xr.Dataset, level: int) -> xr.DataArray:
    """The fewest bits of prose, by the mean, that standard has anywhere with no more bits of code than at a level."""
    bits = d.bits.sel(run="standard").transpose("rate", "step", ...)
    mean = bits.mean("seed", skipna=False)
    old = mean.sel(place="pretrain").where(mean.sel(place="target") <= float(d.level[level]))
    rate, step = np.unravel_index(int(np.nanargmin(old.values)), old.shape)
    return bits.sel(place="pretrain").isel(rate=int(rate), step=int(step))


# -------------------------------------------------------------------------------------------------- against


def _clean(d: xr.Dataset) -> str:
    """With clean labels the hard samples are lost."""
    hard = lambda run: choice.at(d.by_decile, run).isel(decile=-1)
    loses = all(ahead(hard(run), hard(FLOW)) for run in CONTROLS)
    return (
        f"Where labels are clean: FLOW then {'loses' if loses else 'keeps'} the hard samples. Of the hardest tenth of "
        f"the test digits, at one rate, are right: {_each(hard)}."
    )


def _ahead_of(value: Callable[[str], xr.DataArray]) -> str:
    """Of how many of both controls FLOW is ahead beyond error."""
    count = sum(ahead(value(FLOW), value(run)) for run in CONTROLS)
    return f"FLOW is ahead of {('neither control', 'one control', 'both controls')[count]} beyond error"


def _stopped_long(d: xr.Dataset) -> str:
    """Where somebody watches validation rows and stops: the peak instead of the end."""
    curve = d.long_curve.isel(long_rate=int(d.attrs["long_rate_place"])).rename(long_mark="mark")
    top = lambda run: _at_best(curve.sel(long_run=run))
    return (
        "Where training is stopped by validation rows, as noisy as the training rows. At its best time the small "
        f"perceptron, which learned wrong labels by heart in the end, has right on the new task: {_each(top)}; "
        f"{_ahead_of(top)}."
    )


def _stopped(d: xr.Dataset) -> str:
    """The same of the residual network."""
    top = lambda run: _at_best(choice.at(_noisiest(d).curve, run))
    return f"The residual network, stopped so: {_each(top)}; {_ahead_of(top)}."


def _alike(d: xr.Dataset) -> str:
    """Inverted digits: all equally hard."""
    cell = d.sel(setting="inverted")
    flow, same = choice.both(cell, FLOW), choice.both(cell, SAME)
    within = "beyond error" if ahead(flow, same) or ahead(same, flow) else "within error"
    return (
        f"Where all samples are equally hard: with inverted digits (effective sample share {told(cell.effective, 2)}) "
        f"FLOW has {points_more(flow, same)} than standard at the same mean step, by the mean of both tasks, {within}."
    )


def _over_confident(d: xr.Dataset) -> str:
    """Trained to the end FLOW is a sharpened product of two models."""
    each = lambda agreement: told(d.softmax_softening.sel(run=FLOW, agreement=agreement, temperature=1.0), 2)
    return (
        "Where probabilities count, unless they are calibrated afterwards: softmax regression ends at, and networks "
        "pass early near, the product of the new labels' law and the old model's to the power 1/τ, which is "
        f"over-confident. At τ = 1 softmax regression's logits have to be divided by {each('another task')} where the "
        "two are unrelated (by 1 + 1/τ = 2 where they agree)."
    )


AGAINST: Sequence[tuple[str, Says]] = (
    ("hard-samples", _clean),
    ("digits-label-noise", _stopped_long),
    ("images-own-head", _stopped),
    ("where-it-fails", _alike),
    ("product-of-experts", _over_confident),
)
