"""A gateway dies at each step of a render (SIGKILL): another finishes it, and nothing twice."""

import asyncio
import hashlib
import signal
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from datetime import timedelta
from pathlib import Path

import grpc
import pytest

from gateway.jobs.failpoints import FailpointError, Point, parsed
from gateway.jobs.objects import Objects
from gateway.jobs.retention import Keeping
from gateway.jobs.store import Store
from gateway.jobs.sweeper import Sweeper
from gateway.jobs.videos import Videos
from gator.gateway.v1 import render_service_pb2 as pb
from gator.gateway.v1.render_service_pb2_grpc import RenderServiceStub
from rpckit.client import open_channel
from tests.support.frame_source import FrameSource
from tests.support.gateways import (
    LOOPBACK,
    created,
    downloaded,
    ended,
    gateway,
    pictures,
    request,
    services_below,
)
from tests.support.processes import server_process

SCENES = 3
REQUEST = request(SCENES, 2.0, request_id="mine")


@asynccontextmanager
async def gateway_process(
    below: tuple[str, str], folder: Path, failpoints: str = ""
) -> AsyncIterator[tuple[asyncio.subprocess.Process, RenderServiceStub]]:
    """A gateway in a process of its own, and a client of it."""
    frame_gen, compositor = below
    environment = {
        "GATOR_GATEWAY_LISTEN": LOOPBACK,
        "GATOR_GATEWAY_FRAME_GEN_TARGET": frame_gen,
        "GATOR_GATEWAY_COMPOSITOR_TARGET": compositor,
        "GATOR_GATEWAY_STATE_DIR": str(folder),
        "GATOR_GATEWAY_MAX_CONCURRENT_SCENES": "1",
        "GATOR_FAILPOINTS": failpoints,
    }
    async with (
        server_process("gateway", **environment) as (process, address),
        open_channel(address) as channel,
    ):
        yield process, RenderServiceStub(channel)


def end_leases(folder: Path) -> None:
    """Makes the leases of dead workers run out: 30 s are long for a test."""
    with closing(sqlite3.connect(folder / "renders.sqlite3")) as database, database:
        database.execute("update renders set lease_until = 1 where lease_until is not null")


async def objects_left(folder: Path) -> list[str]:
    """The objects below `outputs` after a sweep that spares nothing for followers."""
    objects = Objects.open((folder / "objects").as_uri())
    async with Store.open(f"sqlite:///{folder / 'renders.sqlite3'}") as store:
        keeping = Keeping(live=timedelta(0), grace=timedelta(0))
        await Sweeper(objects, Videos(objects), store, keeping).sweep_outputs()
    return [o.key async for batch in objects.listing("outputs") for o in batch]


async def check(stub: RenderServiceStub, folder: Path, source: FrameSource, again: int) -> None:
    """The render succeeded, its video is right, and `again` frames were made a second time."""
    page = await stub.ListRenders(pb.ListRendersRequest())
    (listed,) = page.renders
    render = await ended(stub, listed.render_id)
    assert render.state == pb.RENDER_STATE_SUCCEEDED, render
    video = await downloaded(stub, render.render_id)
    assert hashlib.sha256(video.data).digest() == render.result.sha256
    assert pictures(video.data) == render.result.frame_count == SCENES * 48
    assert render.result.frames_generated + render.result.frames_reused == SCENES
    assert sum(source.asked.values()) == SCENES + again
    epoch = video.header.content_tag.split(".")[1]
    assert await objects_left(folder) == [f"outputs/{render.render_id}/{epoch}.mp4"]


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
        async with gateway_process(below, tmp_path, f"{point.value}:kill") as (process, stub):
            await created(stub, REQUEST)
            assert await process.wait() == -signal.SIGKILL
        end_leases(tmp_path)
        stored = list((tmp_path / "objects" / "frames").rglob("manifest"))
        lost = sum(source.asked.values()) - len(stored)
        assert lost <= 1  # the scene in the making
        async with gateway(*below, state_dir=tmp_path) as survivor:
            await check(survivor, tmp_path, source, lost)


@pytest.mark.parametrize("point", [Point.BEFORE_COMMIT, Point.AFTER_COMMIT], ids=lambda p: p.value)
async def test_a_gateway_that_is_killed_before_it_answers(point, tmp_path):
    source = FrameSource()
    async with services_below(source) as below:
        async with gateway_process(below, tmp_path, f"{point.value}:kill") as (process, stub):
            with pytest.raises(grpc.aio.AioRpcError) as raised:
                await created(stub, REQUEST)
            assert await process.wait() == -signal.SIGKILL
        assert raised.value.code() is grpc.StatusCode.UNAVAILABLE
        async with gateway(*below, state_dir=tmp_path) as survivor:
            await created(survivor, REQUEST)
            await check(survivor, tmp_path, source, 0)


async def test_a_gateway_that_was_halted_changes_nothing_when_it_goes_on(tmp_path):
    source = FrameSource()
    async with (
        services_below(source) as below,
        gateway_process(below, tmp_path, "before_publish:stop") as (halted, stub),
    ):
        render_id = (await created(stub, REQUEST)).render_id
        async with gateway(*below, state_dir=tmp_path) as other:
            while not is_halted(halted.pid):
                await other.GetRender(pb.GetRenderRequest(render_id=render_id))
            end_leases(tmp_path)
            first = await ended(other, render_id)
            halted.send_signal(signal.SIGCONT)
            # It answers again, and has seen that the render is not its own any more.
            assert await ended(stub, render_id) == first
            await check(other, tmp_path, source, 0)
            assert await ended(other, render_id) == first
    assert first.attempts == 2


def is_halted(pid: int) -> bool:
    state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    return state == "T"


@pytest.mark.parametrize("text", ["nowhere:kill", "after_claim:sleep", "after_claim:kill:x"])
def test_a_failpoint_that_is_not_there_is_told(text):
    with pytest.raises(FailpointError):
        parsed(text)
