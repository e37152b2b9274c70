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
from paper_reproduction.mlp.statistics import ahead, percent, points_more, survivors, told

Results = Mapping[str, xr.Dataset]
LEARNED = 0.8  # of what can be learned: where methods are compared at equal learning


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
    left = lambda run: told(near.network.sel(run=run).isel(step=-1), 2)
    far = f" and {float(gap[-1]):.2f} at δ = {float(gap.distance[-1]):g}" if len(gap) > 1 else ""
    return (
        f"A small tanh network whose target lies at distance δ is {float(gap[0]):.4f} of the shift from "
        f"the closed form of its linearization at δ = {float(gap.distance[0]):g}{far}. It stalls: after "
        f"{int(d.step[-1])} steps of the same mean length {left('flow-same-mean-step')} of the shift "
        f"remains with FLOW, {left('standard')} with standard fine-tuning and "
        f"{left('permuted-same-mean-step')} with FLOW's weights shuffled."
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
        "On real digits with squared loss, turned for the new task, it is off by at most this share of "
        f"the shift (root mean square over steps): {each}."
    )


def _tenths(d: xr.Dataset) -> str:
    """The hardest tenth's share of the error in the teacher-student network."""
    near = d.isel(distance=-1)
    share = lambda values: told((values / values.sum("decile")).isel(decile=-1), 2)
    network, says = (near[name].sel(path="flow-same-mean-step") for name in ("network", "gaussian"))
    return (
        f"What FLOW leaves, it leaves on the hard samples: their hardest tenth has {share(network)} of the "
        f"error, by the Gaussian closed form {share(says)}."
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
    """The residual network at the largest share of wrong labels, at the end."""
    cell = _noisiest(d)
    end = lambda place: lambda run: choice.at(cell.accuracy, run).sel(place=place)
    return (
        "They keep a network from learning wrong labels by heart. A residual network on images with "
        f"{100 * float(cell.noise):.0f} % wrong labels, trained to the end at one rate, has of these "
        f"learned: {_each(end(MEMORISED))}; of the new task's test images it has right: "
        f"{_each(end('target'))}."
    )


def _peaks(cell: xr.Dataset) -> Callable[[str], xr.DataArray]:
    """The new task at the best time by its validation rows, at the rate that all are compared at, (seed,)."""
    return lambda run: choice.peak(choice.at(cell.curve, run), ["mark"], choice.NEW).sel(place="target")


def _leads(value: Callable[[str], xr.DataArray]) -> bool:
    """Whether FLOW is ahead of both controls beyond error."""
    return all(ahead(value(FLOW), value(run)) for run in CONTROLS)


def _also_stopped(d: xr.Dataset) -> str:
    """Where stopping by validation rows does not make up for the weights."""
    if not _leads(_peaks(_noisiest(d))):
        return ""
    return f"Stopped at its best time by validation rows it has right: {_each(_peaks(_noisiest(d)))}."


def _long(d: xr.Dataset) -> str:
    """The perceptron's long arm."""
    curve = d.long_curve.isel(long_rate=int(d.attrs["long_rate_place"]), long_mark=-1)
    return (
        f"So with a small perceptron, {100 * float(d.attrs['long_noise']):.0f} % wrong labels and a long "
        "training; right on the new task in the end: "
        f"{_each(lambda run: curve.sel(long_run=run, place='target'))}."
    )


def _rotated(d: xr.Dataset) -> str:
    """One head, turned images: what is kept at one large rate and equal learning."""
    kept = lambda run: kept_at_largest_rate(d, run)
    return (
        f"At a large rate ({float(d.rate[-1]):.2g}) they keep more of the old task for as much of the new "
        f"one: with one head and turned images FLOW has {points_more(kept(FLOW), kept(SAME))} than "
        f"standard at the same mean step and {points_more(kept(FLOW), kept(SHUFFLED))} than with its "
        "weights shuffled."
    )


def _language(d: xr.Dataset) -> str:
    """Per byte, at the rate that all are compared at."""
    rate = float(d.rate[int(np.argmin(abs(np.log(d.rate.values / 1e-3))))])
    end = d.bits.sel(rate=rate).isel(step=-1)
    gap = lambda place: told(end.sel(run="flow", place=place) - end.sel(run="permuted", place=place), 2)
    return (
        f"A language model that goes from prose to code, weighted byte by byte, has {gap('pretrain')} bits "
        f"a byte of prose and {gap('target')} of code beside shuffled weights at the same rate (fewer are "
        "better)."
    )


WEIGHTS: Sequence[tuple[str, Says]] = (
    ("images-own-head", _by_heart),
    ("images-own-head", _also_stopped),
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
                yield f"{words}, {100 * float(cell.noise):.0f} % wrong labels", cell
        elif name in results:
            yield words, results[name]


@dataclass(frozen=True)
class Tally:
    """How often FLOW keeps more and less than a control at equal learning, beyond error (Holm); and averaging."""

    more: int
    less: int
    comparisons: int
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
    return Tally(counted(1), counted(-1), len(gaps), averaging, settings)


def _equal_learning(results: Results) -> tuple[tuple[str, ...], Table | None]:
    """Where FLOW keeps more than both controls, and who keeps the most; one row a comparison."""
    rows = []
    for words, cell in _cells(results):
        kept = cell.kept.sel(learned=LEARNED)
        best = most(kept)
        of = lambda run, kept=kept: percent(kept.sel(keeper=run))
        new = f"{100 * float(cell.level.sel(learned=LEARNED)):.0f}"
        rows.append((words, new, *(of(run) for run in COMPARED), f"{label_of(best)}, {of(best)}"))
    if not rows:
        return (), None
    found = tally(results)
    first = (
        f"On digits and images, of {found.comparisons} comparisons with standard at the same mean step and "
        "with shuffled weights, each method at the rate that then keeps the most, FLOW keeps more of the "
        f"old task beyond error in {found.more} and less in {found.less} (Holm)."
    )
    second = (
        "Averaging parameters (WiSE-FT, of standard fine-tuning or of FLOW) keeps at least as much as "
        f"FLOW in {found.averaging} of {found.settings} settings."
    )
    header = ("old task, %, at equal learning", "new, %", *(label_of(run) for run in COMPARED), "the most")
    caption = f"Where {100 * LEARNED:.0f} % of what can be learned of the new task is learned, mean ± s.e."
    return (first, second, *_equal_bits(results)), Table(caption, header, tuple(rows))


def _equal_bits(results: Results) -> tuple[str, ...]:
    """The language model: bits are few where accuracy is high; each kind of weight at a level that it reaches."""
    if "language" not in results:
        return ()
    kept = results["language"].kept
    said = []
    for level, (flow, shuffled, words) in enumerate(
        (
            ("flow", "permuted", "weighted per byte"),
            ("flow-sequence", "permuted-sequence", "weighted per sequence"),
        )
    ):
        of = lambda way, level=level: told(kept.isel(level=level).sel(way=way), 2)
        said.append(
            f"{words}, where code takes {float(kept.level[level]):.1f}: FLOW {of(flow)}, its weights shuffled "
            f"{of(shuffled)}, standard {of('standard')}, WiSE-FT {of('wise')}"
        )
    return (f"The language model's bits a byte of prose, {'; '.join(said)}.",)


# -------------------------------------------------------------------------------------------------- against


def _clean(d: xr.Dataset) -> str:
    """With clean labels hard samples are the informative ones."""
    hard = lambda run: choice.at(d.by_decile, run).isel(decile=-1)
    return (
        "Where labels are clean: the hard samples are then the informative ones. Of the hardest tenth of "
        f"the test digits, at one rate, are right: {_each(hard)}."
    )


def _stopped(d: xr.Dataset) -> str:
    """Where somebody watches validation rows and stops: the peak instead of the end."""
    if _leads(_peaks(_noisiest(d))):
        return ""
    return f"Where training is stopped by validation rows: at its best time are right {_each(_peaks(_noisiest(d)))}."


def _stopped_long(d: xr.Dataset) -> str:
    """The same of the perceptron's long arm."""
    curve = d.long_curve.isel(long_rate=int(d.attrs["long_rate_place"])).rename(long_mark="mark")
    top = lambda run: choice.peak(curve.sel(long_run=run), ["mark"], choice.NEW).sel(place="target")
    if _leads(top):
        return ""
    return (
        "Where training is stopped by validation rows: at its best time the small perceptron, which "
        f"learned wrong labels by heart in the end, has right on the new task: {_each(top)}."
    )


def _alike(d: xr.Dataset) -> str:
    """Inverted digits: all equally hard."""
    cell = d.sel(setting="inverted")
    flow, same = choice.both(cell, FLOW), choice.both(cell, SAME)
    within = "beyond error" if ahead(flow, same) or ahead(same, flow) else "within error"
    return (
        "Where all samples are equally hard the weights do little but shorten the steps: with inverted "
        f"digits FLOW has {points_more(flow, same)} than standard at the same mean step, {within}."
    )


def _over_confident(d: xr.Dataset) -> str:
    """Trained to the end FLOW is a sharpened product of two models."""
    each = lambda agreement: told(d.softmax_softening.sel(run=FLOW, agreement=agreement, temperature=1.0), 2)
    return (
        "Where probabilities count, unless they are calibrated afterwards: trained to the end FLOW fits "
        "the product of the new labels' law and the old model's to the power 1/τ, which is "
        "over-confident. At τ = 1 in softmax regression its logits have to be divided by "
        f"{each('same task')} where the two agree (1 + 1/τ is 2) and by {each('another task')} where they "
        "are unrelated."
    )


AGAINST: Sequence[tuple[str, Says]] = (
    ("hard-samples", _clean),
    ("digits-label-noise", _stopped_long),
    ("images-own-head", _stopped),
    ("where-it-fails", _alike),
    ("product-of-experts", _over_confident),
)
