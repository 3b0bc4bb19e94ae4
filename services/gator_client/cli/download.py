"""`gator download`: the video of a render on a server."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from gator_client.cli.connection import Connection, connecting
from gator_client.cli.destination import STDOUT, Stream, check_path, default_path, is_stream
from gator_client.cli.documents import download_document, print_document
from gator_client.cli.download_display import DownloadDisplay
from gator_client.cli.failure import failing
from gator_client.cli.options import Document, RenderId
from gator_client.cli.render_ids import whole_id
from gator_client.cli.running import run
from gator_client.cli.wording import say, size
from gator_client.durable import DownloadedVideo, DownloadEvent, DownloadProgress

Output = Annotated[
    Path | None,
    typer.Option(
        "--output",
        "-o",
        metavar="FILE",
        help="The MP4 file, or - for the standard output. Without it the name comes from the "
        "first prompt.",
    ),
]
Force = Annotated[
    bool, typer.Option("--force", "-f", metavar="", help="Replace the file if it exists.")
]
Quiet = Annotated[bool, typer.Option("--quiet", metavar="", help="Print errors only.")]


@connecting(embedded=False)
def download(
    render_id: RenderId,
    connection: Connection,
    output: Output = None,
    force: Force = False,
    as_json: Document = False,
    quiet: Quiet = False,
) -> None:
    """Fetch the video of a render, also of one that is still being made.

    gator download 3f2a9c1e -o film.mp4

    gator download 3f2a9c1e -o - | ffplay -

    If it breaks off, the same command goes on from there: what has come is kept
    beside the file, as film.mp4.part. The file appears under its name when it is
    whole and checked.
    """
    if as_json and output == STDOUT:
        raise typer.BadParameter("--json and -o - both want the standard output")
    if output:
        check_path(output, force=force, may_ask=not (as_json or quiet))
    # A file that is there may be replaced by now; one that comes later may not.
    overwrite = force or bool(output and output.exists())
    job = _Download(connection, render_id, output, overwrite=overwrite, quiet=as_json or quiet)
    with failing(as_json=as_json, interrupted=job.interrupted):
        # Opened out here: a pipe waits for its reader, and Ctrl-C must end that too.
        with Stream(output) if output and is_stream(output) else nullcontext() as stream:
            video = run(job.run(stream))
        if as_json:
            print_document(download_document(video, job.path))
        elif not quiet:
            job.report(video)


class _Download:
    """What is downloaded, from where, and where to."""

    def __init__(
        self,
        connection: Connection,
        given: str,
        output: Path | None,
        *,
        overwrite: bool,
        quiet: bool,
    ) -> None:
        self.path = output or Path()
        self._connection = connection
        self._given = given
        self._output = output
        self._overwrite = overwrite
        self._quiet = quiet
        self._received = 0

    async def run(self, stream: Stream | None) -> DownloadedVideo:
        """Downloads, while the live display shows how far it is."""
        console = Console(stderr=True, highlight=False, quiet=self._quiet)
        async with self._connection.client() as client:
            render_id = await whole_id(client, self._given)
            if self._output is None:
                render = await client.get(render_id)
                scenes = render.request.scenes
                self.path = default_path(scenes[0].prompt if scenes else render_id)
            with DownloadDisplay(console, self.path) as display:

                def hear(event: DownloadEvent) -> None:
                    display.on_event(event)
                    if isinstance(event, DownloadProgress):
                        self._received = event.received

                to = self.path if stream is None else stream
                return await client.download(
                    render_id, to, on_event=hear, overwrite=self._overwrite
                )

    def interrupted(self) -> str:
        """What is said after a signal."""
        if not self._received or is_stream(self.path):
            return "Cancelled. Nothing was kept."
        return (
            f"Stopped. {size(self._received)} are kept in {self.path}.part; the same command "
            "goes on from there."
        )

    def report(self, video: DownloadedVideo) -> None:
        """Says what came."""
        to_stdout = self.path == STDOUT
        console = Console(stderr=to_stdout, highlight=False)
        place = "standard output" if to_stdout else str(self.path)
        fetched = video.size_bytes - video.resumed_at
        resumed = f", {size(fetched)} of it now" if video.resumed_at else ""
        facts = f"  {size(video.size_bytes)}{resumed}, SHA-256 {video.sha256}"
        say(console, Text.assemble((place, "bold green"), facts))
