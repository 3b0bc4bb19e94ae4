"""How soon a client hears of its render, and how soon work ends that is cancelled."""

from __future__ import annotations

import asyncio
import time

from gator.gateway.v1 import render_service_pb2 as pb
from tests.benchmarks_load.callers import request
from tests.benchmarks_load.figures import Figure, Spread
from tests.benchmarks_load.serving import Gateway, Place

TO_FIRST_EVENT = 0.2
TO_STOP = 1.0


async def measured(place: Place, count: int) -> list[Figure]:
    """One render after another, at a gateway that has nothing else to do."""
    async with place.gateway(max_concurrent_renders=1) as away:
        # Its one place is taken: all that follows is made by the other.
        await _running(away, "hold")
        async with place.gateway() as gateway:
            others = place.others()
            submits = [await _to_first_event(gateway) for _ in range(count)]
            streams = [await _to_first_of_stream(gateway) for _ in range(count)]
            here = [await _to_stop(place, gateway, gateway) for _ in range(count)]
            there = [await _to_stop(place, gateway, away) for _ in range(count)]
            busy = others.look()

    def figure(what: str, found: list[float], wanted: float) -> Figure:
        spread = Spread.of(found)
        target = f"p99 {wanted * 1e3:.0f} ms"
        met = spread.p99 <= wanted
        return Figure(what, place.database, str(spread), "", target, met, busy)

    return [
        figure("CreateRender to the first event of WatchRender", submits, TO_FIRST_EVENT),
        figure("Render to its first event after the acceptance", streams, TO_FIRST_EVENT),
        figure("CancelRender to the end of the work", here, TO_STOP),
        figure("the same, cancelled at another gateway", there, TO_STOP),
    ]


async def _created(gateway: Gateway, prompt: str) -> pb.Render:
    asked = pb.CreateRenderRequest(render=request(prompt))
    return (await gateway.stub.CreateRender(asked)).render


async def _cancel(gateway: Gateway, render_id: str) -> None:
    await gateway.stub.CancelRender(pb.CancelRenderRequest(render_id=render_id))


async def _running(gateway: Gateway, prompt: str) -> str:
    """A render of which a scene is being made."""
    render_id = (await _created(gateway, prompt)).render_id
    call = gateway.stub.WatchRender(pb.WatchRenderRequest(render_id=render_id))
    while (await call.read()).render.state == pb.RENDER_STATE_QUEUED:
        pass
    call.cancel()
    return render_id


async def _to_first_event(gateway: Gateway) -> float:
    """Until a watcher hears more than how the render stood when it was created."""
    begun = time.monotonic()
    render = await _created(gateway, "tick 5")
    call = gateway.stub.WatchRender(pb.WatchRenderRequest(render_id=render.render_id))
    while (await call.read()).sequence == render.sequence:
        pass
    took = time.monotonic() - begun
    call.cancel()
    await _cancel(gateway, render.render_id)
    return took


async def _to_first_of_stream(gateway: Gateway) -> float:
    begun = time.monotonic()
    call = gateway.stub.Render(request("tick 5"))
    render_id = (await call.read()).accepted.render_id
    await call.read()
    took = time.monotonic() - begun
    await _cancel(gateway, render_id)
    call.cancel()
    return took


async def _to_stop(place: Place, maker: Gateway, canceller: Gateway) -> float:
    """Until the call to the service below has ended."""
    render_id = (await _created(maker, "tick 5")).render_id
    call = maker.stub.WatchRender(pb.WatchRenderRequest(render_id=render_id))
    while not (await call.read()).HasField("scene"):
        pass
    call.cancel()
    begun = time.monotonic()
    await _cancel(canceller, render_id)
    async with asyncio.timeout(30):
        return await place.below.end_of(render_id) - begun
