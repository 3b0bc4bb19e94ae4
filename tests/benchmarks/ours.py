"""Gator Video's own runs: the running stack, the cold command, the compositor alone."""

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil

from gator.frame_gen.v1 import frame_gen_service_pb2 as frames_pb
from gator.frame_gen.v1 import frame_gen_service_pb2_grpc as frames_grpc
from gator.gateway.v1 import render_service_pb2 as renders_pb
from gator.gateway.v1 import render_service_pb2_grpc as renders_grpc
from rpckit.client import open_channel
from rpckit.video import PRESETS, Quality
from tests.benchmarks.job import DURATION, PROMPTS, SCENES, TRANSITION, Job
from tests.benchmarks.measure import Run, Stopwatch, command
from tests.support.composing import compose, duration


@dataclass(frozen=True)
class Stack:
    """The three services, running."""

    process: psutil.Process
    gateway: str
    frame_gen: str
    compositor: str


@contextmanager
def stack(log: Path) -> Iterator[Stack]:
    """The standalone stack as a process of its own; its log goes to `log`."""
    with log.open("wb") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.benchmarks.stack"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=file,
        )
    try:
        line = process.stdout.readline()
        if not line:
            raise RuntimeError(f"the stack did not start: {log.read_text()}")
        yield Stack(psutil.Process(process.pid), **json.loads(line))
    finally:
        process.communicate()  # ends its input, and so the process


def render(running: Stack, job: Job) -> Run:
    """A Render call with placeholders: from the request to the last byte of video."""
    return asyncio.run(_render(running, _request(job.quality), job.video("render")))


def warm_up(running: Stack, job: Job) -> None:
    """One short render at this quality, so that fonts and code are loaded."""
    request = _request(job.quality)
    request.duration_per_frame.FromMilliseconds(250)
    asyncio.run(_render(running, request, job.video("warm-up")))


def _request(quality: Quality) -> renders_pb.RenderRequest:
    return renders_pb.RenderRequest(
        scenes=[renders_pb.Scene(prompt=prompt) for prompt in PROMPTS],
        quality=quality.value,
        duration_per_frame=duration(DURATION),
        transition_duration=duration(TRANSITION),
        use_ai_generation=False,
    )


async def _render(running: Stack, request: renders_pb.RenderRequest, path: Path) -> Run:
    watch = Stopwatch(running.process)
    async with open_channel(running.gateway) as channel:
        await channel.channel_ready()
        with path.open("wb") as file, watch.running():
            async for event in renders_grpc.RenderServiceStub(channel).Render(request):
                if event.HasField("video"):
                    watch.first_byte()
                    file.write(event.video.data)
    return watch.run


def cold_command(job: Job) -> Run:
    """`gator render` as one typed it: the process starts, renders and ends."""
    path = job.video("cold")
    path.unlink(missing_ok=True)
    argv = [Path(sys.executable).parent / "gator", "render", *PROMPTS]
    argv += ["--quality", job.quality.name.lower(), "--duration", f"{float(DURATION):g}"]
    argv += ["--transition", "crossfade", "--placeholder", "--output", path]
    return command([str(part) for part in argv], job.folder / "cold.log")


def composed(running: Stack, job: Job) -> Run:
    """A Compose call alone, with the job's stills as raw RGB from this process."""
    return asyncio.run(_composed(running, job))


async def _composed(running: Stack, job: Job) -> Run:
    watch = Stopwatch(running.process)
    async with open_channel(running.compositor) as channel:
        await channel.channel_ready()
        with watch.running():
            made = await compose(
                channel,
                job.quality,
                job.scenes,
                job.stills.rgb,
                lambda response: watch.first_byte() if response.HasField("video") else None,
            )
            job.video("compose").write_bytes(made.data)
    return watch.run


def placeholders(running: Stack, quality: Quality) -> list[np.ndarray]:
    """The placeholders of the scenes, as frame_gen draws them: (height, width, 3) RGB."""
    return [asyncio.run(_placeholder(running, quality, index)) for index in range(SCENES)]


async def _placeholder(running: Stack, quality: Quality, index: int) -> np.ndarray:
    preset = PRESETS[quality]
    request = frames_pb.GenerateFrameRequest(
        prompt=PROMPTS[index],
        num_inference_steps=25,
        guidance_scale=7.5,
        video_width=preset.width,
        video_height=preset.height,
        scene_index=index,
        scene_count=SCENES,
    )
    data = bytearray()
    async with open_channel(running.frame_gen) as channel:
        async for event in frames_grpc.FrameGenServiceStub(channel).GenerateFrame(request):
            data += event.chunk.data
    return np.frombuffer(data, np.uint8).reshape(preset.height, preset.width, 3)
