"""`gator render`: prompts or a storyboard in, a video out."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import cast

import typer

from gator_client.cli.connection import Connection, connecting
from gator_client.cli.destination import STDOUT, Stream, check_path, default_path, is_stream
from gator_client.cli.detached import create, print_detached
from gator_client.cli.documents import print_document
from gator_client.cli.failure import failing
from gator_client.cli.options import (
    AsJson,
    CodecName,
    Detach,
    Duration,
    Fallback,
    Force,
    Guidance,
    Labels,
    NegativePrompt,
    Output,
    Placeholder,
    Preview,
    PriorityName,
    Prompts,
    QualityName,
    Quiet,
    RequestId,
    Seed,
    Steps,
    StoryboardFile,
    Strict,
    TransitionDuration,
    TransitionName,
    labels_of,
)
from gator_client.cli.previews import PreviewFolder
from gator_client.cli.rendering import Asked, Rendering
from gator_client.cli.running import run
from gator_client.scene import CreateOptions, Scene


@connecting(embedded=True)
def render(
    prompts: Prompts = None,
    *,
    connection: Connection,
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
    detach: Detach = False,
    labels: Labels = None,
    priority: PriorityName = None,
    request_id: RequestId = None,
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

    On a server that goes on alone; see gator list, watch and download:

      gator render "a lighthouse" --detach --server host:50051

    The file appears under its name only when it is whole. A connection that
    breaks is made again. Ctrl-C cancels the render and leaves nothing behind.
    Exit status: 0 done, 1 failed, 2 wrong usage or request, 130 Ctrl-C.
    """
    may_ask = not (as_json or quiet)
    request = partial(
        _gather,
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
            "labels": labels_of(labels) or None,
            "priority": priority,
            "request_id": request_id,
        },
    )
    if detach:
        if output or preview:
            raise typer.BadParameter(
                "--detach writes no file: leave out -o and --preview, and fetch the video with "
                "gator download"
            )
        _detach(connection.needed(), request, as_json=as_json, quiet=quiet)
        return
    path = output or default_path(scenes.stem if scenes else (prompts or [""])[0])
    previews = PreviewFolder(preview, force=force, may_ask=may_ask) if preview else None
    rendering = Rendering(connection, path, previews, as_json=as_json, quiet=quiet)
    with failing(as_json=as_json, interrupted=rendering.interrupted):
        asked = request()
        if as_json and path == STDOUT:
            raise typer.BadParameter("--json and -o - both want the standard output")
        check_path(path, force=force, may_ask=may_ask)
        began = time.monotonic()
        # Opened out here: a pipe waits for its reader, and Ctrl-C must end that too.
        with (
            previews or nullcontext(),
            Stream(path) if is_stream(path) else nullcontext() as stream,
        ):
            # A file that is there may be replaced by now; one that comes later may not.
            overwrite = force or path.exists()
            result = run(rendering.run(asked, stream, overwrite=overwrite))
        rendering.report(asked, result, time.monotonic() - began)


def _detach(
    connection: Connection, request: Callable[[], Asked], *, as_json: bool, quiet: bool
) -> None:
    with failing(as_json=as_json):
        render = run(create(connection, request()))
        if as_json:
            print_document(render)
        else:
            print_detached(render, connection, quiet=quiet)


def _gather(
    prompts: list[str], storyboard: Path | None, seed: int | None, given: dict[str, object]
) -> Asked:
    """The scenes and options of the command line and the storyboard together."""
    if bool(prompts) == bool(storyboard):
        raise typer.BadParameter(
            "give prompts or --scenes FILE, not both"
            if prompts
            else 'there is nothing to render; give prompts, such as gator render "a hill", or '
            "--scenes FILE"
        )
    scenes, options = [Scene(prompt) for prompt in prompts], CreateOptions()
    if storyboard:
        from gator_client.storyboard import load_storyboard  # noqa: PLC0415 - see cli.app

        board = load_storyboard(storyboard)
        scenes, options = list(board.scenes), cast("CreateOptions", board.options)
    said = {key: value for key, value in given.items() if value is not None}
    if seed is not None:
        scenes = [
            scene if scene.seed is not None else replace(scene, seed=seed + index)
            for index, scene in enumerate(scenes)
        ]
    return Asked(scenes, cast("CreateOptions", {**options, **said}))
