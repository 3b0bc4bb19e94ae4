"""Render with a client that may go away and come back."""

import asyncio
import hashlib
import sqlite3
from contextlib import AsyncExitStack, closing
from datetime import timedelta
from pathlib import Path

import grpc
import pytest

from gateway.jobs import states, worker
from gator.gateway.v1 import render_service_pb2 as pb
from gator.gateway.v1.render_service_pb2_grpc import RenderServiceStub
from gator.type.v1 import video_pb2
from rpckit.client import open_channel
from rpckit.testing import running
from tests.support.databases import LOCKED
from tests.support.frame_source import FrameSource
from tests.support.gateways import (
    begun,
    compositor_server,
    created,
    ended,
    gateway,
    gateway_server,
    got,
    pictures,
    request,
    services_below,
    stack,
    two_gateways,
)


async def read(call) -> list[pb.RenderResponse]:
    return [response async for response in call]


def shown(responses) -> tuple[pb.VideoHeader, bytes, pb.RenderResult]:
    """The last form that came, as a client keeps it."""
    header, data = None, b""
    for response in responses:
        if response.HasField("video_header"):
            header, data = response.video_header, b""
        elif response.HasField("video"):
            data += response.video.data
    return header, data, responses[-1].result


async def test_a_client_comes_back_elsewhere_and_gets_the_whole_video(tmp_path):
    source = FrameSource()
    source.hold(1)
    async with two_gateways(source, tmp_path) as (one, other):
        asked = request(2, 2.0, request_id="mine")
        call = one.Render(asked)
        async for response in call:
            if response.HasField("accepted"):
                render_id = response.accepted.render_id
            if response.HasField("video"):
                break
        call.cancel()
        back = asyncio.create_task(read(other.Render(asked)))
        render = await got(one, render_id)
        source.release(1)
        responses = await back
        late = await read(one.Render(asked))
        after = await got(one, render_id)
    assert (render.state, render.attached) == (pb.RENDER_STATE_RUNNING, True)
    assert render.request.priority == pb.PRIORITY_INTERACTIVE
    for told in (responses, late):
        assert told[0].accepted.render_id == render_id
        assert told[0].accepted.frame_count == 96
        header, data, result = shown(told)
        assert header.form == result.form == video_pb2.VIDEO_FORM_FRAGMENTED
        assert hashlib.sha256(data).digest() == result.sha256
        assert (len(data), pictures(data)) == (result.size_bytes, 96)
        finished = [r.scene.index for r in told if r.scene.state == pb.SCENE_STATE_FINISHED]
        assert sorted(finished) == [0, 1]
        fractions = [r.progress.fraction for r in told if r.HasField("progress")]
        assert fractions == sorted(fractions)
        assert fractions[-1] == 1
    assert after.attempts == 1
    assert source.asked == {0: 1, 1: 1}


async def test_a_client_without_a_request_id_that_leaves_has_its_render_cancelled():
    source = FrameSource()
    source.hold(0)
    async with stack(source) as stub:
        call = stub.Render(request(1))
        render_id = (await call.read()).accepted.render_id
        await source.started[0].wait()
        call.cancel()
        assert (await ended(stub, render_id)).state == pb.RENDER_STATE_CANCELLED
        await source.ended[0].wait()


def age(folder: Path, render_id: str, seconds: int) -> None:
    """Makes the client of a render have been away for longer."""
    file = folder / "renders.sqlite3"
    with closing(sqlite3.connect(file, timeout=LOCKED)) as database, database:
        database.execute(
            "update renders set attached_until = attached_until - ? where id = ?",
            (seconds * 1_000_000, render_id),
        )


async def test_a_client_that_does_not_come_back_has_its_render_cancelled(tmp_path, monkeypatch):
    monkeypatch.setattr(worker, "LAPSE_POLL", 0.1)
    source = FrameSource()
    source.hold(0)
    async with two_gateways(source, tmp_path) as (one, other):
        call = one.Render(request(1, request_id="mine"))
        render_id = (await call.read()).accepted.render_id
        detached = await created(one, request(1))
        await source.started[0].wait()
        await begun(one, detached.render_id)
        call.cancel()
        age(tmp_path, render_id, 31)
        assert (await ended(other, render_id)).state == pb.RENDER_STATE_CANCELLED
        await source.ended[0].wait()
        assert (await got(other, detached.render_id)).state == pb.RENDER_STATE_RUNNING
        source.release(0)


async def test_what_was_created_to_go_on_alone_does_so_when_a_client_joins_and_leaves():
    source = FrameSource()
    source.hold(0)
    async with stack(source) as stub:
        asked = request(1, 0.2, request_id="mine")
        render = await created(stub, asked)
        call = stub.Render(asked)
        assert (await call.read()).accepted.render_id == render.render_id
        await source.started[0].wait()
        call.cancel()
        source.release(0)
        after = await ended(stub, render.render_id)
    assert (after.state, after.attached) == (pb.RENDER_STATE_SUCCEEDED, False)


async def test_a_gateway_that_shuts_down_hands_its_renders_to_another(tmp_path):
    source = FrameSource()
    source.hold(1)
    async with services_below(source) as below, AsyncExitStack() as leaving:
        # One by one: once the second scene is begun, the first is stored.
        one_by_one = {"state_dir": tmp_path, "max_concurrent_scenes": 1}
        server = gateway_server(*below, **one_by_one, grace=0.5)
        address = await leaving.enter_async_context(server)
        async with open_channel(address) as channel:
            stub = RenderServiceStub(channel)
            asked = request(2, 2.0, request_id="mine")
            call = stub.Render(asked)
            responses = []
            while not responses or not responses[-1].HasField("video"):
                responses.append(await call.read())
            await source.started[1].wait()
            async with gateway(*below, state_dir=tmp_path) as other:
                await leaving.aclose()
                with pytest.raises(grpc.aio.AioRpcError) as raised:
                    while await call.read() is not grpc.aio.EOF:
                        pass
                source.release(1)
                responses = await read(other.Render(asked))
                render = await got(other, responses[0].accepted.render_id)
    assert raised.value.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)
    header, data, result = shown(responses)
    assert header.content_tag.split(".")[1] == str(render.attempts) == "2"
    assert hashlib.sha256(data).digest() == result.sha256
    assert pictures(data) == 96
    # The scene that was finished was not made again, and the drain is no failure.
    assert source.asked == {0: 1, 1: 2}
    assert not render.HasField("error")


async def test_a_compositor_that_comes_back_begins_the_video_anew(monkeypatch):
    monkeypatch.setattr(states, "FIRST_BACKOFF", timedelta(milliseconds=10))
    source = FrameSource()
    source.hold(1)
    async with running(source.service()) as frame_gen, AsyncExitStack() as stack:
        first = await stack.enter_async_context(AsyncExitStack())
        address = await first.enter_async_context(compositor_server())
        # One by one: once the second scene is begun, the first is stored.
        services = gateway(frame_gen.address, address, max_concurrent_scenes=1)
        stub = await stack.enter_async_context(services)
        call = stub.Render(request(2, 2.0))
        responses = []
        while not responses or not responses[-1].HasField("video"):
            responses.append(await call.read())
        await source.started[1].wait()
        await first.aclose()
        async with compositor_server(address):
            source.release(1)
            while (response := await call.read()) is not grpc.aio.EOF:
                responses.append(response)
    headers = [r.video_header.content_tag for r in responses if r.HasField("video_header")]
    header, data, result = shown(responses)
    assert len(set(headers)) == 2
    assert header.content_tag == headers[-1]
    assert hashlib.sha256(data).digest() == result.sha256
    assert pictures(data) == 96
    assert [r.WhichOneof("event") for r in responses].count("accepted") == 1
    fractions = [r.progress.fraction for r in responses if r.HasField("progress")]
    assert fractions == sorted(fractions)
    finished = [r.scene.index for r in responses if r.scene.state == pb.SCENE_STATE_FINISHED]
    assert sorted(finished) == [0, 1]
    assert source.asked[0] == 1
