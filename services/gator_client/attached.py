"""A render whose client stays: it is attached to again when the connection breaks."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, Iterator
from typing import TYPE_CHECKING

import anyio
import grpc

from gator.gateway.v1 import render_service_pb2 as pb
from gator_client.errors import RenderError
from gator_client.integrity import VideoCheck, incomplete
from gator_client.reconnecting import ReconnectingStream, is_broken
from gator_client.response import to_event
from gator_client.result import (
    ConnectionLost,
    RenderAccepted,
    RenderEvent,
    RenderResult,
    RenderWarning,
    VideoChunk,
    VideoHeader,
)
from gator_client.status import reason_of

if TYPE_CHECKING:
    from gator.gateway.v1.render_service_pb2_grpc import RenderServiceAsyncStub

PATIENCE = 30.0
"""Seconds for which a server keeps a render whose client is away."""
FAREWELL = 5.0
"""Seconds for which a client that leaves waits until its render is cancelled."""


class AttachedRender:
    """One render from its request to its result. `events` may be iterated once."""

    def __init__(
        self,
        stub: RenderServiceAsyncStub,
        request: pb.RenderRequest,
        warnings: tuple[RenderWarning, ...],
        target: str,
        timeout: float | None,
    ) -> None:
        """`request` has a request_id: under it the client comes back. See AsyncClient.render."""
        self._stub = stub
        self._warnings = warnings
        self._video = _Video()
        self._render_id = ""
        self._over = False
        self._stream: ReconnectingStream[pb.RenderResponse] = ReconnectingStream(
            lambda left: stub.Render(request, timeout=left),
            target,
            patience=PATIENCE,
            timeout=timeout,
            may_go_on=self._may_go_on,
        )

    async def events(self) -> AsyncGenerator[RenderEvent, None]:
        """The events, the result last. Left early, the render is cancelled."""
        try:
            result: RenderResult | None = None
            while (message := await self._read()) is not None:
                if isinstance(message, ConnectionLost):
                    yield message
                    continue
                event = to_event(message, self._warnings)
                if isinstance(event, RenderResult):
                    self._over = True
                    result = event
                elif event is not None:
                    for told in self._told(event):
                        yield told
            if result is None:
                raise incomplete("the render ended without a result")
            self._video.check.finish(result.size_bytes, result.sha256)
            yield result
        finally:
            await self.leave()

    async def leave(self) -> None:
        """Cancels the render, unless it has ended. Safe to repeat."""
        self._stream.close()
        if self._over or not self._render_id:
            return
        self._over = True
        request = pb.CancelRenderRequest(render_id=self._render_id)
        # Whoever leaves is often being cancelled itself. A server that cannot be reached
        # cancels the render on its own, PATIENCE later; a channel may be closed already.
        with (
            anyio.CancelScope(shield=True),
            contextlib.suppress(grpc.aio.AioRpcError, grpc.aio.UsageError),
        ):
            await self._stub.CancelRender(request, timeout=FAREWELL)

    async def _read(self) -> pb.RenderResponse | ConnectionLost | None:
        try:
            return await self._stream.read()
        except RenderError as error:
            if error.reason == "UNREACHABLE" and self._render_id:
                raise _left_behind(error, self._render_id) from error
            cause = error.__cause__
            if isinstance(cause, grpc.aio.AioRpcError) and reason_of(cause):
                self._over = True  # that is how the render ended
            raise

    def _told(self, event: RenderEvent) -> Iterator[RenderEvent]:
        """What the caller is told: nothing twice that a client who came back is told again."""
        match event:
            case RenderAccepted(render_id):
                if render_id != self._render_id:
                    self._render_id = render_id
                    yield event
            case VideoHeader():
                if self._video.begins(event):
                    yield event
            case VideoChunk():
                if fresh := self._video.add(event.data):
                    yield VideoChunk(fresh)
            case _:
                yield event

    async def _may_go_on(self, error: grpc.aio.AioRpcError) -> bool:
        """Whether to come back after `error`, which may also be how the render ended."""
        if not reason_of(error) or not self._render_id:
            return True
        try:
            response = await self._stub.GetRender(
                pb.GetRenderRequest(render_id=self._render_id), timeout=FAREWELL
            )
        except grpc.aio.AioRpcError as unknown:
            return is_broken(unknown)
        ended = (pb.RENDER_STATE_FAILED, pb.RENDER_STATE_CANCELLED)
        self._over = response.render.state in ended
        return not self._over


class _Video:
    """The bytes of the video that have come, over all calls."""

    def __init__(self) -> None:
        self.check = VideoCheck()
        self._tag = ""
        self._skip = 0

    def begins(self, header: VideoHeader) -> bool:
        """Whether other bytes begin. If not, those that are there come a second time."""
        if header.content_tag == self._tag and self.check.size:
            self._skip = self.check.size
            return False
        self.check = VideoCheck()
        self._tag = header.content_tag
        self._skip = 0
        return True

    def add(self, data: bytes) -> bytes:
        """What is new of the next bytes."""
        fresh = data[self._skip :]
        self._skip = max(self._skip - len(data), 0)
        self.check.add(fresh)
        return fresh


def _left_behind(error: RenderError, render_id: str) -> RenderError:
    """The error for a render that could not be come back to."""
    return RenderError(
        f"{error.message}; it did not come back within {PATIENCE:g} s",
        code=error.code,
        reason=error.reason,
        advice=f"The server cancels render {render_id}, which nobody waits for any more. "
        f"`gator retry {render_id}` makes it anew, and no finished scene again.",
        metadata={**error.metadata, "render_id": render_id},
    )
