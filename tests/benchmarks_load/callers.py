"""Clients that call a gateway as fast as it answers, in processes of their own.

They send bytes that were made before and do not read what comes back: what is measured
is the gateway.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from typing import TypeVar

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
"""When something ended, by time.monotonic(), and how many seconds it had taken."""


def request(prompt: str, scenes: int = 1, **fields: object) -> pb.RenderRequest:
    """A draft of one second a scene."""
    message = pb.RenderRequest(
        scenes=[pb.Scene(prompt=prompt) for _ in range(scenes)],
        quality=video_pb2.QUALITY_DRAFT,
        **fields,
    )
    message.duration_per_frame.seconds = 1
    return message


async def in_processes(work: Callable[..., T], *arguments: object) -> list[T]:
    """What `work(*arguments, number)` returns in each of some processes."""
    loop = asyncio.get_running_loop()
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(PROCESSES, mp_context=context) as pool:
        running = [loop.run_in_executor(pool, work, *arguments, i) for i in range(PROCESSES)]
        return await asyncio.gather(*running)


def submit(address: str, prompt: str, callers: int, seconds: float, _number: int) -> list[Sample]:
    """CreateRender from `callers` that each wait for the answer before they call again."""
    return asyncio.run(_submit(address, prompt, callers, seconds))


async def _submit(address: str, prompt: str, callers: int, seconds: float) -> list[Sample]:
    samples: list[Sample] = []
    channels = [grpc.aio.insecure_channel(address, options=_OPTIONS) for _ in range(CONNECTIONS)]
    end = time.monotonic() + seconds

    async def call(number: int) -> None:
        create = channels[number % CONNECTIONS].unary_unary(f"{SERVICE}/CreateRender")
        count = 0
        while (begun := time.monotonic()) < end:
            count += 1
            name = f"{os.getpid()}-{number}-{count}"
            message = pb.CreateRenderRequest(render=request(prompt, request_id=name))
            data = message.SerializeToString()
            await create(data)
            now = time.monotonic()
            samples.append((now, now - begun))

    await asyncio.gather(*(call(number) for number in range(callers)))
    await asyncio.gather(*(channel.close() for channel in channels))
    return samples


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
