"""Starts and stops the three services together."""

from __future__ import annotations

from contextlib import AsyncExitStack
from types import TracebackType
from typing import Self

from compositor import servicer as compositor
from compositor.settings import Settings as CompositorSettings
from frame_gen import servicer as frame_gen
from frame_gen.backends.external import ExternalImages
from frame_gen.settings import Settings as FrameGenSettings
from gateway import servicer as gateway
from gateway.settings import Settings as GatewaySettings
from rpckit.server import RunningServer, Service
from rpckit.settings import ChannelSettings, ServerSettings

LOOPBACK = "127.0.0.1:0"
GRACE = 5.0
"""Seconds that running calls have when the stack ends."""


class Standalone:
    """The three services from `async with` to the end of the block.

    Settings come from the environment as in a deployment, but for addresses:
    the frame generation service and the compositor listen on free ports of
    loopback, and so does the gateway unless `listen` says otherwise.
    """

    def __init__(
        self,
        *,
        listen: str = LOOPBACK,
        reflection: bool = True,
        external_images: ExternalImages | None = None,
    ) -> None:
        """`external_images` supplies images where the caller has a generator of its own."""
        self.address = ""
        """host:port of the gateway, once started."""
        self.frame_gen_address = ""
        """host:port of the frame generation service, once started."""
        self.compositor_address = ""
        """host:port of the compositor, once started."""
        self._listen = listen
        self._reflection = reflection
        self._external_images = external_images
        self._running = AsyncExitStack()

    async def __aenter__(self) -> Self:
        """Starts all three. ServerStartError if one cannot listen."""
        async with AsyncExitStack() as starting:
            frames = FrameGenSettings(listen=LOOPBACK, grace=GRACE)
            videos = CompositorSettings(listen=LOOPBACK, grace=GRACE)

            async def start(service: Service, settings: ServerSettings) -> str:
                server = await starting.enter_async_context(RunningServer(service, settings))
                return server.address

            self.frame_gen_address = await start(
                frame_gen.build(frames, external_images=self._external_images), frames
            )
            self.compositor_address = await start(compositor.build(videos), videos)
            front = GatewaySettings(
                listen=self._listen,
                reflection=self._reflection,
                grace=GRACE,
                frame_gen_target=self.frame_gen_address,
                compositor_target=self.compositor_address,
            )
            self.address = await start(gateway.build(front, ChannelSettings()), front)
            self._running = starting.pop_all()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stops all three, the gateway first."""
        await self._running.aclose()
