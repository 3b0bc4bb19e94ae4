"""A link to a server on TCP that breaks at set places."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress


class CuttingLink:
    """Passes connections on to `to`; each of the first ones breaks after some of its answer."""

    def __init__(self, to: str, cuts: Sequence[int]) -> None:
        self._to = to
        self._left = list(cuts)
        self._passing: set[asyncio.Task[None]] = set()
        self.address = ""
        """host:port of the near end."""

    @property
    def cuts_left(self) -> int:
        """Connections that are still to be broken."""
        return len(self._left)

    async def passes(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, until one of its ends closes it or it is cut."""
        self._passing.add(asyncio.current_task())
        host, _, port = self._to.rpartition(":")
        far_reader, far_writer = await asyncio.open_connection(host, int(port))
        ways = [
            asyncio.create_task(_copy(reader, far_writer)),
            asyncio.create_task(self._answer(far_reader, writer)),
        ]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            for end in (writer, far_writer):
                end.transport.abort()
            await asyncio.wait(ways)

    async def closed(self) -> None:
        """Waits until no connection is passed on."""
        await asyncio.gather(*self._passing)

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        passed = 0
        with suppress(OSError):
            while chunk := await reader.read(1 << 16):
                passed += len(chunk)
                if self._left and passed > self._left[0]:
                    keep = len(chunk) - (passed - self._left.pop(0))
                    writer.write(chunk[:keep])
                    await writer.drain()
                    return
                writer.write(chunk)
                await writer.drain()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while chunk := await reader.read(1 << 16):
            writer.write(chunk)
            await writer.drain()


@asynccontextmanager
async def cutting(to: str, *cuts: int) -> AsyncIterator[CuttingLink]:
    """A link to host:port whose nth connection breaks after `cuts[n]` bytes from there."""
    link = CuttingLink(to, cuts)
    server = await asyncio.start_server(link.passes, "127.0.0.1", 0)
    async with server:
        host, port = server.sockets[0].getsockname()
        link.address = f"{host}:{port}"
        yield link
        await link.closed()
