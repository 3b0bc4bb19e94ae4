"""Clients that call a gateway as fast as it answers, in processes of their own.

They send bytes that were made before and do not read what comes back: what is measured
is the gateway.
"""

from __future__ import annotations

import asyncio
import itertools
import math
import multiprocessing
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Generic, TypeVar

import grpc

from gator.gateway.v1 import render_service_pb2 as pb
from gator.type.v1 import video_pb2

T = TypeVar("T")

SERVICE = "/gator.gateway.v1.RenderService"
PROCESSES = 2
CONNECTIONS = 4
"""Of each process."""
_OPTIONS = [("grpc.use_local_subchannel_pool", 1), ("grpc.enable_http_proxy", 0)]

Sample = tuple[float, float]
"""When something ended, by time.monotonic(), and how many seconds it had taken: no number of
them is enough (math.inf) for what failed."""


def request(prompt: str, scenes: int = 1, **fields: object) -> pb.RenderRequest:
    """A draft of one second a scene."""
    message = pb.RenderRequest(
        scenes=[pb.Scene(prompt=prompt) for _ in range(scenes)],
        quality=video_pb2.QUALITY_DRAFT,
        **fields,
    )
    message.duration_per_frame.seconds = 1
    return message


@dataclass(frozen=True)
class Calls(Generic[T]):
    """What came of calls."""

    found: list[T]
    """Of each process."""
    spent: float
    """Processor seconds of the processes together."""


class Clients:
    """Processes that call, started once for all measurements."""

    def __init__(self, pool: ProcessPoolExecutor) -> None:
        self._pool = pool

    @classmethod
    @asynccontextmanager
    async def started(cls) -> AsyncIterator[Clients]:
        context = multiprocessing.get_context("spawn")
        # So that none is still loading modules while another calls.
        together = context.Barrier(PROCESSES)
        with ProcessPoolExecutor(PROCESSES, mp_context=context, initializer=together.wait) as pool:
            clients = cls(pool)
            await clients.run(_nothing)
            yield clients

    async def run(self, work: Callable[..., T], *arguments: object) -> Calls[T]:
        """`work(*arguments, number)` in each of the processes."""
        loop = asyncio.get_running_loop()
        running = [
            loop.run_in_executor(self._pool, _timed, work, *arguments, number)
            for number in range(PROCESSES)
        ]
        ended = await asyncio.gather(*running)
        return Calls([found for found, _ in ended], sum(spent for _, spent in ended))


def _timed(work: Callable[..., T], *arguments: object) -> tuple[T, float]:
    begun = time.process_time()
    return work(*arguments), time.process_time() - begun


def _nothing(_number: int) -> None:
    return


def submit(address: str, prompt: str, callers: int, seconds: float, number: int) -> list[Sample]:
    """CreateRender from `callers` that each wait for the answer before they call again."""
    return asyncio.run(_submit(address, prompt, callers, seconds, number))


async def _submit(
    address: str, prompt: str, callers: int, seconds: float, number: int
) -> list[Sample]:
    samples: list[Sample] = []
    end = time.monotonic() + seconds
    async with _creating(address, prompt, number) as create:

        async def call() -> None:
            while (begun := time.monotonic()) < end:
                await create()
                now = time.monotonic()
                samples.append((now, now - begun))

        await asyncio.gather(*(call() for _ in range(callers)))
    return samples


def submit_evenly(
    address: str, prompt: str, rate: float, seconds: float, number: int
) -> list[Sample]:
    """CreateRender `rate` times a second, however long the answers take.

    How long one took is counted from when it was due, so that a call that had to wait for its
    turn here counts as late too.
    """
    return asyncio.run(_submit_evenly(address, prompt, rate, seconds, number))


async def _submit_evenly(
    address: str, prompt: str, rate: float, seconds: float, number: int
) -> list[Sample]:
    samples: list[Sample] = []
    async with _creating(address, prompt, number) as create:

        async def call(due: float) -> None:
            try:
                await create()
            except grpc.aio.AioRpcError:
                due = -math.inf
            now = time.monotonic()
            samples.append((now, now - due))

        begun = time.monotonic()
        async with asyncio.TaskGroup() as calls:
            for count in range(round(rate * seconds)):
                due = begun + count / rate
                await asyncio.sleep(due - time.monotonic())
                calls.create_task(call(due))
    return samples


@asynccontextmanager
async def _creating(
    address: str, prompt: str, number: int
) -> AsyncIterator[Callable[[], Awaitable[object]]]:
    """A call of CreateRender that is another one each time."""
    channels = [grpc.aio.insecure_channel(address, options=_OPTIONS) for _ in range(CONNECTIONS)]
    methods = [channel.unary_unary(f"{SERVICE}/CreateRender") for channel in channels]
    message = pb.CreateRenderRequest(render=request(prompt))
    counted = itertools.count()

    def create() -> Awaitable[object]:
        count = next(counted)
        message.render.request_id = f"{number}-{count}"
        return methods[count % CONNECTIONS](message.SerializeToString())

    yield create
    await asyncio.gather(*(channel.close() for channel in channels))


def watch(
    address: str, render_ids: list[str], seconds: float, _number: int
) -> tuple[list[tuple[float, bytes]], int]:
    """What watchers of these renders were told, and when; and how many streams broke off."""
    return asyncio.run(_watch(address, render_ids, seconds))


async def _watch(
    address: str, render_ids: list[str], seconds: float
) -> tuple[list[tuple[float, bytes]], int]:
    told: list[tuple[float, bytes]] = []
    broken = 0
    channels = [grpc.aio.insecure_channel(address, options=_OPTIONS) for _ in range(CONNECTIONS)]

    async def follow(number: int, render_id: str) -> None:
        nonlocal broken
        watching = channels[number % CONNECTIONS].unary_stream(f"{SERVICE}/WatchRender")
        call = watching(pb.WatchRenderRequest(render_id=render_id).SerializeToString())
        try:
            while (data := await call.read()) is not grpc.aio.EOF:
                told.append((time.monotonic(), data))
            broken += 1
        except grpc.aio.AioRpcError:
            broken += 1
        finally:
            call.cancel()

    following = [asyncio.create_task(follow(*one)) for one in enumerate(render_ids)]
    await asyncio.wait(following, timeout=seconds)
    for task in following:
        task.cancel()
    await asyncio.wait(following)
    await asyncio.gather(*(channel.close() for channel in channels))
    return told, broken
