"""A link to a server on a unix socket that a test cuts and mends."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path


class Link:
    """Passes on what comes to `at` to the socket `to`, and back, unless it is cut."""

    def __init__(self, at: Path, to: Path) -> None:
        self._at = at
        self._to = to
        self._server: asyncio.Server | None = None
        self._passing: set[asyncio.Task[None]] = set()
        self._lost = asyncio.Event()

    async def mend(self) -> None:
        """Passes on from now on."""
        self._server = await asyncio.start_unix_server(self._pass, self._at)

    async def cut(self) -> None:
        """Breaks every connection, and takes no new one."""
        self._server.close()
        self._at.unlink(missing_ok=True)
        for task in self._passing:
            task.cancel()
        if self._passing:
            await asyncio.wait(self._passing)

    def lose(self) -> None:
        """Passes on nothing more of what there is; the ends do not hear of it."""
        self._lost.set()
        self._lost = asyncio.Event()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        self._passing.add(task)
        far_reader, far_writer = await asyncio.open_unix_connection(self._to)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(_copy(reader, far_writer, self._lost))
                group.create_task(_copy(far_reader, writer, self._lost))
        except* OSError:
            pass
        except* asyncio.CancelledError:
            pass
        finally:
            writer.close()
            far_writer.close()
            self._passing.discard(task)


async def _copy(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, lost: asyncio.Event
) -> None:
    while data := await reader.read(1 << 16):
        if lost.is_set():
            continue
        writer.write(data)
        await writer.drain()
    with suppress(OSError):
        writer.write_eof()


@asynccontextmanager
async def linked(at: Path, to: Path) -> AsyncIterator[Link]:
    """A link that is whole, until the end of the block."""
    link = Link(at, to)
    await link.mend()
    try:
        yield link
    finally:
        await link.cut()
