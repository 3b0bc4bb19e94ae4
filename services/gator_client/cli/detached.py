"""`gator render --detach`: a render that goes on without the command."""

from __future__ import annotations

import typer
from rich.console import Console
from rich.text import Text

from gator_client.cli.connection import Connection
from gator_client.cli.rendering import Asked
from gator_client.cli.summary import print_warnings
from gator_client.cli.wording import count, length_of, say
from gator_client.durable import Render, RenderState

_HAS = (RenderState.SUCCEEDED, RenderState.FAILED)


async def create(connection: Connection, asked: Asked) -> Render:
    """The render that the server made of what was asked for."""
    async with connection.client() as client:
        return await client.create(asked.scenes, **asked.options)


def print_detached(render: Render, connection: Connection, *, quiet: bool = False) -> None:
    """Prints the id alone on stdout, for scripts, and the rest for people on stderr."""
    typer.echo(render.render_id)
    errors = Console(stderr=True, highlight=False)
    print_warnings(errors, render.warnings)
    if quiet:
        return
    scenes = count(len(render.request.scenes), "scene")
    # One that --request-id found may have ended.
    ended = render.state.ended
    state = f"{'has' if render.state in _HAS else 'is'} {render.state.value}"
    say(
        errors,
        Text(
            f"The render {state} at {connection.server}: {scenes}, {length_of(render)}."
            f"{'' if ended else ' It goes on alone.'}",
            style="bold",
        ),
    )
    for verb, what in (
        ("watch", "shows how far it is"),
        ("download", "fetches the video, also while it is being made"),
        *(() if ended else [("cancel", "stops it")]),
    ):
        say(errors, Text.assemble("  ", connection.command(verb, render.render_id)))
        say(errors, Text(f"    {what}", style="dim"))
