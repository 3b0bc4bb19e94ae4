"""`python -m frame_gen` that takes its time and notes each frame it has made in a file.

The file outlives it: how often a frame was made is known whoever made it.
"""

from __future__ import annotations

import asyncio
import json
import os
from contextlib import aclosing
from pathlib import Path

from frame_gen import servicer
from frame_gen.settings import Settings
from rpckit.server import run
from rpckit.telemetry import RENDER_ID_KEY

NOTES = "COUNTING_FRAME_GEN_NOTES"
"""Variable with the path of the file."""
STEP = 0.3
"""Seconds before each message: the time in which a drain may begin."""


def made_frames(notes: Path) -> list[tuple[str, int]]:
    """Render and scene of each frame that was sent whole."""
    return [tuple(json.loads(line)) for line in notes.read_text().splitlines()]


class CountingServicer(servicer.FrameGenServicer):
    """Notes what was made just before it says that it is done."""

    async def GenerateFrame(self, request, context):
        made = [dict(context.invocation_metadata())[RENDER_ID_KEY], request.scene_index]
        async with aclosing(super().GenerateFrame(request, context)) as responses:
            async for response in responses:
                await asyncio.sleep(STEP)
                if response.HasField("done"):
                    os.write(_notes, f"{json.dumps(made)}\n".encode())
                yield response


if __name__ == "__main__":
    _notes = os.open(os.environ[NOTES], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    servicer.FrameGenServicer = CountingServicer
    run(Settings, servicer.build)
