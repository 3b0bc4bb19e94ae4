"""Servers in processes of their own, for tests that kill them."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

ROOT = Path(__file__).parents[2]
STARTING = 120.0
"""Seconds that a server may take until it listens, where many start at once on few cores."""
LONGEST_LINE = 1 << 24
"""Bytes of a line of a log: a traceback is one."""


@asynccontextmanager
async def server_process(
    module: str, **environment: str
) -> AsyncIterator[tuple[asyncio.subprocess.Process, str]]:
    """`python -m module` until the end of the block, and the address it says it listens on.

    Its log is read on, so that it never waits for room to write.
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
    reading = asyncio.create_task(_read(process.stdout, address))
    try:
        async with asyncio.timeout(STARTING):
            await asyncio.wait({reading, address}, return_when=asyncio.FIRST_COMPLETED)
        assert address.done(), f"{module} ended before it listened"
        yield process, address.result()
    finally:
        if process.returncode is None:
            process.kill()
        await reading
        await process.wait()


async def _read(log: asyncio.StreamReader, address: asyncio.Future[str]) -> None:
    async for line in log:
        if b'"listening"' in line and not address.done():
            address.set_result(json.loads(line)["address"])
