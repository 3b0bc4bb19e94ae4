"""Renders, as many at a time as the settings allow."""

from __future__ import annotations

import time
import uuid
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing

import grpc
import structlog

from gateway.downstream import CallContext, Compositor, FrameGen
from gateway.events import RenderEvent
from gateway.pipeline import Pipeline, PipelineSettings
from gateway.request import RenderAsked
from gateway.settings import Settings
from gateway.validation import effective
from rpckit.client import hop_timeout, open_channel
from rpckit.errors import GatorError, Reason
from rpckit.settings import ChannelSettings
from rpckit.telemetry import logger

log = logger(__name__)

RETRY_AFTER = 5.0
"""Seconds after which a client that was refused may try again."""


class RenderService:
    """Runs renders on the two services below."""

    def __init__(self, settings: Settings, channel_settings: ChannelSettings) -> None:
        self._settings = settings
        self._reserve = channel_settings.deadline_reserve
        self._running = 0
        self._reached: set[str] = set()
        self.frame_gen = open_channel(settings.frame_gen_target, channel_settings)
        """Channel to the frame generation service."""
        self.compositor = open_channel(settings.compositor_target, channel_settings)
        """Channel to the compositor."""

    async def render(
        self, asked: RenderAsked, remaining: float | None
    ) -> AsyncGenerator[RenderEvent, None]:
        """The events of a render that may take `remaining` seconds (None: any time).

        GatorError INVALID_ARGUMENT for a request that cannot be rendered,
        OVERLOADED if too many renders run.
        """
        settings = self._settings
        render = effective(asked, settings.limits)
        if self._running >= settings.max_concurrent_renders:
            raise GatorError(
                Reason.OVERLOADED,
                f"{self._running} renders run already, as many as this gateway takes; try later",
                retry_after=RETRY_AFTER,
            )
        render_id = str(uuid.uuid4())
        # The compositor waits for frames, so it is given more time than they are:
        # what runs out first is then what was really waited for.
        composing = _countdown(remaining, self._reserve)
        making = CallContext(render_id, lambda: hop_timeout(composing(), self._reserve))
        pipeline = Pipeline(
            render_id,
            render,
            FrameGen(self.frame_gen, making),
            Compositor(self.compositor, CallContext(render_id, composing)),
            PipelineSettings(
                max_concurrent_scenes=settings.max_concurrent_scenes,
                scenes_ahead=settings.scenes_ahead,
                scene_attempts=settings.scene_attempts,
                spool_dir=settings.spool_dir,
            ),
        )
        self._running += 1
        try:
            with structlog.contextvars.bound_contextvars(render_id=render_id):
                log.info("render", quality=render.quality.name, scenes=len(render.scenes))
                async with aclosing(pipeline.events()) as events:
                    async for event in events:
                        yield event
        finally:
            self._running -= 1

    async def ready(self) -> bool:
        """Whether both services below can be reached."""
        states = [
            self._reachable("frame_gen", self.frame_gen),
            self._reachable("compositor", self.compositor),
        ]
        return all(states)

    def _reachable(self, name: str, channel: grpc.aio.Channel) -> bool:
        state = channel.get_state(try_to_connect=True)
        if state is grpc.ChannelConnectivity.READY:
            self._reached.add(name)
        elif state is not grpc.ChannelConnectivity.IDLE:
            self._reached.discard(name)
        # A channel that has been reached falls idle when nothing is asked of it.
        return name in self._reached

    async def close(self) -> None:
        """Closes both channels."""
        await self.frame_gen.close(grace=None)
        await self.compositor.close(grace=None)


def _countdown(remaining: float | None, reserve: float) -> Callable[[], float | None]:
    """What the next hop may take, counted from each time it is asked."""
    if remaining is None:
        return lambda: None
    deadline = time.monotonic() + remaining
    return lambda: hop_timeout(max(deadline - time.monotonic(), 0.0), reserve)
