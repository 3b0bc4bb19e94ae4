"""What a finished render is told as, in a few lines."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from gator_client.cli.previews import PreviewFolder
from gator_client.cli.wording import (
    count,
    for_command,
    made_by,
    model_settings,
    say,
    scene_numbers,
    seconds,
    size,
)
from gator_client.result import PassedOver, RenderResult, RenderWarning
from gator_client.video import Backend

_MAX_ROWS = 40
_NO_PREVIEW = {
    Backend.DIFFUSERS: "a model sends one every few steps",
    Backend.OPENAI: "OpenAI sends them where the service's GATOR_OPENAI_PARTIAL_IMAGES asks",
    Backend.PLACEHOLDER: "placeholders have none",
}


def print_summary(
    console: Console, result: RenderResult, prompts: Sequence[str], place: str, elapsed: float
) -> None:
    """Says what was made, and by what. `place` is where it is: a file, or "standard output"."""
    facts = (
        f"{seconds(result.duration)}, {result.resolution} at {result.fps} fps, "
        f"{count(result.frame_count, 'picture')}, {size(result.size_bytes)}, in {seconds(elapsed)}"
    )
    say(console, Text.assemble((place, "bold green"), "  ", facts))
    console.print()
    console.print(_scene_table(result, prompts))
    hidden = len(result.scenes) - _MAX_ROWS
    if hidden > 0:
        console.print(Text(f"  and {hidden} more scenes; --json lists them all", style="dim"))
    console.print()
    if result.frames_reused:
        stored = f"{result.frames_reused} of {count(result.num_scenes, 'frame')}"
        say(console, Text.assemble(("Stored: ", "bold"), f"{stored} were not made again"))
    for model, indices in _models(result).items():
        where = f" (for {scene_numbers(indices)})" if len(indices) < len(result.scenes) else ""
        say(console, Text.assemble(("Model: ", "bold"), model, where))
    for skipped, indices in _passed_over(result).items():
        note = f"{skipped.backend.value} passed over for {scene_numbers(indices)}: "
        say(console, Text.assemble(("Note: ", "bold cyan"), note, for_command(skipped.message)))


def print_previews(console: Console, previews: PreviewFolder, result: RenderResult) -> None:
    """Says how many previews there are and where, or why there are none."""
    said = str(previews)
    if not previews.written:
        makers = {scene.provenance.backend for scene in result.scenes}
        why = [text for backend, text in _NO_PREVIEW.items() if backend in makers]
        said = "; ".join(["no preview came", *why])
    say(console, Text.assemble(("Note: ", "bold cyan"), said))


def print_warnings(console: Console, warnings: Sequence[RenderWarning]) -> None:
    """Says what was changed in the request."""
    for warning in warnings:
        asked = f"{warning.asked} was asked for, " if warning.asked else ""
        applied = f"{warning.applied} is used: " if warning.applied else ""
        text = f"{warning.field}: {asked}{applied}{warning.reason}"
        say(console, Text.assemble(("Warning: ", "bold yellow"), text))


def _scene_table(result: RenderResult, prompts: Sequence[str]) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="dim", expand=True)
    table.add_column("#", justify="right", style="dim", min_width=3)
    table.add_column("starts", justify="right", no_wrap=True)
    table.add_column("lasts", justify="right", no_wrap=True)
    table.add_column("then", no_wrap=True)
    table.add_column("made by", no_wrap=True)
    table.add_column("prompt", no_wrap=True, overflow="ellipsis", ratio=1)
    for scene in result.scenes[:_MAX_ROWS]:
        prompt = prompts[scene.index] if scene.index < len(prompts) else ""
        table.add_row(
            str(scene.index + 1),
            seconds(scene.start_time),
            seconds(scene.duration),
            scene.transition.value if scene.transition else "",
            made_by(scene.provenance),
            Text(prompt),
        )
    return table


def _models(result: RenderResult) -> dict[str, list[int]]:
    """Each model that made frames, with its settings, and for which scenes."""
    found: dict[str, list[int]] = {}
    for scene in result.scenes:
        if model := model_settings(scene.provenance):
            found.setdefault(model, []).append(scene.index)
    return found


def _passed_over(result: RenderResult) -> dict[PassedOver, list[int]]:
    """Each backend that was passed over, with why, and for which scenes."""
    found: dict[PassedOver, list[int]] = {}
    for scene in result.scenes:
        for skipped in scene.provenance.passed_over:
            found.setdefault(skipped, []).append(scene.index)
    return found
