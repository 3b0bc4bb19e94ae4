"""What the device can do and what it is used for."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import psutil
import torch


def synchronize(device: torch.device) -> None:
    """Waits for the device's work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def seconds(device: torch.device, work: Callable[[], object]) -> float:
    """What a piece of work takes."""
    synchronize(device)
    started = time.perf_counter()
    work()
    synchronize(device)
    return time.perf_counter() - started


def matrix_rate(device: torch.device, dtype: torch.dtype) -> float:
    """Floating-point operations a second of a large product of random matrices."""
    size = 8192 if device.type == "cuda" else 512
    a, b = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
    out = torch.empty_like(a)
    repeats = 20

    def work() -> None:
        for _ in range(repeats):
            torch.mm(a, b, out=out)

    work()
    return 2 * size**3 * repeats / min(seconds(device, work) for _ in range(3))


class Peak:
    """Bytes in use at their most."""

    bytes = 0


@contextmanager
def peak_of(device: torch.device, before: int) -> Iterator[Peak]:
    """Memory in the block: of tensors on CUDA, else of the process, less `before`."""
    peak = Peak()
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        yield peak
        peak.bytes = torch.cuda.max_memory_allocated(device) - before
        return
    done = threading.Event()

    def watch() -> None:
        process = psutil.Process()
        while not done.wait(0.005):
            peak.bytes = max(peak.bytes, process.memory_info().rss - before)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield peak
    finally:
        done.set()
        watcher.join()


def memory_in_use(device: torch.device) -> int:
    """As `peak_of`, now."""
    if device.type == "cuda":
        return int(torch.cuda.memory_allocated(device))
    return int(psutil.Process().memory_info().rss)
