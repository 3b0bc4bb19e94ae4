"""FrameGenService over gRPC."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Any

import grpc

from frame_gen import convert
from frame_gen.backends.base import Backend
from frame_gen.backends.diffusers import DiffusersBackend
from frame_gen.backends.external import ExternalBackend, ExternalImages
from frame_gen.backends.fallback import Done, FallbackChain
from frame_gen.backends.openai import OpenAIBackend
from frame_gen.backends.openai_images.settings import OpenAISettings
from frame_gen.backends.placeholder import PlaceholderBackend
from frame_gen.diffusion.settings import DiffusersSettings
from frame_gen.service import FrameGenService
from frame_gen.settings import BackendName, Settings
from gator.frame_gen.v1 import frame_gen_service_pb2 as pb
from gator.frame_gen.v1 import frame_gen_service_pb2_grpc as stubs
from rpckit.server import Service
from rpckit.settings import load
from rpckit.telemetry import RENDER_ID_KEY
from rpckit.version import VERSION

Context = grpc.aio.ServicerContext[Any, Any]


class FrameGenServicer(stubs.FrameGenServiceServicer):
    """Turns messages into values and back; everything else is the service's."""

    def __init__(self, service: FrameGenService) -> None:
        self._service = service

    async def GenerateFrame(
        self, request: pb.GenerateFrameRequest, context: Context
    ) -> AsyncGenerator[pb.GenerateFrameResponse, None]:
        """Makes one frame and streams what happens."""
        metadata = dict(context.invocation_metadata() or ())
        asked = convert.generation_request(request, str(metadata.get(RENDER_ID_KEY, "")))
        events = self._service.generate(asked, context.time_remaining())
        async with aclosing(events):
            async for event in events:
                if isinstance(event, Done):
                    for message in convert.frame(event):
                        yield message
                else:
                    yield convert.event(event)

    async def PlanFrame(
        self, request: pb.PlanFrameRequest, context: Context
    ) -> pb.PlanFrameResponse:
        """Tells what would make a frame."""
        asked = convert.generation_request(request.frame, "", path="frame.")
        return convert.plan(await self._service.plan(asked))

    async def GetCapabilities(
        self, request: pb.GetCapabilitiesRequest, context: Context
    ) -> pb.GetCapabilitiesResponse:
        """Tells which backends there are, and on what device models run."""
        device = await self._service.device()
        return convert.capabilities(self._service.chain.backends, device, VERSION)


_BACKENDS: dict[BackendName, Callable[[Settings], Backend]] = {
    "diffusers": lambda _: DiffusersBackend(load(DiffusersSettings)),
    "openai": lambda _: OpenAIBackend(load(OpenAISettings)),
    "placeholder": lambda settings: PlaceholderBackend(settings.placeholder_threads),
}


def build(settings: Settings, *, external_images: ExternalImages | None = None) -> Service:
    """The frame generation service, ready to be served.

    `external_images` makes images in this process, before any other backend.
    """
    external = [] if external_images is None else [ExternalBackend(external_images)]
    backends = [*external, *(_BACKENDS[name](settings) for name in settings.backends)]
    service = FrameGenService(
        FallbackChain(backends, settings.frame_timeout), settings.max_requests
    )
    servicer = FrameGenServicer(service)

    async def ready() -> bool:
        return True

    return Service(
        name="frame_gen",
        full_name="gator.frame_gen.v1.FrameGenService",
        register=lambda server: stubs.add_FrameGenServiceServicer_to_server(servicer, server),
        ready=ready,
        close=service.close,
        needs_restart=service.needs_restart,
    )
