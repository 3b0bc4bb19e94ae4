"""`gator render`: prompts or a storyboard in, a video out."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from contextlib import aclosing, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, cast

import typer
from rich.console import Console

from gator_client.cli.connection import (
    CaFile,
    CertFile,
    Connection,
    KeyFile,
    Server,
    ShownToken,
    Timeout,
    UseTls,
)
from gator_client.cli.destination import STDOUT, Stream, check_path, default_path, is_stream
from gator_client.cli.display import RenderDisplay
from gator_client.cli.failure import failing
from gator_client.cli.options import (
    AsJson,
    CodecName,
    Duration,
    Fallback,
    Force,
    Guidance,
    NegativePrompt,
    Output,
    Placeholder,
    Preview,
    Prompts,
    QualityName,
    Quiet,
    Seed,
    Steps,
    StoryboardFile,
    Strict,
    TransitionDuration,
    TransitionName,
)
from gator_client.cli.previews import PreviewFolder
from gator_client.cli.running import run
from gator_client.cli.summary import document, print_previews, print_summary, print_warnings
from gator_client.result import RenderEvent, RenderResult, ScenePreview, VideoChunk
from gator_client.scene import RenderOptions, Scene

if TYPE_CHECKING:
    from gator_client.client import AsyncClient

Hear = Callable[[RenderEvent], Awaitable[None]]


def render(
    prompts: Prompts = None,
    *,
    scenes: StoryboardFile = None,
    quality: QualityName = None,
    transition: TransitionName = None,
    duration: Duration = None,
    transition_duration: TransitionDuration = None,
    negative_prompt: NegativePrompt = None,
    steps: Steps = None,
    guidance: Guidance = None,
    seed: Seed = None,
    placeholder: Placeholder = False,
    fallback: Fallback = None,
    strict: Strict = False,
    output: Output = None,
    codec: CodecName = None,
    force: Force = False,
    preview: Preview = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
    server: Server = None,
    tls: UseTls = False,
    ca_file: CaFile = None,
    cert_file: CertFile = None,
    key_file: KeyFile = None,
    token: ShownToken = None,
    timeout: Timeout = None,
) -> None:
    """Render a video from prompts, or from a storyboard file.

    Two scenes of three seconds, with no server and no model:

      gator render "a quiet harbour at dawn" "a market in full swing" -o film.mp4

    A quick look at another transition:

      gator render "one" "two" -q draft -t slide --duration 1.5 --placeholder

    Scenes with settings of their own (see examples/story.yaml):

      gator render --scenes story.yaml -o story.mp4

    With a look at each image while it is being made:

      gator render "a lighthouse" --preview previews

    On a server, and for a script:

      gator render "a lighthouse" --server host:50051 --json -o film.mp4

    The file appears under its name only when it is whole; Ctrl-C leaves nothing
    behind. Exit status: 0 done, 1 failed, 2 wrong usage or request, 130 Ctrl-C.
    """
    may_ask = not (as_json or quiet)
    previews = PreviewFolder(preview, force=force, may_ask=may_ask) if preview else None

    def left() -> str:
        if previews and previews.written:
            return f"No video was written; {previews}."
        return "Nothing was written."

    with failing(as_json=as_json, left=left):
        job = Job(
            *_gather(
                prompts or [],
                scenes,
                seed,
                {
                    "quality": quality,
                    "transition": transition,
                    "duration_per_frame": duration,
                    "transition_duration": transition_duration,
                    "negative_prompt": negative_prompt,
                    "num_inference_steps": steps,
                    "guidance_scale": guidance,
                    "use_ai_generation": False if placeholder else None,
                    "fallback_policy": fallback,
                    "codec": codec,
                    "strict": strict or None,
                },
            ),
            path=output or default_path(scenes.stem if scenes else (prompts or [""])[0]),
            connection=Connection(server, tls, ca_file, cert_file, key_file, timeout, token),
            previews=previews,
            as_json=as_json,
            quiet=quiet,
        )
        if as_json and job.path == STDOUT:
            raise typer.BadParameter("--json and -o - both want the standard output")
        check_path(job.path, force=force, may_ask=may_ask)
        began = time.monotonic()
        # Opened out here: a pipe waits for its reader, and Ctrl-C must end that too.
        with (
            previews or nullcontext(),
            Stream(job.path) if is_stream(job.path) else nullcontext() as stream,
        ):
            # A file that is there may be replaced by now; one that comes later may not.
            overwrite = force or job.path.exists()
            result = run(job.render(stream, overwrite=overwrite))
        job.report(result, time.monotonic() - began)


def _gather(
    prompts: list[str], storyboard: Path | None, seed: int | None, given: dict[str, object]
) -> tuple[list[Scene], RenderOptions]:
    """The scenes and options of the command line and the storyboard together."""
    if bool(prompts) == bool(storyboard):
        raise typer.BadParameter(
            "give prompts or --scenes FILE, not both"
            if prompts
            else 'there is nothing to render; give prompts, such as gator render "a hill", or '
            "--scenes FILE"
        )
    scenes, options = [Scene(prompt) for prompt in prompts], RenderOptions()
    if storyboard:
        from gator_client.storyboard import load_storyboard  # noqa: PLC0415 - see cli.app

        board = load_storyboard(storyboard)
        scenes, options = list(board.scenes), board.options
    said = {key: value for key, value in given.items() if value is not None}
    if seed is not None:
        scenes = [
            scene if scene.seed is not None else replace(scene, seed=seed + index)
            for index, scene in enumerate(scenes)
        ]
    return scenes, cast("RenderOptions", {**options, **said})


@dataclass(frozen=True)
class Job:
    """What is rendered, by whom, and where to."""

    scenes: list[Scene]
    options: RenderOptions
    path: Path
    connection: Connection
    previews: PreviewFolder | None
    as_json: bool
    quiet: bool

    async def render(self, stream: Stream | None, *, overwrite: bool) -> RenderResult:
        """Renders to the file, or to `stream`, while the live display shows how far it is."""
        quiet = self.as_json or self.quiet
        console = Console(stderr=True, highlight=False, quiet=quiet)
        server = self.connection.server
        place = f"at {server}" if server else "in this process"
        with RenderDisplay(console, self._prompts, place) as display:

            async def hear(event: RenderEvent) -> None:
                display.on_event(event)
                if self.previews and isinstance(event, ScenePreview):
                    await self.previews.save(event)

            async with self.connection.client() as client:
                if stream is not None:
                    return await self._send(client, stream, hear)
                return await client.render_to_file(
                    self.scenes, self.path, on_event=hear, overwrite=overwrite, **self.options
                )

    async def _send(self, client: AsyncClient, stream: Stream, hear: Hear) -> RenderResult:
        async with aclosing(client.render(self.scenes, **self.options)) as events:
            async for event in events:
                await hear(event)
                if isinstance(event, VideoChunk):
                    await stream.write(event.data)
                if isinstance(event, RenderResult):
                    result = event
        return result

    def report(self, result: RenderResult, elapsed: float) -> None:
        """Says what was made."""
        previews = self.previews
        if previews:
            result = replace(result, warnings=result.warnings + previews.warnings)
        if self.as_json:
            written = previews.written if previews else []
            typer.echo(document(result, self.path, elapsed, written))
            return
        errors = Console(stderr=True, highlight=False)
        if not self.quiet:
            console = errors if self.path == STDOUT else Console(highlight=False)
            place = "standard output" if self.path == STDOUT else str(self.path)
            print_summary(console, result, self._prompts, place, elapsed)
            if previews:
                print_previews(console, previews, result)
        print_warnings(errors, result.warnings)

    @property
    def _prompts(self) -> list[str]:
        return [scene.prompt for scene in self.scenes]
