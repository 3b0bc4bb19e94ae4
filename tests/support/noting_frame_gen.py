"""A frame generation server that takes its time and notes each frame in a file.

The file outlives it: how often a frame was made is known whatever died.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from contextlib import aclosing
from dataclasses import asdict, dataclass
from pathlib import Path

from rpckit.metrics import metrics_endpoint
from rpckit.server import RunningServer
from rpckit.telemetry import RENDER_ID_KEY, configure_logging
from rpckit.termination import terminations
from rpckit.testing import LoopbackSettings
from tests.support.frame_source import FrameSource

NOTES = "NOTING_FRAME_GEN_NOTES"
"""Variable with the path of the file."""
LISTEN = "NOTING_FRAME_GEN_LISTEN"
DIES_IN = "NOTING_FRAME_GEN_DIES_IN"
"""Variable with the index of a scene: it dies (SIGKILL) in the first frame of that scene, when
half of what it sends of it is sent."""
STEP = 0.05
"""Seconds between two messages: the time in which something may die."""


@dataclass(frozen=True)
class Note:
    """A frame was begun, or made: sent whole, but for the word that it is done."""

    render_id: str
    scene: int
    made: bool
    at: float
    """By time.monotonic()."""


def noted(notes: Path) -> list[Note]:
    """All that was noted. A line that was cut off was none."""
    if not notes.exists():
        return []
    lines = notes.read_text().splitlines()
    return [Note(**json.loads(line)) for line in lines if line.endswith("}")]


class NotingSource(FrameSource):
    def __init__(self, notes: Path, dies_in: int) -> None:
        super().__init__()
        self._dies_in = dies_in if all(note.scene != dies_in for note in noted(notes)) else -1
        self._notes = os.open(notes, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def _note(self, render_id: str, scene: int, *, made: bool) -> None:
        note = Note(render_id, scene, made, time.monotonic())
        os.write(self._notes, f"{json.dumps(asdict(note))}\n".encode())

    async def GenerateFrame(self, request, context):
        render_id = dict(context.invocation_metadata())[RENDER_ID_KEY]
        self._note(render_id, request.scene_index, made=False)
        async with aclosing(super().GenerateFrame(request, context)) as responses:
            async for response in responses:
                await asyncio.sleep(STEP)
                if response.HasField("done"):
                    self._note(render_id, request.scene_index, made=True)
                yield response
                if response.HasField("header") and request.scene_index == self._dies_in:
                    os.kill(os.getpid(), signal.SIGKILL)


async def main() -> None:
    source = NotingSource(Path(os.environ[NOTES]), int(os.environ.get(DIES_IN, "-1")))
    settings = LoopbackSettings(listen=os.environ[LISTEN])
    with terminations() as terminated, metrics_endpoint():
        async with RunningServer(source.service(), settings):
            await terminated.wait()


if __name__ == "__main__":
    configure_logging()
    asyncio.run(main())
