"""WatchRender: as it stands, then each event, at any replica, from any place."""

import asyncio
from contextlib import AsyncExitStack
from itertools import pairwise

import grpc
import pytest

from gateway.jobs import topic
from gator.gateway.v1 import render_service_pb2 as pb
from gator.gateway.v1.render_service_pb2_grpc import RenderServiceStub
from rpckit.client import open_channel
from rpckit.errors import Reason
from rpckit.status import from_rpc_error
from tests.support.frame_source import FrameSource
from tests.support.gateways import (
    created,
    ended,
    gateway,
    gateway_server,
    refused,
    request,
    services_below,
    stack,
    to_the_end,
    two_gateways,
    watched,
)

QUEUED, RUNNING, SUCCEEDED, CANCELLED = (
    pb.RENDER_STATE_QUEUED,
    pb.RENDER_STATE_RUNNING,
    pb.RENDER_STATE_SUCCEEDED,
    pb.RENDER_STATE_CANCELLED,
)


def kinds(events) -> list[str]:
    return [event.WhichOneof("event") for event in events]


def states(events) -> list[int]:
    return [event.render.state for event in events if event.HasField("render")]


async def test_a_watcher_is_told_all_from_the_queue_to_the_end():
    source = FrameSource()
    source.hold(0)
    async with stack(source, max_concurrent_renders=1) as stub:
        first = await created(stub, request(1, 0.1))
        await source.started[0].wait()
        render = await created(stub, request(3, 0.5))
        watching = stub.WatchRender(pb.WatchRenderRequest(render_id=render.render_id))
        events = [await watching.read()]
        source.release(0)
        await ended(stub, first.render_id)
        events += await to_the_end(watching)
    assert states(events) == [QUEUED, RUNNING, SUCCEEDED]
    assert kinds(events)[0] == kinds(events)[-1] == "render"
    assert all(a.sequence < b.sequence for a, b in pairwise(events))
    assert events[0].sequence == events[0].render.sequence == 1
    assert events[-1].sequence == events[-1].render.sequence
    finished = [e.scene for e in events if e.scene.state == pb.SCENE_STATE_FINISHED]
    assert sorted(s.index for s in finished) == [0, 1, 2]
    assert all(s.HasField("provenance") for s in finished)
    fractions = [e.progress.fraction for e in events if e.HasField("progress")]
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1
    assert list(events[-1].render.scenes) == sorted(finished, key=lambda s: s.index)


async def test_every_replica_tells_the_same_and_a_watcher_goes_on_where_it_was(tmp_path):
    source = FrameSource()
    source.hold(0)
    async with two_gateways(source, tmp_path) as (one, other):
        render = await created(one, request(3, 0.3))
        asked = pb.WatchRenderRequest(render_id=render.render_id)
        calls = [stub.WatchRender(asked) for stub in (one, other)]
        firsts = [await call.read() for call in calls]
        source.release(0)
        rests = await asyncio.gather(*map(to_the_end, calls))
        whole, elsewhere = ([first, *rest] for first, rest in zip(firsts, rests, strict=True))
        numbers = [event.sequence for event in whole]
        for after in (1, numbers[len(numbers) // 2], numbers[-2], numbers[-1], 10**9):
            rest = await watched(other, render.render_id, after_sequence=after)
            assert rest[0].HasField("render")
            assert rest[0].sequence == min(after, numbers[-1])
            # What the state was in between is not known any more.
            told = [e for e in rest[1:] if not e.HasField("render")]
            passing = [e for e in elsewhere if e.sequence > after and not e.HasField("render")]
            assert [e for e in told if e in passing] == passing
            assert rest[-1].render.state == SUCCEEDED
            assert rest[-1].sequence == numbers[-1]
    assert whole[-1] == elsewhere[-1]


async def test_a_watcher_far_behind_reads_on_from_the_store(monkeypatch):
    monkeypatch.setattr(topic, "RECENT", 4)
    source = FrameSource()
    async with stack(source) as stub:
        render = await created(stub, request(12, 0.1))
        front = await watched(stub, render.render_id)
        behind = await watched(stub, render.render_id, after_sequence=1)
    finished = [e.scene.index for e in behind if e.scene.state == pb.SCENE_STATE_FINISHED]
    assert sorted(finished) == list(range(12))
    numbers = [e.sequence for e in behind]
    assert all(a < b for a, b in pairwise(numbers))
    assert numbers[-1] == front[-1].sequence


async def test_many_watchers_are_all_told_the_end():
    source = FrameSource()
    source.hold(0)
    async with stack(source) as stub:
        render = await created(stub, request(2, 0.3))
        watching = [asyncio.create_task(watched(stub, render.render_id)) for _ in range(100)]
        await source.started[0].wait()
        source.release(0)
        told = await asyncio.gather(*watching)
    ends = [events[-1] for events in told]
    assert all(end == ends[0] for end in ends)
    assert ends[0].render.state == SUCCEEDED


async def test_previews_come_to_those_who_want_them_where_the_render_runs():
    source = FrameSource()
    source.hold(0)
    async with stack(source) as stub:
        render = await created(stub, request(1, 0.1))
        await source.started[0].wait()
        calls = [
            stub.WatchRender(pb.WatchRenderRequest(render_id=render.render_id, previews=wanted))
            for wanted in (True, False)
        ]
        seen = [[await call.read()] for call in calls]
        source.show(0, b"a picture")
        while not seen[0][-1].HasField("preview"):
            seen[0].append(await calls[0].read())
        source.release(0)
        for call, events in zip(calls, seen, strict=True):
            while (event := await call.read()) is not grpc.aio.EOF:
                events.append(event)
    shown, plain = seen
    assert [e.preview.jpeg for e in shown if e.HasField("preview")] == [b"a picture"]
    assert "preview" not in kinds(plain)
    assert [e for e in shown if not e.HasField("preview")][-1] == plain[-1]
    assert all(a.sequence <= b.sequence for a, b in pairwise(shown))


async def test_a_watcher_is_sent_to_another_replica_when_its_own_shuts_down(tmp_path):
    source = FrameSource()
    source.hold(0)
    async with services_below(source) as below, AsyncExitStack() as leaving:
        server = gateway_server(*below, state_dir=tmp_path, grace=30)
        address = await leaving.enter_async_context(server)
        async with open_channel(address) as channel, gateway(*below, state_dir=tmp_path) as other:
            stub = RenderServiceStub(channel)
            render = await created(stub, request(1, 0.1))
            await source.started[0].wait()
            call = stub.WatchRender(pb.WatchRenderRequest(render_id=render.render_id))
            seen = [await call.read()]
            ending = asyncio.create_task(leaving.aclose())
            with pytest.raises(grpc.aio.AioRpcError) as raised:
                while (event := await call.read()) is not grpc.aio.EOF:
                    seen.append(event)
            watching = asyncio.create_task(
                watched(other, render.render_id, after_sequence=seen[-1].sequence)
            )
            assert not ending.done()  # the render goes on
            source.release(0)
            await ending
            events = await watching
    error = from_rpc_error(raised.value, "gateway")
    assert (error.reason, error.retry_after) == (Reason.SHUTTING_DOWN, 0.1)
    assert (events[-1].render.state, events[-1].render.attempts) == (SUCCEEDED, 1)


async def test_a_watcher_of_a_render_that_is_deleted():
    source = FrameSource()
    source.hold(0)
    async with stack(source) as stub:
        render = await created(stub, request(1, 0.1))
        await source.started[0].wait()
        await stub.CancelRender(pb.CancelRenderRequest(render_id=render.render_id))
        assert (await ended(stub, render.render_id)).state == CANCELLED
        await stub.DeleteRender(pb.DeleteRenderRequest(render_id=render.render_id))
        asked = pb.WatchRenderRequest(render_id=render.render_id, after_sequence=1)
        error = await refused(stub.WatchRender(asked))
    assert error.reason is Reason.RENDER_NOT_FOUND
