"""`python -m gateway` in which SIGUSR1 lets the time pass that a message may stay unread.

What is written at that moment is given up as if the time had run out. A client that reads is
never too slow for the time itself, which can be an hour.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from gateway.servicer import build
from gateway.settings import Settings
from rpckit import interceptors
from rpckit.server import Service, run


class Limits:
    """Stands for asyncio where messages are written."""

    def __init__(self) -> None:
        self._running: set[asyncio.Timeout] = set()

    def __getattr__(self, name: str) -> Any:
        return getattr(asyncio, name)

    @asynccontextmanager
    async def timeout(self, seconds: float) -> AsyncIterator[asyncio.Timeout]:
        """As asyncio.timeout."""
        async with asyncio.timeout(seconds) as limit:
            self._running.add(limit)
            try:
                yield limit
            finally:
                self._running.discard(limit)

    def run_out(self) -> None:
        """Lets all that run end at once."""
        now = asyncio.get_running_loop().time()
        for limit in self._running:
            if not limit.expired():
                limit.reschedule(now)


def main() -> None:
    limits = Limits()
    interceptors.asyncio = limits

    def built(settings: Settings) -> Service:
        asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, limits.run_out)
        return build(settings)

    run(Settings, built)


if __name__ == "__main__":
    main()
