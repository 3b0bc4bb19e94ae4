"""The client for code without an event loop: the same one, run in a thread of its own."""

from __future__ import annotations

import threading
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Iterable, Mapping
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar, Unpack

from anyio.from_thread import BlockingPortal, start_blocking_portal

from gator_client.capabilities import Capabilities
from gator_client.channel import Tls
from gator_client.client import AsyncClient, OnDownload, OnEvent
from gator_client.downloading import Writable
from gator_client.durable import DownloadedVideo, Render, RenderState, WatchEvent
from gator_client.result import RenderEvent, RenderResult
from gator_client.scene import CreateOptions, Scenes
from gator_client.token import Token

_T = TypeVar("_T")


class Client:
    """A client of one gateway. Use it with `with`; any thread may call it.

        with Client() as client:
            result = client.render_to_file(["a hill", "the sea"], "film.mp4")

    The methods are those of AsyncClient. Callbacks run in the client's own thread.
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
        """As AsyncClient."""
        self._client = AsyncClient(
            target, tls=tls, token=token, token_in_clear=token_in_clear, timeout=timeout
        )
        self._resources = ExitStack()
        self._portal: BlockingPortal | None = None

    @property
    def target(self) -> str:
        """Address of the gateway; that of the embedded one while this client is open."""
        return self._client.target

    def __enter__(self) -> Self:
        """Starts the thread, and the services where no target was given."""
        with ExitStack() as resources:
            portal = resources.enter_context(start_blocking_portal(name="gator-client"))
            opened: AbstractContextManager[AsyncClient] = portal.wrap_async_context_manager(
                self._client
            )
            resources.enter_context(opened)
            self._resources = resources.pop_all()
        self._portal = portal
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Cancels what still runs and ends the thread."""
        self._portal = None
        self._resources.close()

    def render(
        self, scenes: Scenes, **options: Unpack[CreateOptions]
    ) -> Generator[RenderEvent, None, None]:
        """As AsyncClient.render."""
        return self._iterate(self._client.render(scenes, **options))

    def iter_video(
        self,
        scenes: Scenes,
        *,
        on_event: OnEvent | None = None,
        **options: Unpack[CreateOptions],
    ) -> Generator[bytes, None, None]:
        """As AsyncClient.iter_video."""
        return self._iterate(self._client.iter_video(scenes, on_event=on_event, **options))

    def render_to_file(
        self,
        scenes: Scenes,
        path: Path | str,
        *,
        on_event: OnEvent | None = None,
        overwrite: bool = True,
        **options: Unpack[CreateOptions],
    ) -> RenderResult:
        """As AsyncClient.render_to_file. Ctrl-C cancels the render and leaves no file."""
        return self._call(
            lambda: self._client.render_to_file(
                scenes, path, on_event=on_event, overwrite=overwrite, **options
            )
        )

    def create(self, scenes: Scenes, **options: Unpack[CreateOptions]) -> Render:
        """As AsyncClient.create."""
        return self._call(lambda: self._client.create(scenes, **options))

    def get(self, render_id: str) -> Render:
        """As AsyncClient.get."""
        return self._call(lambda: self._client.get(render_id))

    def list(
        self,
        *,
        states: Iterable[RenderState | str] = (),
        labels: Mapping[str, str] | None = None,
    ) -> Generator[Render, None, None]:
        """As AsyncClient.list."""
        return self._iterate(self._client.list(states=states, labels=labels))

    def watch(
        self, render_id: str, *, after_sequence: int = 0, previews: bool = False
    ) -> Generator[WatchEvent, None, None]:
        """As AsyncClient.watch."""
        return self._iterate(
            self._client.watch(render_id, after_sequence=after_sequence, previews=previews)
        )

    def wait(self, render_id: str) -> Render:
        """As AsyncClient.wait."""
        return self._call(lambda: self._client.wait(render_id))

    def cancel(self, render_id: str) -> Render:
        """As AsyncClient.cancel."""
        return self._call(lambda: self._client.cancel(render_id))

    def delete(self, render_id: str) -> None:
        """As AsyncClient.delete."""
        self._call(lambda: self._client.delete(render_id))

    def retry(self, render_id: str, *, request_id: str | None = None) -> Render:
        """As AsyncClient.retry."""
        return self._call(lambda: self._client.retry(render_id, request_id=request_id))

    def download(
        self,
        render_id: str,
        to: Path | str | Writable,
        *,
        on_event: OnDownload | None = None,
        overwrite: bool = True,
    ) -> DownloadedVideo:
        """As AsyncClient.download. Ctrl-C keeps what has come of a file."""
        return self._call(
            lambda: self._client.download(render_id, to, on_event=on_event, overwrite=overwrite)
        )

    def capabilities(self) -> Capabilities:
        """As AsyncClient.capabilities."""
        return self._call(self._client.capabilities)

    def _iterate(self, values: AsyncGenerator[_T, None]) -> Generator[_T, None, None]:
        try:
            while True:
                try:
                    value = self._call(values.__anext__)
                except StopAsyncIteration:
                    return
                yield value
        finally:
            if self._portal is not None:  # else closing the client has cancelled the call
                self._call(values.aclose)

    def _call(self, function: Callable[[], Awaitable[_T]]) -> _T:
        """What `function` returns in the client's thread.

        Interrupted by Ctrl-C, it cancels the work and waits until it is over.
        """
        if self._portal is None:
            raise RuntimeError("this client is not open; use `with Client(...)`")
        over = threading.Event()

        async def run() -> _T:
            try:
                return await function()
            finally:
                over.set()

        future = self._portal.start_task_soon(run)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            over.wait()
            raise
