"""For tests of services and their users: servers on free ports, scripted servicers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import grpc

from rpckit.client import open_channel
from rpckit.server import RunningServer, Service
from rpckit.settings import ServerSettings


class LoopbackSettings(ServerSettings):
    """A server on a free port of loopback that ends fast."""

    grace: float = 1.0


async def _ready() -> bool:
    return True


async def _close() -> None:
    return


def scripted(
    register: Callable[[grpc.aio.Server], None],
    full_name: str,
    *,
    name: str = "scripted",
    close: Callable[[], Awaitable[None]] = _close,
) -> Service:
    """A service around a servicer that a test wrote."""
    return Service(name, full_name, register, _ready, close)


@asynccontextmanager
async def running(
    service: Service, settings: ServerSettings | None = None
) -> AsyncIterator[RunningServer]:
    """A server of `service` on a free port."""
    async with RunningServer(service, settings or LoopbackSettings()) as server:
        yield server


@asynccontextmanager
async def connected(
    service: Service, settings: ServerSettings | None = None
) -> AsyncIterator[grpc.aio.Channel]:
    """A channel to a server of `service` on a free port."""
    async with running(service, settings) as server, open_channel(server.address) as channel:
        yield channel


def other_tasks() -> set[asyncio.Task[object]]:
    """The unfinished tasks of this loop: what a call left behind.

    Without the one that asks, and without the one in which gRPC waits for the
    next call.
    """
    current = asyncio.current_task()
    return {t for t in asyncio.all_tasks() if t is not current and not _waits_for_call(t)}


def _waits_for_call(task: asyncio.Task[object]) -> bool:
    name = getattr(task.get_coro(), "__qualname__", "")
    return name == "AioServer._request_registered_call"
