"""`python -m gateway`: runs the gateway until SIGTERM."""

from __future__ import annotations

import asyncio

from gateway.servicer import build
from gateway.settings import Settings
from rpckit.server import serve
from rpckit.telemetry import configure_logging


async def _main() -> None:
    settings = Settings()
    await serve(build(settings), settings)


if __name__ == "__main__":
    configure_logging()
    asyncio.run(_main())
