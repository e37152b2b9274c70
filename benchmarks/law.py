"""What a row of the agreement table is made of."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from linear_theory import testing


@dataclass(frozen=True)
class Law:
    """Of a public function: what it is to be, as a formula of that quantity's arguments."""

    function: str
    against: str | testing.Quantity | testing.Simulation
    formula: Callable[..., Any]
    arguments: Mapping[str, Any] = field(default_factory=dict)
    slow: bool = False

    @property
    def quantity(self) -> testing.Quantity | testing.Simulation:
        return testing.QUANTITIES[self.against] if isinstance(self.against, str) else self.against

    def check(self, examples: int, **options: Any) -> testing.Agreement:
        return testing.check(self.formula, self.against, examples=examples, **self.arguments, **options)
