"""Ports of loopback that nobody else gets, for servers that need one that is known before."""

from __future__ import annotations

import socket
from typing import Self


class ReservedPort:
    """A port that is kept for as long as this lives, whether a server listens there or not.

    A socket is bound to it that never listens: the system gives such a port to no connection
    and to nobody who asks for any port. A server that says SO_REUSEADDR, as gRPC, asyncio and
    Go do, may listen there nevertheless, and another after it.
    """

    def __init__(self) -> None:
        self._kept = socket.socket()
        self._kept.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._kept.bind(("127.0.0.1", 0))
        self.number: int = self._kept.getsockname()[1]

    @property
    def address(self) -> str:
        """host:port."""
        return f"127.0.0.1:{self.number}"

    def close(self) -> None:
        """Lets go of it. Safe to repeat."""
        self._kept.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
