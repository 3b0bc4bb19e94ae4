"""Clients that all come at once, that do not read, and that come back in the middle."""

import asyncio
import hashlib
import random
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta

import grpc
import psutil
import pytest

from gateway.jobs.objects import Objects
from gateway.jobs.records import VideoRecord
from gateway.jobs.retention import Keeping
from gateway.jobs.store import Store
from gateway.jobs.sweeper import Sweeper
from gateway.jobs.videos import Videos
from gator.gateway.v1 import render_service_pb2 as pb
from gator.gateway.v1.render_service_pb2_grpc import RenderServiceStub
from rpckit.errors import Reason
from rpckit.status import from_rpc_error
from tests.support import tiring_gateway
from tests.support.fleet import GRACE, Member
from tests.support.frame_source import FrameSource
from tests.support.gateways import (
    created,
    downloaded,
    ended,
    gateway,
    got,
    pictures,
    request,
    services_below,
    two_gateways,
)
from tests.support.renders import new_render

MIB = 1 << 20
OF_A_STREAM = 16 * MIB
"""Bytes that one stream that nobody reads may take; half of them are in gRPC's own buffers."""
SLOW = 6
UNREAD = 3600.0
"""Seconds that a client may leave a message unread: these pass when the test wants."""


async def test_a_hundred_at_once_with_one_request_id_create_one_row(postgresql_database, tmp_path):
    source = FrameSource()
    source.hold(0)
    shared = {"database_url": postgresql_database.url, "state_dir": tmp_path}
    asked = request(1, 0.2, request_id="mine")
    async with (
        services_below(source) as below,
        gateway(*below, **shared) as one,
        gateway(*below, **shared) as other,
    ):
        renders = await asyncio.gather(*(created(stub, asked) for stub in [one, other] * 50))
        rows = await postgresql_database.sql("select id, request_id from renders")
        source.release(0)
        await ended(one, rows[0][0])
    assert rows == [(renders[0].render_id, "mine")]
    assert {render.render_id for render in renders} == {rows[0][0]}
    assert source.asked[0] == 1


# --- clients that do not read ---------------------------------------------------------------


class Watched:
    """A gateway in a process of its own, whose memory is looked at."""

    def __init__(self, member: Member, stack: AsyncExitStack) -> None:
        self._member = member
        self._stack = stack
        self._process = psutil.Process(member.process.pid)

    async def client(self) -> RenderServiceStub:
        """A client with a connection of its own, as another machine has."""
        options = [("grpc.use_local_subchannel_pool", 1)]
        channel = grpc.aio.insecure_channel(self._member.address, options=options)
        return RenderServiceStub(await self._stack.enter_async_context(channel))

    @property
    def memory(self) -> int:
        return self._process.memory_info().rss

    async def has_given_up(self, method: str, streams: int) -> None:
        """Lets the time pass for what is unread, until so many streams of a method are given up."""
        labels = {"method": f"gator.gateway.v1.RenderService/{method}", "code": "DEADLINE_EXCEEDED"}
        while await self._member.metric("gator_rpcs_total", labels) < streams:
            # Once for a message, and once for the status that waits behind it.
            self._process.send_signal(signal.SIGUSR1)
            await asyncio.sleep(0.05)


@asynccontextmanager
async def gateway_process(below, folder) -> AsyncIterator[Watched]:
    frame_gen, compositor = below
    member = Member(
        tiring_gateway.__name__,
        "GATOR_GATEWAY_LISTEN",
        GATOR_GATEWAY_FRAME_GEN_TARGET=frame_gen,
        GATOR_GATEWAY_COMPOSITOR_TARGET=compositor,
        GATOR_GATEWAY_STATE_DIR=str(folder),
        GATOR_GATEWAY_WRITE_TIMEOUT=str(UNREAD),
        GATOR_GATEWAY_GRACE=str(GRACE),
    )
    async with AsyncExitStack() as stack:
        await member.start()
        stack.push_async_callback(member.close)
        yield Watched(member, stack)
        # Streams that ran on would keep it from ending.
        assert await member.end() == 0
        assert member.complaints == []


async def stored_video(folder, size: int) -> tuple[str, bytes]:
    """A render that has a video of random bytes; its id and their checksum."""
    data = random.Random(1).randbytes(size)
    objects = Objects.open((folder / "objects").as_uri())
    async with Store.open(f"sqlite:///{folder / 'renders.sqlite3'}") as store:
        await store.create(new_render(owner="", request=pb.RenderRequest().SerializeToString()))
        [claim] = await store.claim("worker", 1)
        key = f"outputs/{claim.lease.render_id}/{claim.lease.epoch}.mp4"
        digest = hashlib.sha256(data).digest()
        await objects.put(key, data)
        video = VideoRecord(key, size, digest, claim.lease.epoch)
        result = pb.RenderResult().SerializeToString()
        await store.succeed(claim.lease, video=video, result=result, keep_for=None)
    return claim.lease.render_id, digest


async def broke_off(call) -> bool:
    """Whether a stream that is read again does not come to its end."""
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        while await call.read() is not grpc.aio.EOF:
            pass
    # The status may wait behind what was not read: then the stream was reset.
    return raised.value.code() in (
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.CANCELLED,
        grpc.StatusCode.UNKNOWN,
    )


async def test_downloads_that_are_not_read_cost_little_and_end(tmp_path):
    render_id, digest = await stored_video(tmp_path, 48 * MIB)
    async with gateway_process(("127.0.0.1:1", "127.0.0.1:1"), tmp_path) as served:
        stub = await served.client()
        asked = pb.DownloadVideoRequest(render_id=render_id)
        whole = await downloaded(stub, render_id)
        before = served.memory
        calls = [(await served.client()).DownloadVideo(asked) for _ in range(SLOW)]
        for call in calls:
            assert (await call.read()).HasField("header")
        again = await downloaded(stub, render_id)
        grown = served.memory - before
        await served.has_given_up("DownloadVideo", SLOW)
        ends = await asyncio.gather(*map(broke_off, calls))
    assert hashlib.sha256(whole.data).digest() == hashlib.sha256(again.data).digest() == digest
    assert grown < SLOW * OF_A_STREAM
    assert ends == [True] * SLOW


async def test_watchers_that_do_not_read_cost_little_and_end(tmp_path):
    source = FrameSource()
    source.hold(0)
    pictures_shown = 1_500
    async with services_below(source) as below, gateway_process(below, tmp_path) as served:
        stub = await served.client()
        render_id = (await created(stub, request(1, 0.2))).render_id
        await source.started[0].wait()
        asked = pb.WatchRenderRequest(render_id=render_id, previews=True)
        fast = stub.WatchRender(asked)
        slow = [(await served.client()).WatchRender(asked) for _ in range(SLOW)]
        for call in (fast, *slow):
            await call.read()
        before = served.memory
        seen = 0
        for number in range(pictures_shown):
            source.show(0, number.to_bytes(4, "big") * (16 << 10))
            if number % 10 == 0:
                while not (event := await fast.read()).HasField("preview"):
                    pass
                seen = int.from_bytes(event.preview.jpeg[:4], "big")
        while seen < pictures_shown - 1:
            event = await fast.read()
            if event.HasField("preview"):
                seen = int.from_bytes(event.preview.jpeg[:4], "big")
        grown = served.memory - before
        await got(stub, render_id)  # then the gateway has nothing to write to the fast one
        await served.has_given_up("WatchRender", SLOW)
        ends = await asyncio.gather(*map(broke_off, slow))
        source.release(0)
        while (event := await fast.read()).render.state != pb.RENDER_STATE_SUCCEEDED:
            pass
    assert grown < SLOW * OF_A_STREAM
    assert ends == [True] * SLOW


# --- a download that is resumed ---------------------------------------------------------------


class Downloading:
    """A client whose connection breaks again and again, and which does as the protocol says."""

    def __init__(self, stubs, render_id: str, rng: random.Random) -> None:
        self._stubs = stubs
        self._render_id = render_id
        self._rng = rng
        self.data = b""
        self.tags: list[str] = []
        self.broken = asyncio.Event()
        self.may_go_on = asyncio.Event()
        """Whether it comes back after the connection broke."""

    async def run(self) -> pb.VideoTrailer:
        while True:
            asked = pb.DownloadVideoRequest(render_id=self._render_id)
            if self.data:
                asked.offset, asked.content_tag = len(self.data), self.tags[-1]
            call = self._rng.choice(self._stubs).DownloadVideo(asked)
            try:
                if trailer := await self._read(call):
                    return trailer
            except grpc.aio.AioRpcError as error:
                if from_rpc_error(error, "gateway").reason is not Reason.CONTENT_CHANGED:
                    raise
                self.data = b""
            finally:
                call.cancel()
            self.broken.set()
            await self.may_go_on.wait()

    async def _read(self, call) -> pb.VideoTrailer | None:
        """Some of it; None where the connection breaks."""
        header = (await call.read()).header
        assert header.offset == len(self.data)
        if self.data:
            assert header.content_tag == self.tags[-1]
        else:
            self.tags.append(header.content_tag)
        while (part := await call.read()).HasField("chunk"):
            got = part.chunk.data
            arrived = self._rng.randint(1, len(got))
            self.data += got[:arrived]
            whole = arrived == len(got)
            if not (whole and self.may_go_on.is_set() and self._rng.random() < 0.7):
                return None
        return part.trailer


async def test_a_download_that_is_resumed_never_mixes_two_forms(tmp_path):
    source = FrameSource()
    source.hold(1, 2)
    rng = random.Random(5)
    async with two_gateways(source, tmp_path) as stubs:
        render_id = (await created(stubs[0], request(3, 2.0))).render_id
        clients = [Downloading(stubs, render_id, rng) for _ in range(10)]
        steady, late = clients[:6], clients[6:]
        for client in steady:
            client.may_go_on.set()
        downloads = [asyncio.create_task(client.run()) for client in clients]
        await asyncio.gather(*(client.broken.wait() for client in late))
        source.release(1)
        await source.started[2].wait()
        source.release(2)
        await asyncio.gather(*downloads[: len(steady)])
        await ended(stubs[0], render_id)
        await sweep(tmp_path)
        for client in late:
            client.may_go_on.set()
        trailers = await asyncio.gather(*downloads)
        stored = await downloaded(stubs[0], render_id)
    for client, trailer in zip(clients, trailers, strict=True):
        assert trailer.sha256 == hashlib.sha256(client.data).digest()
        assert trailer.size_bytes == len(client.data)
        assert pictures(client.data) == 144
    for client in late:
        assert client.tags[0].endswith(".fragmented")
        assert client.tags[-1] == stored.header.content_tag
        assert client.data == stored.data


async def sweep(folder) -> None:
    """Live forms of renders that have ended go at once."""
    objects = Objects.open((folder / "objects").as_uri())
    async with Store.open(f"sqlite:///{folder / 'renders.sqlite3'}") as store:
        await Sweeper(objects, Videos(objects), store, Keeping(live=timedelta(0))).sweep()
