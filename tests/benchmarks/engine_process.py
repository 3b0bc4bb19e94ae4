"""One video by an engine, in a process of its own: `python -m tests.benchmarks.engine_process`.

The argument is a JSON file, see `Order`. Frames come as raw RGB; a thread reads
and converts them, at most two ahead, as the compositor's service does. What is
timed begins when everything is imported and ends with the last byte of video:
a call to a service that is running. What the whole process takes, its parent sees.
"""

from __future__ import annotations

import json
import queue
import sys
import threading
import time
from dataclasses import asdict, dataclass
from fractions import Fraction
from io import BufferedWriter
from pathlib import Path

import numpy as np

from compositor.handoff import STILLS
from compositor.planes import Planes, to_i420
from compositor.timeline import SceneTiming, plan
from rpckit.video import PRESETS, Preset, Quality, Transition
from tests.benchmarks.engines import ENGINES


@dataclass(frozen=True)
class Order:
    """What is wanted."""

    engine: str
    quality: str
    frames: list[str]
    """Raw RGB files, one a scene."""
    duration: str
    """Seconds of each scene."""
    transition: str
    transition_duration: str
    interval: float
    """Seconds between the arrivals of two frames; 0: all are there."""
    video: str
    report: str
    """File for a `Report`."""

    @classmethod
    def read(cls, path: Path) -> Order:
        return cls(**json.loads(path.read_text()))

    def write(self, path: Path) -> Path:
        path.write_text(json.dumps(asdict(self)))
        return path


@dataclass(frozen=True)
class Report:
    """What it took, in seconds."""

    wall: float
    cpu: float
    first_media: float
    """From the first frame's arrival to the first coded picture in the sink's hands."""
    tail: float
    """From the last frame's arrival to the last byte."""

    @classmethod
    def read(cls, path: Path) -> Report:
        return cls(**json.loads(path.read_text()))


class Arriving:
    """See `compositor.engine.Stills`: frames that come at fixed times."""

    def __init__(self, frames: list[str], preset: Preset, interval: float) -> None:
        self._frames = frames
        self._shape = (preset.height, preset.width, 3)
        self._interval = interval
        self._room = threading.Semaphore(STILLS)
        self._ready: queue.SimpleQueue[Planes | BaseException] = queue.SimpleQueue()
        self.arrived: list[float] = []

    def start(self) -> None:
        self._started = time.perf_counter()
        threading.Thread(target=self._read, daemon=True).start()

    def get(self, timeout: float | None = None) -> Planes | None:
        try:
            planes = self._ready.get(timeout=timeout)
        except queue.Empty:
            return None
        if isinstance(planes, BaseException):
            raise planes
        return planes

    def release(self) -> None:
        self._room.release()

    def _read(self) -> None:
        try:
            for number, path in enumerate(self._frames):
                self._room.acquire()
                self._ready.put(self._next(number, path))
        except BaseException as error:  # noqa: BLE001 - raised again by `get`
            self._ready.put(error)

    def _next(self, number: int, path: str) -> Planes:
        comes = self._started + number * self._interval
        rgb = np.fromfile(path, np.uint8).reshape(self._shape)
        time.sleep(max(0, comes - time.perf_counter()))
        self.arrived.append(comes)
        return to_i420(rgb)


class Timed:
    """See `compositor.engine.Sink`: a file, and when what was written to it."""

    def __init__(self, file: BufferedWriter) -> None:
        self._file = file
        self.first_media: float | None = None
        self.last = 0.0

    def write(self, data: bytes) -> int:
        self._file.write(data)
        self.last = time.perf_counter()
        if self.first_media is None and b"mdat" in bytes(data):
            self.first_media = self.last
        return len(data)

    def progress(self, frames: int) -> None:
        return

    def check(self) -> None:
        return


def compose(order: Order) -> Report:
    preset = PRESETS[Quality[order.quality]]
    timing = SceneTiming(
        Fraction(order.duration),
        Transition[order.transition],
        Fraction(order.transition_duration),
    )
    timeline = plan([timing] * len(order.frames), preset.fps)
    engine = ENGINES[order.engine]()
    stills = Arriving(order.frames, preset, order.interval)
    with Path(order.video).open("wb") as file:
        sink = Timed(file)
        wall, cpu = time.perf_counter(), time.process_time()
        stills.start()
        engine.compose(preset, timeline, stills, sink)
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return Report(wall, cpu, sink.first_media - stills.arrived[0], sink.last - stills.arrived[-1])


if __name__ == "__main__":
    ordered = Order.read(Path(sys.argv[1]))
    Path(ordered.report).write_text(json.dumps(asdict(compose(ordered))))
