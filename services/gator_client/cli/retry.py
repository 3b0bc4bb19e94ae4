"""`gator retry`: what a render was asked for, once more."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.console import Console

from gator_client.cli.connection import Connection, connecting
from gator_client.cli.detached import print_detached
from gator_client.cli.documents import print_document
from gator_client.cli.failure import failing
from gator_client.cli.options import Document, RenderId
from gator_client.cli.render_ids import whole_id
from gator_client.cli.running import run
from gator_client.cli.watch import check_succeeded, report, still_going, watch_to_its_end
from gator_client.durable import Render

Detach = Annotated[
    bool,
    typer.Option("--detach", metavar="", help="Print the new render's id and return."),
]


@connecting(embedded=False)
def retry(
    render_id: RenderId, connection: Connection, detach: Detach = False, as_json: Document = False
) -> None:
    """Render again what a render that has ended was asked for.

    A new render is made; scenes that are stored are not made again. It is
    watched until it has ended, unless --detach:

      gator retry 3f2a9c1e

      gator retry 3f2a9c1e --detach

    Ctrl-C ends the watching only; the render goes on.
    """
    made: list[Render] = []

    def interrupted() -> str:
        return still_going(connection, made[0].render_id) if made else "Cancelled."

    with failing(as_json=as_json, interrupted=interrupted):
        render = run(_retry(connection, render_id, made, watched=not detach, quiet=as_json))
        if as_json:
            print_document(render)
        elif detach:
            print_detached(render, connection)
        else:
            report(render, connection)
        if not detach:
            check_succeeded(render, connection, as_json=as_json)


async def _retry(
    connection: Connection, given: str, made: list[Render], *, watched: bool, quiet: bool
) -> Render:
    """The new render, which is put into `made` as soon as there is one."""
    async with connection.client() as client:
        render = await client.retry(await whole_id(client, given))
        made.append(render)
        if not watched:
            return render
        console = Console(stderr=True, highlight=False, quiet=quiet)
        console.print(f"Render {render.render_id} is a retry of {render.retry_of}.")
        return await watch_to_its_end(client, render.render_id, connection, quiet=quiet)
