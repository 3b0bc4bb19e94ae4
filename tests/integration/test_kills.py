"""A service dies at each step of a render (SIGKILL): the render is finished, and nothing twice.

`make drills` has them die at random moments.
"""

import asyncio
import hashlib
import signal
import sqlite3
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from datetime import timedelta
from pathlib import Path

import grpc
import pytest

from gateway.jobs import states, worker
from gateway.jobs.failpoints import FailpointError, Point, parsed
from gator.gateway.v1 import render_service_pb2 as pb
from gator.gateway.v1.render_service_pb2_grpc import RenderServiceStub
from gator_client import AsyncClient, ConnectionLost
from rpckit.client import open_channel
from rpckit.testing import other_tasks, running
from tests.support import noting_frame_gen
from tests.support.databases import LOCKED, Database
from tests.support.fleet import ENDING, GRACE, Member
from tests.support.frame_source import FrameSource
from tests.support.gateways import (
    LOOPBACK,
    compositor_server,
    created,
    downloaded,
    ended,
    gateway,
    gateway_server,
    got,
    pictures,
    request,
    services_below,
)
from tests.support.leftovers import nothing_left, swept
from tests.support.processes import is_halted, server_process
from tests.support.relay import Relay

SCENES = 3
REQUEST = request(SCENES, 2.0, request_id="mine")


@asynccontextmanager
async def gateway_process(
    below: tuple[str, str], folder: Path, failpoints: str = ""
) -> AsyncIterator[tuple[asyncio.subprocess.Process, str]]:
    """A gateway in a process of its own, and its address."""
    frame_gen, compositor = below
    environment = {
        "GATOR_GATEWAY_LISTEN": LOOPBACK,
        "GATOR_GATEWAY_FRAME_GEN_TARGET": frame_gen,
        "GATOR_GATEWAY_COMPOSITOR_TARGET": compositor,
        "GATOR_GATEWAY_STATE_DIR": str(folder),
        "GATOR_GATEWAY_MAX_CONCURRENT_SCENES": "1",
        "GATOR_GATEWAY_GRACE": str(GRACE),
        "GATOR_FAILPOINTS": failpoints,
    }
    async with server_process("gateway", **environment) as served:
        yield served


@asynccontextmanager
async def client_of(address: str) -> AsyncIterator[RenderServiceStub]:
    async with open_channel(address) as channel:
        yield RenderServiceStub(channel)


@asynccontextmanager
async def survivor(below: tuple[str, str], folder: Path) -> AsyncIterator[RenderServiceStub]:
    """A gateway of which nothing may go on at the end of the block."""
    async with gateway(*below, state_dir=folder) as stub:
        before, threads = other_tasks(), set(threading.enumerate())
        yield stub
        await nothing_left(before, threads)


def rows(folder: Path, query: str) -> list[tuple]:
    file = folder / "renders.sqlite3"
    with closing(sqlite3.connect(file, timeout=LOCKED)) as database, database:
        return database.execute(query).fetchall()


def end_leases(folder: Path) -> None:
    """Makes the leases of dead workers run out: 30 s are long for a test."""
    rows(folder, "update renders set lease_until = 1 where lease_until is not null")


async def check(stub: RenderServiceStub, folder: Path) -> pb.Render:
    """The one render succeeded, its video is right, and nothing is left that it does not need."""
    page = await stub.ListRenders(pb.ListRendersRequest())
    (listed,) = page.renders
    render = await ended(stub, listed.render_id)
    assert render.state == pb.RENDER_STATE_SUCCEEDED, render
    video = await downloaded(stub, render.render_id)
    assert hashlib.sha256(video.data).digest() == render.result.sha256
    assert pictures(video.data) == render.result.frame_count == SCENES * 48
    assert render.result.frames_generated + render.result.frames_reused == SCENES
    await check_nothing_stays(folder)
    frames = {path.parent for path in (folder / "objects" / "frames").rglob("manifest")}
    assert len(frames) == SCENES
    return render


async def check_nothing_stays(folder: Path) -> None:
    file = folder / "renders.sqlite3"
    assert (await swept(Database(f"sqlite:///{file}", file=file), folder)).strays == ()


# --- the gateway -----------------------------------------------------------------------------

WHILE_IT_IS_MADE = [
    Point.AFTER_CLAIM,
    Point.MID_SCENE,
    Point.SCENE_STORED,
    Point.SCENE_FINISHED,
    Point.MID_ENCODE,
    Point.AFTER_UPLOAD,
    Point.BEFORE_PUBLISH,
    Point.AFTER_PUBLISH,
]


@pytest.mark.parametrize("point", WHILE_IT_IS_MADE, ids=lambda point: point.value)
async def test_a_gateway_that_is_killed_while_it_makes_a_render(point, tmp_path):
    source = FrameSource()
    async with services_below(source) as below:
        async with (
            gateway_process(below, tmp_path, f"{point.value}:kill") as (process, address),
            client_of(address) as stub,
        ):
            await created(stub, REQUEST)
            assert await process.wait() == -signal.SIGKILL
        end_leases(tmp_path)
        stored = len(list((tmp_path / "objects" / "frames").rglob("manifest")))
        async with survivor(below, tmp_path) as stub:
            render = await check(stub, tmp_path)
        await source.quiet()
    # Scenes are made one by one: none that was stored, and but for the one in the making none,
    # was asked for again.
    assert [source.asked[index] for index in range(stored)] == [1] * stored
    assert sum(source.asked.values()) <= SCENES + 1
    assert render.attempts == (1 if point is Point.AFTER_PUBLISH else 2)


@pytest.mark.parametrize(
    ("point", "kept"), [(Point.BEFORE_COMMIT, 0), (Point.AFTER_COMMIT, 1)], ids=str
)
async def test_a_gateway_that_is_killed_before_it_answers(point, kept, tmp_path):
    source = FrameSource()
    async with services_below(source) as below:
        async with (
            gateway_process(below, tmp_path, f"{point.value}:kill") as (process, address),
            client_of(address) as stub,
        ):
            with pytest.raises(grpc.aio.AioRpcError) as raised:
                await created(stub, REQUEST)
            assert await process.wait() == -signal.SIGKILL
        assert raised.value.code() is grpc.StatusCode.UNAVAILABLE
        assert rows(tmp_path, "select count(*) from renders") == [(kept,)]
        async with survivor(below, tmp_path) as stub:
            await created(stub, REQUEST)
            await check(stub, tmp_path)
    assert source.asked == {0: 1, 1: 1, 2: 1}


async def test_a_gateway_that_was_halted_changes_nothing_when_it_goes_on(tmp_path):
    source = FrameSource()
    async with (
        services_below(source) as below,
        gateway_process(below, tmp_path, "before_publish:stop") as (halted, address),
        client_of(address) as stub,
    ):
        render_id = (await created(stub, REQUEST)).render_id
        await source.started[0].wait()  # it has the render: the other cannot be first
        async with survivor(below, tmp_path) as other:
            while not is_halted(halted.pid):
                await got(other, render_id)
            end_leases(tmp_path)
            first = await ended(other, render_id)
            halted.send_signal(signal.SIGCONT)
            # It answers again, and has seen that the render is not its own any more.
            assert await ended(stub, render_id) == first
            assert await check(other, tmp_path) == first
        # What it still did would keep it from ending.
        halted.terminate()
        async with asyncio.timeout(ENDING):
            assert await halted.wait() == 0
    assert source.asked == {0: 1, 1: 1, 2: 1}
    assert first.attempts == 2


# --- the gateway, and a client that stays -----------------------------------------------------


def port(address: str) -> int:
    return int(address.rpartition(":")[2])


async def test_the_render_of_a_client_that_stays_goes_on_when_its_gateway_is_killed(tmp_path):
    source = FrameSource()
    source.hold(1)
    state, events = tmp_path / "state", []
    shown = asyncio.Event()

    def on_event(event):
        events.append(event)
        if type(event).__name__ == "VideoChunk":
            shown.set()

    async with (
        services_below(source) as below,
        gateway_process(below, state) as (process, address),
        Relay(port(address)) as relay,
        AsyncClient(relay.address) as client,
    ):
        rendering = asyncio.create_task(
            client.render_to_file(
                [scene.prompt for scene in REQUEST.scenes],
                tmp_path / "film.mp4",
                quality="draft",
                duration_per_frame=2,
                on_event=on_event,
            )
        )
        await shown.wait()
        await source.started[1].wait()  # one by one: the first is stored
        async with (
            gateway_server(*below, state_dir=state) as other,
            client_of(other) as stub,
        ):
            relay.target = port(other)
            process.kill()
            await process.wait()
            end_leases(state)
            source.release(1)
            result = await rendering
            render = await check(stub, state)
    data = (tmp_path / "film.mp4").read_bytes()
    assert hashlib.sha256(data).hexdigest() == result.sha256
    assert pictures(data) == SCENES * 48
    assert any(isinstance(event, ConnectionLost) for event in events)
    assert (render.render_id, render.attempts, render.attached) == (result.render_id, 2, True)
    assert source.asked[0] == 1  # it was finished


async def test_the_render_of_a_killed_gateway_whose_client_does_not_come_back_is_cancelled(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(worker, "LAPSE_POLL", 0.1)
    source = FrameSource()
    source.hold(0)
    async with services_below(source) as below:
        async with (
            gateway_process(below, tmp_path) as (process, address),
            client_of(address) as stub,
        ):
            call = stub.Render(REQUEST)
            render_id = (await call.read()).accepted.render_id
            await source.started[0].wait()
            process.kill()
            await process.wait()
            call.cancel()
        rows(tmp_path, "update renders set attached_until = attached_until - 31000000")
        async with survivor(below, tmp_path) as stub:
            render = await ended(stub, render_id)
            await check_nothing_stays(tmp_path)
        await source.ended[0].wait()
    assert render.state == pb.RENDER_STATE_CANCELLED
    assert source.asked == {0: 1}


# --- the services below -----------------------------------------------------------------------


@pytest.fixture
def quick_retries(monkeypatch):
    """A render is tried again at once, and as often as a process takes to start."""
    monkeypatch.setattr(states, "LONGEST_BACKOFF", timedelta(milliseconds=50))
    monkeypatch.setattr(states, "MAX_FAILURES", 10_000)


async def test_a_frame_generation_service_that_is_killed_in_a_scene(tmp_path, quick_retries):
    notes = tmp_path / "notes"
    frame_gen = Member(
        noting_frame_gen.__name__,
        noting_frame_gen.LISTEN,
        **{noting_frame_gen.NOTES: str(notes), noting_frame_gen.DIES_IN: "1"},
    )
    async with compositor_server() as compositor:
        await frame_gen.start()
        try:
            below = (frame_gen.address, compositor)
            # One by one: no other scene is in the making when it dies.
            settings = {"state_dir": tmp_path / "state", "max_concurrent_scenes": 1}
            async with gateway(*below, **settings) as stub:
                before, threads = other_tasks(), set(threading.enumerate())
                await created(stub, REQUEST)
                assert await frame_gen.process.wait() == -signal.SIGKILL
                await frame_gen.restart()
                await check(stub, tmp_path / "state")
                await nothing_left(before, threads)
        finally:
            await frame_gen.close()
    made = [note.scene for note in noting_frame_gen.noted(notes) if note.made]
    assert sorted(made) == [0, 1, 2]


async def test_a_compositor_that_is_killed_in_a_video(tmp_path, quick_retries):
    source = FrameSource()
    source.hold(1)
    compositor = Member("compositor", "GATOR_COMPOSITOR_LISTEN", GATOR_COMPOSITOR_FLUSH_AFTER="0")
    async with running(source.service()) as frame_gen:
        await compositor.start()
        try:
            below = (frame_gen.address, compositor.address)
            async with gateway(*below, state_dir=tmp_path, max_concurrent_scenes=1) as stub:
                before, threads = other_tasks(), set(threading.enumerate())
                render = await created(stub, REQUEST)
                live = stub.DownloadVideo(pb.DownloadVideoRequest(render_id=render.render_id))
                while not (await live.read()).HasField("chunk"):
                    pass
                live.cancel()
                await source.started[1].wait()  # one by one: the first is stored
                await compositor.kill()
                source.release(1)
                await check(stub, tmp_path)
                await nothing_left(before, threads)
        finally:
            await compositor.close()
        await source.quiet()
    assert source.asked[0] == 1  # it was finished


@pytest.mark.parametrize("text", ["nowhere:kill", "after_claim:sleep", "after_claim:kill:x"])
def test_a_failpoint_that_is_not_there_is_told(text):
    with pytest.raises(FailpointError):
        parsed(text)
