"""Servers in processes of their own, for tests that kill them."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
STARTING = 100.0
"""Seconds that a server may take until it listens, where many start at once on few cores."""
LONGEST_LINE = 1 << 24
"""Bytes of a line of a log: a traceback is one."""
LOG_READING = "log of a process"
"""Name of the task that reads on."""
Line = dict[str, Any]
"""What a line of a log says; {"event": the line} of what is no JSON, such as a traceback."""


@asynccontextmanager
async def server_process(
    module: str, on_line: Callable[[Line], object] = lambda _: None, **environment: str
) -> AsyncIterator[tuple[asyncio.subprocess.Process, str]]:
    """`python -m module` until the end of the block, and the address it says it listens on.

    Its log is read on, so that it never waits for room to write, and given to `on_line`.
    """
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        module,
        cwd=ROOT,
        env={**os.environ, "GATOR_LOG_FORMAT": "json", **environment},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        limit=LONGEST_LINE,
    )
    address = asyncio.get_running_loop().create_future()
    said: deque[Line] = deque(maxlen=20)

    def heard(line: Line) -> None:
        said.append(line)
        on_line(line)

    reading = asyncio.create_task(_read(process.stdout, address, heard), name=LOG_READING)
    try:
        async with asyncio.timeout(STARTING):
            await asyncio.wait({reading, address}, return_when=asyncio.FIRST_COMPLETED)
        assert address.done(), f"{module} ended before it listened: {list(said)}"
        yield process, address.result()
    finally:
        if process.returncode is None:
            process.kill()
        await reading
        await process.wait()


async def halt(*pids: int) -> None:
    """SIGSTOP to processes; returns once none of their threads runs."""
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    for pid in pids:
        while not is_halted(pid):  # noqa: ASYNC110 - the kernel tells nobody
            await asyncio.sleep(0.01)


def is_halted(pid: int) -> bool:
    """Whether a process was stopped by a signal."""
    state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    return state == "T"


async def _read(
    log: asyncio.StreamReader, address: asyncio.Future[str], on_line: Callable[[Line], object]
) -> None:
    async for text in log:
        try:
            line = json.loads(text)
        except ValueError:
            line = {"event": text.decode(errors="replace").rstrip()}
        if line["event"] == "listening" and not address.done():
            address.set_result(line["address"])
        on_line(line)
