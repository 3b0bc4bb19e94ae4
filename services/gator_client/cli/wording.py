"""Values in words, the same wherever a command shows them."""

from __future__ import annotations

from datetime import datetime

from rich.console import Console
from rich.text import Text

from gator_client.durable import Render
from gator_client.result import Provenance
from gator_client.video import Backend, Quality


def say(console: Console, text: Text) -> None:
    """Prints `text`, wrapped between words on a terminal and not at all elsewhere."""
    console.print(text, soft_wrap=not console.is_terminal)


def for_command(message: str) -> str:
    """A service's message with the option of the command in place of the request's field."""
    return message.replace("with use_ai_generation = false", "with --placeholder")


def count(number: int, thing: str) -> str:
    """So many things: "1 scene", "2 scenes"."""
    return f"{number:,} {thing}{'' if number == 1 else 's'}"


def moment(time: datetime) -> str:
    """A time for people, by their own clock: "15:41:02" today, "22 Nov 15:41", "22 Nov 2025"."""
    local, today = time.astimezone(), datetime.now().astimezone()
    if local.date() == today.date():
        return f"{local:%H:%M:%S}"
    return f"{local.day} {local:%b %H:%M}" if local.year == today.year else f"{local:%d %b %Y}"


def seconds(value: float) -> str:
    """A time for people: "0.4 s", "1 min 5 s", "2 h"."""
    if value < 59.95:
        return f"{value:.1f} s"
    minutes, rest = divmod(round(value), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if minutes else f"{hours} h"


def length_of(render: Render) -> str:
    """How long the video of a render is, and of which preset: "6.0 s, draft"."""
    from gator_client.presets import PRESETS  # noqa: PLC0415 - needs what takes long to load

    quality = render.request.options.get("quality")
    preset = PRESETS[Quality(quality)] if quality else None
    length = seconds(render.progress.frame_count / preset.fps) if preset else ""
    return ", ".join(part for part in (length, quality) if part)


def size(number: int) -> str:
    """A number of bytes for people: "830 bytes", "12.4 kB", "3.1 MB"."""
    value = float(number)
    for unit in ("bytes", "kB", "MB"):
        if value < 1000:
            return f"{value:.0f} {unit}" if unit == "bytes" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} GB"


def made_by(provenance: Provenance) -> str:
    """What made a frame, and how long it took."""
    if provenance.original_backend:
        return f"{provenance.original_backend.value}, stored"
    return f"{provenance.backend.value}, {seconds(provenance.generation_time)}"


def model_settings(provenance: Provenance) -> str:
    """The model of a frame with its settings; empty where none was used."""
    if not provenance.model or provenance.backend is Backend.PLACEHOLDER:
        return ""
    parts = [provenance.model]
    if provenance.num_inference_steps:
        parts.append(count(provenance.num_inference_steps, "step"))
    if provenance.guidance_scale:
        parts.append(f"guidance {provenance.guidance_scale:g}")
    parts.append(f"images of {provenance.width}x{provenance.height}")
    return ", ".join(parts)


def scene_numbers(indices: list[int]) -> str:
    """Scenes from 1, runs joined: "scene 2", "scenes 1-3, 7"."""
    runs: list[list[int]] = []
    for index in indices:
        if runs and index == runs[-1][-1] + 1:
            runs[-1].append(index)
        else:
            runs.append([index])
    parts = [f"{r[0] + 1}" if len(r) == 1 else f"{r[0] + 1}-{r[-1] + 1}" for r in runs]
    return f"scene{'s' if len(indices) > 1 else ''} {', '.join(parts)}"
