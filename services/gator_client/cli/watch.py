"""`gator watch`: how far a render on a server is, until it has ended."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import aclosing
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.text import Text

from gator_client.cli.connection import Connection, connecting
from gator_client.cli.display import RenderDisplay
from gator_client.cli.documents import print_event
from gator_client.cli.failure import failing
from gator_client.cli.options import RenderId
from gator_client.cli.render_ids import whole_id
from gator_client.cli.running import run
from gator_client.cli.summary import print_summary, print_warnings
from gator_client.cli.wording import say
from gator_client.durable import Render, RenderState, WatchEvent
from gator_client.errors import RenderError

if TYPE_CHECKING:
    from gator_client.client import AsyncClient

AsLines = Annotated[
    bool,
    typer.Option(
        "--json",
        metavar="",
        help="Print each event as one line of JSON, the render as it ended last.",
    ),
]


@connecting(embedded=False)
def watch(render_id: RenderId, connection: Connection, as_json: AsLines = False) -> None:
    """Watch a render until it has ended.

    gator watch 3f2a9c1e

    gator watch 3f2a9c1e --json | jq .fraction

    Ctrl-C ends the watching only; the render goes on. Exit status: 0 the video
    is there, 1 the render failed or was cancelled, 130 Ctrl-C.
    """
    with failing(as_json=as_json, interrupted=lambda: still_going(connection, render_id)):
        render = run(_watch(connection, render_id, as_json=as_json))
        if not as_json:
            report(render, connection)
        check_succeeded(render, connection, as_json=as_json)


def still_going(connection: Connection, render_id: str) -> str:
    """What is said to who stopped watching."""
    return (
        "Stopped watching. The render goes on; come back to it with\n  "
        f"{connection.command('watch', render_id)}"
    )


async def _watch(connection: Connection, given: str, *, as_json: bool) -> Render:
    async with connection.client() as client:
        render_id = await whole_id(client, given)
        if not as_json:
            return await watch_to_its_end(client, render_id, connection, quiet=False)
        return await watch_to_its_end(client, render_id, connection, quiet=True, told=print_event)


async def watch_to_its_end(
    client: AsyncClient,
    render_id: str,
    connection: Connection,
    *,
    quiet: bool,
    told: Callable[[WatchEvent], None] = lambda _: None,
) -> Render:
    """The render once it has ended; until then the live display shows how far it is."""
    console = Console(stderr=True, highlight=False, quiet=quiet)
    ended: Render | None = None
    with RenderDisplay(console, [], f"at {connection.server}") as display:
        async with aclosing(client.watch(render_id)) as events:
            async for event in events:
                display.on_event(event)
                told(event)
                if isinstance(event, Render):
                    ended = event
    if ended is None:
        raise AssertionError("a watch ends with how the render ended")
    return ended


def report(render: Render, connection: Connection) -> None:
    """Says what was made, if it was, and how to have it."""
    result = render.result
    print_warnings(Console(stderr=True, highlight=False), render.warnings)
    if result is None:
        return
    console = Console(highlight=False)
    began = render.start_time or render.create_time
    elapsed = ((render.end_time or began) - began).total_seconds()
    prompts = [scene.prompt for scene in render.request.scenes]
    print_summary(console, result, prompts, f"Render {render.render_id}", elapsed)
    suggest(console, connection.command("download", render.render_id))


def suggest(console: Console, *commands: str) -> None:
    """Shows what may be done next."""
    for command in commands:
        say(console, Text.assemble(("Next: ", "bold"), command))


def check_succeeded(render: Render, connection: Connection, *, as_json: bool) -> None:
    """Raises why the render has no video, if it has none; only the exit status with `as_json`."""
    if render.state is RenderState.SUCCEEDED:
        return
    if as_json:  # the render, which says why, was printed
        raise typer.Exit(1)
    again = f"{connection.command('retry', render.render_id)} makes it anew; scenes that were "
    again += "finished are not made again."
    if render.error:
        raise replace(render.error, advice=render.error.advice or again).as_error()
    raise RenderError(
        f"render {render.render_id} is {render.state.value}",
        code=render.state.name,
        reason=render.state.name,
        advice=again,
    )
