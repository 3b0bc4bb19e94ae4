"""Wall and CPU time of processes, and how much of the machine others took meanwhile."""

import os
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psutil


@dataclass
class Run:
    """What one run took."""

    wall: float = 0
    """Seconds from the order to the last byte."""
    cpu: float = 0
    """Seconds of all cores, in every process that took part."""
    first_byte: float | None = None
    """Seconds to the first byte of video, where it is streamed."""
    others: float = 0
    """Cores that other programs of the machine kept busy meanwhile."""


ATTEMPTS = 5


def undisturbed(once: Callable[[], Run], server: psutil.Process, limit: float) -> Run:
    """The first of at most 5 runs with `others` up to `limit`, or the least disturbed one."""
    runs: list[Run] = []
    while len(runs) < ATTEMPTS and (not runs or runs[-1].others > limit):
        runs.append(disturbed(once, server))
    return min(runs, key=lambda run: run.others)


def disturbed(once: Callable[[], Run], server: psutil.Process) -> Run:
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


def _own(server: psutil.Process) -> float:
    times, ours = server.cpu_times(), os.times()
    ended = ours.children_user + ours.children_system
    return times.user + times.system + ours.user + ours.system + ended


def command(argv: Sequence[str | Path], log: Path) -> Run:
    """Runs a process to its end; its output goes to `log`."""
    with log.open("wb") as file:
        started = time.perf_counter()
        process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=file, stderr=file)
        _, status, usage = os.wait4(process.pid, 0)
        run = Run(time.perf_counter() - started, usage.ru_utime + usage.ru_stime)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{argv[0]} failed: {log.read_text(errors='replace')}")
    return run


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
