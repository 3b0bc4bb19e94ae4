"""How many renders are taken in, durably, and how long a caller waits for that."""

from __future__ import annotations

from tests.benchmarks_load import callers
from tests.benchmarks_load.figures import Figure, Spread
from tests.benchmarks_load.serving import Place

CALLERS = 64
WARM = 1.0
"""Seconds at the start that do not count."""


async def measured(place: Place, seconds: float) -> list[Figure]:
    """64 callers that each wait for the answer; what they create waits in the queue."""
    async with place.gateway(max_concurrent_renders=16) as gateway:
        others, before = place.others(), gateway.cpu
        found = await callers.in_processes(
            callers.submit, gateway.address, "hold", CALLERS // callers.PROCESSES, seconds + WARM
        )
        spent, busy = gateway.cpu - before, others.look()
    samples = [sample for one in found for sample in one]
    begin = min(ended - took for ended, took in samples) + WARM
    counted = [took for ended, took in samples if ended - took >= begin]
    rate = len(counted) / (max(ended for ended, _ in samples) - begin)
    spread = Spread.of(counted)
    text = f"{rate:,.0f}/s, {spread}; {spent / len(samples) * 1e3:.2f} ms of processor each"
    what = f"durable submits, {CALLERS} callers"
    if place.database != "sqlite":
        return [Figure(what, place.database, text, others=busy)]
    met = rate >= 1000 and spread.p99 <= 0.05
    return [Figure(what, place.database, text, "1,000/s at p99 50 ms", met, busy)]
