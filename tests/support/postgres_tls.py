"""PostgreSQL by TLS, in front of the real server: that of the wheel is built without."""

from __future__ import annotations

import asyncio
import ssl
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from urllib.parse import parse_qs, urlsplit

import trustme

SSL_REQUEST = struct.pack(">II", 8, 80877103)
"""https://www.postgresql.org/docs/current/protocol-flow.html#PROTOCOL-FLOW-SSL"""


@dataclass
class Front:
    """Takes connections by TLS and no others."""

    port: int
    database: str
    connections: int = 0
    """That were encrypted."""

    def url(self, host: str = "localhost", **query: object) -> str:
        asked = "&".join(f"{name}={value}" for name, value in query.items())
        return f"postgresql://postgres@{host}:{self.port}/{self.database}?{asked}"


@asynccontextmanager
async def tls_front(url: str, certificate: trustme.LeafCert) -> AsyncIterator[Front]:
    """A front of the database at `url`, which is on a unix socket."""
    parts = urlsplit(url)
    (folder,) = parse_qs(parts.query)["host"]
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(context)
    running: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        running.add(asyncio.current_task())
        try:
            # A certificate that is refused, or a client that goes.
            with suppress(OSError, asyncio.IncompleteReadError):
                if await reader.readexactly(len(SSL_REQUEST)) != SSL_REQUEST:
                    return
                writer.write(b"S")
                await writer.start_tls(context)
                front.connections += 1
                inner = await asyncio.open_unix_connection(f"{folder}/.s.PGSQL.5432")
                try:
                    await asyncio.gather(_copy(reader, inner[1]), _copy(inner[0], writer))
                finally:
                    inner[1].close()
        finally:
            writer.close()
            running.discard(asyncio.current_task())

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    front = Front(server.sockets[0].getsockname()[1], parts.path.removeprefix("/"))
    async with server:
        yield front
        for task in running:
            task.cancel()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65_536):
        writer.write(data)
        await writer.drain()
    writer.close()
