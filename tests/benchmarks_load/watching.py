"""How soon many watchers are told what happens, and what those cost who wait."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from gator.gateway.v1 import render_service_pb2 as pb
from tests.benchmarks_load import callers
from tests.benchmarks_load.callers import request
from tests.benchmarks_load.figures import Figure, Spread
from tests.benchmarks_load.serving import Gateway, Place

WATCHERS = 500
RATE = 10
"""Messages a second to each: a scene's progress, and that of the render, which comes with it."""
WITHIN = 0.25
WARM = 2.0
"""Seconds at the start that do not count: watchers join."""
IDLE = 1_000
IDLE_SECONDS = 5.0


async def _created(gateway: Gateway, prompt: str, count: int) -> list[str]:
    asked = pb.CreateRenderRequest(render=request(prompt))
    answers = await asyncio.gather(*(gateway.stub.CreateRender(asked) for _ in range(count)))
    return [answer.render.render_id for answer in answers]


async def fan_out(place: Place, seconds: float) -> list[Figure]:
    return [
        await _fan_out(place, seconds, renders, what)
        for renders, what in ((1, "of one render"), (50, "of 50 renders"))
    ]


async def _fan_out(place: Place, seconds: float, renders: int, what: str) -> Figure:
    async with place.gateway(max_concurrent_renders=renders) as gateway:
        render_ids = await _created(gateway, f"tick {RATE // 2}", renders)
        watched = render_ids * (WATCHERS // renders // callers.PROCESSES)
        others, before = place.others(), gateway.cpu
        calls = await place.clients.run(callers.watch, gateway.address, watched, seconds + 2 * WARM)
        spent, busy = gateway.cpu - before, others.look()
        await asyncio.gather(
            *(
                gateway.stub.CancelRender(pb.CancelRenderRequest(render_id=render_id))
                for render_id in render_ids
            )
        )
    told = [one for part, _ in calls.found for one in part]
    begin = min(at for at, _ in told) + WARM
    counted = [(at, data) for at, data in told if begin <= at < begin + seconds]
    late = []
    for at, data in counted:
        step = pb.WatchRenderResponse.FromString(data).scene.step
        if step:
            late.append(at - step / 1000)
    broken = sum(count for _, count in calls.found)
    spread = Spread.of(late)
    rate = len(counted) / seconds / WATCHERS
    text = f"{spread} at {rate:.1f} messages/s each"
    each = [f"{part / len(told) * 1e6:.0f}" for part in (spent, calls.spent)]
    cost = f"{each[0]} us a message, clients {each[1]}"
    if broken:
        text += f"; {broken} broke off"
    target = f"{RATE} messages/s at p99 {WITHIN * 1e3:.0f} ms"
    met = spread.p99 <= WITHIN and rate > 0.95 * RATE and not broken
    return Figure(f"{WATCHERS} watchers {what}", place.database, text, cost, target, met, busy)


async def idle(place: Place) -> list[Figure]:
    """Watchers of renders that wait, at a gateway that makes another meanwhile."""
    return [
        await _idle(place, renders, what)
        for renders, what in ((1, "of one render"), (IDLE, "each of a render of its own"))
    ]


async def _idle(place: Place, renders: int, what: str) -> Figure:
    async with place.gateway(max_concurrent_renders=1) as gateway:
        others = place.others()
        await _created(gateway, "hold", 1)
        render_ids = await _created(gateway, "hold", renders) * (IDLE // renders)
        async with _watched(gateway, render_ids[:50]):
            pass  # what the first ones cost is not theirs alone
        before = gateway.memory
        async with _watched(gateway, render_ids):
            size, spent = gateway.memory - before, gateway.cpu
            await asyncio.sleep(IDLE_SECONDS)
            load = (gateway.cpu - spent) / IDLE_SECONDS
    text = f"{size / IDLE / 1024:.1f} KiB each; {load * 100:.1f}% of a processor for all"
    return Figure(f"{IDLE:,} idle watchers {what}", place.database, text, others=others.look())


@asynccontextmanager
async def _watched(gateway: Gateway, render_ids: Sequence[str]) -> AsyncIterator[None]:
    """A stream for each, all of which have heard how their render stands."""
    calls = [
        gateway.stub.WatchRender(pb.WatchRenderRequest(render_id=render_id))
        for render_id in render_ids
    ]
    try:
        first = await asyncio.gather(*(call.read() for call in calls))
        assert all(answer.HasField("render") for answer in first)
        yield
    finally:
        for call in calls:
            call.cancel()
