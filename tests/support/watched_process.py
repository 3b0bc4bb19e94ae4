"""Services in processes of their own, with what they log and measure."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import urllib.request
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.support.processes import ROOT


@dataclass
class WatchedProcess:
    """A service that runs."""

    process: asyncio.subprocess.Process
    lines: list[dict[str, Any]] = field(default_factory=list)
    """What it has logged."""

    async def logged(self, wanted: Callable[[dict[str, Any]], Any]) -> dict[str, Any]:
        """The first line that is wanted, once it is there."""
        for line in self.lines:
            if wanted(line):
                return line
        while text := await self.process.stdout.readline():
            self.lines.append(line := json.loads(text))
            if wanted(line):
                return line
        raise AssertionError(f"it ended before that; it said {self.lines[-3:]}")

    @property
    async def address(self) -> str:
        return (await self.logged(lambda line: line["event"] == "listening"))["address"]

    async def scraped(self) -> str:
        """What Prometheus reads."""
        where = (await self.logged(lambda line: line["event"] == "metrics"))["address"]
        return await asyncio.to_thread(_read, f"http://{where}/metrics")

    async def end(self) -> int:
        """Ends it as a deployment does; its exit status."""
        if self.process.returncode is None:
            self.process.send_signal(signal.SIGTERM)
        while text := await self.process.stdout.readline():
            self.lines.append(json.loads(text))
        return await self.process.wait()


def _read(url: str) -> str:
    with urllib.request.urlopen(url) as answer:
        return answer.read().decode()


@asynccontextmanager
async def watched_process(module: str, **environment: str) -> AsyncIterator[WatchedProcess]:
    """`python -m module` on free ports until the end of the block."""
    name = f"GATOR_{module.upper()}_LISTEN"
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", module),
        cwd=ROOT,
        env={
            **os.environ,
            "GATOR_LOG_FORMAT": "json",
            "GATOR_METRICS_LISTEN": "127.0.0.1:0",
            name: "127.0.0.1:0",
            **environment,
        },
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        yield WatchedProcess(process)
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


@dataclass(frozen=True)
class ThreeServices:
    """The services of a deployment."""

    frame_gen: WatchedProcess
    compositor: WatchedProcess
    gateway: WatchedProcess

    async def end(self) -> None:
        """Ends all, the gateway first."""
        for service in (self.gateway, self.compositor, self.frame_gen):
            assert await service.end() == 0


@asynccontextmanager
async def three_services(folder: Path, **environment: str) -> AsyncIterator[ThreeServices]:
    """The three, with placeholders for frames and their state in `folder`."""
    async with AsyncExitStack() as stack:
        started = stack.enter_async_context
        frame_gen = await started(
            watched_process("frame_gen", GATOR_FRAME_GEN_BACKENDS="placeholder", **environment)
        )
        compositor = await started(watched_process("compositor", **environment))
        gateway = await started(
            watched_process(
                "gateway",
                GATOR_GATEWAY_FRAME_GEN_TARGET=await frame_gen.address,
                GATOR_GATEWAY_COMPOSITOR_TARGET=await compositor.address,
                GATOR_GATEWAY_STATE_DIR=str(folder),
                **environment,
            )
        )
        await gateway.address
        yield ThreeServices(frame_gen, compositor, gateway)
