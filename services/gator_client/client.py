"""The asynchronous client: renders on a server, or in this process if none is given."""

from __future__ import annotations

import asyncio
import inspect
import uuid
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping
from contextlib import AsyncExitStack, aclosing
from os import PathLike
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self, TypeVar, Unpack

import grpc

from gator.gateway.v1 import render_service_pb2 as pb
from gator.gateway.v1 import render_service_pb2_grpc
from gator_client.attached import AttachedRender
from gator_client.capabilities import Capabilities
from gator_client.channel import Tls, open_channel
from gator_client.downloading import Download, Writable, WritableDestination
from gator_client.durable import DownloadedVideo, DownloadEvent, Render, RenderState, WatchEvent
from gator_client.durable_response import to_render
from gator_client.embedded import embedded
from gator_client.integrity import incomplete, restarted
from gator_client.output import OutputFile
from gator_client.partial import PartialFile
from gator_client.request import to_request, to_states
from gator_client.response import to_capabilities
from gator_client.result import RenderEvent, RenderResult, VideoChunk, VideoHeader
from gator_client.scene import CreateOptions, Scenes
from gator_client.status import to_error
from gator_client.target import full_target
from gator_client.token import Token, check_token
from gator_client.tracing import traced
from gator_client.watching import Watch

if TYPE_CHECKING:
    from gator.gateway.v1.render_service_pb2_grpc import RenderServiceAsyncStub

_E = TypeVar("_E")
_Asked = TypeVar("_Asked")
_Answer = TypeVar("_Answer")

OnEvent = Callable[[RenderEvent], Awaitable[None] | None]
"""What is called with each event of a render; it may be a coroutine function."""
OnDownload = Callable[[DownloadEvent], Awaitable[None] | None]
"""What is called with each event of a download; it may be a coroutine function."""

PAGE_SIZE = 100
"""Renders of a page."""


class AsyncClient:
    """A client of one gateway. Use it with `async with`; many renders may run at once.

        async with AsyncClient() as client:
            result = await client.render_to_file(["a hill", "the sea"], "film.mp4")

    `render` and its kin stay with a render until its video is there. On a server, `create`
    makes one that goes on alone, to be watched and downloaded by its id, from anywhere.

    Calls raise RenderError, and InvalidRequestError for a request with bad fields.
    """

    def __init__(
        self,
        target: str | None = None,
        *,
        tls: bool | Tls = False,
        token: Token | None = None,
        token_in_clear: bool = False,
        timeout: float | None = None,
    ) -> None:
        """`target` is "host:port" of a gateway; None runs the services in this process.

        A port that there is not is a ValueError.
        `token` is shown with each call; a Path names a file that holds it, read at each
        call. Without TLS it is shown on this machine only, unless `token_in_clear`
        says that something else keeps the connection private; else ValueError.
        `timeout` is for a whole call, in seconds; None waits as long as it takes.
        """
        self._target = full_target(target) if target is not None else None
        self._tls = tls
        self._token = token if self._target is not None else None
        if self._token is not None:
            check_token(self._token, self.target, tls=bool(tls), in_clear=token_in_clear)
        self._timeout = timeout
        self._resources = AsyncExitStack()
        self._stub: RenderServiceAsyncStub | None = None
        self._attached: set[AttachedRender] = set()

    @property
    def target(self) -> str:
        """Address of the gateway; that of the embedded one while this client is open."""
        return self._target or ""

    async def __aenter__(self) -> Self:
        """Opens the channel; starts the services where no target was given."""
        async with AsyncExitStack() as resources:
            if self._target is None:
                stack = await resources.enter_async_context(embedded())
                resources.callback(setattr, self, "_target", None)
                self._target = stack.address
            channel = open_channel(self._target, self._tls, self._token)
            await resources.enter_async_context(channel)
            self._resources = resources.pop_all()
        self._stub = traced(render_service_pb2_grpc.RenderServiceStub(channel))
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Cancels what still runs and closes the channel. Created renders go on."""
        self._stub = None
        await asyncio.gather(*(render.leave() for render in self._attached))
        await self._resources.aclose()

    # --- renders whose client stays ------------------------------------------------------------

    def render(
        self, scenes: Scenes, **options: Unpack[CreateOptions]
    ) -> AsyncGenerator[RenderEvent, None]:
        """Renders a video; yields RenderAccepted, then what happens, then RenderResult.

        The video's bytes come as VideoChunk, after a VideoHeader. Before the result is
        yielded they are checked against it. A connection that breaks is made again within
        30 s, and the video goes on where it was, or begins anew with another VideoHeader.
        Closing the generator early cancels the render.
        """
        request, warnings = to_request(scenes, **options)
        return self._events(
            AttachedRender(self._open_stub(), request, warnings, self.target, self._timeout)
        )

    async def iter_video(
        self,
        scenes: Scenes,
        *,
        on_event: OnEvent | None = None,
        **options: Unpack[CreateOptions],
    ) -> AsyncGenerator[bytes, None]:
        """Renders a video and yields its bytes, an MP4 that plays before it is complete.

        Ends normally only if the video was whole. `on_event` gets every event. RenderError
        (VIDEO_RESTARTED) where the video begins anew after its first bytes were yielded.
        """
        begun = False
        async with aclosing(self.render(scenes, **options)) as events:
            async for event in events:
                if begun and isinstance(event, VideoHeader):
                    raise restarted()
                await _tell(on_event, event)
                if isinstance(event, VideoChunk):
                    begun = True
                    yield event.data

    async def render_to_file(
        self,
        scenes: Scenes,
        path: Path | str,
        *,
        on_event: OnEvent | None = None,
        overwrite: bool = True,
        **options: Unpack[CreateOptions],
    ) -> RenderResult:
        """Renders a video into the file `path`, which appears only when it is whole.

        `on_event` gets every event; what it raises ends the render. Raises OSError
        if the file cannot be written, FileExistsError if it exists and `overwrite`
        is false.
        """
        result: RenderResult | None = None
        events = self.render(scenes, **options)
        async with OutputFile(path, overwrite=overwrite) as output, aclosing(events):
            async for event in events:
                if isinstance(event, RenderResult):
                    result = event
                    continue
                if isinstance(event, VideoHeader):
                    await output.begin_anew()
                if isinstance(event, VideoChunk):
                    await output.write(event.data)
                await _tell(on_event, event)
            if result is None:
                raise incomplete("the render ended without a result")
            await output.commit()
        await _tell(on_event, result)
        return result

    # --- renders that outlive their client -----------------------------------------------------

    async def create(self, scenes: Scenes, **options: Unpack[CreateOptions]) -> Render:
        """Creates a render on the server and returns at once: it goes on alone.

        What was returned is stored: it is finished whatever dies. The same `request_id` with
        the same content returns the same render; with other content, RenderError
        (REQUEST_ID_REUSED).
        """
        request, warnings = to_request(scenes, **options)
        asked = pb.CreateRenderRequest(render=request)
        return to_render((await self._call(self._open_stub().CreateRender, asked)).render, warnings)

    async def get(self, render_id: str) -> Render:
        """The render as it stands; RenderError (RENDER_NOT_FOUND)."""
        asked = pb.GetRenderRequest(render_id=render_id)
        return to_render((await self._call(self._open_stub().GetRender, asked)).render)

    async def list(
        self,
        *,
        states: Iterable[RenderState | str] = (),
        labels: Mapping[str, str] | None = None,
    ) -> AsyncGenerator[Render, None]:
        """Yields renders, newest first, without their scenes' progress and results.

        Only those in one of `states`, if any is given, and with all of `labels`. Pages are
        fetched as the iteration comes to them.
        """
        asked = pb.ListRendersRequest(
            page_size=PAGE_SIZE, states=to_states(states), labels=labels or {}
        )
        while True:
            page = await self._call(self._open_stub().ListRenders, asked)
            for message in page.renders:
                yield to_render(message)
            if not page.next_page_token:
                return
            asked.page_token = page.next_page_token

    async def watch(
        self, render_id: str, *, after_sequence: int = 0, previews: bool = False
    ) -> AsyncGenerator[WatchEvent, None]:
        """Yields the render as it stands, then what happens to it, and last how it ended.

        A connection that breaks is made again for two minutes, and the watch goes on where it
        was. With `after_sequence`, the `sequence` of a Render, every event after that one
        comes, also those that the first Render shows already. `previews` asks for
        ScenePreview too.
        """
        asked = pb.WatchRenderRequest(
            render_id=render_id, after_sequence=after_sequence, previews=previews
        )
        watch = Watch(self._open_stub(), asked, self.target, self._timeout)
        async with aclosing(watch.events()) as events:
            async for event in events:
                yield event

    async def wait(self, render_id: str) -> Render:
        """The render once it has ended; its `state` and `error` tell how."""
        async with aclosing(self.watch(render_id)) as events:
            async for event in events:
                if isinstance(event, Render) and event.state.ended:
                    return event
        raise AssertionError("a watch ends with how the render ended")

    async def cancel(self, render_id: str) -> Render:
        """Stops the render, and returns it; one that has ended stays as it is."""
        asked = pb.CancelRenderRequest(render_id=render_id)
        return to_render((await self._call(self._open_stub().CancelRender, asked)).render)

    async def delete(self, render_id: str) -> None:
        """Deletes a render that has ended, and its video; RenderError (WRONG_STATE) for others."""
        asked = pb.DeleteRenderRequest(render_id=render_id)
        await self._call(self._open_stub().DeleteRender, asked)

    async def retry(self, render_id: str, *, request_id: str | None = None) -> Render:
        """A new render with the request of one that has ended, to which `retry_of` points.

        Scenes that are stored are not made again. RenderError (WRONG_STATE) for a render that
        has not ended. `request_id` makes it safe to repeat; without it the client takes one of
        its own.
        """
        asked = pb.RetryRenderRequest(
            render_id=render_id, request_id=request_id or str(uuid.uuid4())
        )
        return to_render((await self._call(self._open_stub().RetryRender, asked)).render)

    async def download(
        self,
        render_id: str,
        to: Path | str | Writable,
        *,
        on_event: OnDownload | None = None,
        overwrite: bool = True,
    ) -> DownloadedVideo:
        """Fetches the video of a render; follows one that is still being encoded.

        `to` is a path, or what bytes can be written to. The file appears under its path when
        it is whole and checked. If the download breaks off, what has come stays beside it
        (film.mp4.part), and the next download of that render to that path goes on from there.
        A connection that breaks is made again for two minutes.

        Raises RenderError: WRONG_STATE for a render that has no video; VIDEO_RESTARTED where
        the video begins anew after its first bytes were written to what is no file. OSError
        if the file cannot be written, FileExistsError if it exists and `overwrite` is false.
        """

        async def tell(event: DownloadEvent) -> None:
            await _tell(on_event, event)

        render = await self.get(render_id)
        download = Download(self._open_stub(), render.render_id, self.target, self._timeout, tell)
        if not isinstance(to, str | PathLike):
            return await download.run(WritableDestination(to))
        async with PartialFile(to, render.render_id, overwrite=overwrite) as file:
            video = await download.run(file)
            await file.commit()
        return video

    async def capabilities(self) -> Capabilities:
        """What the server can do: presets, transitions, backends and limits."""
        asked = pb.GetCapabilitiesRequest()
        return to_capabilities(await self._call(self._open_stub().GetCapabilities, asked))

    # --- calls ---------------------------------------------------------------------------------

    async def _events(self, render: AttachedRender) -> AsyncGenerator[RenderEvent, None]:
        self._attached.add(render)
        try:
            async with aclosing(render.events()) as events:
                async for event in events:
                    yield event
        finally:
            self._attached.discard(render)

    async def _call(
        self, call: grpc.aio.UnaryUnaryMultiCallable[_Asked, _Answer], request: _Asked
    ) -> _Answer:
        try:
            return await call(request, timeout=self._timeout)
        except grpc.aio.AioRpcError as error:
            raise to_error(error, self.target) from error

    def _open_stub(self) -> RenderServiceAsyncStub:
        if self._stub is None:
            raise RuntimeError("this client is not open; use `async with AsyncClient(...)`")
        return self._stub


async def _tell(on_event: Callable[[_E], Awaitable[None] | None] | None, event: _E) -> None:
    if on_event is not None:
        answer = on_event(event)
        if inspect.isawaitable(answer):
            await answer
