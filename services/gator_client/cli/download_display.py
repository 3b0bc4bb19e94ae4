"""The live display of a download."""

from __future__ import annotations

from pathlib import Path
from typing import Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.text import Text

from gator_client.cli.wording import say, size
from gator_client.durable import DownloadEvent, DownloadProgress


class DownloadDisplay:
    """Shows how far a download is, on a terminal. A context manager.

    Where the console is no terminal it shows nothing but connections that were lost. It is
    gone at the end.
    """

    def __init__(self, console: Console, path: Path) -> None:
        self._console = console
        self._path = path
        self._progress = Progress(
            TextColumn("{task.description}", style="bold"),
            BarColumn(bar_width=28),
            TextColumn("{task.fields[bytes]}"),
            TransferSpeedColumn(),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        # Nothing is known of its length yet: it may wait in the queue.
        self._task = self._progress.add_task("Waiting for the video", total=None, bytes="")

    def __enter__(self) -> Self:
        """Begins to show."""
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Clears the display."""
        self._progress.stop()

    def on_event(self, event: DownloadEvent) -> None:
        """Takes what a download tells."""
        if isinstance(event, DownloadProgress):
            self._progress.update(
                self._task,
                description=str(self._path.name),
                total=event.size_bytes,
                completed=event.received,
                bytes=_bytes(event),
            )
        elif self._console.is_terminal:
            self._progress.update(self._task, description="Connection lost; trying again")
        else:
            say(self._console, Text(f"{event.message}; trying again", style="yellow"))


def _bytes(event: DownloadProgress) -> str:
    if event.size_bytes is None:
        return f"{size(event.received)}, still being encoded"
    return f"{size(event.received)} of {size(event.size_bytes)}"
