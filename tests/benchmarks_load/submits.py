"""How many renders are taken in, durably, and how long a caller waits for that."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from tests.benchmarks_load import callers
from tests.benchmarks_load.callers import PROCESSES, Calls, Sample
from tests.benchmarks_load.figures import Figure, Spread
from tests.benchmarks_load.serving import Place

RATE = 1_000
WITHIN = 0.05
CALLERS = 32
WARM = 1.0
"""Seconds at the start that do not count."""


@dataclass(frozen=True)
class _Load:
    """What came of calls of CreateRender."""

    rate: float
    """Renders that were created a second."""
    spread: Spread
    """Of all calls; those that failed took for ever."""
    failed: int
    cost: str
    others: float

    def __str__(self) -> str:
        failed = f"; {self.failed:,} failed" if self.failed else ""
        return f"{self.rate:,.0f}/s, {self.spread}{failed}"


async def evenly(place: Place, seconds: float) -> list[Figure]:
    """A rate that is kept however long answers take."""
    load = await _load(place, seconds, callers.submit_evenly, RATE / PROCESSES)
    aim, met = "", None
    if place.database == "sqlite":
        aim = f"{RATE:,}/s at p99 {WITHIN * 1e3:.0f} ms"
        met = load.rate >= 0.99 * RATE and load.spread.p99 <= WITHIN
    what = f"durable submits, {RATE:,} a second are asked for"
    return [Figure(what, place.database, str(load), load.cost, aim, met, load.others)]


async def waiting(place: Place, seconds: float) -> list[Figure]:
    """What callers get who wait for each answer."""
    load = await _load(place, seconds, callers.submit, CALLERS // PROCESSES)
    what = f"durable submits, {CALLERS} callers that wait for each answer"
    return [Figure(what, place.database, str(load), load.cost, others=load.others)]


async def _load(
    place: Place, seconds: float, submit: Callable[..., list[Sample]], load: float
) -> _Load:
    async with place.gateway(max_concurrent_renders=16) as gateway:
        others, before = place.others(), gateway.cpu
        # What they create waits in the queue.
        calls: Calls[list[Sample]] = await place.clients.run(
            submit, gateway.address, "hold", load, seconds + WARM
        )
        spent, busy = gateway.cpu - before, others.look()
    samples = [sample for one in calls.found for sample in one]
    begin = min(ended for ended, _ in samples) + WARM
    counted = [(ended, took) for ended, took in samples if ended >= begin]
    done = sum(took < math.inf for _, took in counted)
    server, clients = (part / len(samples) * 1e3 for part in (spent, calls.spent))
    return _Load(
        rate=done / (max(ended for ended, _ in counted) - begin),
        spread=Spread.of(took for _, took in counted),
        failed=len(counted) - done,
        cost=f"{server:.2f} ms each, clients {clients:.2f}",
        others=busy,
    )
