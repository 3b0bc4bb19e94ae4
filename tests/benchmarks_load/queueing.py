"""What a long queue costs: to look through it, to take from it, to hold it, to work it off."""

from __future__ import annotations

import asyncio
import hashlib
import time
import uuid
from collections.abc import Sequence

from gateway.convert import stored
from gateway.convert.requests import render_asked
from gateway.jobs.records import Admission, NewRender, Priority
from gateway.jobs.store import Store
from gateway.request import Limits
from gateway.validation import accepted
from gator.gateway.v1 import render_service_pb2 as pb
from tests.benchmarks_load.callers import request
from tests.benchmarks_load.figures import Figure, Spread
from tests.benchmarks_load.serving import Gateway, Place

MANY = 10**6
AT_ONCE = 500
WORKERS = 4
CLAIM_SECONDS = 3.0


def _new_render(prompt: str) -> NewRender:
    render, handling = accepted(render_asked(request(prompt)), Limits(), Priority.BATCH)
    data = stored.request_bytes(render, handling)
    return NewRender(
        render_id=str(uuid.uuid4()),
        owner="",
        request=data,
        scene_count=1,
        frame_count=24,
        fingerprint=hashlib.sha256(data).digest(),
        priority=handling.priority,
    )


async def _fill(place: Place, prompt: str, count: int) -> None:
    async with Store.open(place.url, admission=Admission(MANY, MANY)) as store:
        for start in range(0, count, AT_ONCE):
            size = min(AT_ONCE, count - start)
            await asyncio.gather(*(store.create(_new_render(prompt)) for _ in range(size)))


async def queue(place: Place, count: int) -> list[Figure]:
    """A queue that nobody works off, at a gateway whose one place is taken."""
    figures = []

    def note(what: str, found: str) -> None:
        figures.append(Figure(f"{count:,} queued: {what}", place.database, found))

    async with place.gateway(max_concurrent_renders=1) as gateway:
        asked = pb.CreateRenderRequest(render=request("hold"))
        await gateway.stub.CreateRender(asked)
        await _pages(gateway, 1, 50)
        before = gateway.memory
        others = place.others()
        await _fill(place, "hold", count)
        pages = await _pages(gateway, 100, 50)
        note("a page of 50", str(Spread.of(pages)))
        begun = time.monotonic()
        large = await _pages(gateway, MANY, 1_000)
        note("all of them, in pages of 1,000", f"{time.monotonic() - begun:.2f} s, {len(large)}")
        submits = [await _create(gateway) for _ in range(200)]
        note("one more, one after the other", str(Spread.of(submits)))
        note("memory of the gateway", f"{(gateway.memory - before) / 2**20:+.1f} MiB")
    for size in (1, 32):
        note(f"claims of up to {size}", await _claims(place, size))
    busy = others.look()
    return [Figure(f.what, f.database, f.found, others=busy) for f in figures]


async def _pages(gateway: Gateway, count: int, size: int) -> Sequence[float]:
    """Seconds of each page, of at most `count`."""
    times: list[float] = []
    token = ""
    while len(times) < count:
        begun = time.monotonic()
        asked = pb.ListRendersRequest(page_size=size, page_token=token)
        token = (await gateway.stub.ListRenders(asked)).next_page_token
        times.append(time.monotonic() - begun)
        if not token:
            break
    return times


async def _create(gateway: Gateway) -> float:
    begun = time.monotonic()
    await gateway.stub.CreateRender(pb.CreateRenderRequest(render=request("hold")))
    return time.monotonic() - begun


async def _claims(place: Place, size: int) -> str:
    """From some workers at a time."""
    times: list[float] = []
    taken = 0
    async with Store.open(place.url) as store:
        begun = time.monotonic()

        async def take(worker: str) -> None:
            nonlocal taken
            while (now := time.monotonic()) < begun + CLAIM_SECONDS:
                claims = await store.claim(worker, size)
                if not claims:
                    return
                times.append(time.monotonic() - now)
                taken += len(claims)

        await asyncio.gather(*(take(f"worker {n}") for n in range(WORKERS)))
        seconds = time.monotonic() - begun
    return f"{taken / seconds:,.0f} renders/s, {Spread.of(times)}"


async def work(place: Place, count: int) -> list[Figure]:
    """Renders that cost nothing below the gateway: what it costs itself, its stores included."""
    await _fill(place, "now", count)
    others = place.others()
    begun = time.monotonic()
    async with place.gateway(max_concurrent_renders=32) as gateway:
        asked = pb.ListRendersRequest(
            page_size=1, states=[pb.RENDER_STATE_QUEUED, pb.RENDER_STATE_RUNNING]
        )
        # Another process does the work.
        while (await gateway.stub.ListRenders(asked)).renders:  # noqa: ASYNC110
            await asyncio.sleep(0.2)
        seconds, spent = time.monotonic() - begun, gateway.cpu
        done = pb.ListRendersRequest(page_size=1_000, states=[pb.RENDER_STATE_SUCCEEDED])
        succeeded = len((await gateway.stub.ListRenders(done)).renders)
    if succeeded != min(count, 1_000):
        raise AssertionError(f"{succeeded} of {count} renders succeeded")
    text = f"{count / seconds:.0f} renders/s, {spent / count * 1e3:.1f} ms of processor each"
    what = "renders from the queue to a stored video, scenes and encoding free"
    return [Figure(what, place.database, text, others=others.look())]
