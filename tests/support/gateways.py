"""Gateways over a frame source that a test steers and a real compositor."""

from __future__ import annotations

import asyncio
import io
import tempfile
from collections.abc import AsyncIterator, Awaitable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import grpc
import pytest

from compositor.servicer import build as build_compositor
from compositor.settings import Settings as CompositorSettings
from gateway.servicer import build as build_gateway
from gateway.settings import Settings as GatewaySettings
from gator.gateway.v1 import render_service_pb2 as pb
from gator.gateway.v1.render_service_pb2_grpc import RenderServiceStub
from gator.type.v1 import video_pb2
from rpckit.client import open_channel
from rpckit.errors import GatorError
from rpckit.server import RunningServer
from rpckit.status import from_rpc_error
from rpckit.testing import running
from rpckit.times import to_duration
from tests.support.frame_source import FrameSource

LOOPBACK = "127.0.0.1:0"


@asynccontextmanager
async def gateway_server(frame_gen: str, compositor: str, **settings: object) -> AsyncIterator[str]:
    """Address of a gateway over the two services; its state goes unless `state_dir` is given."""
    async with AsyncExitStack() as stack:
        if "state_dir" not in settings:
            settings["state_dir"] = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        front = GatewaySettings(
            listen=LOOPBACK,
            frame_gen_target=frame_gen,
            compositor_target=compositor,
            **{"grace": 1, **settings},
        )
        server = await stack.enter_async_context(RunningServer(build_gateway(front), front))
        yield server.address


@asynccontextmanager
async def gateway(
    frame_gen: str, compositor: str, **settings: object
) -> AsyncIterator[RenderServiceStub]:
    """A client of such a gateway."""
    async with (
        gateway_server(frame_gen, compositor, **settings) as address,
        open_channel(address) as channel,
    ):
        yield RenderServiceStub(channel)


@asynccontextmanager
async def compositor_server(
    listen: str = LOOPBACK, videos_at_a_time: int = 4
) -> AsyncIterator[str]:
    """Address of a real compositor."""
    settings = CompositorSettings(
        listen=listen, flush_after=0.0, max_concurrent=videos_at_a_time, retry_after=0.05, grace=0
    )
    async with RunningServer(build_compositor(settings), settings) as server:
        yield server.address


@asynccontextmanager
async def services_below(
    source: FrameSource, *, videos_at_a_time: int = 4
) -> AsyncIterator[tuple[str, str]]:
    """Addresses of `source` as a server, and of a real compositor."""
    async with (
        running(source.service()) as frame_gen,
        compositor_server(videos_at_a_time=videos_at_a_time) as compositor,
    ):
        yield frame_gen.address, compositor


@asynccontextmanager
async def stack(
    source: FrameSource, *, videos_at_a_time: int = 4, **settings: object
) -> AsyncIterator[RenderServiceStub]:
    """A client of a gateway over `source` and a real compositor."""
    async with (
        services_below(source, videos_at_a_time=videos_at_a_time) as below,
        gateway(*below, **settings) as stub,
    ):
        yield stub


@asynccontextmanager
async def two_gateways(
    source: FrameSource, folder: Path, **settings: object
) -> AsyncIterator[tuple[RenderServiceStub, RenderServiceStub]]:
    """Clients of two gateways over the same database, objects, source and compositor."""
    async with (
        services_below(source) as below,
        gateway(*below, state_dir=folder, **settings) as one,
        gateway(*below, state_dir=folder, **settings) as other,
    ):
        yield one, other


def request(scenes: int, seconds: float = 1.0, **values: object) -> pb.RenderRequest:
    """Scenes of so many seconds each, as a draft."""
    return pb.RenderRequest(
        scenes=[pb.Scene(prompt=f"scene {i}") for i in range(scenes)],
        duration_per_frame=to_duration(Fraction(seconds)),
        **{"quality": video_pb2.QUALITY_DRAFT, **values},
    )


async def created(stub: RenderServiceStub, message: pb.RenderRequest) -> pb.Render:
    """The render that CreateRender answers with."""
    return (await stub.CreateRender(pb.CreateRenderRequest(render=message))).render


async def got(stub: RenderServiceStub, render_id: str) -> pb.Render:
    """The render as it stands."""
    return (await stub.GetRender(pb.GetRenderRequest(render_id=render_id))).render


async def watched(stub: RenderServiceStub, render_id: str, **asked: object) -> list[Any]:
    """All that WatchRender tells until the render has ended."""
    call = stub.WatchRender(pb.WatchRenderRequest(render_id=render_id, **asked))
    return [response async for response in call]


async def begun(stub: RenderServiceStub, render_id: str, attempt: int = 1) -> None:
    """Returns once the render is begun for the first time, or the next."""
    async for event in stub.WatchRender(pb.WatchRenderRequest(render_id=render_id)):
        if event.render.attempts >= attempt:
            return


async def to_the_end(call: Any) -> list[Any]:
    """What is still to come of a stream that is read with `read`."""
    rest = []
    while (response := await call.read()) is not grpc.aio.EOF:
        rest.append(response)
    return rest


async def ended(stub: RenderServiceStub, render_id: str) -> pb.Render:
    """The render once it has ended."""
    return (await watched(stub, render_id))[-1].render


@dataclass(frozen=True)
class Download:
    """What DownloadVideo sent."""

    header: pb.VideoHeader
    data: bytes
    trailer: pb.VideoTrailer


async def downloaded(stub: RenderServiceStub, render_id: str, **asked: object) -> Download:
    """A whole download."""
    (download,) = await downloading(render_id, stub, **asked)
    return await download


async def downloading(
    render_id: str, *stubs: RenderServiceStub, **asked: object
) -> list[Awaitable[Download]]:
    """Downloads from each of `stubs`, which have begun: what form each gets is settled."""
    asked_for = pb.DownloadVideoRequest(render_id=render_id, **asked)
    calls = [stub.DownloadVideo(asked_for) for stub in stubs]
    firsts = [await call.read() for call in calls]
    # Received side by side from here on, not only when they are awaited.
    return [
        asyncio.ensure_future(_rest(call, first)) for call, first in zip(calls, firsts, strict=True)
    ]


async def _rest(call: Any, first: pb.DownloadVideoResponse) -> Download:
    parts = [first]
    while (part := await call.read()) is not grpc.aio.EOF:
        parts.append(part)
    kinds = [part.WhichOneof("part") for part in parts]
    assert kinds == ["header", *["chunk"] * (len(parts) - 2), "trailer"]
    data = b"".join(part.chunk.data for part in parts[1:-1])
    return Download(parts[0].header, data, parts[-1].trailer)


async def refused(call: Any) -> GatorError:
    """The error of a call, unary or a stream, that sends nothing else."""
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        if hasattr(call, "__aiter__"):
            async for message in call:
                pytest.fail(f"a message came before the error: {message}")
        else:
            await call
    return from_rpc_error(raised.value, "gateway")


def pictures(video: bytes) -> int:
    """How many pictures of a video can be shown, also of one that is not complete."""
    if not video:
        return 0
    with av.open(io.BytesIO(video)) as container:
        return sum(1 for _ in container.decode(video=0))
