"""Backends that buy from the stand-in of OpenAI, and what they made."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any

from frame_gen.backends.base import Generated, GenerationEvent, GenerationRequest
from frame_gen.backends.openai import OpenAIBackend
from frame_gen.backends.openai_images.settings import OpenAISettings
from tests.support.openai_server import KEY, OpenAIServer

SCENE = GenerationRequest(prompt="a lighthouse in a storm", render_id="r-1")


def buying(server: OpenAIServer, folder: Path, **changes: Any) -> OpenAISettings:
    """Settings for small images from `server`, written down in `folder`, tried again at once."""
    values = {
        "api_key": KEY,
        "base_url": server.base_url,
        "purchases_url": folder.as_uri(),
        "size": "64x32",
        "retry_delay": 0.01,
    }
    return OpenAISettings(**(values | changes))


@asynccontextmanager
async def backend(settings: OpenAISettings) -> AsyncIterator[OpenAIBackend]:
    """A backend until the end of the block."""
    opened = OpenAIBackend(settings)
    try:
        yield opened
    finally:
        await opened.close()


async def events_of(
    backend: OpenAIBackend, request: GenerationRequest = SCENE
) -> list[GenerationEvent]:
    """All that happens while a frame is made."""
    async with aclosing(backend.generate(request)) as events:
        return [event async for event in events]


async def frame_of(backend: OpenAIBackend, request: GenerationRequest = SCENE) -> Generated:
    """The frame."""
    last = (await events_of(backend, request))[-1]
    assert isinstance(last, Generated)
    return last


def written(folder: Path) -> list[str]:
    """The objects in a folder of purchases, with what changes from run to run left out."""
    files = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    return sorted(f"{path.parts[0]}/{path.name}" for path in files)
