"""Rows that are few for their directions: what to expect of new ones, and which method to take, in sentences."""

from __future__ import annotations

from .checks import equal_weights
from .new_rows import Lead, NewRows
from .report import named, number, percent, plural

__all__ = ["few_rows", "few_rows_in_short", "gain_on_new_rows"]


def few_rows(new: NewRows) -> list[str]:
    """What the errors of rows that were fitted do not say; nothing where rows are many."""
    if new.none_to_spare:
        return [
            "Few rows, none of them to spare: errors on these, which were fitted, say nothing of new ones, and those "
            "on new ones cannot be told."
        ]
    if not (new.few and new.told):
        return []
    told = lambda one: number(new.shown(new.error_of(one)))
    of_flow = "" if equal_weights(new.measured) else f"{told(new.flow)} ({named(new.flow)}), "
    of_average = f"{told(new.average)} ({named(new.average)}, {percent(new.kept)} of it kept)"
    return [
        f"Few rows: {number(new.rows, 6)} for {plural(new.directions, 'direction')}, {number(new.rows_each, 2)} each. "
        "All else here is of errors on these, which were fitted; on new ones they are others. At its best there each "
        f"method has a {_kind(new)} error of {told(new.early)} ({named(new.early)}), {of_flow}{of_average}, beside "
        f"the start's {told(new.start)}. {_advice(new)}."
    ]


def few_rows_in_short(new: NewRows) -> list[str]:
    """The advice alone, for a picture."""
    if not (new.few and new.told):
        return []
    each = number(new.rows_each, 2)
    return [f"Few rows, {each} for each direction: on new ones errors are others. {_advice(new)}."]


def gain_on_new_rows(new: NewRows) -> str:
    """Who lowers the error of the start on new rows by more than noise, where rows are few; "" where nobody does."""
    if not (new.few and new.told) or new.lead(new.best, new.start).noise:
        return ""
    return f"{named(new.best)} lowers the {_kind(new)} error on new rows"


def _kind(new: NewRows) -> str:
    return "total" if new.known else "target"


def _advice(new: NewRows) -> str:
    """What to take: of FLOW and early stopping the better, unless there is nothing to be gained."""
    gained = new.lead(new.best, new.start)
    if gained.noise:
        return f"None of them is below the start by more than noise ({_by(gained)}): no reason to fine-tune"
    better = new.better
    if better is None:
        return "Which to take depends on the old rows"
    other = new.early if better is new.flow else new.flow
    still = new.lead(new.average, better)
    below = still.difference > 0 and not still.noise
    also = f"; {named(new.average)} is lower still, by {_by(still)}" if below else ""
    if equal_weights(new.measured):
        return f"Take {named(better)}: {_by(new.lead(better, new.start))} below the start{also}"
    lead = new.lead(better, other)
    return f"Take {named(better)}: {_by(lead)} below {named(other)}{', within the noise' * lead.noise}{also}"


def _by(lead: Lead) -> str:
    return f"{number(lead.difference)} ± {number(lead.error, 2)}"
