"""What a model trained with FLOW's weights ends as: the law of the new labels times a power of the old model's."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import xarray as xr

from paper_reproduction.claim import Check, Claim, Settings, Table, Verdict
from paper_reproduction.mlp import experts
from paper_reproduction.mlp.experiments import _product_language as language
from paper_reproduction.mlp.experiments import _product_networks as networks
from paper_reproduction.mlp.experiments import _product_softmax as softmax
from paper_reproduction.mlp.statistics import answer, sorted_out, told

CLAIM = Claim(
    name="product-of-experts",
    title="FLOW learns the product of the labels' law and the old model, until it learns the noise",
    question="Is what FLOW learns the product of the labels' law and the old model's to the power 1/τ?",
    statement=(
        r"FLOW's weight of a row is $p_*(y|x)^{1/\tau}$. Where labels are drawn from a law $\tilde p(y|x)$, the "
        r"weighted cross-entropy is least at $p\propto\tilde p\,p_*^{1/\tau}$, whatever the law of $x$. We look for "
        r"that product in softmax regression, where it is exact; byte by byte in a language model that is fine-tuned "
        r"in one pass over new text; and along the training of two small networks on partly wrong labels, one of the "
        r"digits and a residual one of larger images of digits. Logarithms of "
        r"the trained model's probabilities are regressed, weighted by these, on those of standard fine-tuning after "
        r"as many steps (for $\tilde p$) and on those of the old model, with a free constant for each input: the "
        r"product has exponents $1$ and $1/\tau$. Beside FLOW stand FLOW with its weights shuffled and standard "
        r"fine-tuning at the same mean step."
    ),
    equation="beyond the paper; Remark 7.5 for probabilities",
    formula=r"p\propto\tilde p\;p_*^{1/\tau},\qquad\text{softmax:}\quad\theta_\infty=\tilde\theta+\theta_*/\tau",
    functions=("flow_weights",),
    seconds=700,
    quick_seconds=20,
    order=100,
)

FLOW = "flow"
RUNS = {
    "flow": "FLOW",
    "flow-same-mean-step": "FLOW, same mean step",
    "flow-sequence": "FLOW, per sequence",
    "standard-same-mean-step": "standard, same mean step",
    "permuted": "FLOW, weights shuffled",
}
OLD = experts.EXPERTS[1]


def compute(settings: Settings) -> xr.Dataset:
    """All parts side by side; a run that a part has not is NaN there."""
    seeds = settings.repetitions(10, 3)
    parts = (softmax.compute(settings, seeds), networks.compute(settings, seeds), language.compute(settings))
    joined = xr.merge([part.reindex(run=list(RUNS)) for part in parts], combine_attrs="drop")
    return joined.assign_coords(label=("run", list(RUNS.values()))).assign_attrs(seeds=seeds)


# ------------------------------------------------------------------------------------------- the verdict


def verdict(dataset: xr.Dataset) -> Verdict:
    """Every part holds for FLOW and for neither control."""
    d = dataset
    checks = (*softmax.checks(d), *networks.checks(d), *language.checks(d))
    return Verdict(checks, headline=_headline(d, checks), **_also(d))


def _headline(d: xr.Dataset, checks: tuple[Check, ...]) -> str:
    holds = lambda part: all(check.holds for check in checks if check.name.startswith(part))
    along = {
        network: _early_and_late(one.sel(factor=networks.DEFAULT, run=FLOW).isel(noise=0))
        for network, one in networks.judged(d).items()
    }
    stays = all(late[0] <= 0.5 * late[1] for _, late, _ in along.values())
    bytes_ = d.sel(language_factor=language.DEFAULT, run=FLOW)
    units = language.in_units(bytes_).mean("model", skipna=False)
    share = float(language.share(d).sel(language_factor=language.DEFAULT, run=FLOW))
    exact = float(d.softmax_distance.sel(run=FLOW, formula="product").max(skipna=False))
    said = answer(holds("softmax"), holds("language:"), *(holds(f"{name}, early:") for name in along), stays)
    each = "; ".join(
        f"{networks.NETWORKS[network]}: {early[0]:.3f} and {early[1]:.3f} early, {late[0]:.2f} and {late[1]:.2f} "
        f"where standard fine-tuning reproduces {100 * wrong:.0f} % of the wrong labels"
        for network, (early, late, wrong) in along.items()
    )
    return (
        f"{said}: exactly in softmax regression (to "
        f"{_power(exact)}); byte by byte in a language model with exponents {float(units[0]):.2f} and "
        rf"{float(units[1]):.2f}$/\tau$, the product being {share:.2f} times as far as standard fine-tuning (KL); "
        f"along training early, and {'still' if stays else 'no longer'} when wrong labels are learned by heart (KL to "
        f"the product and to standard fine-tuning; {each})."
    )


def _early_and_late(d: xr.Dataset) -> tuple[tuple[float, float], tuple[float, float], float]:
    """KL to the product and to standard fine-tuning, early and at the end; the wrong labels that this knows then."""
    mean = lambda values: float(values.mean("seed", skipna=False))
    early, late = (
        (mean(at("to_product")), mean(at("to_standard")))
        for at in (lambda name: networks.at_stop(d, name), lambda name: d[name].isel(mark=-1))
    )
    return early, late, mean(d.standard_memorised.isel(mark=-1))


def _power(value: float) -> str:
    """A small number as LaTeX; what is no number stays what it is."""
    if not np.isfinite(value):
        return str(value)
    digits_, exponent = f"{value:.0e}".split("e")
    return rf"${digits_}\times10^{{{int(exponent)}}}$"


def _also(d: xr.Dataset) -> dict[str, tuple[str, ...]]:
    """What else the three parts say."""
    said = 1 + 1 / d.temperature
    other = d.softmax_softening.sel(run=FLOW, agreement="another task").mean("seed", skipna=False)
    softened = ", ".join(
        f"{float(other.sel(temperature=t)):.2f} for {float(said.sel(temperature=t)):g}"
        for t in d.temperature.values
    )
    sequence = language.in_units(d.sel(language_factor=language.DEFAULT, run="flow-sequence")).mean("model")
    curve = d.sel(language_factor=language.DEFAULT).mean(["model", "window"], skipna=False)
    left = ", ".join(
        f"{float(one):.3f} after {int(one.step)}"
        for one in curve.language_to_product.sel(run=FLOW).transpose("step", ...)
    )
    between = float(curve.language_to_standard.sel(run="standard-same-mean-step").isel(step=-1))
    return sorted_out(
        (False, r"The temperature that undoes FLOW's confidence is $1+1/\tau$ where old and new model agree. In "
         f"softmax regression with independent parameters it is {softened}."),
        (False, f"At τ = {networks.COLDEST:g} medians the networks do not get to the product: KL to it over KL to "
         f"standard fine-tuning is {_over_cells(d, _coldest)}."),
        *((False, text) for text in _not_judged(d)),
        (False, "With weights of whole sequences the product is not there byte by byte: exponents "
         rf"{float(sequence[0]):.2f} and {float(sequence[1]):.2f}$/\tau$."),
        (False, rf"The margin $\tau\ln((1-\varepsilon)(C-1)/\varepsilon)$ is necessary and not sufficient. Test rows "
         f"that the probed model has wrong and that are set right at τ = {networks.COLD:g} medians: "
         f"{_over_cells(d, _set_right)}."),
        (True, "Along training, early, exponents of p̃ and of p* in units of 1/τ: "
         f"{_over_cells(d, _units)}."),
        (True, "Along training, early, temperature that undoes FLOW's confidence on validation rows: "
         f"{_over_cells(d, _softened)}."),
        (True, f"Language, KL of FLOW to the product by steps of training: {left}. Two runs of standard fine-tuning "
         f"that saw the same windows in another order are {between:.3f} apart at the end."),
    )  # fmt: skip


def _over_cells(dataset: xr.Dataset, tell: Callable[[xr.Dataset], str]) -> str:
    """What is said of each network at each share of wrong labels."""
    return "; ".join(
        f"{networks.NETWORKS[network]}, {100 * noise:.0f} % wrong labels: {tell(d.sel(noise=noise))}"
        for network, d in networks.shown(dataset).items()
        for noise in d.noise.values
    )


def _not_judged(dataset: xr.Dataset) -> list[str]:
    """What is found where nothing is claimed."""
    found = []
    for network, d in networks.shown(dataset).items():
        for noise in d.noise.values:
            if noise in networks.JUDGED[network]:
                continue
            cell = d.sel(noise=noise)
            near = float(networks.share(cell.sel(factor=networks.DEFAULT, run=FLOW)))
            steps = ", ".join(str(int(step)) for step in sorted(cell.mark.values[cell.stop.values]))
            found.append(
                f"Nothing is claimed of the {networks.NETWORKS[network]} with {100 * noise:.0f} % wrong labels, where "
                f"standard fine-tuning is at its best on validation rows after {steps} steps (each split's). KL of "
                f"FLOW to the product over KL to standard fine-tuning is {near:.2f} there."
            )
    return found


def _coldest(d: xr.Dataset) -> str:
    return f"{float(networks.share(d.sel(factor=networks.COLDEST, run=FLOW))):.1f}"


def _set_right(d: xr.Dataset) -> str:
    cold = d.sel(factor=networks.COLD)
    share = lambda side, run: f"{100 * float(networks.corrected(cold, side).sel(run=run)):.0f} %"
    return (
        f"beyond the margin FLOW {share('above', FLOW)}, shuffled {share('above', 'permuted')}, standard at the same "
        f"mean step {share('above', 'standard-same-mean-step')}, below it FLOW {share('below', FLOW)}"
    )


def _units(d: xr.Dataset) -> str:
    units = networks.in_units(d).sel(run=FLOW)
    return (
        ", ".join(
            f"τ × {float(one.factor):g} {told(one.isel(expert=0), 2)} and {told(one.isel(expert=1), 2)}"
            for one in units.transpose("factor", ...)
            if one.factor >= networks.DEFAULT
        )
        if bool(units.notnull().all())
        else "not to be told"
    )


def _softened(d: xr.Dataset) -> str:
    says, found = (1 + 1 / d.temperature).mean("seed"), d.softening.sel(run=FLOW)
    return ", ".join(
        f"τ × {factor:g} {told(found.sel(factor=factor), 2)} (1 + 1/τ is {float(says.sel(factor=factor)):.2f})"
        for factor in d.factor.values
        if factor >= networks.COLD
    )


def tables(dataset: xr.Dataset) -> tuple[Table, ...]:
    """Exponents and distances of every part, how far FLOW is over-confident, and other formulas."""
    return _exponents(dataset), _confidence(dataset), _formulas(dataset)


def _exponents(d: xr.Dataset) -> Table:
    rows = [*_softmax_rows(d), *_language_rows(d), *_network_rows(d)]
    return Table(
        "Exponents of p̃ and p*, and KL to the product and to standard fine-tuning",
        (
            "model, run",
            "1/τ",
            "exponent of p̃",
            "exponent of p*, times τ",
            "KL to the product",
            "KL to standard",
        ),
        tuple(rows),
        "Softmax: at the end of training. Language: after the last step. Digits and the residual network: where "
        "standard fine-tuning's loss on validation rows is least. For language, standard at the same mean step is "
        "standard fine-tuning on the same windows in another order.",
    )


def _bold(run: str, text: str) -> str:
    return ("*" if run == FLOW else "") + text


def _softmax_rows(d: xr.Dataset) -> list[tuple[str, ...]]:
    found = []
    for temperature in d.temperature.values:
        for run in softmax.RUNS:
            one = d.sel(run=run, temperature=temperature)
            old, new = (
                one.softmax_exponents.sel(expert=expert).mean("seed") for expert in reversed(experts.EXPERTS)
            )
            found.append((
                _bold(run, f"softmax, τ = {temperature:g}, {RUNS[run]}"), f"{1 / temperature:.2f}",
                f"{float(new):.3f}", _signed(float(old) * temperature),
                *(f"{abs(float(one[f'softmax_to_{other}'].mean('seed'))):.4f}" for other in ("product", "standard")),
            ))  # fmt: skip
    return found


def _signed(value: float) -> str:
    """Three digits, a proper minus, and no minus before nought."""
    return f"{round(value, 3) + 0.0:.3f}".replace("-", "−")


def _language_rows(d: xr.Dataset) -> list[tuple[str, ...]]:
    found = []
    for factor in d.language_factor.values:
        for run in language.RUNS:
            one = d.sel(run=run, language_factor=factor)
            units = language.in_units(one).mean("model")
            mean = lambda name, one=one: float(one[name].isel(step=-1).mean(["model", "window"]))
            found.append((
                _bold(run, f"language, τ × {factor:g}, {RUNS[run]}"),
                f"{float((1 / one.language_temperature).mean()):.2f}",
                _signed(float(units[0])), _signed(float(units[1])),
                f"{mean('language_to_product'):.4f}", f"{mean('language_to_standard'):.4f}",
            ))  # fmt: skip
    return found


def _cells(dataset: xr.Dataset) -> list[tuple[str, xr.Dataset]]:
    """Each network at each share of wrong labels and each temperature, and how it is called."""
    return [
        (
            f"{networks.NETWORKS[network]}, {100 * noise:.0f} % wrong, τ × {factor:g}",
            d.sel(noise=noise, factor=factor),
        )
        for network, d in networks.shown(dataset).items()
        for noise in d.noise.values
        for factor in d.factor.values
    ]


def _network_rows(dataset: xr.Dataset) -> list[tuple[str, ...]]:
    found = []
    for name, d in _cells(dataset):
        units = networks.in_units(d)
        early = lambda other, run, d=d: float(networks.at_stop(d, f"to_{other}").sel(run=run).mean("seed"))
        for run in networks.RUNS:
            unit = units.sel(run=run)
            found.append((
                _bold(run, f"{name}, {RUNS[run]}"), f"{float((1 / d.temperature).mean()):.2f}",
                *(told(one) if bool(one.notnull().all()) else "–" for one in unit.transpose("expert", ...)),
                *(f"{early(other, run):.4f}" for other in ("product", "standard")),
            ))  # fmt: skip
    return found


def _confidence(d: xr.Dataset) -> Table:
    rows = []
    for agreement in d.agreement.values:
        for temperature in d.temperature.values:
            one = d.sel(agreement=agreement, temperature=temperature, run=FLOW)
            rows.append((f"softmax, {agreement}, τ = {temperature:g}", f"{1 + 1 / temperature:.2f}",
                         told(one.softmax_softening, 2), told(one.softmax_overconfidence)))  # fmt: skip
    for factor in d.language_factor.values:
        one = d.sel(language_factor=factor, run=FLOW).rename(model="seed", seed="other")
        rows.append((f"language, τ × {factor:g}", f"{float((1 + 1 / one.language_temperature).mean()):.2f}",
                     _mean(one.language_softening, 2), _mean(one.language_overconfidence, 3)))  # fmt: skip
    for name, cell in _cells(d):
        one = cell.sel(run=FLOW)
        rows.append((name, f"{float((1 + 1 / one.temperature).mean()):.2f}",
                     told(one.softening, 2), told(one.overconfidence)))  # fmt: skip
    return Table(
        "Over-confidence of FLOW on labels of the new task, and the temperature that undoes it",
        ("model", "1 + 1/τ", "temperature", "confidence minus accuracy"),
        tuple(rows),
        "Softmax in the population, the others on validation rows; networks early, language at the end.",
    )


def _formulas(d: xr.Dataset) -> Table:
    """Where softmax regression ends with FLOW's weights, against what it might be thought to be."""
    flow = d.softmax_distance.sel(run=FLOW).max("seed")
    rows = [
        (text, *(f"{float(flow.sel(formula=name, temperature=t)):.1e}" for t in d.temperature.values))
        for name, text in softmax.FORMULAS.items()
    ]
    return Table(
        "Softmax regression: largest distance of the end from each formula, over the largest of θ*/τ",
        ("formula", *(f"τ = {t:g}" for t in d.temperature.values)),
        tuple(rows),
    )


def _mean(values: xr.DataArray, places: int) -> str:
    """With its error over models where there is more than one."""
    return (
        told(values, places)
        if values.sizes["seed"] > 1
        else f"{float(values.mean()):.{places}f}".replace("-", "−")
    )
