"""Gateways over a frame source that a test steers and a real compositor."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from fractions import Fraction
from pathlib import Path

from compositor.servicer import build as build_compositor
from compositor.settings import Settings as CompositorSettings
from gateway.servicer import build as build_gateway
from gateway.settings import Settings as GatewaySettings
from gator.gateway.v1 import render_service_pb2 as pb
from gator.gateway.v1.render_service_pb2_grpc import RenderServiceStub
from gator.type.v1 import video_pb2
from rpckit.client import open_channel
from rpckit.server import RunningServer
from rpckit.times import to_duration
from tests.support.frame_source import FrameSource

LOOPBACK = "127.0.0.1:0"


@asynccontextmanager
async def gateway(
    frame_gen: str, compositor: str, **settings: object
) -> AsyncIterator[RenderServiceStub]:
    """A client of a gateway over the two services; its state goes unless `state_dir` is given."""
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
        channel = await stack.enter_async_context(open_channel(server.address))
        yield RenderServiceStub(channel)


@asynccontextmanager
async def services_below(
    source: FrameSource, *, videos_at_a_time: int = 4
) -> AsyncIterator[tuple[str, str]]:
    """Addresses of `source` as a server, and of a real compositor."""
    frames = CompositorSettings(
        listen=LOOPBACK, flush_after=0.0, max_concurrent=videos_at_a_time, retry_after=0.05
    )
    async with (
        RunningServer(source.service(), frames) as frame_gen,
        RunningServer(build_compositor(frames), frames) as compositor,
    ):
        yield frame_gen.address, compositor.address


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


def request(scenes: int, seconds: float = 1.0, **values: object) -> pb.RenderRequest:
    """Scenes of so many seconds each, as a draft."""
    return pb.RenderRequest(
        scenes=[pb.Scene(prompt=f"scene {i}") for i in range(scenes)],
        duration_per_frame=to_duration(Fraction(seconds)),
        **{"quality": video_pb2.QUALITY_DRAFT, **values},
    )
