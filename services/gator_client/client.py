"""The asynchronous client: renders on a server, or in this process if none is given."""

from __future__ import annotations

import inspect
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AsyncExitStack, aclosing
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self, Unpack

import grpc

from gator.gateway.v1 import render_service_pb2 as pb
from gator.gateway.v1 import render_service_pb2_grpc
from gator_client.capabilities import Capabilities
from gator_client.channel import Tls, open_channel
from gator_client.embedded import embedded
from gator_client.integrity import VideoCheck, no_result
from gator_client.output import OutputFile
from gator_client.request import to_request
from gator_client.response import to_capabilities, to_event
from gator_client.result import RenderEvent, RenderResult, RenderWarning, VideoChunk
from gator_client.scene import RenderOptions, Scenes
from gator_client.status import to_error
from gator_client.target import full_target
from gator_client.token import Token, check_token

if TYPE_CHECKING:
    from gator.gateway.v1.render_service_pb2_grpc import RenderServiceAsyncStub

OnEvent = Callable[[RenderEvent], Awaitable[None] | None]
"""What is called with each event; it may be a coroutine function."""


class AsyncClient:
    """A client of one gateway. Use it with `async with`; many renders may run at once.

        async with AsyncClient() as client:
            result = await client.render_to_file(["a hill", "the sea"], "film.mp4")

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

        `token` is shown with each call; a Path names a file that holds it, read at each
        call. Without TLS it is shown on this machine only, unless `token_in_clear`
        says that something else keeps the connection private; else ValueError.
        `timeout` is for a whole call, in seconds; None waits as long as it takes.
        """
        self._target = full_target(target) if target is not None else None
        self._tls = tls
        self._token = token
        if token is not None and self._target is not None:
            check_token(token, self._target, tls=bool(tls), in_clear=token_in_clear)
        self._timeout = timeout
        self._resources = AsyncExitStack()
        self._stub: RenderServiceAsyncStub | None = None

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
        self._stub = render_service_pb2_grpc.RenderServiceStub(channel)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Cancels what still runs and closes the channel."""
        self._stub = None
        await self._resources.aclose()

    def render(
        self, scenes: Scenes, **options: Unpack[RenderOptions]
    ) -> AsyncGenerator[RenderEvent, None]:
        """Renders a video; yields RenderAccepted, then what happens, then RenderResult.

        The video's bytes come as VideoChunk. Before the result is yielded they are
        checked against it. Closing the generator early cancels the render.
        """
        request, warnings = to_request(scenes, **options)
        return self._events(request, warnings)

    async def iter_video(
        self,
        scenes: Scenes,
        *,
        on_event: OnEvent | None = None,
        **options: Unpack[RenderOptions],
    ) -> AsyncGenerator[bytes, None]:
        """Renders a video and yields its bytes, an MP4 that plays before it is complete.

        Ends normally only if the video was whole. `on_event` gets every event.
        """
        async with aclosing(self.render(scenes, **options)) as events:
            async for event in events:
                await _tell(on_event, event)
                if isinstance(event, VideoChunk):
                    yield event.data

    async def render_to_file(
        self,
        scenes: Scenes,
        path: Path | str,
        *,
        on_event: OnEvent | None = None,
        overwrite: bool = True,
        **options: Unpack[RenderOptions],
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
                if isinstance(event, VideoChunk):
                    await output.write(event.data)
                await _tell(on_event, event)
            if result is None:
                raise no_result()
            await output.commit()
        await _tell(on_event, result)
        return result

    async def capabilities(self) -> Capabilities:
        """What the server can do: presets, transitions, backends and limits."""
        try:
            message = await self._open_stub().GetCapabilities(
                pb.GetCapabilitiesRequest(), timeout=self._timeout
            )
        except grpc.aio.AioRpcError as error:
            raise to_error(error, self.target) from error
        return to_capabilities(message)

    async def _events(
        self, request: pb.RenderRequest, warnings: tuple[RenderWarning, ...]
    ) -> AsyncGenerator[RenderEvent, None]:
        check = VideoCheck()
        result: RenderResult | None = None
        call = self._open_stub().Render(request, timeout=self._timeout)
        try:
            async for message in call:
                event = to_event(message, warnings)
                if isinstance(event, VideoChunk):
                    check.add(event.data)
                if isinstance(event, RenderResult):
                    result = event
                elif event is not None:
                    yield event
        except grpc.aio.AioRpcError as error:
            raise to_error(error, self.target) from error
        finally:
            call.cancel()  # an abandoned call would never end
        if result is None:
            raise no_result()
        check.finish(result)
        yield result

    def _open_stub(self) -> RenderServiceAsyncStub:
        if self._stub is None:
            raise RuntimeError("this client is not open; use `async with AsyncClient(...)`")
        return self._stub


async def _tell(on_event: OnEvent | None, event: RenderEvent) -> None:
    if on_event is not None:
        answer = on_event(event)
        if inspect.isawaitable(answer):
            await answer
