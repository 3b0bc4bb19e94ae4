"""The compositor on gRPC."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing
from typing import Any

import grpc

from compositor import convert
from compositor.engines import Choice, choose
from compositor.intake import Part
from compositor.service import Compositor
from compositor.settings import Settings
from gator.compositor.v1 import compositor_service_pb2 as pb
from gator.compositor.v1 import compositor_service_pb2_grpc as pb_grpc
from rpckit.server import Service
from rpckit.video import Codec

FULL_NAME = pb.DESCRIPTOR.services_by_name["CompositorService"].full_name


class CompositorServicer(pb_grpc.CompositorServiceServicer):
    """Turns messages into values and back."""

    def __init__(self, compositor: Compositor, engines: Mapping[Codec, Choice]) -> None:
        self._compositor = compositor
        self._engines = engines

    async def Compose(
        self,
        request_iterator: AsyncIterator[pb.ComposeRequest],
        context: grpc.aio.ServicerContext[Any, Any],
    ) -> AsyncGenerator[pb.ComposeResponse]:
        """See compositor_service.proto."""
        async with (
            aclosing(_parts(request_iterator)) as parts,
            aclosing(self._compositor.compose(parts)) as events,
        ):
            async for event in events:
                yield convert.response(event)

    async def GetCapabilities(
        self,
        request: pb.GetCapabilitiesRequest,
        context: grpc.aio.ServicerContext[Any, Any],
    ) -> pb.GetCapabilitiesResponse:
        """See compositor_service.proto."""
        return convert.capabilities(self._engines)


async def _parts(messages: AsyncIterator[pb.ComposeRequest]) -> AsyncGenerator[Part]:
    async for message in messages:
        yield convert.part(message)


def build(settings: Settings) -> Service:
    """The compositor as a service. ENCODING_FAILED if it cannot code H.264 as it is told to."""
    engines = choose(settings)
    compositor = Compositor(
        {codec: choice.engine for codec, choice in engines.items()},
        max_concurrent=settings.max_concurrent,
        retry_after=settings.retry_after,
        spool_dir=settings.spool_dir,
    )
    servicer = CompositorServicer(compositor, engines)
    # Codes a picture: a service that cannot is better told of at its start.
    described = engines[Codec.H264].engine.description

    def register(server: grpc.aio.Server) -> None:
        pb_grpc.add_CompositorServiceServicer_to_server(servicer, server)

    async def ready() -> bool:
        return bool(described)

    async def close() -> None:
        return

    return Service("compositor", FULL_NAME, register, ready, close)
