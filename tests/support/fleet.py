"""Two gateways, a frame generation service and a compositor, each a process that may die.

What dies is started again at the same address, as an operator's supervisor would.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import signal
import urllib.request
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Self, TypeVar

import grpc
from prometheus_client.parser import text_string_to_metric_families

from gator.gateway.v1 import render_service_pb2 as pb
from gator.gateway.v1.render_service_pb2_grpc import RenderServiceStub
from rpckit.client import open_channel
from tests.support import noting_frame_gen
from tests.support.ports import ReservedPort
from tests.support.processes import Line, server_process

T = TypeVar("T")

LOOPBACK = "127.0.0.1:0"
GATEWAYS = ("gateway 1", "gateway 2")
GRACE = 600
"""Seconds that a server which is told to end waits for what still runs: it does not end then."""
ENDING = 100.0
"""Seconds in which a server ends of which nothing runs."""
FRAME_GEN = "frame_gen"
COMPOSITOR = "compositor"
_GONE = {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED, grpc.StatusCode.UNKNOWN}
"""Codes of a call whose server dies."""


_WORKING = ("gator_rpcs_running", "gator_renders_running_here", "gator_compositions_running")
"""Metrics that are 0 where nothing is done."""
_FAILED = ("waits", "failed")
"""Outcomes of attempts that said why before."""
_BAD = ("error", "critical")


class Member:
    """A server that can be killed and started again."""

    def __init__(self, module: str, listen: str, **environment: str) -> None:
        """`listen` is the variable that has its address."""
        self._module = module
        self._listen = listen
        self._environment = {**environment, "GATOR_METRICS_LISTEN": LOOPBACK}
        self._running = AsyncExitStack()
        self._metrics = ""
        self._port = ReservedPort()
        self.address = self._port.address
        self.process: asyncio.subprocess.Process | None = None
        self.complaints: list[str] = []
        """What its log says of faults: errors, and tracebacks."""
        self.ended: Counter[str] = Counter()
        """Attempts at renders, by what became of them, and why of those that failed."""

    async def start(self) -> None:
        listen = {self._listen: self.address}
        server = server_process(self._module, self._heard, **self._environment, **listen)
        self.process, _ = await self._running.enter_async_context(server)

    def _heard(self, line: Line) -> None:
        if line["event"] == "metrics":
            self._metrics = line["address"]
        elif line.get("level") in _BAD or "Traceback" in line["event"]:
            self.complaints.append(f"{self._module}: {json.dumps(line)}")
        elif line["event"] == "attempt failed":
            self.ended[line["reason"]] += 1
        elif line["event"] == "attempt ended" and line["outcome"] not in _FAILED:
            self.ended[line["outcome"]] += 1

    async def metric(self, name: str, labels: Mapping[str, str] = MappingProxyType({})) -> float:
        """The sum of a metric's samples that have the labels."""
        text = await asyncio.to_thread(_read, f"http://{self._metrics}/metrics")
        return sum(
            sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        )

    async def working(self) -> dict[str, float]:
        """What it does: metrics by name, of those that are not 0."""
        found = {name: await self.metric(name) for name in _WORKING}
        return {name: value for name, value in found.items() if value}

    async def kill(self) -> None:
        """SIGKILL, and a new process."""
        self.process.kill()
        await self.restart()

    async def restart(self) -> None:
        """A new process for one that has died."""
        await self._running.aclose()
        await self.start()

    async def halt(self, seconds: float) -> None:
        """SIGSTOP, and SIGCONT after a while."""
        self.process.send_signal(signal.SIGSTOP)
        try:
            await asyncio.sleep(seconds)
        finally:
            self.process.send_signal(signal.SIGCONT)

    async def end(self, within: float = ENDING) -> int:
        """SIGTERM; the exit status. TimeoutError if it does not end: something runs on."""
        self.process.terminate()
        async with asyncio.timeout(within):
            return await self.process.wait()

    async def close(self) -> None:
        await self._running.aclose()
        self._port.close()


@dataclass
class Fleet:
    """All of them."""

    members: dict[str, Member]
    channels: list[grpc.aio.Channel]
    notes: Path
    """What the frame generation service has made."""

    @classmethod
    @asynccontextmanager
    async def started(
        cls, folder: Path, database_url: str = "", **environment: str
    ) -> AsyncIterator[Self]:
        """`folder` is for objects and for the database, where these have no URLs.

        `environment` is that of the gateways besides.
        """
        notes = folder / "made"
        state = folder / "state"
        below = {
            FRAME_GEN: Member(
                noting_frame_gen.__name__,
                noting_frame_gen.LISTEN,
                **{noting_frame_gen.NOTES: str(notes)},
            ),
            COMPOSITOR: Member(
                "compositor",
                "GATOR_COMPOSITOR_LISTEN",
                GATOR_COMPOSITOR_MAX_CONCURRENT="32",
                GATOR_COMPOSITOR_FLUSH_AFTER="0",
                GATOR_COMPOSITOR_GRACE=str(GRACE),
            ),
        }
        async with AsyncExitStack() as stack:
            for member in below.values():
                stack.push_async_callback(member.close)
            await asyncio.gather(*(member.start() for member in below.values()))
            gateways = {
                name: Member(
                    "tests.support.hasty_gateway",
                    "GATOR_GATEWAY_LISTEN",
                    GATOR_GATEWAY_FRAME_GEN_TARGET=below[FRAME_GEN].address,
                    GATOR_GATEWAY_COMPOSITOR_TARGET=below[COMPOSITOR].address,
                    GATOR_GATEWAY_STATE_DIR=str(state),
                    GATOR_GATEWAY_DATABASE_URL=database_url,
                    GATOR_GATEWAY_GRACE=str(GRACE),
                    GATOR_GATEWAY_MAX_CONCURRENT_SCENES="2",
                    GATOR_GATEWAY_MAX_CONCURRENT_RENDERS="4",
                    **environment,
                )
                for name in GATEWAYS
            }
            for member in gateways.values():
                stack.push_async_callback(member.close)
            await asyncio.gather(*(member.start() for member in gateways.values()))
            channels = [
                await stack.enter_async_context(open_channel(member.address))
                for member in gateways.values()
            ]
            yield cls({**below, **gateways}, channels, notes)

    async def until_idle(self) -> None:
        """Returns once no member does anything; TimeoutError if one goes on."""
        async with asyncio.timeout(100):
            for member in self.members.values():
                while await member.working():  # noqa: ASYNC110 - another process
                    await asyncio.sleep(0.05)

    @property
    def complaints(self) -> list[str]:
        """As `Member.complaints`, of all."""
        return [text for member in self.members.values() for text in member.complaints]

    async def call(self, do: Callable[[RenderServiceStub], Awaitable[T]], first: int = 0) -> T:
        """What `do` returns, at the next gateway when one dies in it."""
        for number in itertools.count(first):
            try:
                async with asyncio.timeout(30):
                    return await do(RenderServiceStub(self.channels[number % len(self.channels)]))
            except grpc.aio.AioRpcError as error:
                if error.code() not in _GONE:
                    raise
            except TimeoutError:
                continue  # it hangs
        raise AssertionError

    async def ended(self, render_id: str, first: int = 0) -> pb.Render:
        """The render once it has ended, watched wherever there is a gateway."""

        async def watch(stub: RenderServiceStub) -> pb.Render:
            asked = pb.WatchRenderRequest(render_id=render_id)
            async for event in stub.WatchRender(asked, wait_for_ready=True):
                last = event
            return last.render

        return await self.call(watch, first)


def _read(url: str) -> str:
    with urllib.request.urlopen(url) as answer:
        return answer.read().decode()
