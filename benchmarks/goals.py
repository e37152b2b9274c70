"""What is to be reached, on two cores in float64, and at which sizes. Goals are not moved."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple


@dataclass(frozen=True)
class Sizes:
    """The sizes that the goals are stated for."""

    solve: tuple[int, int] = (200_000, 200)  # rows, columns
    path: tuple[int, int] = (100_000, 100)
    temperatures: tuple[int, ...] = (100, 1000)
    steps: int = 10**5
    chosen: int = 100
    streamed: int = 10**8
    width: int = 32  # columns of the streamed rows
    held: int = 4_000_000  # rows of that width at hand at once, for the rate in memory
    chunk: int = 100_000  # rows that the stream hands over at a time
    dim: int = 10**6
    power: int = 10**9  # gradient steps of the population path
    cells: int = 10**6
    rows: tuple[int, ...] = (1_000, 4_000, 20_000, 60_000, 200_000)  # of the picture, at `columns_fixed`
    columns: tuple[int, ...] = (8, 20, 50, 130, 400)  # of the picture, at `rows_fixed`
    rows_fixed: int = 20_000
    columns_fixed: int = 50


FULL = Sizes()
QUICK = replace(
    FULL,
    solve=(20_000, 50),
    path=(20_000, 50),
    temperatures=(100, 200),
    streamed=2_000_000,
    held=400_000,
    dim=10**5,
    cells=10**5,
    rows=(1_000, 4_000, 20_000),
    columns=(8, 20, 50),
    rows_fixed=4_000,
    columns_fixed=20,
)


class Goal(NamedTuple):
    """``measured`` of ``work`` is to be ``sense`` (≤ or ≥) ``bound``, in ``unit``."""

    work: str
    measured: str
    sense: str
    bound: float
    unit: str

    def shortfall(self, value: float) -> float:
        """By which fraction of the goal it is missed; ≤ 0 where it is met."""
        return value / self.bound - 1 if self.sense == "≤" else 1 - value / self.bound


def spaced(number: int) -> str:
    """200 000, or 10⁶ where it is a power of ten above that."""
    if number >= 10**5 and str(number).strip("0") == "1":
        return "10" + str(len(str(number)) - 1).translate(str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹"))
    return f"{number:,}".replace(",", " ")


def goals(sizes: Sizes = FULL) -> dict[str, Goal]:
    """Every goal by name, in the order of the table."""
    n, d = sizes.solve
    solve = f"one weighted solve from a start, n = {spaced(n)}, d = {d}, well-conditioned"
    path = (
        f"{spaced(sizes.steps)} gradient steps, all iterates at {sizes.chosen} chosen ones, "
        f"n = {spaced(sizes.path[0])}, d = {sizes.path[1]}"
    )
    stream = f"{spaced(sizes.streamed)} rows streamed, d = {sizes.width}"
    iterate = f"`iterate`, d = {spaced(sizes.dim)}, identity plus rank ≤ 2, K = {spaced(sizes.power)}"
    several = {
        f"{count} temperatures": Goal(
            f"{spaced(count)} temperatures over two decades, same rows, relative error 1e-8",
            "time, in solves",
            "≤",
            24,
            "×",
        )
        for count in sizes.temperatures
    }
    return {
        "solve": Goal(solve, "time, in bare n·d² flops", "≤", 1.5, "×"),
        "by hand": Goal(solve, "time, of that of normal equations by hand in NumPy", "≤", 1.1, "×"),
        "LinearRegression": Goal(solve, "faster than scikit-learn LinearRegression", "≥", 6, "×"),
        "WLS": Goal(solve, "faster than statsmodels WLS", "≥", 40, "×"),
        "memory": Goal(solve, "memory beyond the inputs", "≤", 32, " MiB"),
        **several,
        "path": Goal(path, "time, in solves", "≤", 2, "×"),
        "stream": Goal(stream, "rate, of that in memory", "≥", 60, " %"),
        # "Flat", "linear" have no number of their own; these are the numbers they are read as.
        "stream memory": Goal(stream, "more memory than for a tenth of the rows", "≤", 1, " MiB"),
        "iterate": Goal(iterate, "time", "≤", 20, " ms"),
        "iterate in K": Goal(iterate, "time, of that for K = 10", "≤", 1.1, "×"),
        "iterate in d": Goal(iterate, "p, where time grows like d^p", "≤", 1.1, ""),
        "cells": Goal(
            f"{spaced(sizes.cells)} cells of (ρ, τ, K) of (14), one core", "time", "≤", 0.2 * 1000, " ms"
        ),
    }
