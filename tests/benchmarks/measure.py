"""Wall and CPU time of processes, and how much of the machine others took meanwhile."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

LAUNCH = Path(__file__).with_name("launch.py")
LIMIT = 3600.0
"""Seconds after which a command is ended: it hangs."""
SAID = 1000
"""Letters of a failed command's last words that are shown."""
POLL = 0.1
"""Seconds between two looks at the memory of a family of processes."""


@dataclass
class Run:
    """What one run took."""

    wall: float = 0
    """Seconds from the order to the last byte."""
    cpu: float = 0
    """Seconds of all cores, in every process that took part."""
    memory: int | None = None
    """Most bytes that were resident, in every process that took part."""
    process: float | None = None
    """Seconds from the start of the process to its end, where `wall` leaves out its imports."""
    first_byte: float | None = None
    """Seconds to the first byte of video, where it is streamed."""
    tail: float | None = None
    """Seconds from the last frame to the last byte, where frames come one by one."""
    others: float = 0
    """Cores that other programs of the machine kept busy meanwhile."""


ATTEMPTS = 5


def undisturbed(once: Callable[[], Run], limit: float, server: psutil.Process | None = None) -> Run:
    """The first of at most 5 runs with `others` up to `limit`, or the least disturbed one."""
    runs: list[Run] = []
    while len(runs) < ATTEMPTS and (not runs or runs[-1].others > limit):
        runs.append(disturbed(once, server))
    return min(runs, key=lambda run: run.others)


def disturbed(once: Callable[[], Run], server: psutil.Process | None = None) -> Run:
    """Runs `once`, which is work of this process, its children and `server`, and notes `others`."""
    started, busy, own = time.perf_counter(), _busy(), _own(server)
    run = once()
    others = _busy() - busy - (_own(server) - own)
    run.others = max(others, 0) / (time.perf_counter() - started)
    return run


def _busy() -> float:
    """CPU seconds that the machine has worked."""
    times = psutil.cpu_times()
    return sum(getattr(times, kind, 0) for kind in ("user", "nice", "system", "irq", "softirq"))


def _own(server: psutil.Process | None) -> float:
    ours = os.times()
    spent = ours.user + ours.system + ours.children_user + ours.children_system
    if server is not None:
        times = server.cpu_times()
        spent += times.user + times.system
    return spent


class ContenderError(RuntimeError):
    """A contender could not do its job."""


def command(argv: Sequence[str | Path], log: Path, *, family: bool = False) -> Run:
    """Runs a process to its end; its output goes to `log`.

    Its memory is what the kernel says, of the largest process. `family` adds up
    that of all its processes instead, looking at them ten times a second.
    """
    launch = [sys.executable, "-I", "-S", LAUNCH, log, *argv]
    with (
        subprocess.Popen(launch, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as launched,
        _ended(launched),
        _watched(launched.pid, on=family) as largest,
    ):
        told, _ = launched.communicate(timeout=LIMIT)
    if launched.returncode:
        raise ContenderError(f"{argv[0]} was not found")
    took = json.loads(told)
    if took["status"]:
        said = log.read_text(errors="replace").strip()[-SAID:]
        raise ContenderError(f"{Path(argv[0]).name} ended with {took['status']}: {said}")
    return Run(took["wall"], took["cpu"], max(took["memory"], *largest))


@contextmanager
def _ended(launched: subprocess.Popen[bytes]) -> Iterator[None]:
    """Leaves no process behind when the block does not end well."""
    try:
        yield
    except BaseException:
        with suppress(psutil.NoSuchProcess):
            for process in psutil.Process(launched.pid).children(recursive=True):
                with suppress(psutil.NoSuchProcess):
                    process.kill()
        launched.kill()
        raise


@contextmanager
def _watched(pid: int, *, on: bool) -> Iterator[list[int]]:
    """A list whose only element is the most bytes that descendants of `pid` had together."""
    largest = [0]
    if not on:
        yield largest
        return
    over = threading.Event()

    def look() -> None:
        family = psutil.Process(pid)
        while not over.wait(POLL):
            together = 0
            with suppress(psutil.NoSuchProcess):
                for process in family.children(recursive=True):
                    with suppress(psutil.NoSuchProcess):
                        together += process.memory_info().rss
            largest[0] = max(largest[0], together)

    watcher = threading.Thread(target=look)
    watcher.start()
    try:
        yield largest
    finally:
        over.set()
        watcher.join()


@dataclass
class Stopwatch:
    """Times this process together with a server."""

    server: psutil.Process
    run: Run = field(default_factory=Run)
    _started: float = 0

    @contextmanager
    def running(self) -> Iterator[None]:
        cpu = self._cpu()
        self._started = time.perf_counter()
        yield
        self.run.wall = time.perf_counter() - self._started
        self.run.cpu = self._cpu() - cpu

    def first_byte(self) -> None:
        """Takes note of the first byte of video."""
        if self.run.first_byte is None:
            self.run.first_byte = time.perf_counter() - self._started

    def _cpu(self) -> float:
        times = self.server.cpu_times()
        return time.process_time() + times.user + times.system
