"""Values in words, the same wherever a command shows them."""

from __future__ import annotations

from rich.console import Console
from rich.text import Text

from gator_client.result import Provenance
from gator_client.video import Backend


def say(console: Console, text: Text) -> None:
    """Prints `text`, wrapped between words on a terminal and not at all elsewhere."""
    console.print(text, soft_wrap=not console.is_terminal)


def for_command(message: str) -> str:
    """A service's message with the option of the command in place of the request's field."""
    return message.replace("with use_ai_generation = false", "with --placeholder")


def seconds(value: float) -> str:
    """A time for people: "0.4 s", "1 min 5 s", "2 h"."""
    if value < 59.95:
        return f"{value:.1f} s"
    minutes, rest = divmod(round(value), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if minutes else f"{hours} h"


def size(count: int) -> str:
    """A number of bytes for people: "830 bytes", "12.4 kB", "3.1 MB"."""
    value = float(count)
    for unit in ("bytes", "kB", "MB"):
        if value < 1000:
            return f"{value:.0f} {unit}" if unit == "bytes" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} GB"


def made_by(provenance: Provenance) -> str:
    """What made a frame, and how long it took."""
    return f"{provenance.backend.value}, {seconds(provenance.generation_time)}"


def model_settings(provenance: Provenance) -> str:
    """The model of a frame with its settings; empty where none was used."""
    if not provenance.model or provenance.backend is Backend.PLACEHOLDER:
        return ""
    parts = [provenance.model]
    if provenance.num_inference_steps:
        count = provenance.num_inference_steps
        parts.append(f"{count} step{'s' if count > 1 else ''}")
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
