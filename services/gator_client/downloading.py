"""Fetches the video of a render, from where an earlier download broke off."""

from __future__ import annotations

import inspect
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Protocol

from gator.gateway.v1 import render_service_pb2 as pb
from gator.type.v1 import video_pb2
from gator_client.durable import DownloadedVideo, DownloadEvent, DownloadProgress
from gator_client.errors import RenderError
from gator_client.fields import to_form
from gator_client.integrity import VideoCheck, incomplete, restarted
from gator_client.reconnecting import ReconnectingStream
from gator_client.result import ConnectionLost
from gator_client.watching import PATIENCE

if TYPE_CHECKING:
    import grpc

    from gator.gateway.v1.render_service_pb2_grpc import RenderServiceAsyncStub

MOST_BEGINNINGS = 100
"""How often one download begins anew because its content is not there any more: each attempt at
a render that is being made is another content, and a long render may take many."""

Tell = Callable[[DownloadEvent], Awaitable[None]]


class Writable(Protocol):
    """Where a video may be written: a binary file, a pipe, or anything like one."""

    def write(self, data: bytes, /) -> object:
        """Takes the next bytes, all of them. May be a coroutine function."""


class Destination(Protocol):
    """Where the bytes of a download go."""

    content_tag: str
    """Of what the bytes that are there are the beginning."""
    check: VideoCheck
    """Of the bytes that are there."""

    async def begin(self, content_tag: str) -> None:
        """Drops what is there: the bytes of another content come."""

    async def write(self, data: bytes) -> None:
        """Appends `data`."""


class WritableDestination:
    """A Writable, whose bytes are gone once they are written."""

    def __init__(self, writable: Writable) -> None:
        self.content_tag = ""
        self.check = VideoCheck()
        self._writable = writable

    async def begin(self, content_tag: str) -> None:
        """RenderError (VIDEO_RESTARTED) if bytes of another content were written."""
        if self.check.size:
            raise restarted()
        self.content_tag = content_tag

    async def write(self, data: bytes) -> None:
        """Passes `data` on."""
        answer = self._writable.write(data)
        if inspect.isawaitable(answer):
            await answer
        self.check.add(data)


class Download:
    """One download of one video. `run` may be called once."""

    def __init__(
        self,
        stub: RenderServiceAsyncStub,
        render_id: str,
        target: str,
        timeout: float | None,
        tell: Tell,
    ) -> None:
        """`tell` gets what happens. See AsyncClient.download."""
        self._stub = stub
        self._render_id = render_id
        self._target = target
        self._deadline = None if timeout is None else time.monotonic() + timeout
        self._tell = tell
        self._size: int | None = None
        self._form: video_pb2.VideoForm.ValueType = video_pb2.VIDEO_FORM_UNSPECIFIED

    async def run(self, to: Destination) -> DownloadedVideo:
        """Fetches what is missing; all of it is there, and checked, when this returns.

        RenderError, also where the bytes cannot be had any more or are not what they were.
        """
        resumed_at = to.check.size
        for _ in range(MOST_BEGINNINGS):
            try:
                trailer = await self._fetch(to, resumed_at)
                to.check.finish(trailer.size_bytes, trailer.sha256.hex())
            except RenderError as error:
                if not _begins_anew(error, resumed=bool(resumed_at)):
                    raise
                await to.begin("")
                resumed_at = 0
            else:
                return DownloadedVideo(
                    render_id=self._render_id,
                    size_bytes=to.check.size,
                    sha256=to.check.sha256(),
                    form=to_form(self._form),
                    resumed_at=resumed_at,
                )
        raise incomplete(f"the video began anew {MOST_BEGINNINGS} times")

    async def _fetch(self, to: Destination, resumed_at: int) -> pb.VideoTrailer:
        stream = self._stream(to)
        try:
            while (message := await stream.read()) is not None:
                if isinstance(message, ConnectionLost):
                    await self._tell(message)
                elif message.HasField("header"):
                    await self._begin(to, message.header)
                    await self._tell_progress(to, resumed_at)
                elif message.HasField("chunk"):
                    await to.write(message.chunk.data)
                    await self._tell_progress(to, resumed_at)
                elif message.HasField("trailer"):
                    self._size = message.trailer.size_bytes
                    return message.trailer
        finally:
            stream.close()
        raise incomplete("the download ended before the video did")

    def _stream(self, to: Destination) -> ReconnectingStream[pb.DownloadVideoResponse]:
        def from_there(
            left: float | None,
        ) -> grpc.aio.UnaryStreamCall[pb.DownloadVideoRequest, pb.DownloadVideoResponse]:
            request = pb.DownloadVideoRequest(
                render_id=self._render_id,
                offset=to.check.size,
                content_tag=to.content_tag if to.check.size else "",
            )
            return self._stub.DownloadVideo(request, timeout=left)

        # The render was asked for before, so there is a server: it is worth waiting for.
        return ReconnectingStream(
            from_there,
            self._target,
            patience=PATIENCE,
            timeout=None if self._deadline is None else max(self._deadline - time.monotonic(), 0.0),
            known=True,
        )

    async def _begin(self, to: Destination, header: pb.VideoHeader) -> None:
        self._form = header.form
        self._size = header.size_bytes if header.HasField("size_bytes") else None
        if header.content_tag != to.content_tag or not header.offset:
            await to.begin(header.content_tag)
        if header.offset != to.check.size:
            raise incomplete(f"the server sent byte {header.offset} after byte {to.check.size}")

    async def _tell_progress(self, to: Destination, resumed_at: int) -> None:
        await self._tell(DownloadProgress(to.check.size, self._size, resumed_at))


def _begins_anew(error: RenderError, *, resumed: bool) -> bool:
    """Whether what is there is of no use, and the video can be had from its beginning."""
    if error.reason in ("CONTENT_CHANGED", "OFFSET_OUT_OF_RANGE"):
        return True
    # What an earlier download left may have been damaged since.
    return resumed and error.reason in ("VIDEO_CORRUPT", "VIDEO_INCOMPLETE")
