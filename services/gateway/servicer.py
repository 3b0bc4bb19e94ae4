"""RenderService over gRPC."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import grpc

from gateway.convert.capabilities import capabilities
from gateway.convert.events import render_response
from gateway.convert.requests import render_asked
from gateway.downstream import compositor_capabilities, frame_gen_capabilities
from gateway.service import RenderService
from gateway.settings import Settings
from gator.gateway.v1 import render_service_pb2 as pb
from gator.gateway.v1 import render_service_pb2_grpc as stubs
from rpckit.server import Service
from rpckit.settings import ChannelSettings
from rpckit.version import VERSION

Context = grpc.aio.ServicerContext[Any, Any]


class RenderServicer(stubs.RenderServiceServicer):
    """Turns messages into values and back; everything else is the service's."""

    def __init__(self, service: RenderService, settings: Settings) -> None:
        self._service = service
        self._settings = settings

    async def Render(
        self, request: pb.RenderRequest, context: Context
    ) -> AsyncIterator[pb.RenderResponse]:
        """Renders a video and streams what happens."""
        events = self._service.render(render_asked(request), context.time_remaining())
        async with aclosing(events):
            async for event in events:
                yield render_response(event)

    async def GetCapabilities(
        self, request: pb.GetCapabilitiesRequest, context: Context
    ) -> pb.GetCapabilitiesResponse:
        """Tells what the two services below can do."""
        asking = (
            asyncio.create_task(frame_gen_capabilities(self._service.frame_gen)),
            asyncio.create_task(compositor_capabilities(self._service.compositor)),
        )
        try:
            frames, videos = await asyncio.gather(*asking)
        finally:
            for task in asking:  # when one has failed, nobody waits for the other
                task.cancel()
            await asyncio.wait(asking)
        return capabilities(frames, videos, self._settings.limits, VERSION)


def build(settings: Settings, channel_settings: ChannelSettings | None = None) -> Service:
    """The gateway, ready to be served. Needs a running event loop."""
    service = RenderService(settings, channel_settings or ChannelSettings())
    servicer = RenderServicer(service, settings)
    return Service(
        name="gateway",
        full_name="gator.gateway.v1.RenderService",
        register=lambda server: stubs.add_RenderServiceServicer_to_server(servicer, server),
        ready=service.ready,
        close=service.close,
    )
