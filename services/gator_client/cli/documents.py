"""What commands print for programs: JSON with the names of the SDK."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import typer

from gator_client.durable import DownloadedVideo, Render, WatchEvent
from gator_client.result import (
    ConnectionLost,
    RenderProgress,
    RenderResult,
    ScenePreview,
    SceneProgress,
)

_KINDS: dict[type[object], str] = {
    Render: "render",
    RenderProgress: "progress",
    SceneProgress: "scene",
    ConnectionLost: "connection_lost",
}


def print_document(value: object) -> None:
    """Prints a value of dataclasses, mappings and lists as one JSON document."""
    typer.echo(json.dumps(value, ensure_ascii=False, indent=2, default=_plain))


def print_event(event: WatchEvent) -> None:
    """Prints what happened as one line of JSON: `event` names its kind, the rest is its fields.

    Previews are left out: they are pictures.
    """
    if not isinstance(event, ScenePreview):
        line = {"event": _KINDS[type(event)], **fields_of(event)}
        typer.echo(json.dumps(line, ensure_ascii=False, default=_plain))


def render_document(
    result: RenderResult, path: Path, elapsed: float, previews: Sequence[Path]
) -> dict[str, object]:
    """The fields of RenderResult and these.

    `file` (absolute path), `file_size`, `resolution`, `elapsed` (seconds), `previews`
    (absolute paths).
    """
    fields = fields_of(result)
    head = {
        "file": str(path.absolute()),
        "file_size": fields.pop("size_bytes"),
        "resolution": result.resolution,
        "elapsed": round(elapsed, 3),
    }
    return {**head, **fields, "previews": [str(preview.absolute()) for preview in previews]}


def download_document(video: DownloadedVideo, path: Path) -> dict[str, object]:
    """The fields of DownloadedVideo, and `file` (absolute path)."""
    return {"file": str(path.absolute()), **fields_of(video)}


def fields_of(value: object) -> dict[str, object]:
    """The fields of a dataclass, by name."""
    return {
        field.name: getattr(value, field.name)
        for field in dataclasses.fields(value)  # type: ignore[arg-type]  # it is one
    }


def _plain(value: object) -> object:
    if isinstance(value, datetime):
        return value.isoformat()
    if dataclasses.is_dataclass(value):
        return fields_of(value)
    raise TypeError(f"{type(value).__name__} has no JSON form")
