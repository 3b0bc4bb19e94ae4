"""A render whose client stays: broken connections, videos that begin anew, clients that leave."""

import asyncio
from contextlib import aclosing

import pytest
from scripted_gateway import (
    VIDEO,
    BrokenConnectionError,
    accepted,
    finished,
    hang,
    result,
    video,
    video_header,
)

from gator.gateway.v1 import render_service_pb2 as pb
from gator_client import (
    AsyncClient,
    Client,
    ConnectionLost,
    RenderAccepted,
    RenderError,
    RenderResult,
    VideoChunk,
    VideoHeader,
    attached,
)
from rpckit.errors import GatorError, Reason


def breaking(*answers):
    """A script that answers each call with the next of `answers`, each a list of messages."""
    calls = iter(answers)

    async def script(request):
        for message in next(calls):
            if isinstance(message, Exception):
                raise message
            yield message(request) if callable(message) else message

    return script


FIRST = [accepted, video_header(1), video(VIDEO[:5000]), BrokenConnectionError()]
SAME_AGAIN = [
    accepted,
    finished(0),
    video_header(1),
    video(VIDEO[:3000]),
    video(VIDEO[3000:9000]),
    video(VIDEO[9000:]),
    result,
]
OTHER = VIDEO[::-1]
OTHER_AGAIN = [
    accepted,
    video_header(2),
    video(OTHER[:3000]),
    video(OTHER[3000:]),
    lambda request: result(request, OTHER),
]


async def test_a_broken_connection_is_made_again_and_no_byte_comes_twice(gateway):
    gateway.script = breaking(FIRST, [accepted, BrokenConnectionError()], SAME_AGAIN)
    async with AsyncClient(gateway.address) as client:
        events = [event async for event in client.render("a hill")]
    kinds = [type(event) for event in events]
    assert kinds[0] is RenderAccepted
    assert [kinds.count(kind) for kind in (RenderAccepted, VideoHeader, ConnectionLost)] == [1] * 3
    assert b"".join(e.data for e in events if isinstance(e, VideoChunk)) == VIDEO
    assert isinstance(events[-1], RenderResult)
    ids = [request.request_id for request in gateway.requests]
    assert len(ids) == 3
    assert len(set(ids)) == 1
    assert ids[0]
    assert gateway.cancelled == []


async def test_a_file_holds_the_last_content_alone(gateway, tmp_path):
    gateway.script = breaking(FIRST, OTHER_AGAIN)
    path = tmp_path / "film.mp4"
    headers = []

    def on_event(event):
        if isinstance(event, VideoHeader):
            headers.append(event.content_tag)

    async with AsyncClient(gateway.address) as client:
        done = await client.render_to_file("a hill", path, on_event=on_event)
    assert path.read_bytes() == OTHER
    assert done.size_bytes == len(OTHER)
    assert headers == ["r-1.1.fragmented", "r-1.2.fragmented"]
    assert list(tmp_path.iterdir()) == [path]


async def test_the_video_begins_anew_on_the_same_connection(gateway, tmp_path):
    gateway.script = breaking([*FIRST[:-1], *OTHER_AGAIN[1:]])
    async with AsyncClient(gateway.address) as client:
        await client.render_to_file("a hill", tmp_path / "film.mp4")
    assert (tmp_path / "film.mp4").read_bytes() == OTHER


async def test_bytes_go_on_where_they_were(gateway):
    gateway.script = breaking(FIRST, SAME_AGAIN)
    async with AsyncClient(gateway.address) as client:
        assert b"".join([data async for data in client.iter_video("a hill")]) == VIDEO


async def test_bytes_that_were_passed_on_cannot_begin_anew(gateway):
    gateway.script = breaking(FIRST, OTHER_AGAIN)
    came = b""
    async with AsyncClient(gateway.address) as client:
        with pytest.raises(RenderError) as caught:
            async for data in client.iter_video("a hill"):
                came += data
    assert (caught.value.reason, came) == ("VIDEO_RESTARTED", VIDEO[:5000])
    assert "Into a file" in caught.value.advice
    assert gateway.cancelled == ["r-1"]


async def test_a_gateway_that_shuts_down_is_come_back_to(gateway, tmp_path):
    leaving = GatorError(Reason.SHUTTING_DOWN, "the gateway shuts down")
    gateway.script = breaking([*FIRST[:-1], leaving], SAME_AGAIN)
    async with AsyncClient(gateway.address) as client:
        await client.render_to_file("a hill", tmp_path / "film.mp4")
    assert (tmp_path / "film.mp4").read_bytes() == VIDEO


async def test_a_render_that_failed_for_want_of_a_service_is_not_asked_for_again(gateway):
    away = GatorError(Reason.DOWNSTREAM_UNAVAILABLE, "the compositor is away")
    gateway.script = breaking([accepted, away])
    async with AsyncClient(gateway.address) as client:
        with pytest.raises(RenderError, match="the compositor is away"):
            [event async for event in client.render("a hill")]
    assert len(gateway.requests) == 1
    assert gateway.cancelled == []


async def test_a_server_that_does_not_come_back(gateway, clock):
    clock.between = attached.PATIENCE
    gateway.script = breaking(FIRST, *[[BrokenConnectionError()]] * 100)
    async with AsyncClient(gateway.address) as client:
        with pytest.raises(RenderError) as caught:
            [event async for event in client.render("a hill")]
    assert (caught.value.code, caught.value.reason) == ("UNAVAILABLE", "UNREACHABLE")
    assert "gator retry r-1" in caught.value.advice
    assert len(gateway.requests) > 1


async def test_a_first_call_that_breaks_is_not_tried_for_long(gateway):
    gateway.script = breaking([BrokenConnectionError()] * 1, *[[BrokenConnectionError()]] * 10)
    async with AsyncClient(gateway.address) as client:
        with pytest.raises(RenderError) as caught:
            [event async for event in client.render("a hill")]
    assert caught.value.reason == "UNREACHABLE"
    assert len(gateway.requests) <= 3  # gRPC's own


async def leave_the_iterator(client):
    async with aclosing(client.render("a hill")) as events:
        await anext(events)


async def cancel_the_task(client):
    reached = asyncio.Event()
    task = asyncio.create_task(
        client.render_to_file("a hill", "f.mp4", on_event=lambda _: reached.set())
    )
    await reached.wait()
    task.cancel()
    await asyncio.wait([task])


async def close_the_client(client):
    events = client.render("a hill")
    await anext(events)
    await client.__aexit__(None, None, None)
    await events.aclose()


@pytest.mark.parametrize("leave", [leave_the_iterator, cancel_the_task, close_the_client])
async def test_a_client_that_leaves_cancels_its_render(gateway, empty_folder, leave):
    gateway.script = hang
    client = await AsyncClient(gateway.address).__aenter__()
    await leave(client)
    await client.__aexit__(None, None, None)
    assert gateway.cancelled == ["r-1"]
    assert gateway.renders["r-1"].state == pb.RENDER_STATE_CANCELLED


def test_leaving_the_sync_iterator_cancels_the_render(gateway):
    gateway.script = hang
    with Client(gateway.address) as client:
        for _ in client.render("a hill"):
            break
    assert gateway.cancelled == ["r-1"]


async def test_a_deadline_that_passes_cancels_the_render(gateway, clock):
    async def script(request):
        yield accepted(request)
        if len(gateway.requests) == 1:
            clock.now += 1000
            raise BrokenConnectionError
        await asyncio.Event().wait()

    gateway.script = script
    async with AsyncClient(gateway.address, timeout=1000) as client:
        with pytest.raises(RenderError) as caught:
            [event async for event in client.render("a hill")]
    assert caught.value.code == "DEADLINE_EXCEEDED"
    assert gateway.cancelled == ["r-1"]


async def test_a_render_that_has_ended_is_not_cancelled(gateway):
    async with AsyncClient(gateway.address) as client:
        [event async for event in client.render("a hill")]
    assert gateway.cancelled == []


async def test_what_the_caller_names_goes_with_the_request(gateway):
    async with AsyncClient(gateway.address) as client:
        await client.create("a", request_id="mine", labels={"project": "atlas"}, priority="batch")
    sent = gateway.requests[0]
    assert (sent.request_id, dict(sent.labels)) == ("mine", {"project": "atlas"})
    assert sent.priority == pb.PRIORITY_BATCH
