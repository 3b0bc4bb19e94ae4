"""`python -m frame_gen`: runs the frame generation service until SIGTERM."""

from __future__ import annotations

import asyncio

from frame_gen.servicer import build
from frame_gen.settings import Settings
from rpckit.server import serve
from rpckit.telemetry import configure_logging


async def _main() -> None:
    settings = Settings()
    await serve(build(settings), settings)


if __name__ == "__main__":
    configure_logging()
    asyncio.run(_main())
