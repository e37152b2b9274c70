"""Is a derivation true? A formula against what it claims to be, and the smallest problem on which it is not that.

What may be put down to rounding is derived and never given by hand. Against numbers in 60 digits it is 16 κε, κ how
much the exact answer moves when each float of the problem moves by its last place, and at least 1e-12; against samples
it is their standard error. A formula that is off by more is refuted, by a problem as small as Hypothesis can make it.
"""

from __future__ import annotations

import contextlib
import inspect
import math
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from hypothesis.errors import HypothesisException
from scipy import stats

from ..errors import InvalidTypeError, InvalidValueError
from ..problem import FineTuningProblem
from .quantities import QUANTITIES, REQUIRED, Quantity, Simulation, case_of, rule_of
from .reference.population import Case, mp
from .reference.rows import Table
from .tolerances import (
    EPS,
    LARGEST,
    RELATIVE,
    TINY,
    VACUOUS,
    bound,
    exact,
    measured_condition,
    norm_of,
    scales,
)

__all__ = ["Agreement", "Comparison", "agree", "check", "refutes"]

CHANCE = 1e-4
"""That a right formula is refused anywhere in a run against samples."""

EXAMPLES = {Quantity: 200, Simulation: 10}


@dataclass(frozen=True)
class Comparison:
    """A formula and what it is held against, at one problem.

    ``gap`` is ‖formula − known‖ over ‖known‖, or in standard errors against samples; ``bound`` is what rounding, or
    chance, explains of it. ``failure`` says what the formula raised instead; ``units`` is the gap in κε, where κ was
    asked for.
    """

    arguments: Mapping[str, Any]
    claimed: Any
    known: Any
    gap: float
    bound: float
    failure: str = ""
    units: float = math.nan

    @property
    def decided(self) -> bool:
        """Whether a wrong formula would have been noticed: not where a hundredth of the answer is rounding."""
        return bool(self.failure) or not _is_exact(self.known) or self.bound <= VACUOUS

    @property
    def holds(self) -> bool:
        """Whether the gap is within the bound."""
        return not self.failure and self.gap <= self.bound


@dataclass(frozen=True, repr=False)
class Agreement:
    """What came of a check: whether the formula agreed everywhere, how often and how sharply, or where it did not.

    True where it held. Printed, it says so in words; a counterexample is printed as code that can be pasted.
    ``sharpest`` is the largest gap over its bound; ``largest`` the largest gap in κε, if the check was asked to measure
    in these, or in standard errors; ``explained`` says by what the bound is.
    """

    formula: str
    quantity: str
    statement: str
    compared: int
    undecided: int
    sharpest: float
    counterexample: Comparison | None = None
    largest: float = math.nan
    explained: str = "rounding"

    @property
    def holds(self) -> bool:
        """Whether the formula agreed wherever it was compared, and was compared at all."""
        return self.counterexample is None and self.compared > 0

    def __bool__(self) -> bool:
        return self.holds

    def __repr__(self) -> str:
        if self.counterexample is not None:
            return _refuted(self.formula, self.quantity, self.statement, self.counterexample)
        if not self.compared:
            return f"{self.formula}: not compared with {self.quantity} anywhere: every problem was too ill-conditioned"
        left = f"; {self.undecided} more were too ill-conditioned to tell" if self.undecided else ""
        return (
            f"{self.formula} agrees with {self.quantity} ({self.statement}) on {self.compared} problems, "
            f"at worst {self.sharpest:.2g} of what {self.explained} explains{left}"
        )


def agree(claimed: Any, against: str | Quantity, **arguments: Any) -> Comparison:
    """A number or array ``claimed`` against a quantity, at one problem.

    Examples
    --------
    >>> import linear_theory as lt
    >>> from linear_theory import testing
    >>> problem = lt.paper_problem(0.5)
    >>> testing.agree((1 + 2 / 0.7) ** -0.5, "weight_mass", problem=problem, temperature=0.7).holds
    True
    """
    return _compared(claimed, _quantity(against), _complete(_quantity(against), arguments))


def check(
    formula: Callable[..., Any],
    against: str | Quantity | Simulation,
    *,
    examples: int | None = None,
    seed: int = 0,
    in_epsilon: bool = False,
    **arguments: st.SearchStrategy[Any],
) -> Agreement:
    """Whether ``formula`` is the quantity that ``against`` knows, on problems of every kind.

    Parameters
    ----------
    formula : callable
        Of arguments with the quantity's names, for instance ``formula(problem, temperature)``, those that it may leave
        out left out. It may return a number, a vector or a matrix, and call ``hypothesis.assume``.
    against : str, Quantity or Simulation
        A name in ``testing.QUANTITIES``, or one of your own.
    examples : int, optional
        How many problems, 200 against a quantity and 10 against samples.
    seed : int
        Of what is drawn. The same gives the same problems in the same session; in another Hypothesis also tries the
        numbers that stand in the modules loaded there.
    in_epsilon : bool
        Whether κ is measured at every problem, also where 1e-12 is kept anyway: slower, and then ``largest`` of what is
        returned tells how many κε the formula was off.
    arguments : strategies
        Instead of the quantity's own, for instance ``problem=testing.paper_problems(noise=False)``: the domain of the
        formula.

    Returns
    -------
    Agreement
        True if it held.

    Raises
    ------
    InvalidValueError, InvalidTypeError
        For a quantity that is not known, and for arguments that it has not.

    Examples
    --------
    >>> from linear_theory import testing
    >>> def mean_weight(problem, temperature):  # forgets the label noise
    ...     e = problem.shift
    ...     return (1 + 2 * (e @ problem.target_covariance @ e) / temperature) ** -0.5
    >>> print(testing.check(mean_weight, "weight_mass", temperature=testing.temperatures()))
    mean_weight is not weight_mass (μ = E[w], by quadrature). At
        problem = lt.FineTuningProblem([1.0, 0.0], [0.0, 0.0], [[1.0, 0.0], [0.0, 1.0]], noise_variance=1.0)
        temperature = 1.0
    it says 0.57735, and right is 0.447214: off by 0.29 of it, where rounding explains 1e-12
    >>> quiet = testing.problems(noise=False)
    >>> bool(testing.check(mean_weight, "weight_mass", problem=quiet, temperature=testing.temperatures()))
    True
    """
    return _checked(formula, against, arguments, examples, seed, in_epsilon)


def _checked(
    formula: Callable[..., Any],
    against: str | Quantity | Simulation,
    arguments: Mapping[str, st.SearchStrategy[Any]],
    examples: int | None,
    seed: int,
    in_epsilon: bool = False,
    smallest: bool = True,
) -> Agreement:
    """The check; whether the counterexample has to be the smallest, which is most of the time that it takes."""
    quantity = _quantity(against)
    taken = _taken(formula, quantity, arguments)
    count = EXAMPLES[type(quantity)] if examples is None else examples
    compared, undecided, sharpest, largest, last = set(), set(), 0.0, math.nan, None

    def law(drawn: dict[str, Any]) -> None:
        nonlocal sharpest, largest, last
        given = _complete(quantity, {name: value for name, value in drawn.items() if name in taken})
        try:
            claimed, failure = formula(**{name: given[name] for name in taken}), ""
        except HypothesisException:
            raise
        except Exception as error:
            claimed, failure = None, f"{type(error).__name__}: {error}"
        found = _compared(claimed, quantity, given, failure, count, in_epsilon)
        key = repr(given)
        if not found.decided:
            undecided.add(key)
        elif found.holds:
            compared.add(key)
            sharpest = max(sharpest, found.gap / found.bound)
            if in_epsilon or isinstance(quantity, Simulation):
                largest = np.fmax(largest, found.units)
        else:
            last = found
            raise _Refuted

    domain = quantity.arguments
    if arguments:
        domain = st.tuples(domain, st.fixed_dictionaries(arguments)).map(lambda both: both[0] | both[1])
    with contextlib.suppress(_Refuted):
        _law(law, domain, count, seed, smallest)()
    named = getattr(formula, "__name__", type(formula).__name__)
    explained = "chance" if isinstance(quantity, Simulation) else "rounding"
    found = (len(compared), len(undecided), sharpest, last, float(largest), explained)
    return Agreement(named, quantity.name, quantity.statement, *found)


def refutes(
    formula: Callable[..., Any],
    against: str | Quantity | Simulation,
    *,
    examples: int | None = None,
    seed: int = 0,
    **arguments: st.SearchStrategy[Any],
) -> bool:
    """Whether the same check rejects this formula, a deliberately wrong one: what shows that it could.

    False where nothing could be compared: :func:`check` is then not true either, and says so.

    Examples
    --------
    >>> import linear_theory as lt
    >>> from linear_theory import testing
    >>> twice = lambda problem, temperature: lt.weight_mass(problem, temperature / 2)
    >>> testing.refutes(twice, "weight_mass"), testing.refutes(lt.weight_mass, "weight_mass")
    (True, False)
    """
    return _checked(formula, against, arguments, examples, seed, smallest=False).counterexample is not None


class _Refuted(Exception):
    """Raised for Hypothesis, which then looks for a smaller one."""


def _law(
    law: Callable[[Any], None], domain: Any, examples: int, start: int, smallest: bool
) -> Callable[[], None]:
    """As Hypothesis runs it: nothing stored, nothing printed, the last failure the smallest."""
    quiet = settings(
        max_examples=examples,
        database=None,
        deadline=None,
        report_multiple_bugs=False,
        print_blob=False,
        phases=(Phase.generate, Phase.shrink) if smallest else (Phase.generate,),
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large],
    )
    return seed(start)(quiet(given(domain)(law)))


def _quantity(against: Any) -> Any:
    if isinstance(against, Quantity | Simulation):
        return against
    if not isinstance(against, str):
        raise InvalidTypeError(
            "against", against, "must be the name of a quantity, a Quantity or a Simulation"
        )
    if against not in QUANTITIES:
        raise InvalidValueError(
            "against", against, f"must be one of {', '.join(QUANTITIES)}, or a Quantity of your own"
        )
    return QUANTITIES[against]


def _taken(formula: Any, quantity: Any, arguments: Mapping[str, Any]) -> tuple[str, ...]:
    """Which of the quantity's arguments the formula takes."""
    if not callable(formula):
        raise InvalidTypeError("formula", formula, "must be a function of the quantity's arguments")
    known = quantity.names()
    for name in arguments:
        if name not in known:
            raise InvalidValueError(
                name, arguments[name], f"is no argument of {quantity.name}: {', '.join(known)}"
            )
    given = inspect.signature(formula).parameters
    taken = tuple(name for name in known if name in given)
    strange = [
        n for n, p in given.items() if n not in known and p.default is p.empty and p.kind not in (2, 4)
    ]
    missing = [name for name, default in known.items() if default is REQUIRED and name not in taken]
    if strange or missing:
        wanted = ", ".join(n if d is REQUIRED else f"{n} (may be left out)" for n, d in known.items())
        raise InvalidValueError("formula", formula, f"must take the arguments of {quantity.name}: {wanted}")
    return taken


def _complete(quantity: Any, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """With the arguments that were left out."""
    known = quantity.names()
    for name in (*known, *arguments):
        if name not in known or (name not in arguments and known[name] is REQUIRED):
            said = "is missing" if name in known else f"is no argument of {quantity.name}: {', '.join(known)}"
            raise InvalidValueError(name, arguments.get(name), said)
    return {name: arguments.get(name, default) for name, default in known.items()}


def _compared(
    claimed: Any,
    quantity: Any,
    given: dict[str, Any],
    failure: str = "",
    runs: int = 1,
    in_epsilon: bool = False,
) -> Comparison:
    if isinstance(quantity, Simulation):
        return _sampled(claimed, quantity, given, failure, runs)
    inputs = [_exactly(name, value, "problem" in given) for name, value in given.items()]
    known = quantity.function(*inputs)
    measure = quantity.measure or _measured_on(quantity.function)
    if failure:
        return Comparison(given, None, known, math.inf, RELATIVE, failure)
    got = exact(np.asarray(claimed, dtype=float) if np.ndim(claimed) else claimed)
    if _shape(got) != _shape(known):
        said = f"a result of shape {_shape(got)}, where {_shape(known)} is asked for"
        return Comparison(given, claimed, known, math.inf, RELATIVE, said)
    size, gap = norm_of(known), norm_of(got - known)
    if size > LARGEST:
        return Comparison(
            given, claimed, known, 0.0, math.inf
        )  # what overflows cannot be told from what diverges
    if not mp.isfinite(gap):
        return Comparison(given, claimed, known, math.inf, RELATIVE)
    if gap <= _floor(inputs):
        return Comparison(given, claimed, known, 0.0, RELATIVE)
    relative = float(gap / size) if size else math.inf
    if relative <= RELATIVE and not in_epsilon:
        return Comparison(given, claimed, known, relative, RELATIVE)
    size, condition = measure(*inputs, want=known)
    if relative <= RELATIVE and not math.isfinite(condition):
        return Comparison(given, claimed, known, relative, RELATIVE)
    relative = float(gap / size) if size else math.inf
    units = relative / (max(float(condition), 1.0) * EPS)
    return Comparison(given, claimed, known, relative, bound(condition), units=units)


def _measured_on(function: Callable[..., Any]) -> Callable[..., Any]:
    """Relative to ‖known‖, and κ as :func:`measured_condition` has it."""
    return lambda *inputs, want: (norm_of(want), measured_condition(function, *inputs, want=want))


def _sampled(
    claimed: Any, quantity: Simulation, given: dict[str, Any], failure: str, runs: int
) -> Comparison:
    """In standard errors of the entry that is furthest off; where all samples are one number, it is to be that."""
    rng = np.random.default_rng(zlib.crc32(repr(given).encode()))
    samples = np.stack(
        [np.asarray(quantity.sample(rng, **given), dtype=float) for _ in range(quantity.repetitions)]
    )
    mean, error = samples.mean(axis=0), samples.std(axis=0, ddof=1) / math.sqrt(len(samples))
    reach = float(stats.t.isf(CHANCE / 2 / runs / max(mean.size, 1), len(samples) - 1))
    if failure:
        return Comparison(given, None, mean, math.inf, reach, failure)
    claimed = np.asarray(claimed, dtype=float)
    if claimed.shape != mean.shape:
        said = f"a result of shape {claimed.shape}, where {mean.shape} is asked for"
        return Comparison(given, claimed, mean, math.inf, reach, said)
    off = abs(claimed - mean)
    with np.errstate(divide="ignore", invalid="ignore"):
        gaps = np.where(off <= RELATIVE * abs(mean), 0.0, off / error)
    gap = float(np.max(gaps, initial=0.0)) if np.isfinite(claimed).all() else math.inf
    return Comparison(given, claimed, mean, gap, reach, units=gap)


def _exactly(name: str, value: Any, weighs: bool) -> Any:
    """An argument as the reference takes it, exact and hashable; a problem's temperature is a rule."""
    if isinstance(value, FineTuningProblem):
        return case_of(value)
    if name == "temperature" and weighs:
        return rule_of(value)
    if np.ndim(value) == 2:
        entries = np.asarray(value, dtype=float)
        return Table(tuple(map(float, entries.ravel())), entries.shape[1])
    return tuple(map(float, value)) if np.ndim(value) else value


def _is_exact(known: Any) -> bool:
    return isinstance(known, mp.mpf | mp.matrix)


def _floor(inputs: list[Any]) -> Any:
    """What a sum may lose below the smallest float; and where a noise cancels, what 60 digits cannot tell from 0."""
    cases = [item for item in inputs if isinstance(item, Case)]
    known = [scales(case) for case in cases] or [{"scale": 1.0, "resolution": 0.0}]
    return max(8 * TINY * found["scale"] + found["resolution"] for found in known)


def _shape(value: Any) -> tuple[int, ...]:
    if not isinstance(value, mp.matrix):
        return ()
    return (value.rows,) if value.cols == 1 else (value.rows, value.cols)


# --------------------------------------------------------------------------------------------- in words


def _refuted(formula: str, quantity: str, statement: str, found: Comparison) -> str:
    """The counterexample as code, and by how much it is one."""
    lines = [f"{formula} is not {quantity} ({statement}). At"]
    lines += [f"    {name} = {_code(value)}" for name, value in found.arguments.items()]
    known = _words(found.known)
    if found.failure:
        return "\n".join([*lines, f"it gives {found.failure}; right is {known}"])
    simulated = not _is_exact(found.known)
    unit, why = ("standard errors", "chance") if simulated else ("of it", "rounding")
    off = f"off by {found.gap:.2g} {unit}, where {why} explains {found.bound:.2g}"
    if not simulated and found.gap < 1e-6:
        off += ": right to the first digits, so it loses digits there or is an approximation"
    return "\n".join([*lines, f"it says {_words(found.claimed)}, and right is {known}: {off}"])


def _code(value: Any) -> str:
    """As one would type it."""
    if isinstance(value, FineTuningProblem):
        arguments = [value.pretrained, value.target, value.target_covariance]
        said = [repr(np.asarray(a, dtype=float).tolist()) for a in arguments]
        if value.pretrain_covariance is not None:
            said.append(f"pretrain_covariance={np.asarray(value.pretrain_covariance, dtype=float).tolist()}")
        if float(value.noise_variance):
            said.append(f"noise_variance={float(value.noise_variance)!r}")
        return f"lt.FineTuningProblem({', '.join(said)})"
    if isinstance(value, np.ndarray):
        return repr(value.tolist())
    if isinstance(value, float) and math.isinf(value):
        return "math.inf"
    if value is None or isinstance(value, float | int):
        return repr(value)
    return f"lt.weights.{value!r}"


def _words(value: Any) -> str:
    if isinstance(value, mp.matrix):
        value = np.array(value.tolist(), dtype=float)
        value = value[:, 0] if value.shape[1] == 1 else value
    return np.array2string(np.asarray(value, dtype=float), precision=6, separator=", ").replace("\n", "")
