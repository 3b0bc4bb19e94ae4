"""The live display of a render: its scenes, the encoding, the whole."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from gator_client.cli.wording import count, length_of, made_by, say, seconds
from gator_client.durable import Render, RenderState, WatchEvent
from gator_client.result import (
    ConnectionLost,
    RenderAccepted,
    RenderEvent,
    RenderProgress,
    SceneProgress,
)
from gator_client.video import SceneState

_BAR = 28
_STEP_BARS = ((100, 16), (80, 8))
"""From so many columns of the terminal on, and how wide."""
_MAX_ROWS = 12
_DOING = {
    RenderState.QUEUED: "Waiting in the queue with",
    RenderState.RUNNING: "Rendering",
    RenderState.SUCCEEDED: "Rendered",
}


class RenderDisplay:
    """Shows how far a render is, on a terminal. A context manager.

    Where the console is no terminal it shows nothing. It is gone at the end.
    """

    def __init__(self, console: Console, prompts: Sequence[str], place: str) -> None:
        """`place` says where the work is done, such as "at localhost:50051"."""
        self._console = console
        self._prompts = prompts
        self._heading = Text(f"Starting {place}", style="dim")
        self._note: Text | None = None
        self._scenes: dict[int, SceneProgress] = {}
        self._progress: RenderProgress | None = None
        self._began = time.monotonic()
        self._live = Live(
            console=console,
            get_renderable=self._picture,
            refresh_per_second=8,
            transient=True,
        )

    def __enter__(self) -> Self:
        """Begins to show."""
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Clears the display."""
        if self._console.is_terminal:
            self._live.stop()

    def on_event(self, event: RenderEvent | WatchEvent) -> None:
        """Takes what a render tells."""
        self._note = None
        match event:
            case RenderAccepted():
                length = f"{seconds(event.duration)}, {event.preset.resolution}"
                self._head("Rendering", event.scene_count, f"{length} at {event.preset.fps} fps")
            case Render():
                self._take(event)
            case SceneProgress():
                self._scenes[event.index] = event
            case RenderProgress():
                self._progress = event
            case ConnectionLost():
                self._note = Text(f"{event.message}; trying again", style="yellow")
                if not self._console.is_terminal:
                    say(self._console, self._note)

    def _take(self, render: Render) -> None:
        """Shows a render as it stands."""
        self._prompts = [scene.prompt for scene in render.request.scenes]
        self._scenes.update({scene.index: scene for scene in render.scene_progress})
        self._progress = render.progress
        doing = _DOING.get(render.state, render.state.value)
        after = f", tried again after: {render.error.message}" if render.error else ""
        self._head(doing, len(self._prompts), f"{length_of(render)}{after}")

    def _head(self, doing: str, scenes: int, what: str) -> None:
        self._heading = Text(f"{doing} {count(scenes, 'scene')}: {what}", style="bold")

    def _picture(self) -> RenderableType:
        note = [self._note] if self._note else []
        return Group(self._heading, *note, Text(), self._scene_table(), Text(), self._totals())

    def _scene_table(self) -> Table:
        table = Table.grid(padding=(0, 2, 0, 0), expand=True)
        table.add_column(justify="right", style="dim", width=5)
        table.add_column(ratio=4, no_wrap=True, overflow="ellipsis")
        table.add_column(ratio=5, no_wrap=True, overflow="ellipsis")
        for index in self._visible():
            table.add_row(str(index + 1), Text(self._prompts[index]), self._state(index))
        return table

    def _visible(self) -> range:
        """The scenes that there is room for, around the first unfinished one."""
        total = len(self._prompts)
        room = min(total, _MAX_ROWS, max(1, self._console.height - 8))
        unfinished = (
            index
            for index in range(total)
            if index not in self._scenes or self._scenes[index].state is not SceneState.FINISHED
        )
        first = max(0, min(next(unfinished, total) - 2, total - room))
        return range(first, first + room)

    def _state(self, index: int) -> RenderableType:
        scene = self._scenes.get(index)
        if scene is None:
            return Text("waiting", style="dim")
        if scene.state is SceneState.QUEUED:
            # Only a model's download has a time that is left.
            download = scene.time_left
            text = f"waits for the model, {seconds(download)} left" if download else "in the queue"
            return Text(text, style="dim")
        if scene.state is SceneState.FINISHED:
            maker = made_by(scene.provenance) if scene.provenance else "ready"
            return Text(maker, style="green")
        left = f", {seconds(scene.time_left)} left" if scene.time_left else ""
        if scene.steps:
            return self._steps(
                scene, Text(f"step {scene.step} of {scene.steps}{left}", style="cyan")
            )
        return Text(f"being made{left}", style="cyan")

    def _steps(self, scene: SceneProgress, text: Text) -> RenderableType:
        """The text behind a bar, where there is room for one."""
        fitting = (bar for columns, bar in _STEP_BARS if self._console.width >= columns)
        width = next(fitting, 0)
        if not width:
            return text
        row = Table.grid(padding=(0, 2, 0, 0))
        row.add_column(width=width)
        row.add_column(no_wrap=True, overflow="ellipsis")
        row.add_row(_bar(scene.step, scene.steps, width), text)
        return row

    def _totals(self) -> Table:
        progress = self._progress
        table = Table.grid(padding=(0, 2, 0, 0))
        table.add_column(width=8)
        table.add_column(width=_BAR)
        table.add_column()
        if progress:
            scenes = f"{progress.scenes_finished} of {progress.scene_count} scenes"
            pictures = f"{progress.frames_encoded} of {progress.frame_count} pictures"
            table.add_row("Frames", _bar(progress.scenes_finished, progress.scene_count), scenes)
            table.add_row("Encoding", _bar(progress.frames_encoded, progress.frame_count), pictures)
        fraction = progress.fraction if progress else 0.0
        elapsed = seconds(time.monotonic() - self._began)
        table.add_row("Whole", _bar(fraction, 1.0), f"{fraction:.0%}, {elapsed}")
        return table


def _bar(done: float, total: float, width: int = _BAR) -> ProgressBar:
    return ProgressBar(total=total or 1.0, completed=done, width=width)
