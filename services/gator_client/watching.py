"""Tells what happens to a render, wherever it runs and over as many calls as it takes."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING

import grpc

from gator.gateway.v1 import render_service_pb2 as pb
from gator_client.durable import Render, WatchEvent
from gator_client.durable_response import to_watch_event
from gator_client.errors import RenderError
from gator_client.reconnecting import ReconnectingStream
from gator_client.result import ConnectionLost

if TYPE_CHECKING:
    from gator.gateway.v1.render_service_pb2_grpc import RenderServiceAsyncStub

PATIENCE = 120.0
"""Seconds for which a server that went away is tried to be reached again."""


class Watch:
    """One render, watched to its end. `events` may be iterated once."""

    def __init__(
        self,
        stub: RenderServiceAsyncStub,
        request: pb.WatchRenderRequest,
        target: str,
        timeout: float | None,
    ) -> None:
        """`request` says what is watched and after which event. See AsyncClient.watch."""
        self._stub = stub
        self._request = request
        self._stream: ReconnectingStream[pb.WatchRenderResponse] = ReconnectingStream(
            self._open, target, patience=PATIENCE, timeout=timeout
        )

    def _open(
        self, left: float | None
    ) -> grpc.aio.UnaryStreamCall[pb.WatchRenderRequest, pb.WatchRenderResponse]:
        return self._stub.WatchRender(self._request, timeout=left)

    async def events(self) -> AsyncGenerator[WatchEvent, None]:
        """The render as it stands, what happens to it, and last how it ended."""
        event: WatchEvent | None = None
        try:
            while (message := await self._stream.read()) is not None:
                if isinstance(message, ConnectionLost):
                    event = message
                else:
                    # A call that takes over goes on after what this one has told.
                    self._request.after_sequence = message.sequence
                    event = to_watch_event(message)
                if event is not None:
                    yield event
        finally:
            self._stream.close()
        if not (isinstance(event, Render) and event.state.ended):
            raise RenderError(
                "the server stopped telling before the render had ended",
                code="DATA_LOSS",
                reason="DATA_LOSS",
                advice="Watch it again.",
            )
