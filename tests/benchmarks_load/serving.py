"""The processes that are measured, and how much of the machine others took meanwhile."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import psutil

from gator.gateway.v1.render_service_pb2_grpc import RenderServiceStub
from rpckit.client import open_channel
from tests.benchmarks_load.callers import Clients
from tests.support.processes import ROOT, server_process

MANY = "1000000"


@dataclass
class Below:
    """The services below the gateways."""

    frame_gen: str
    compositor: str
    ended: dict[str, asyncio.Future[float]] = field(default_factory=dict)

    def end_of(self, render_id: str) -> asyncio.Future[float]:
        """When the work on a scene of a render ended, by time.monotonic()."""
        if render_id not in self.ended:
            self.ended[render_id] = asyncio.get_running_loop().create_future()
        return self.ended[render_id]


@asynccontextmanager
async def services_below() -> AsyncIterator[Below]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "tests.benchmarks_load.below"),
        cwd=ROOT,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    below = Below(**json.loads(await process.stdout.readline()))

    async def listen() -> None:
        async for line in process.stdout:
            told = json.loads(line)
            end = below.end_of(told["ended"])
            if not end.done():
                end.set_result(told["at"])

    listening = asyncio.create_task(listen())
    try:
        yield below
    finally:
        listening.cancel()
        process.kill()
        await process.wait()


@dataclass
class Gateway:
    """A gateway in a process of its own."""

    address: str
    process: psutil.Process
    channel: grpc.aio.Channel

    @property
    def stub(self) -> RenderServiceStub:
        return RenderServiceStub(self.channel)

    @property
    def memory(self) -> int:
        """Resident bytes."""
        return self.process.memory_info().rss

    @property
    def cpu(self) -> float:
        """Seconds of all its threads."""
        return _spent(self.process)


@dataclass(frozen=True)
class Place:
    """Where gateways are started: over one database and one folder of objects."""

    below: Below
    clients: Clients
    database: str
    """Its kind."""
    url: str
    folder: Path
    server: int | None
    """The process of the database, if it has one."""

    @asynccontextmanager
    async def gateway(self, **settings: object) -> AsyncIterator[Gateway]:
        asked = {
            "listen": "127.0.0.1:0",
            "frame_gen_target": self.below.frame_gen,
            "compositor_target": self.below.compositor,
            "state_dir": self.folder,
            "database_url": self.url,
            "max_queued": MANY,
            "max_renders_per_owner": MANY,
            **settings,
        }
        environment = {f"GATOR_GATEWAY_{name.upper()}": str(v) for name, v in asked.items()}
        async with (
            server_process("gateway", **environment) as (process, address),
            open_channel(address) as channel,
        ):
            yield Gateway(address, psutil.Process(process.pid), channel)

    def others(self) -> Others:
        """Begins to look at what others do."""
        return Others(self.server)


class Others:
    """Cores that programs keep busy that take no part, since this was made."""

    def __init__(self, server: int | None) -> None:
        self._ours = [psutil.Process()]
        if server is not None:
            self._ours.append(psutil.Process(server))
        self._since, self._then = time.monotonic(), self._others()

    def look(self) -> float:
        return max(self._others() - self._then, 0) / (time.monotonic() - self._since)

    def _others(self) -> float:
        times = psutil.cpu_times()
        kinds = ("user", "nice", "system", "irq", "softirq")
        busy = sum(getattr(times, kind, 0) for kind in kinds)
        return busy - sum(
            _spent(one) for root in self._ours for one in (root, *root.children(recursive=True))
        )


def _spent(process: psutil.Process) -> float:
    """Seconds of a process, and of its children that have ended."""
    try:
        times = process.cpu_times()
    except psutil.NoSuchProcess:
        return 0.0
    return times.user + times.system + times.children_user + times.children_system
