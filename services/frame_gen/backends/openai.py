"""Images by OpenAI's image models."""

from __future__ import annotations

import asyncio
import importlib.util
import time
import uuid
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from frame_gen.backends.base import (
    Availability,
    BackendError,
    Generated,
    GenerationEvent,
    GenerationRequest,
    Plan,
    Preview,
    Queued,
)
from frame_gen.backends.openai_images.failures import Cause, PurchaseError, no_image, retired
from frame_gen.backends.openai_images.keys import read_key
from frame_gen.backends.openai_images.models import RETIRED, Size, size_for
from frame_gen.backends.openai_images.order import Order
from frame_gen.backends.openai_images.preview import preview_jpeg
from frame_gen.backends.openai_images.settings import NOWHERE, OpenAISettings
from frame_gen.images import ImageError, decode_image
from rpckit.frame import Frame
from rpckit.provenance import Backend as Kind

if TYPE_CHECKING:
    from frame_gen.backends.openai_images.client import Picture
    from frame_gen.backends.openai_images.purchases import Purchases

GENERATION_VERSION = "openai 1"
"""Grows when the same request would be asked for, or read, in another way."""
OWN_HOST = "api.openai.com"
NEEDED = ("openai", "obstore")


class OpenAIBackend:
    """See `base.Backend`. Buys each image once, within the limits of the settings."""

    def __init__(self, settings: OpenAISettings | None = None) -> None:
        """`settings` are those of the environment unless given."""
        self._settings = settings or OpenAISettings()
        self._opening = asyncio.Lock()
        self._opened: Purchases | None = None
        self._refusal: PurchaseError | None = None
        self._recheck_at = 0.0

    @property
    def kind(self) -> Kind:
        """See `base.Backend`."""
        return Kind.OPENAI

    def availability(self) -> Availability:
        """See `base.Backend`."""
        models = (self._settings.model,)
        try:
            self._check()
        except BackendError as error:
            return Availability(
                available=False, models=models, message=error.message, reason=error.reason
            )
        return Availability(available=True, models=models)

    async def generate(self, request: GenerationRequest) -> AsyncGenerator[GenerationEvent, None]:
        """See `base.Backend`."""
        self._check()
        purchases = await self._purchases()
        try:
            async with aclosing(purchases.image(self._order(request))) as events:
                partials = 0
                async for event in events:
                    if isinstance(event, Queued):
                        yield event
                    elif event.partial:
                        partials += 1
                        for preview in await _previewed(event, partials):
                            yield preview
                    else:
                        yield Generated(await _decoded(event), model=self._settings.model)
        except PurchaseError as error:
            self._note(error)
            raise

    async def plan(self, request: GenerationRequest) -> Plan:
        """See `base.Backend`."""
        self._check()
        size = self._size(request)
        version = f"{GENERATION_VERSION} quality={self._settings.quality}"
        if not self._asks_openai:
            # Another service may call another model by the same name.
            version += f" at={urlsplit(self._settings.base_url or '').hostname}"
        return Plan(
            self.kind,
            size.width,
            size.height,
            version,
            model=self._settings.model,
            shareable=True,
        )

    async def close(self) -> None:
        """See `base.Backend`."""
        if self._opened:
            await self._opened.close()

    def _check(self) -> None:
        """PurchaseError if it is known that no image can be had."""
        missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
        if missing:
            raise PurchaseError(
                Cause.NO_PACKAGE,
                f"the package {missing[0]} is not installed. For images by OpenAI: "
                "pip install 'gator-video[openai]'",
            )
        read_key(self._settings)
        if self._settings.purchases_url == NOWHERE:
            raise PurchaseError(
                Cause.NO_LEDGER,
                "images are bought from OpenAI only where GATOR_OPENAI_PURCHASES_URL names a "
                "bucket or folder that outlives this process: what is bought is written down there",
            )
        if self._settings.model in RETIRED and self._asks_openai:
            raise retired(self._settings.model)
        if self._refusal and time.monotonic() < self._recheck_at:
            raise PurchaseError(self._refusal.cause, self._refusal.why)

    @property
    def _asks_openai(self) -> bool:
        """Whether it is OpenAI that is asked, not another service with the same API."""
        url = self._settings.base_url
        return url is None or urlsplit(url).hostname == OWN_HOST

    def _note(self, error: PurchaseError) -> None:
        """Spares the next images a question whose answer is known."""
        if error.cause.rule.lasting:
            self._refusal = error
            self._recheck_at = time.monotonic() + self._settings.recheck_after

    def _size(self, request: GenerationRequest) -> Size:
        settings = self._settings
        if settings.size == "auto":
            return size_for(settings.model, request.video_width, request.video_height)
        return Size.parse(settings.size)

    def _order(self, request: GenerationRequest) -> Order:
        settings = self._settings
        return Order(
            # A caller that names no render gets an image of its own each time.
            render_id=request.render_id or f"unnamed-{uuid.uuid4()}",
            scene_index=request.scene_index,
            prompt=request.prompt,
            negative_prompt=request.negative_prompt,
            model=settings.model,
            size=self._size(request),
            quality=settings.quality,
        )

    async def _purchases(self) -> Purchases:
        async with self._opening:
            if self._opened is None:
                # The openai package takes about a second to import.
                self._opened = await asyncio.to_thread(_open, self._settings)
        return self._opened


def _open(settings: OpenAISettings) -> Purchases:
    from frame_gen.backends.openai_images.purchases import open_purchases  # noqa: PLC0415 - late

    return open_purchases(settings)


async def _decoded(picture: Picture) -> Frame:
    try:
        return await asyncio.to_thread(decode_image, picture.data)
    except ImageError as error:
        raise no_image(str(error)) from error


async def _previewed(picture: Picture, step: int) -> list[Preview]:
    """The preview; none where it cannot be used, which spoils nothing."""
    try:
        return [Preview(await asyncio.to_thread(preview_jpeg, picture.data), step)]
    except ImageError:
        return []
