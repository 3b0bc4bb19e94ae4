"""Buys the image of one scene and says what came; a process of its own, for tests that kill it."""

from __future__ import annotations

import asyncio
import sys

from frame_gen.backends.base import BackendError
from frame_gen.backends.openai import OpenAIBackend
from frame_gen.backends.openai_images.settings import OpenAISettings
from tests.support.openai_buying import frame_of


async def _main() -> None:
    backend = OpenAIBackend(OpenAISettings())
    try:
        made = await frame_of(backend)
        print(f"made {made.frame.header.sha256.hex()}", flush=True)
    except BackendError as error:
        print(f"{error.reason.value} {error.message}", flush=True)
    if sys.argv[-1] == "stay":
        await asyncio.to_thread(sys.stdin.read)
    await backend.close()


if __name__ == "__main__":
    asyncio.run(_main())
