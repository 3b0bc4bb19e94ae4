"""One request for one image, over the openai package."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from typing import Literal, TypedDict

import httpx2
from openai import AsyncOpenAI
from openai.types import ImagesResponse

from frame_gen.backends.openai_images.answers import failure
from frame_gen.backends.openai_images.failures import PurchaseError
from frame_gen.backends.openai_images.keys import read_key
from frame_gen.backends.openai_images.order import Order
from frame_gen.backends.openai_images.settings import OpenAISettings, Quality

CONNECT_TIMEOUT = 10.0
"""Seconds."""


@dataclass(frozen=True)
class Picture:
    """An image file from OpenAI."""

    data: bytes
    partial: bool = False
    """Whether it is a preview and the image is still to come."""


class ImagesClient:
    """Asks for images. Each request is sent once.

    The client's own retries are off: after a time-out it would ask again, and
    the first request may have been charged. `purchases` tries again where
    nothing can have been.
    """

    def __init__(self, settings: OpenAISettings) -> None:
        self._settings = settings
        self._openai = AsyncOpenAI(
            api_key=self._key,
            base_url=settings.base_url,
            max_retries=0,
            timeout=httpx2.Timeout(settings.timeout, connect=CONNECT_TIMEOUT),
        )

    async def _key(self) -> str:
        # Per request: a key in a file may be changed while the service runs.
        return await asyncio.to_thread(read_key, self._settings)

    async def ask(self, order: Order) -> AsyncGenerator[Picture, None]:
        """The image, after its previews if there are any. PurchaseError if it does not come."""
        answer = self._streamed if self._settings.partial_images else self._whole
        try:
            async with aclosing(answer(order)) as pictures:
                async for picture in pictures:
                    yield picture
        except PurchaseError:
            raise
        except Exception as error:  # noqa: BLE001 - the client checks no shapes: any may come
            # Not chained: the foreign exception holds the request with its key.
            raise failure(error, order.model) from None

    async def _whole(self, order: Order) -> AsyncGenerator[Picture, None]:
        answer = await self._openai.images.generate(**self._parameters(order))
        if not isinstance(answer, ImagesResponse) or not answer.data:
            raise ValueError("the answer holds no image")
        yield Picture(_decoded(answer.data[0].b64_json))

    async def _streamed(self, order: Order) -> AsyncGenerator[Picture, None]:
        events = await self._openai.images.generate(
            **self._parameters(order), stream=True, partial_images=self._settings.partial_images
        )
        async with events:
            async for event in events:
                whole = event.type == "image_generation.completed"
                yield Picture(_decoded(event.b64_json), partial=not whole)
                if whole:
                    return
        raise ValueError("the stream ended without the image")

    def _parameters(self, order: Order) -> _Parameters:
        return {
            "model": order.model,
            "prompt": order.text,
            "size": str(order.size),
            "quality": self._settings.quality,
            "n": 1,
            "background": "opaque",
        }

    async def close(self) -> None:
        """Ends the connections."""
        await self._openai.close()


class _Parameters(TypedDict):
    model: str
    prompt: str
    size: str
    quality: Quality
    n: int
    background: Literal["opaque"]


def _decoded(text: str | None) -> bytes:
    data = base64.b64decode(text or "", validate=True)
    if not data:
        raise ValueError("the image is empty")
    return data
