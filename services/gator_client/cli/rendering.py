"""A render whose command stays: run, shown, reported."""

from __future__ import annotations

import asyncio
import contextlib
from contextlib import aclosing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from gator_client.cli.connection import Connection
from gator_client.cli.destination import STDOUT, Stream
from gator_client.cli.display import RenderDisplay
from gator_client.cli.documents import print_document, render_document
from gator_client.cli.previews import PreviewFolder
from gator_client.cli.summary import print_previews, print_summary, print_warnings
from gator_client.durable import RenderState
from gator_client.errors import RenderError
from gator_client.result import RenderAccepted, RenderEvent, RenderResult, ScenePreview
from gator_client.scene import CreateOptions, Scene

if TYPE_CHECKING:
    from gator_client.client import AsyncClient, OnEvent


_LOOK_BACK = 2.0
"""Seconds for which a command that was interrupted asks what became of its render."""


@dataclass(frozen=True)
class Asked:
    """What is to be rendered."""

    scenes: list[Scene]
    options: CreateOptions

    @property
    def prompts(self) -> list[str]:
        """What each scene shows."""
        return [scene.prompt for scene in self.scenes]


class Rendering:
    """By whom something is rendered, where to, and how it is told."""

    def __init__(
        self,
        connection: Connection,
        path: Path,
        previews: PreviewFolder | None,
        *,
        as_json: bool,
        quiet: bool,
    ) -> None:
        self._connection = connection
        self._path = path
        self._previews = previews
        self._as_json = as_json
        self._quiet = quiet
        self._render_id = ""
        self._left_as = RenderState.UNKNOWN

    async def run(self, asked: Asked, stream: Stream | None, *, overwrite: bool) -> RenderResult:
        """Renders to the file, or to `stream`, while the live display shows how far it is."""
        console = Console(stderr=True, highlight=False, quiet=self._as_json or self._quiet)
        server = self._connection.server
        place = f"at {server}" if server else "in this process"
        with RenderDisplay(console, asked.prompts, place) as display:

            async def hear(event: RenderEvent) -> None:
                display.on_event(event)
                if isinstance(event, RenderAccepted):
                    self._render_id = event.render_id
                if self._previews and isinstance(event, ScenePreview):
                    await self._previews.save(event)

            async with self._connection.client() as client:
                try:
                    if stream is not None:
                        return await _send(client, asked, stream, hear)
                    return await client.render_to_file(
                        asked.scenes,
                        self._path,
                        on_event=hear,
                        overwrite=overwrite,
                        **asked.options,
                    )
                except asyncio.CancelledError:
                    await self._look_back(client)
                    raise

    async def _look_back(self, client: AsyncClient) -> None:
        """Finds out what became of a render that was left: it may have been faster."""
        if self._connection.server and self._render_id:
            with contextlib.suppress(RenderError, TimeoutError):
                async with asyncio.timeout(_LOOK_BACK):
                    self._left_as = (await client.get(self._render_id)).state

    def interrupted(self) -> str:
        """What is said after a signal."""
        previews = self._previews
        what = "Nothing was written."
        if previews and previews.written:
            what = f"No video was written; {previews}."
        if self._left_as is RenderState.CANCELLED:
            return f"Render {self._render_id} is cancelled. {what}"
        if self._left_as is RenderState.SUCCEEDED:
            fetch = self._connection.command("download", self._render_id)
            return f"{what} But the server had finished the render; fetch its video with\n  {fetch}"
        return f"Cancelled. {what}"

    def report(self, asked: Asked, result: RenderResult, elapsed: float) -> None:
        """Says what was made."""
        previews = self._previews
        if previews:
            result = replace(result, warnings=result.warnings + previews.warnings)
        if self._as_json:
            written = previews.written if previews else []
            print_document(render_document(result, self._path, elapsed, written))
            return
        errors = Console(stderr=True, highlight=False)
        if not self._quiet:
            console = errors if self._path == STDOUT else Console(highlight=False)
            place = "standard output" if self._path == STDOUT else str(self._path)
            print_summary(console, result, asked.prompts, place, elapsed)
            if previews:
                print_previews(console, previews, result)
        print_warnings(errors, result.warnings)


async def _send(client: AsyncClient, asked: Asked, stream: Stream, hear: OnEvent) -> RenderResult:
    """Sends the video to `stream` as it is made."""
    results: list[RenderResult] = []

    async def listen(event: RenderEvent) -> None:
        if isinstance(event, RenderResult):
            results.append(event)
        if answer := hear(event):
            await answer

    video = client.iter_video(asked.scenes, on_event=listen, **asked.options)
    async with aclosing(video) as chunks:
        async for data in chunks:
            await stream.write(data)
    return results[0]
