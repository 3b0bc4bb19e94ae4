"""`gator capabilities`: what a server, or this machine, can do."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table
from rich.text import Text

from gator_client.capabilities import BackendCapability, Capabilities, Device, Limits
from gator_client.cli.connection import Connection, connecting
from gator_client.cli.documents import print_document
from gator_client.cli.failure import failing
from gator_client.cli.options import Document
from gator_client.cli.running import run
from gator_client.cli.wording import for_command, say, seconds, size
from gator_client.video import Codec

_NO_MODEL = "No image generation models available: "
"""How services begin to say why, for those who do not read that it is not available."""


@connecting(embedded=True)
def capabilities(connection: Connection, as_json: Document = False) -> None:
    """List presets, transitions, codecs, backends and limits.

    gator capabilities

    gator capabilities --server host:50051 --json
    """
    with failing(as_json=as_json):
        found = run(_ask(connection))
        if as_json:
            print_document(found)
        else:
            _print(found)


async def _ask(connection: Connection) -> Capabilities:
    async with connection.client() as client:
        return await client.capabilities()


def _print(found: Capabilities) -> None:
    console = Console(highlight=False)
    console.print("Qualities", style="bold")
    console.print(_presets(found))
    console.print()
    console.print("Backends, best first", style="bold")
    for item in found.backends:
        say(console, _backend(item))
    console.print()
    names = ", ".join(transition.value for transition in found.transitions)
    for title, text in (
        ("Transitions", names),
        ("Device", _device(found.device)),
        ("Codecs", _codecs(found)),
        ("Limits", _limits(found.limits)),
        ("Version", found.version),
    ):
        say(console, Text.assemble((f"{title:<13}", "bold"), text))


def _presets(found: Capabilities) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="dim")
    for heading in ("  name", "size", "frames/s", "at most", "for"):
        table.add_column(heading, justify="right" if heading in ("frames/s", "at most") else "left")
    for quality, preset in found.presets.items():
        table.add_row(
            f"  {quality.value}",
            preset.resolution,
            str(preset.fps),
            f"{preset.bitrate_kbps / 1000:g} Mbit/s",
            preset.use_case,
        )
    return table


def _backend(item: BackendCapability) -> Text:
    state = ("ready", "green") if item.available else ("not available", "yellow")
    models = f" ({', '.join(item.models)})" if item.models else ""
    message = for_command(item.message.removeprefix(_NO_MODEL))
    why = f": {message}" if message else ""
    return Text.assemble(f"  {item.backend.value:<13}", state, models, why)


def _codecs(found: Capabilities) -> str:
    if not found.codecs:  # the server is older than this command
        return f"{Codec.H264.value} ({found.encoder})"
    return ", ".join(
        f"{item.codec.value} ({item.encoder}{', on a device' if item.hardware else ''})"
        for item in found.codecs
    )


def _device(device: Device) -> str:
    text = f"{device.type} ({device.name})" if device.name else device.type
    if device.total_memory_bytes:
        free, total = size(device.free_memory_bytes), size(device.total_memory_bytes)
        text += f", {free} of {total} free"
    return text


def _limits(limits: Limits) -> str:
    return (
        f"{limits.max_scenes} scenes, {limits.max_prompt_characters} characters a prompt, "
        f"{seconds(limits.max_scene_duration)} a scene, "
        f"{seconds(limits.max_transition_duration)} a transition, "
        f"{seconds(limits.max_total_duration)} in all"
    )
