"""Those who ask for images: one at a time, several at once, or as they happen to come."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass

from frame_gen.diffusion.engine import StepEngine
from frame_gen.diffusion.job import Failure, Image, Job, Preview, Progress

TIMEOUT = 600


class Waiter:
    """A listener that knows when things happened."""

    def __init__(self, *, previews: bool = False) -> None:
        self.submitted = time.perf_counter()
        self.ended = 0.0
        self.previews = 0
        self.first_step = threading.Event()
        self._wants_previews = previews
        self._end: Image | Failure | None = None
        self._done = threading.Event()

    def queued(self, position: int) -> None:
        pass

    def progress(self, progress: Progress) -> None:
        self.first_step.set()

    def wants_preview(self) -> bool:
        return self._wants_previews

    def preview(self, preview: Preview) -> None:
        self.previews += 1

    def finished(self, image: Image) -> None:
        self._finish(image)

    def failed(self, failure: Failure) -> None:
        self._finish(failure)

    def _finish(self, end: Image | Failure) -> None:
        self.ended = time.perf_counter()
        self._end = end
        self._done.set()

    @property
    def latency(self) -> float:
        """Seconds from the order to the picture."""
        return self.ended - self.submitted

    def wait(self) -> Image:
        """The image, when it is there."""
        if not self._done.wait(TIMEOUT):
            raise TimeoutError
        if isinstance(self._end, Image):
            return self._end
        raise RuntimeError(f"no image: {self._end}")


@dataclass(frozen=True)
class Load:
    """What a load took."""

    seconds: float
    latencies: tuple[float, ...]
    previews: int = 0

    @property
    def rate(self) -> float:
        """Images a second."""
        return len(self.latencies) / self.seconds


def at_once(engine: StepEngine, jobs: Sequence[Job], clients: int, *, previews: bool) -> Load:
    """So many clients; each asks for its next image when it has the one before."""
    waiters: list[Waiter] = []
    failures: list[BaseException] = []
    line = iter(jobs)
    lock = threading.Lock()

    def client() -> None:
        while True:
            with lock:
                job = next(line, None)
                if job is None:
                    return
                waiter = Waiter(previews=previews)
                waiters.append(waiter)
            engine.submit(job, waiter)
            try:
                waiter.wait()
            except (RuntimeError, TimeoutError) as error:
                failures.append(error)
                return

    threads = [threading.Thread(target=client) for _ in range(clients)]
    started = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    seconds = time.perf_counter() - started
    if failures:
        raise failures[0]
    return Load(seconds, tuple(w.latency for w in waiters), sum(w.previews for w in waiters))


def arrivals(rate: float, count: int, seed: int = 0) -> list[float]:
    """Times in seconds at which `count` orders come, at random, `rate` a second on average."""
    chance = random.Random(seed)
    now = 0.0
    times = []
    for _ in range(count):
        now += chance.expovariate(rate)
        times.append(now)
    return times


def as_they_come(engine: StepEngine, jobs: Sequence[Job], times: Sequence[float]) -> Load:
    """Each job is submitted at its time, whatever became of the others."""
    started = time.perf_counter()
    waiters = []
    for job, moment in zip(jobs, times, strict=True):
        time.sleep(max(0.0, started + moment - time.perf_counter()))
        waiters.append(Waiter())
        engine.submit(job, waiters[-1])
    for waiter in waiters:
        waiter.wait()
    return Load(time.perf_counter() - started, tuple(w.latency for w in waiters))


def one_by_one(times: Sequence[float], service: float) -> Load:
    """What the same arrivals would see where each image takes `service` seconds, in turn."""
    free = 0.0
    latencies = []
    for moment in times:
        free = max(free, moment) + service
        latencies.append(free - moment)
    return Load(free, tuple(latencies))


def steps_until_it_joins(engine: StepEngine, running: Sequence[Job], late: Job) -> int:
    """Steps of the engine from an order that comes while others run to its own first step."""
    waiters = [Waiter() for _ in running]
    for job, waiter in zip(running, waiters, strict=True):
        engine.submit(job, waiter)
    for waiter in waiters:
        waiter.first_step.wait(TIMEOUT)
    joins = Waiter()
    before = engine.counts.steps
    engine.submit(late, joins)
    joins.first_step.wait(TIMEOUT)
    passed = engine.counts.steps - before
    for waiter in (*waiters, joins):
        waiter.wait()
    return passed
