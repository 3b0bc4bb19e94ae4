"""RenderService over gRPC."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import grpc

from gateway.convert.capabilities import capabilities
from gateway.convert.events import download_response, render_response, video_file_responses
from gateway.convert.renders import page_message, render_message, states_asked, watch_response
from gateway.convert.requests import download_asked, render_asked, video_file_asked
from gateway.downstream import compositor_capabilities, frame_gen_capabilities
from gateway.service import RenderService
from gateway.settings import Settings
from gateway.streams import StreamQuota
from gator.gateway.v1 import render_service_pb2 as pb
from gator.gateway.v1 import render_service_pb2_grpc as stubs
from rpckit.identity import caller
from rpckit.server import Service
from rpckit.settings import ChannelSettings
from rpckit.version import VERSION

Context = grpc.aio.ServicerContext[Any, Any]


class RenderServicer(stubs.RenderServiceServicer):
    """Turns messages into values and back; everything else is the service's."""

    def __init__(self, service: RenderService, settings: Settings) -> None:
        self._service = service
        self._settings = settings
        self._streams = StreamQuota(settings.max_streams_per_owner)

    async def Render(
        self, request: pb.RenderRequest, context: Context
    ) -> AsyncIterator[pb.RenderResponse]:
        """Renders a video and streams what happens."""
        owner = caller().owner
        events = self._service.render(owner, render_asked(request), context.time_remaining())
        with self._streams.one(owner):
            async with aclosing(events):
                async for event in events:
                    yield render_response(event)

    async def CreateRender(
        self, request: pb.CreateRenderRequest, context: Context
    ) -> pb.CreateRenderResponse:
        """Stores a render and returns it."""
        snapshot = await self._service.create(caller().owner, render_asked(request.render))
        return pb.CreateRenderResponse(render=render_message(snapshot))

    async def GetRender(
        self, request: pb.GetRenderRequest, context: Context
    ) -> pb.GetRenderResponse:
        """Returns a render."""
        snapshot = await self._service.get(caller().owner, request.render_id)
        return pb.GetRenderResponse(render=render_message(snapshot))

    async def ListRenders(
        self, request: pb.ListRendersRequest, context: Context
    ) -> pb.ListRendersResponse:
        """Returns a page of renders."""
        page = await self._service.list_renders(
            caller().owner,
            states=states_asked(request),
            labels=dict(request.labels),
            page_size=request.page_size,
            page_token=request.page_token,
        )
        return page_message(page)

    async def WatchRender(
        self, request: pb.WatchRenderRequest, context: Context
    ) -> AsyncIterator[pb.WatchRenderResponse]:
        """Streams what happens to a render."""
        owner = caller().owner
        events = self._service.watch(
            owner, request.render_id, request.after_sequence, previews=request.previews
        )
        with self._streams.one(owner):
            async with aclosing(events):
                async for event in events:
                    yield watch_response(event)

    async def CancelRender(
        self, request: pb.CancelRenderRequest, context: Context
    ) -> pb.CancelRenderResponse:
        """Stops a render."""
        snapshot = await self._service.cancel(caller().owner, request.render_id)
        return pb.CancelRenderResponse(render=render_message(snapshot))

    async def DeleteRender(
        self, request: pb.DeleteRenderRequest, context: Context
    ) -> pb.DeleteRenderResponse:
        """Deletes a render."""
        await self._service.delete(caller().owner, request.render_id)
        return pb.DeleteRenderResponse()

    async def DownloadVideo(
        self, request: pb.DownloadVideoRequest, context: Context
    ) -> AsyncIterator[pb.DownloadVideoResponse]:
        """Streams the video of a render."""
        owner = caller().owner
        parts = self._service.download(owner, download_asked(request))
        with self._streams.one(owner):
            async with aclosing(parts):
                async for part in parts:
                    yield download_response(part)

    async def GetVideoFile(
        self, request: pb.GetVideoFileRequest, context: Context
    ) -> AsyncIterator[pb.GetVideoFileResponse]:
        """Streams the stored video of a render as an HTTP body."""
        owner = caller().owner
        parts = self._service.download(owner, video_file_asked(request))
        with self._streams.one(owner):
            async with aclosing(parts):
                async for part in parts:
                    for body in video_file_responses(part):
                        yield body

    async def RetryRender(
        self, request: pb.RetryRenderRequest, context: Context
    ) -> pb.RetryRenderResponse:
        """Stores a render with the request of another."""
        snapshot = await self._service.retry(caller().owner, request.render_id, request.request_id)
        return pb.RetryRenderResponse(render=render_message(snapshot))

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
        start=service.start,
        drain=service.drain,
        dismiss=service.dismiss,
    )
