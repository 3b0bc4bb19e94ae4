"""A frame generation server that takes its time and notes each frame it has made in a file.

The file outlives it: how often a frame was made is known whatever died.
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path

from rpckit.server import RunningServer
from rpckit.telemetry import RENDER_ID_KEY, configure_logging
from rpckit.termination import terminations
from rpckit.testing import LoopbackSettings
from tests.support.frame_source import FrameSource

NOTES = "NOTING_FRAME_GEN_NOTES"
"""Variable with the path of the file."""
LISTEN = "NOTING_FRAME_GEN_LISTEN"
STEP = 0.05
"""Seconds between two messages: the time in which something may die."""


@dataclass(frozen=True)
class Made:
    """A frame was sent whole, but for the word that it is done."""

    render_id: str
    scene: int
    at: float
    """By time.monotonic()."""


def made_frames(notes: Path) -> list[Made]:
    """All that was noted. A line that was cut off was none."""
    if not notes.exists():
        return []
    lines = notes.read_text().splitlines()
    return [Made(**json.loads(line)) for line in lines if line.endswith("}")]


class NotingSource(FrameSource):
    def __init__(self, notes: Path) -> None:
        super().__init__()
        self._notes = os.open(notes, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    async def GenerateFrame(self, request, context):
        render_id = dict(context.invocation_metadata())[RENDER_ID_KEY]
        async with aclosing(super().GenerateFrame(request, context)) as responses:
            async for response in responses:
                await asyncio.sleep(STEP)
                if response.HasField("done"):
                    made = {"render_id": render_id, "scene": request.scene_index}
                    line = json.dumps({**made, "at": time.monotonic()})
                    os.write(self._notes, f"{line}\n".encode())
                yield response


async def main() -> None:
    source = NotingSource(Path(os.environ[NOTES]))
    settings = LoopbackSettings(listen=os.environ[LISTEN])
    with terminations() as terminated:
        async with RunningServer(source.service(), settings):
            await terminated.wait()


if __name__ == "__main__":
    configure_logging()
    asyncio.run(main())
