"""Who takes part from raw frames: each one run of a whole process."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.benchmarks import engines, ffmpeg
from tests.benchmarks.engine_process import Order, Report
from tests.benchmarks.job import TRANSITION, Job, x264_options
from tests.benchmarks.measure import Run, command

PEERS_PYTHON = Path("build/peers/bin/python")
"""Of the environment that `make bench` makes for moviepy."""
SPEEDS = ("medium", "veryfast")


@dataclass(frozen=True)
class Contender:
    """Somebody who makes the video of a job."""

    key: str
    """Part of its video's name."""
    title: str
    once: Callable[[Job], Run]
    """Makes the video. `measure.ContenderError` if it cannot."""
    same_pictures: Callable[[Job], bool] = lambda job: True
    """Whether its transition is ours, picture by picture."""
    video: bool = True
    """Whether it makes a video at all."""


def ours(name: str) -> Contender:
    return Contender(name, engines.TITLES[name], lambda job: engine(job, name))


def engine(job: Job, name: str, interval: float = 0) -> Run:
    """A call of an engine. `wall` and `cpu` leave out the start of Python."""
    return _python("tests.benchmarks.engine_process", job, name, interval)


def peer(speed: str) -> Contender:
    """ffmpeg at a speed of x264."""
    return Contender(
        speed,
        f"ffmpeg, x264 {speed}",
        lambda job: command(ffmpeg.strongest(job, speed), job.folder / f"{speed}.log"),
        lambda job: job.transition not in ffmpeg.XFADES,
    )


def _moviepy(job: Job) -> Run:
    order, report = job.folder / "moviepy.json", job.folder / "moviepy-report.json"
    values = {
        "width": job.preset.width,
        "height": job.preset.height,
        "fps": job.preset.fps,
        "slot_frames": job.slot_frames,
        "transition_frames": job.transition_frames,
        "frames": [str(job.stills.raw(i)) for i in range(job.count)],
        "x264": x264_options(job.preset, "medium"),
        "filter": f"{ffmpeg.TO_BT709},format=yuv420p,{ffmpeg.TAGGED}",
        "video": str(job.video("moviepy")),
        "report": str(report),
    }
    order.write_text(json.dumps(values))
    script = Path(__file__).with_name("moviepy_peer.py")
    run = command([PEERS_PYTHON, script, order], job.folder / "moviepy.log", family=True)
    run.process, run.wall = run.wall, json.loads(report.read_text())["wall"]
    return run


def _floor(job: Job) -> Run:
    return _python("tests.benchmarks.stills_floor", job, "floor", 0)


def _python(module: str, job: Job, name: str, interval: float) -> Run:
    report = job.folder / f"{name}-report.json"
    order = Order(
        engine=name,
        quality=job.quality.name,
        frames=[str(job.stills.raw(i)) for i in range(job.count)],
        duration=str(job.duration),
        transition=job.transition,
        transition_duration=str(TRANSITION),
        interval=interval,
        video=str(job.video(name)),
        report=str(report),
    )
    path = order.write(job.folder / f"{name}.json")
    run = command([sys.executable, "-m", module, path], job.folder / f"{name}.log")
    took = Report.read(report)
    run.process, run.wall, run.cpu = run.wall, took.wall, took.cpu
    if interval:
        run.first_byte, run.tail = took.first_media, took.tail
    return run


MOVIEPY = Contender("moviepy", "moviepy, x264 medium", _moviepy)
FLOOR = Contender("floor", "the stills alone, x264 superfast", _floor, video=False)
ALL: Sequence[Contender] = (
    *(ours(name) for name in engines.ENGINES),
    *(peer(speed) for speed in SPEEDS),
    MOVIEPY,
    FLOOR,
)
BY_KEY = {contender.key: contender for contender in ALL}
