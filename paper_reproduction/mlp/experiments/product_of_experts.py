"""What a model trained with FLOW's weights ends as: the law of the new labels times a power of the old model's."""

from __future__ import annotations

import numpy as np
import xarray as xr

from paper_reproduction.claim import Check, Claim, Settings, Table, Verdict
from paper_reproduction.mlp import experts
from paper_reproduction.mlp.experiments import _product_digits as digits
from paper_reproduction.mlp.experiments import _product_language as language
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
        r"in one pass over new text; and along the training of a digits network on partly wrong labels. Logarithms of "
        r"the trained model's probabilities are regressed, weighted by these, on those of standard fine-tuning after "
        r"as many steps (for $\tilde p$) and on those of the old model, with a free constant for each input: the "
        r"product has exponents $1$ and $1/\tau$. Beside FLOW stand FLOW with its weights shuffled and standard "
        r"fine-tuning at the same mean step."
    ),
    equation="beyond the paper; Remark 7.5 for probabilities",
    formula=r"p\propto\tilde p\;p_*^{1/\tau},\qquad\text{softmax:}\quad\theta_\infty=\tilde\theta+\theta_*/\tau",
    functions=("flow_weights",),
    seconds=480,
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
    """The three parts side by side; a run that a part has not is NaN there."""
    seeds = settings.repetitions(10, 3)
    parts = (softmax.compute(settings, seeds), digits.compute(settings, seeds), language.compute(settings))
    joined = xr.merge([part.reindex(run=list(RUNS)) for part in parts], combine_attrs="drop")
    return joined.assign_coords(label=("run", list(RUNS.values()))).assign_attrs(seeds=seeds)


# ------------------------------------------------------------------------------------------- the verdict


def verdict(dataset: xr.Dataset) -> Verdict:
    """Every part holds for FLOW and for neither control."""
    d = dataset
    checks = (*softmax.checks(d), *digits.checks(d), *language.checks(d))
    return Verdict(checks, headline=_headline(d, checks), **_also(d))


def _headline(d: xr.Dataset, checks: tuple[Check, ...]) -> str:
    holds = lambda part: all(check.holds for check in checks if check.name.startswith(part))
    at = d.sel(factor=digits.DEFAULT, run=FLOW).isel(noise=0)
    mean = lambda values: float(values.mean("seed", skipna=False))
    to_product, to_standard = (at[f"digits_to_{other}"].isel(mark=-1) for other in ("product", "standard"))
    early = tuple(mean(digits.at_stop(at, f"digits_to_{other}")) for other in ("product", "standard"))
    late = mean(to_product), mean(to_standard)
    stays = late[0] <= 0.5 * late[1]
    bytes_ = d.sel(language_factor=language.DEFAULT, run=FLOW)
    units = language.in_units(bytes_).mean("model", skipna=False)
    share = float(language.share(d).sel(language_factor=language.DEFAULT, run=FLOW))
    wrong = float(at.digits_standard_memorised.isel(mark=-1).mean("seed"))
    exact = float(d.softmax_distance.sel(run=FLOW, formula="product").max(skipna=False))
    said = answer(holds("softmax"), holds("language:"), holds("digits, early:"), stays)
    return (
        f"{said}: exactly in softmax regression (to "
        f"{_power(exact)}); byte by byte in a language model with exponents {float(units[0]):.2f} and "
        rf"{float(units[1]):.2f}$/\tau$, the product being {share:.2f} times as far as standard fine-tuning (KL); in a "
        f"digits network early (KL {early[0]:.3f} to the product, {early[1]:.3f} to standard fine-tuning), "
        f"{'still' if stays else 'no longer'} when standard fine-tuning reproduces {100 * wrong:.0f} % of the wrong "
        f"labels ({late[0]:.2f} and {late[1]:.2f})."
    )


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
    above, below = (digits.corrected(d.sel(factor=digits.COLD), side) for side in ("above", "below"))
    cells = [f"{100 * noise:.0f} % wrong labels" for noise in d.noise.values]
    per_cent = lambda values, i, run: f"{100 * float(values.isel(noise=i).sel(run=run)):.0f} %"
    right = "; ".join(
        f"{cell}: beyond the margin FLOW {per_cent(above, i, FLOW)}, shuffled {per_cent(above, i, 'permuted')}, "
        f"standard at the same mean step {per_cent(above, i, 'standard-same-mean-step')}; below it FLOW "
        f"{per_cent(below, i, FLOW)}"
        for i, cell in enumerate(cells)
    )
    cold = digits.share(d.sel(factor=digits.COLDEST, run=FLOW))
    coldest = ", ".join(f"{float(cold.isel(noise=i)):.1f} ({cell})" for i, cell in enumerate(cells))
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
        (False, f"At τ = {digits.COLDEST:g} medians the digits network does not get to the product: KL to it over KL "
         f"to standard fine-tuning is {coldest}."),
        (False, "With weights of whole sequences the product is not there byte by byte: exponents "
         rf"{float(sequence[0]):.2f} and {float(sequence[1]):.2f}$/\tau$."),
        (False, rf"The margin $\tau\ln((1-\varepsilon)(C-1)/\varepsilon)$ is necessary and not sufficient. Test rows "
         f"that the probed model has wrong and that are set right at τ = {digits.COLD:g} medians: {right}."),
        (True, f"Digits, early, exponents of p̃ and of p* in units of 1/τ: {_units(d)}."),
        (True, f"Digits, temperature that undoes FLOW's confidence on validation rows, early: {_softened(d)}."),
        (True, f"Language, KL of FLOW to the product by steps of training: {left}. Two runs of standard fine-tuning "
         f"that saw the same windows in another order are {between:.3f} apart at the end."),
    )  # fmt: skip


def _units(d: xr.Dataset) -> str:
    units = digits.in_units(d).sel(run=FLOW)
    return "; ".join(
        f"{100 * noise:.0f} % wrong, τ × {factor:g}: {told(one.isel(expert=0), 2)} and {told(one.isel(expert=1), 2)}"
        for noise in d.noise.values
        for factor in d.factor.values
        if factor >= digits.DEFAULT
        for one in (units.sel(noise=noise, factor=factor),)
    )


def _softened(d: xr.Dataset) -> str:
    says = (1 + 1 / d.digits_temperature).mean("seed")
    return "; ".join(
        f"{100 * noise:.0f} % wrong, τ × {factor:g}: {told(one, 2)}, 1 + 1/τ is "
        f"{float(says.sel(noise=noise, factor=factor)):.2f}"
        for noise in d.noise.values
        for factor in d.factor.values
        if factor >= digits.COLD
        for one in (d.digits_softening.sel(run=FLOW, noise=noise, factor=factor),)
    )


def tables(dataset: xr.Dataset) -> tuple[Table, ...]:
    """Exponents and distances of every part, how far FLOW is over-confident, and other formulas."""
    return _exponents(dataset), _confidence(dataset), _formulas(dataset)


def _exponents(d: xr.Dataset) -> Table:
    rows = [*_softmax_rows(d), *_language_rows(d), *_digits_rows(d)]
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
        "Softmax: at the end of training. Language: after the last step. Digits: where standard fine-tuning's loss on "
        "validation rows is least. For language, standard at the same mean step is standard fine-tuning on the same "
        "windows in another order.",
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


def _digits_rows(d: xr.Dataset) -> list[tuple[str, ...]]:
    found = []
    units = digits.in_units(d)
    for noise in d.noise.values:
        for factor in d.factor.values:
            for run in digits.RUNS:
                place = {"run": run, "noise": noise, "factor": factor}
                one, unit = d.sel(place), units.sel(place)
                found.append((
                    _bold(run, f"digits, {100 * noise:.0f} % wrong, τ × {factor:g}, {RUNS[run]}"),
                    f"{float((1 / one.digits_temperature).mean()):.2f}",
                    told(unit.isel(expert=0)), told(unit.isel(expert=1)),
                    *(f"{float(digits.at_stop(one, f'digits_to_{other}').mean('seed')):.4f}"
                      for other in ("product", "standard")),
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
    for noise in d.noise.values:
        for factor in d.factor.values:
            one = d.sel(noise=noise, factor=factor, run=FLOW)
            rows.append((f"digits, {100 * noise:.0f} % wrong, τ × {factor:g}",
                         f"{float((1 + 1 / one.digits_temperature).mean()):.2f}",
                         told(one.digits_softening, 2), told(one.digits_overconfidence)))  # fmt: skip
    return Table(
        "Over-confidence of FLOW on labels of the new task, and the temperature that undoes it",
        ("model", "1 + 1/τ", "temperature", "confidence minus accuracy"),
        tuple(rows),
        "Softmax in the population, the others on validation rows; digits early, language at the end.",
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
