"""The SDK against real gateways, over a connection that breaks."""

import asyncio
import hashlib
from contextlib import AsyncExitStack, aclosing

import pytest

from gator_client import (
    AsyncClient,
    ConnectionLost,
    Render,
    RenderError,
    RenderProgress,
    RenderState,
    SceneProgress,
    SceneState,
    VideoChunk,
    VideoForm,
    VideoHeader,
)
from rpckit.errors import GatorError, Reason
from tests.support.frame_source import FrameSource
from tests.support.gateways import gateway_server, pictures, services_below
from tests.support.relay import Relay

PROMPTS = ["a hill", "the sea"]
OPTIONS = {"quality": "draft", "duration_per_frame": 2}
PICTURES = 96


@pytest.fixture
def source():
    return FrameSource()


class Stack:
    """Gateways over one database, one of which a client reaches by way of a relay."""

    def __init__(self, source, folder):
        self._source = source
        self._folder = folder
        self._running = AsyncExitStack()

    async def __aenter__(self):
        below = await self._running.enter_async_context(services_below(self._source))
        self._below = below
        self.first = await self._running.enter_async_context(AsyncExitStack())
        address = await self.first.enter_async_context(self._gateway())
        self.relay = await self._running.enter_async_context(Relay(port(address)))
        self.client = await self._running.enter_async_context(AsyncClient(self.relay.address))
        return self

    async def __aexit__(self, *_):
        await self._running.aclose()

    def _gateway(self):
        # One by one: once the second scene is begun, the first is stored.
        settings = {"state_dir": self._folder, "grace": 0.2, "max_concurrent_scenes": 1}
        return gateway_server(*self._below, **settings)

    async def hand_over(self):
        """Another gateway takes the place of the first, which shuts down."""
        self.relay.target = port(await self._running.enter_async_context(self._gateway()))
        await self.first.aclose()


def port(address):
    return int(address.rpartition(":")[2])


def some_video(kept):
    """An event handler, and what is set once bytes of the video have come."""
    begun = asyncio.Event()

    def on_event(event):
        kept.append(event)
        if isinstance(event, VideoChunk):
            begun.set()

    return on_event, begun


async def test_a_render_goes_on_when_its_connection_breaks(source, tmp_path):
    source.hold(1)
    events = []
    on_event, begun = some_video(events)
    async with Stack(source, tmp_path / "state") as stack:
        path = tmp_path / "film.mp4"
        task = asyncio.create_task(
            stack.client.render_to_file(PROMPTS, path, on_event=on_event, **OPTIONS)
        )
        await begun.wait()
        stack.relay.cut()
        source.release(1)
        result = await task
        render = await stack.client.get(result.render_id)
    data = path.read_bytes()
    assert hashlib.sha256(data).hexdigest() == result.sha256
    assert pictures(data) == PICTURES
    assert any(isinstance(event, ConnectionLost) for event in events)
    tags = {event.content_tag for event in events if isinstance(event, VideoHeader)}
    assert tags == {f"{result.render_id}.1.fragmented"}
    assert sum(len(event.data) for event in events if isinstance(event, VideoChunk)) == len(data)
    assert source.asked == {0: 1, 1: 1}
    assert (render.attempts, render.attached) == (1, True)


async def test_a_render_goes_on_at_another_gateway_and_its_file_begins_anew(source, tmp_path):
    source.hold(1)
    events = []
    on_event, begun = some_video(events)
    async with Stack(source, tmp_path / "state") as stack:
        path = tmp_path / "film.mp4"
        task = asyncio.create_task(
            stack.client.render_to_file(PROMPTS, path, on_event=on_event, **OPTIONS)
        )
        await begun.wait()
        await source.started[1].wait()
        await stack.hand_over()
        source.release(1)
        result = await task
    data = path.read_bytes()
    assert hashlib.sha256(data).hexdigest() == result.sha256
    assert pictures(data) == PICTURES
    tags = [event.content_tag for event in events if isinstance(event, VideoHeader)]
    assert tags == [f"{result.render_id}.{epoch}.fragmented" for epoch in (1, 2)]
    assert source.asked[0] == 1


async def test_a_client_that_leaves_ends_its_render_at_once(source, tmp_path):
    source.hold(0, 1)
    async with Stack(source, tmp_path / "state") as stack:
        async with aclosing(stack.client.render(PROMPTS, **OPTIONS)) as events:
            render_id = (await anext(events)).render_id
            await source.started[0].wait()
        assert (await stack.client.get(render_id)).state is RenderState.CANCELLED
        await source.ended[0].wait()


async def test_a_watch_goes_on_at_another_gateway(source, tmp_path):
    source.hold(1)
    events = []
    async with Stack(source, tmp_path / "state") as stack:
        render = await stack.client.create(PROMPTS, **OPTIONS)
        async with aclosing(stack.client.watch(render.render_id)) as watching:
            async for event in watching:
                events.append(event)
                match event:
                    case SceneProgress(index=0, state=SceneState.FINISHED):
                        stack.relay.cut()
                        await stack.hand_over()
                    case ConnectionLost():
                        source.release(1)
    fractions = [event.fraction for event in events if isinstance(event, RenderProgress)]
    assert fractions == sorted(fractions)
    assert any(isinstance(event, ConnectionLost) for event in events)
    assert isinstance(events[-1], Render)
    assert events[-1].state is RenderState.SUCCEEDED
    assert events[-1].result.frame_count == PICTURES


async def test_a_download_follows_a_render_across_a_break_and_its_end(source, tmp_path):
    source.hold(1)
    lost = []
    begun = asyncio.Event()
    path = tmp_path / "film.mp4"

    def on_event(event):
        if isinstance(event, ConnectionLost):
            lost.append(event)
        elif event.received:
            begun.set()

    async with Stack(source, tmp_path / "state") as stack:
        render = await stack.client.create(PROMPTS, **OPTIONS)
        task = asyncio.create_task(stack.client.download(render.render_id, path, on_event=on_event))
        await begun.wait()
        assert not path.exists()
        stack.relay.cut()
        source.release(1)
        video = await task
        stored = await stack.client.wait(render.render_id)
        other = tmp_path / "stored.mp4"
        whole = await stack.client.download(render.render_id, other)
    assert lost
    assert (video.form, whole.form) == (VideoForm.FRAGMENTED, VideoForm.FASTSTART)
    assert hashlib.sha256(path.read_bytes()).hexdigest() == video.sha256
    assert whole.sha256 == stored.result.sha256
    assert pictures(path.read_bytes()) == pictures(other.read_bytes()) == PICTURES
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["film.mp4", "state", "stored.mp4"]


async def test_a_download_that_was_left_goes_on_with_the_stored_video(source, tmp_path):
    path = tmp_path / "film.mp4"
    async with Stack(source, tmp_path / "state") as stack:
        render = await stack.client.create(PROMPTS, **OPTIONS, transition="zoom")
        ended = await stack.client.wait(render.render_id)
        size = ended.result.size_bytes
        await stack.client.download(render.render_id, path)
        data = path.read_bytes()
        path.unlink()
        part = tmp_path / "film.mp4.part"
        part.write_bytes(data[: size // 3])
        tag = f"{render.render_id}.1.faststart"
        note = f'{{"render_id": "{render.render_id}", "content_tag": "{tag}"}}'
        (tmp_path / "film.mp4.part.json").write_text(note)
        video = await stack.client.download(render.render_id, path)
        assert video.resumed_at == size // 3
        assert path.read_bytes() == data
        # Of an attempt that there was not, or more than there is: from the beginning.
        for left, epoch in ((data[:100], 2), (data + b"more", 1)):
            part.write_bytes(left)
            (tmp_path / "film.mp4.part.json").write_text(note.replace(".1.", f".{epoch}."))
            assert (await stack.client.download(render.render_id, path)).resumed_at == 0
            assert path.read_bytes() == data


async def test_a_retry_shares_what_was_finished(source, tmp_path):
    source.errors[1] = [GatorError(Reason.NO_MODEL_AVAILABLE, "no model")]
    source.hold(1)
    async with Stack(source, tmp_path / "state") as stack:
        client = stack.client
        first = await client.create(PROMPTS, **OPTIONS, labels={"film": "one"})
        async with aclosing(client.watch(first.render_id)) as events:
            async for event in events:
                if isinstance(event, SceneProgress) and event.state is SceneState.FINISHED:
                    source.release(1)
                if isinstance(event, Render):
                    failed = event
        with pytest.raises(RenderError) as caught:
            await client.download(first.render_id, tmp_path / "film.mp4")
        again = await client.retry(first.render_id)
        done = await client.wait(again.render_id)
        listed = [r.render_id async for r in client.list(labels={"film": "one"})]
        await client.delete(first.render_id)
        left = [r.render_id async for r in client.list()]
    assert (failed.state, failed.error.reason) == (RenderState.FAILED, "NO_MODEL_AVAILABLE")
    assert (caught.value.reason, caught.value.metadata["state"]) == ("WRONG_STATE", "FAILED")
    assert (done.state, done.retry_of) == (RenderState.SUCCEEDED, first.render_id)
    assert (done.result.frames_generated, done.result.frames_reused) == (1, 1)
    assert listed == [again.render_id, first.render_id]
    assert left == [again.render_id]
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["state"]


async def test_a_request_id_finds_the_render_that_is_there(source, tmp_path):
    async with Stack(source, tmp_path / "state") as stack:
        client = stack.client
        first = await client.create(PROMPTS, **OPTIONS, request_id="mine")
        assert (await client.create(PROMPTS, **OPTIONS, request_id="mine")).render_id == (
            first.render_id
        )
        with pytest.raises(RenderError) as caught:
            await client.create("other", **OPTIONS, request_id="mine")
        result = await client.render_to_file(
            PROMPTS, tmp_path / "film.mp4", **OPTIONS, request_id="mine"
        )
    assert (caught.value.code, caught.value.reason) == ("ALREADY_EXISTS", "REQUEST_ID_REUSED")
    assert result.render_id == first.render_id
    assert source.asked == {0: 1, 1: 1}


async def test_what_was_made_can_be_made_again_from_its_request(source, tmp_path):
    async with Stack(source, tmp_path / "state") as stack:
        first = await stack.client.create([*PROMPTS, "c"], **OPTIONS, transition="wipe")
        done = await stack.client.wait(first.render_id)
        scenes = list(done.request.scenes)
        edited = await stack.client.create([*scenes[:2], "d"], **done.request.options)
        after = await stack.client.wait(edited.render_id)
    assert (after.result.frames_generated, after.result.frames_reused) == (1, 2)
    assert after.request.scenes[:2] == done.request.scenes[:2]
    assert after.state is RenderState.SUCCEEDED
