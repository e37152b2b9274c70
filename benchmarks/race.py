"""Times that mean something on a machine that others use: every call beside the limit, in turn, as ratios.

The limit is the rate of as many concurrent single-threaded matrix products as there are cores, 2m³ flops
each. It is measured before and after each call; a call's multiple of it is its seconds over those that its
flops would take at the mean of the two. Ratios are taken round by round; what is reported is their median and
quartiles.
"""

from __future__ import annotations

import gc
import os
import platform
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from threadpoolctl import ThreadpoolController

from linear_theory.threads import cores

SIDE = 1024
"""m of the products that the limit is measured with."""

LEAST = 3
"""Rounds of a call, however slow it is."""


def processor() -> str:
    """Its name, as the system tells it."""
    described = Path("/proc/cpuinfo")
    lines = described.read_text().splitlines() if described.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


class Spread(NamedTuple):
    """First quartile, median and third quartile."""

    low: float
    median: float
    high: float

    @classmethod
    def of(cls, values: Any) -> Spread:
        return cls(*(float(value) for value in np.percentile(values, [25, 50, 75])))


class Products:
    """The limit: ``cores()`` products of side ``SIDE`` at once, each on one thread."""

    def __init__(self, side: int = SIDE) -> None:
        rng = np.random.default_rng(0)
        self.side, self.count = side, cores()
        self.factor = rng.standard_normal((side, side))
        self.results = [np.empty((side, side)) for _ in range(self.count)]
        self.pool = ThreadPoolExecutor(self.count)
        self.blas = ThreadpoolController()
        self.rate(1)  # threads started, memory touched

    @property
    def flops(self) -> float:
        """Of one product on each core."""
        return 2.0 * self.side**3 * self.count

    def rate(self, repeats: int) -> float:
        """Flops a second, the best of ``repeats``."""
        with self.blas.limit(limits=1, user_api="blas"):
            multiply = lambda out: np.matmul(self.factor, self.factor, out=out)
            best = min(timed(lambda: list(self.pool.map(multiply, self.results)))[0] for _ in range(repeats))
        return self.flops / best


def timed(call: Callable[[], Any]) -> tuple[float, Any]:
    """Seconds, and what came back."""
    begun = time.perf_counter()
    answer = call()
    return time.perf_counter() - begun, answer


class Race:
    """Calls timed in turn, round by round, the limit measured before and after each.

    The first call leads: it runs in every round. All run until their calls have taken ``patience`` seconds, in
    ``rounds`` rounds at most and ``LEAST`` at least. ``answers`` holds what each returned when it ran for the
    first time, unclocked.
    """

    def __init__(
        self,
        calls: dict[str, Callable[[], Any]],
        products: Products,
        rounds: int = 11,
        patience: float = 10.0,
        repeats: int = 3,
    ) -> None:
        self.calls, self.products, self.repeats = calls, products, repeats
        self.leader = next(iter(calls))
        self.answers = {name: call() for name, call in calls.items()}
        self.patience = patience
        self.rounds = int(np.clip(patience / timed(calls[self.leader])[0], LEAST, rounds))
        self.seconds: dict[str, list[float]] = {name: [] for name in calls}
        self.before: dict[str, list[int]] = {name: [] for name in calls}
        self.rates: list[float] = []

    def run(self, benchmark: Any = None) -> Race:
        """All rounds; driven by pytest-benchmark, where given, which keeps its own record of the leader."""
        clock = lambda: self._clock(self.leader)
        if benchmark is None:
            for _ in range(self.rounds):
                self._before_leader()
                clock()
        else:
            benchmark.pedantic(clock, setup=self._before_leader, rounds=self.rounds)
            benchmark.extra_info.update({name: of.median for name, of in self.slower().items()})
        self._look()
        return self

    def _before_leader(self) -> None:
        gc.collect()
        for name, spent in self.seconds.items():
            if name != self.leader and (len(spent) < LEAST or sum(spent) < self.patience):
                self._look()
                self._clock(name)
        self._look()

    def _look(self) -> None:
        self.rates.append(self.products.rate(self.repeats))

    def _clock(self, name: str) -> None:
        self.before[name].append(len(self.rates) - 1)
        self.seconds[name].append(timed(self.calls[name])[0])

    def multiple(self, name: str, flops: float) -> np.ndarray:
        """Seconds over those of so many flops at the limit's rate, each round."""
        rates = np.array(self.rates)
        at = np.array(self.before[name])
        return np.array(self.seconds[name]) * (rates[at] + rates[at + 1]) / 2 / flops

    def ratio(self, name: str, other: str) -> np.ndarray:
        """Seconds of one over seconds of the other, each round that both ran in."""
        shared = min(len(self.seconds[name]), len(self.seconds[other]))
        return np.array(self.seconds[name][:shared]) / np.array(self.seconds[other][:shared])

    def slower(self) -> dict[str, Spread]:
        """Of every call, its time over the leader's."""
        return {name: Spread.of(self.ratio(name, self.leader)) for name in self.calls}


@contextmanager
def one_core() -> Iterator[None]:
    """This thread on one core only."""
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(allowed)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, allowed)
