"""`gator cancel` and `gator delete`: renders that are not wanted any more."""

from __future__ import annotations

import typer

from gator_client.cli.connection import Connection, connecting
from gator_client.cli.documents import print_document
from gator_client.cli.failure import failing
from gator_client.cli.options import Document, RenderIds
from gator_client.cli.render_ids import whole_id
from gator_client.cli.running import run
from gator_client.durable import Render, RenderState


@connecting(embedded=False)
def cancel(render_ids: RenderIds, connection: Connection, as_json: Document = False) -> None:
    """Stop renders. One that has ended stays as it is.

    gator cancel 3f2a9c1e

    gator list --state queued --json | jq -r '.renders[].render_id' | xargs gator cancel
    """
    with failing(as_json=as_json):
        cancelled = run(_cancel(connection, render_ids))
        if as_json:
            print_document({"renders": cancelled})
            return
        for render in cancelled:
            if render.state is RenderState.CANCELLED:
                typer.echo(f"Render {render.render_id} is cancelled.")
            else:
                typer.echo(f"Render {render.render_id} had {render.state.value} already.")


async def _cancel(connection: Connection, given: list[str]) -> list[Render]:
    async with connection.client() as client:
        return [await client.cancel(await whole_id(client, one)) for one in given]


@connecting(embedded=False)
def delete(render_ids: RenderIds, connection: Connection, as_json: Document = False) -> None:
    """Delete renders that have ended, and their videos.

    gator delete 3f2a9c1e

    One that still waits or runs is refused: cancel it first. Frames that other
    renders may need stay until they expire.
    """
    with failing(as_json=as_json):
        deleted = run(_delete(connection, render_ids))
        if as_json:
            print_document({"deleted": deleted})
            return
        for render_id in deleted:
            typer.echo(f"Render {render_id} is deleted.")


async def _delete(connection: Connection, given: list[str]) -> list[str]:
    async with connection.client() as client:
        # All are known before the first is gone.
        whole = [await whole_id(client, one) for one in given]
        for render_id in whole:
            await client.delete(render_id)
        return whole
