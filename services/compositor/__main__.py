"""Runs the compositor: `python -m compositor`, set by GATOR_COMPOSITOR_ variables."""

from __future__ import annotations

import asyncio

from compositor.servicer import build
from compositor.settings import Settings
from rpckit.server import serve
from rpckit.telemetry import configure_logging


def main() -> None:
    """Serves until SIGTERM or SIGINT."""
    configure_logging()
    settings = Settings()
    asyncio.run(serve(build(settings), settings))


if __name__ == "__main__":
    main()
