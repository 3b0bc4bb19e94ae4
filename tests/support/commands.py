"""The gator command as a process, in a folder of its own."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

GATOR = ("-m", "gator_client.cli")
PATIENT = ("-P", str(Path(__file__).with_name("patient_gator.py")))
"""The same for a server that goes and comes back."""


async def start(
    *args: object, cwd: Path, program: tuple[str, str] = GATOR, **environment: str
) -> asyncio.subprocess.Process:
    """A process that has begun."""
    return await asyncio.create_subprocess_exec(
        sys.executable,
        *program,
        *(str(arg) for arg in args),
        cwd=cwd,
        env={
            "PATH": "/usr/bin:/bin",
            "TMPDIR": str(cwd),
            "XDG_STATE_HOME": os.environ["XDG_STATE_HOME"],
            **environment,
        },
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


async def gator(*args: object, cwd: Path, **environment: str) -> tuple[int, str, str]:
    """Exit status, standard output and standard error of a process that has ended."""
    process = await start(*args, cwd=cwd, **environment)
    out, errors = await process.communicate()
    return process.returncode, out.decode(), errors.decode()


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


async def address_of(server: asyncio.subprocess.Process) -> str:
    """What `gator serve` says that it listens on."""
    line = (await server.stdout.readline()).decode()
    assert line.startswith("Gator Video listens on ")
    return line.split()[4].rstrip(".")


@asynccontextmanager
async def serving(
    cwd: Path,
    listen: str = "127.0.0.1:0",
    program: tuple[str, str] = GATOR,
    **environment: str,
) -> AsyncIterator[str]:
    """Address of `gator serve`, until the end of the block; SIGTERM ends it."""
    server = await start("serve", "--listen", listen, cwd=cwd, program=program, **environment)
    try:
        yield await address_of(server)
    finally:
        server.send_signal(signal.SIGTERM)
        await server.communicate()
