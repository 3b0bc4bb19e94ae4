"""A way to a server on loopback that a test holds up, breaks, and leads elsewhere."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Self


class Relay:
    """Passes on what clients send to the port `target`, and what comes back.

    `allow(n)` lets n more bytes come back, on all connections together, and holds what comes
    then; `held` is set as soon as something is. `cut` breaks every connection. New ones are
    always taken, and nothing holds them.
    """

    def __init__(self, target: int) -> None:
        self.target = target
        self.held = asyncio.Event()
        self.connections = 0
        """How many have been made."""
        self._left: int | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._cut = asyncio.Event()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._pass, "127.0.0.1", 0)
        self.address = f"127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        self.cut()
        await self._server.wait_closed()

    def allow(self, count: int) -> None:
        self._left = count

    def cut(self) -> None:
        for writer in self._writers:
            writer.transport.abort()
        self._left = None
        self.held.clear()
        self._cut.set()
        self._cut = asyncio.Event()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self.target)
        except OSError:
            writer.transport.abort()
            return
        ends = {writer, far_writer}
        self._writers |= ends
        try:
            await asyncio.gather(
                self._copy(reader, far_writer), self._copy(far_reader, writer, back=True)
            )
        finally:
            self._writers -= ends

    async def _copy(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, back: bool = False
    ) -> None:
        cut = self._cut
        with suppress(OSError):
            while data := await reader.read(1 << 14):
                if back and self._left is not None:
                    self._left -= len(data)
                    if self._left < 0:
                        self.held.set()
                        await cut.wait()
                        break
                writer.write(data)
                await writer.drain()
        writer.close()
