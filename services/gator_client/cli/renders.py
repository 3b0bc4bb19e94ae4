"""`gator list` and `gator show`: the renders of a server."""

from __future__ import annotations

from contextlib import aclosing
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from gator_client.cli.connection import Connection, connecting
from gator_client.cli.documents import print_document
from gator_client.cli.failure import failing
from gator_client.cli.options import Document, RenderId, labels_of
from gator_client.cli.render_ids import shortened, whole_id
from gator_client.cli.running import run
from gator_client.cli.summary import print_warnings
from gator_client.cli.wording import (
    count,
    for_command,
    length_of,
    made_by,
    moment,
    say,
    seconds,
    size,
)
from gator_client.durable import Render, RenderState
from gator_client.video import SceneState

_STYLES = {
    RenderState.QUEUED: "cyan",
    RenderState.RUNNING: "bold cyan",
    RenderState.SUCCEEDED: "green",
    RenderState.FAILED: "bold red",
    RenderState.CANCELLED: "dim",
}
_MAX_ROWS = 40
_LABELS_FROM = 100
"""Columns of a terminal from which on there is room for labels."""

States = Annotated[
    list[str] | None,
    typer.Option(
        "--state",
        metavar="NAME",
        help="Only renders in this state: queued, running, succeeded, failed or cancelled. May "
        "be given several times.",
    ),
]
WithLabels = Annotated[
    list[str] | None,
    typer.Option(
        "--label",
        metavar="KEY=VALUE",
        help="Only renders with this label. May be given several times.",
    ),
]
Limit = Annotated[
    int, typer.Option("--limit", "-n", metavar="N", min=1, help="Show the newest N renders.")
]


@connecting(embedded=False)
def list_(
    connection: Connection,
    states: States = None,
    labels: WithLabels = None,
    limit: Limit = 20,
    as_json: Document = False,
) -> None:
    """List the renders of a server, newest first.

    gator list

    gator list --state queued --state running --label project=atlas

    gator list -n 1000 --json | jq -r '.renders[].render_id'
    """
    with failing(as_json=as_json):
        wanted = labels_of(labels)
        found, more = run(_list(connection, states or [], wanted, limit))
        if as_json:
            print_document({"renders": found, "more": more})
        elif found:
            _print_list(found, more, limit)
        else:
            _say_none(connection, filtered=bool(states or wanted))


async def _list(
    connection: Connection, states: list[str], labels: dict[str, str], limit: int
) -> tuple[list[Render], bool]:
    """The newest renders, and whether there are more."""
    found: list[Render] = []
    async with (
        connection.client() as client,
        aclosing(client.list(states=states, labels=labels)) as renders,
    ):
        async for render in renders:
            if len(found) == limit:
                return found, True
            found.append(render)
    return found, False


def _say_none(connection: Connection, *, filtered: bool) -> None:
    if filtered:
        typer.echo("There is no such render.")
        return
    typer.echo("There are no renders yet. Make one with")
    typer.echo(f"  {connection.command('render', 'a quiet harbour at dawn', '--detach')}")


def _print_list(renders: list[Render], more: bool, limit: int) -> None:
    console = Console(highlight=False)
    short = shortened([render.render_id for render in renders])
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="dim", expand=True)
    table.add_column("id", no_wrap=True)
    table.add_column("state", no_wrap=True)
    table.add_column("created", no_wrap=True)
    table.add_column("scenes", justify="right", no_wrap=True)
    table.add_column("video", no_wrap=True)
    labelled = console.width >= _LABELS_FROM and any(render.labels for render in renders)
    if labelled:
        table.add_column("labels", overflow="ellipsis", no_wrap=True, max_width=20)
    table.add_column("first prompt", overflow="ellipsis", no_wrap=True, ratio=1, min_width=12)
    for render in renders:
        scenes = render.request.scenes
        table.add_row(
            short[render.render_id],
            _state(render),
            moment(render.create_time),
            str(len(scenes)),
            length_of(render),
            *([Text(_labels(render))] if labelled else []),
            Text(scenes[0].prompt if scenes else ""),
        )
    console.print(table)
    if more:
        console.print(f"There are more; -n {limit * 10} shows more of them.", style="dim")


def _state(render: Render) -> Text:
    text = render.state.value
    if render.state is RenderState.RUNNING:
        text += f" {render.progress.fraction:.0%}"
    return Text(text, style=_STYLES.get(render.state, ""))


def _labels(render: Render) -> str:
    return ", ".join(f"{key}={value}" for key, value in sorted(render.labels.items()))


@connecting(embedded=False)
def show(render_id: RenderId, connection: Connection, as_json: Document = False) -> None:
    """Show a render as it stands: its state, its scenes, its video.

    gator show 3f2a9c1e

    gator show 3f2a9c1e --json | jq -r .result.sha256
    """
    with failing(as_json=as_json):
        render = run(_get(connection, render_id))
        if as_json:
            print_document(render)
        else:
            _print_render(render, connection)


async def _get(connection: Connection, given: str) -> Render:
    async with connection.client() as client:
        return await client.get(await whole_id(client, given))


def _print_render(render: Render, connection: Connection) -> None:
    console = Console(highlight=False)
    say(console, Text.assemble(("Render ", "bold"), (render.render_id, "bold"), "\n"))
    for title, text in _facts(render):
        say(console, Text.assemble((f"{title:<10}", "bold"), text))
    console.print()
    console.print(_scene_table(render))
    hidden = len(render.request.scenes) - _MAX_ROWS
    if hidden > 0:
        console.print(Text(f"  and {count(hidden, 'more scene')}; --json lists all", style="dim"))
    print_warnings(Console(stderr=True, highlight=False), render.warnings)
    verb = {
        RenderState.SUCCEEDED: "download",
        RenderState.FAILED: "retry",
        RenderState.CANCELLED: "retry",
    }.get(render.state, "watch")
    console.print()
    say(console, Text.assemble(("Next: ", "bold"), connection.command(verb, render.render_id)))


def _facts(render: Render) -> list[tuple[str, Text | str]]:
    """What is known of a render, with a title each."""
    result = render.result
    facts: list[tuple[str, Text | str]] = [("State", _state(render))]
    if render.error:
        facts.append(("Why", Text(for_command(render.error.message), style="red")))
    facts.append(("Created", _times(render)))
    if render.attempts > 1:
        facts.append(("Attempts", str(render.attempts)))
    video = length_of(render)
    if result:
        kept = f", kept until {moment(render.expire_time)}" if render.expire_time else ""
        video += f", {result.resolution} at {result.fps} fps, {size(result.size_bytes)}{kept}"
        facts.append(("SHA-256", result.sha256))
    facts.insert(1, ("Video", video))
    for title, text in (
        ("Labels", _labels(render)),
        ("Request", render.request_id),
        ("Retry of", render.retry_of),
    ):
        if text:
            facts.append((title, text))
    return facts


def _times(render: Render) -> str:
    text = moment(render.create_time)
    if render.start_time:
        text += f", waited {seconds((render.start_time - render.create_time).total_seconds())}"
        if render.end_time:
            text += f", took {seconds((render.end_time - render.start_time).total_seconds())}"
    return text


def _scene_table(render: Render) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="dim", expand=True)
    table.add_column("#", justify="right", style="dim", min_width=3)
    table.add_column("lasts", justify="right", no_wrap=True)
    table.add_column("then", no_wrap=True)
    table.add_column("made by", no_wrap=True)
    table.add_column("prompt", no_wrap=True, overflow="ellipsis", ratio=1)
    progress = {scene.index: scene for scene in render.scene_progress}
    scenes = render.request.scenes
    for index, scene in enumerate(scenes[:_MAX_ROWS]):
        now = progress.get(index)
        if now and now.provenance:
            maker = made_by(now.provenance)
        elif render.state.ended:
            maker = ""
        else:
            maker = now.state.value if now else SceneState.QUEUED.value
        last = index == len(scenes) - 1
        table.add_row(
            str(index + 1),
            seconds(float(scene.duration)) if isinstance(scene.duration, int | float) else "",
            "" if last else str(scene.transition or ""),
            maker,
            Text(scene.prompt),
        )
    return table
