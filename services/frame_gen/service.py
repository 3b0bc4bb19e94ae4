"""Frames, as many at a time as the settings allow."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from functools import partial

from frame_gen import metrics
from frame_gen.backends.base import Backend, GenerationRequest, Plan, Preview, Progress, Queued
from frame_gen.backends.diffusers import DiffusersBackend, Loss
from frame_gen.backends.fallback import Done, FallbackChain, availability_of
from frame_gen.diffusion.device import Device
from rpckit.errors import GatorError, Reason

RETRY_AFTER = 2.0
"""Seconds after which a caller that was refused may try again."""


class FrameGenService:
    """Makes frames with a chain of backends."""

    def __init__(self, chain: FallbackChain, max_requests: int) -> None:
        """At most `max_requests` run or wait at a time."""
        self.chain = chain
        """What makes the frames."""
        self._max_requests = max_requests
        self._requests = 0
        metrics.REQUESTS_LIMIT.set(max_requests)
        for backend in chain.backends:
            metrics.show_backend(backend.kind, partial(_usable, backend))

    async def generate(
        self, request: GenerationRequest, remaining: float | None
    ) -> AsyncGenerator[Queued | Progress | Preview | Done, None]:
        """Makes one frame within `remaining` seconds (None: any time); `Done` is the last event.

        Raises:
            GatorError: OVERLOADED; what `FallbackChain.generate` raises.
        """
        if self._requests >= self._max_requests:
            metrics.REFUSED.inc()
            raise GatorError(
                Reason.OVERLOADED,
                f"{self._requests} frames are being made or wait, as many as this service takes; "
                "try later",
                retry_after=RETRY_AFTER,
            )
        self._requests += 1
        try:
            with metrics.REQUESTS.track_inprogress():
                async with aclosing(self.chain.generate(request, remaining)) as events:
                    async for event in events:
                        yield event
        finally:
            self._requests -= 1

    async def plan(self, request: GenerationRequest) -> Plan:
        """What would make a frame as things stand. GatorError if nothing could."""
        return await self.chain.plan(request)

    def needs_restart(self) -> str:
        """Why only a restart of this process helps; empty while that is not so.

        A device that was lost at work most often comes back with a new process. One that has
        failed since the process started does not: then a restart would only take away the
        backends that can still make frames, so it is wanted only where there are none.
        """
        for backend in self.chain.backends:
            loss = backend.loss if isinstance(backend, DiffusersBackend) else None
            if loss is Loss.AT_WORK:
                return "the device that makes images is lost"
            if loss is Loss.FROM_THE_START and not any(map(_usable, self.chain.backends)):
                return "the device fails, and no other backend can make frames"
        return ""

    async def device(self) -> Device | None:
        """The device on which models run, as it is now; None if there is none. May take seconds."""
        for backend in self.chain.backends:
            if isinstance(backend, DiffusersBackend):
                return await backend.device()
        return None

    async def close(self) -> None:
        """Frees what the backends hold."""
        for backend in self.chain.backends:
            metrics.forget_backend(backend.kind)
            await backend.close()


def _usable(backend: Backend) -> bool:
    return availability_of(backend).available
