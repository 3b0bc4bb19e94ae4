"""Images of the embedding program: its own generator, plugged in as a backend."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass

from frame_gen.backends.base import (
    Availability,
    BackendError,
    Generated,
    GenerationEvent,
    GenerationRequest,
    Plan,
    Progress,
    Queued,
)
from frame_gen.images import ImageError, decode_image
from rpckit.errors import Reason
from rpckit.provenance import Backend as Kind
from rpckit.telemetry import logger

log = logger(__name__)


@dataclass(frozen=True)
class ImageRequest:
    """What the embedding program is asked for."""

    prompt: str
    negative_prompt: str
    width: int
    """Of the video, pixels. An image of another size is fitted: cover, centred."""
    height: int
    """Of the video, pixels."""
    num_inference_steps: int
    guidance_scale: float
    seed: int


GENERATION_VERSION = "external 1"
"""Of what is done to the program's images, which is nothing."""

ExternalImages = Callable[[ImageRequest], Awaitable[bytes]]
"""Makes an image: the bytes of a PNG, JPEG or WebP file."""


class ExternalBackend:
    """See `base.Backend`. Whatever goes wrong in the embedding program is a BackendError."""

    def __init__(self, images: ExternalImages) -> None:
        self._images = images
        # A generator that was written for one program is seldom ready for two calls at a time.
        # A semaphore, as a lock does not count those that it has woken: who comes
        # between would wait without saying so.
        self._one_at_a_time = asyncio.Semaphore(1)
        self._waiting = 0

    @property
    def kind(self) -> Kind:
        """See `base.Backend`."""
        return Kind.EXTERNAL

    def availability(self) -> Availability:
        """See `base.Backend`."""
        return Availability(available=True, models=("external",))

    async def generate(self, request: GenerationRequest) -> AsyncGenerator[GenerationEvent, None]:
        """See `base.Backend`."""
        self._waiting += 1
        try:
            if self._one_at_a_time.locked():
                yield Queued(self._waiting - 1)
            await self._one_at_a_time.acquire()
        finally:
            self._waiting -= 1
        try:
            yield Progress(0, request.num_inference_steps)
            image = await self._image(request)
        finally:
            self._one_at_a_time.release()
        try:
            frame = await asyncio.to_thread(decode_image, image)
        except ImageError as error:
            raise _failed(str(error)) from error
        yield Generated(
            frame,
            model="external",
            num_inference_steps=request.num_inference_steps,
            guidance_scale=request.guidance_scale,
        )

    async def _image(self, request: GenerationRequest) -> object:
        asked = ImageRequest(
            prompt=request.prompt,
            negative_prompt=request.negative_prompt,
            width=request.video_width,
            height=request.video_height,
            num_inference_steps=request.num_inference_steps,
            guidance_scale=request.guidance_scale,
            seed=request.seed,
        )
        task = asyncio.current_task()
        cancelled_before = task.cancelling() if task else 0
        try:
            return await self._images(asked)
        except asyncio.CancelledError:
            if task is None or task.cancelling() > cancelled_before:
                raise
            raise _failed("the program's own generator was cancelled") from None
        except Exception as error:
            # Another program's code may raise anything; its text may hold its secrets.
            log.warning("the program's own generator failed", exc_info=error)
            raise _failed(f"the program's own generator raised {type(error).__name__}") from error

    async def plan(self, request: GenerationRequest) -> Plan:
        """See `base.Backend`. What another program would do is not known, so it is not shared."""
        return Plan(
            self.kind,
            request.video_width,
            request.video_height,
            GENERATION_VERSION,
            model="external",
            num_inference_steps=request.num_inference_steps,
            guidance_scale=request.guidance_scale,
        )

    async def close(self) -> None:
        """See `base.Backend`."""


def _failed(why: str) -> BackendError:
    return BackendError(
        Reason.GENERATION_FAILED,
        f"AI frame generation failed: {why}. Look into that generator, use fewer steps or a lower "
        "quality, or ask for placeholders with use_ai_generation = false",
    )
