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


@asynccontextmanager
async def server_process(
    module: str, **environment: str
) -> AsyncIterator[tuple[asyncio.subprocess.Process, str]]:
    """`python -m module` until the end of the block, and the address it says it listens on."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        module,
        cwd=ROOT,
        env={**os.environ, "GATOR_LOG_FORMAT": "json", **environment},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        async with asyncio.timeout(30):
            while b'"listening"' not in (line := await process.stdout.readline()):
                assert line, f"{module} ended before it listened"
        yield process, json.loads(line)["address"]
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()
