"""The frame generation service: how many requests it takes, and that it counts them right."""

import asyncio
from contextlib import aclosing

import pytest

from frame_gen.backends.base import BackendError, GenerationRequest, Progress
from frame_gen.backends.fallback import Done, FallbackChain
from frame_gen.service import RETRY_AFTER, FrameGenService
from rpckit.errors import Code, GatorError, Reason
from rpckit.provenance import Backend as Kind
from tests.support.backends import ScriptedBackend, generated

REQUEST = GenerationRequest("a lighthouse")


def service_of(*steps, max_requests=2):
    backend = ScriptedBackend(Kind.EXTERNAL, *steps)
    return FrameGenService(FallbackChain([backend], 3600.0), max_requests), backend


async def events_of(service, remaining=None):
    async with aclosing(service.generate(REQUEST, remaining)) as events:
        return [event async for event in events]


async def takes(service, count):
    """Whether the service takes `count` requests at a time, and not one more."""
    held = [service.generate(REQUEST, None) for _ in range(count)]
    for events in held:
        assert await anext(events) == Progress(0, 1)
    with pytest.raises(GatorError) as caught:
        await anext(service.generate(REQUEST, None))
    assert caught.value.reason is Reason.OVERLOADED
    for events in held:
        await events.aclose()
    return True


async def test_one_request_too_many_is_refused_with_a_time_to_try_again():
    service, backend = service_of(Progress(0, 1), generated())
    held = [service.generate(REQUEST, None) for _ in range(2)]
    for events in held:
        await anext(events)
    with pytest.raises(GatorError) as caught:
        await events_of(service)
    refused = caught.value
    assert (refused.reason, refused.code) == (Reason.OVERLOADED, Code.RESOURCE_EXHAUSTED)
    assert refused.retry_after == RETRY_AFTER
    assert refused.message.startswith("2 frames are being made or wait")
    assert len(backend.asked) == 2
    assert isinstance([event async for event in held[0]][-1], Done)
    assert isinstance((await events_of(service))[-1], Done)
    await held[1].aclose()


@pytest.mark.parametrize(
    "outcome",
    ["done", "failed", "bug", "closed", "cancelled", "time out", "never started", "refused"],
)
async def test_a_request_is_counted_until_it_ends_however_that_is(outcome):
    ends = {"failed": BackendError(Reason.GENERATION_FAILED, "no"), "bug": ZeroDivisionError()}
    never = asyncio.Event()
    last = never if outcome in {"cancelled", "time out"} else ends.get(outcome, generated())
    service, backend = service_of(Progress(0, 1), last)
    for _ in range(3):
        backend.waits.clear()
        if outcome == "closed":
            events = service.generate(REQUEST, None)
            await anext(events)
            await events.aclose()
        elif outcome == "never started":
            await service.generate(REQUEST, None).aclose()
        elif outcome == "cancelled":
            task = asyncio.create_task(events_of(service))
            await backend.waits.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        elif outcome == "refused":
            assert await takes(service, 2)
        elif outcome == "done":
            assert isinstance((await events_of(service))[-1], Done)
        else:
            with pytest.raises(GatorError):
                await events_of(service, 0.1 if outcome == "time out" else None)
    assert await takes(service, 2)
    assert backend.running == 0


async def test_many_at_a_time_are_made_or_refused_and_none_is_lost():
    gate = asyncio.Event()
    service, backend = service_of(gate, generated(), max_requests=10)
    requests = [asyncio.create_task(events_of(service)) for _ in range(50)]
    await backend.waits.wait()
    gate.set()
    results = await asyncio.gather(*requests, return_exceptions=True)
    made = [r for r in results if isinstance(r, list)]
    refused = [r for r in results if isinstance(r, GatorError)]
    assert (len(made), len(refused)) == (10, 40)
    assert {r.reason for r in refused} == {Reason.OVERLOADED}


async def test_closing_closes_every_backend():
    backends = [ScriptedBackend(Kind.EXTERNAL), ScriptedBackend(Kind.PLACEHOLDER)]
    await FrameGenService(FallbackChain(backends, 1.0), 1).close()
    assert [backend.closed for backend in backends] == [True, True]
