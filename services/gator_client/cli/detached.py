"""`gator render --detach`: a render that goes on without the command."""

from __future__ import annotations

import typer
from rich.console import Console
from rich.text import Text

from gator_client.cli.connection import Connection
from gator_client.cli.rendering import Asked
from gator_client.cli.summary import print_warnings
from gator_client.cli.wording import count, length_of, say
from gator_client.durable import Render


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
    say(
        errors,
        Text(
            f"The render is {render.state.value} at {connection.server}: {scenes}, "
            f"{length_of(render)}. It goes on alone.",
            style="bold",
        ),
    )
    for verb, what in (
        ("watch", "shows how far it is"),
        ("download", "fetches the video, also while it is being made"),
        ("cancel", "stops it"),
    ):
        say(errors, Text.assemble("  ", connection.command(verb, render.render_id)))
        say(errors, Text(f"    {what}", style="dim"))
