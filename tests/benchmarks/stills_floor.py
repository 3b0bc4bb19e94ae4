"""The floor of an engine that codes each still once: nothing but that.

A process of its own: `python -m tests.benchmarks.stills_floor ORDER` takes the
order of `engine_process`, reads and converts the frames as the compositor
does, and codes each with its coder of stills, on all processors and however
large they become. There is no container and no picture between two stills.
"""

from __future__ import annotations

import json
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path

import numpy as np

from compositor.encoder.x264 import cpu_count
from compositor.planes import to_i420
from rpckit.video import PRESETS, Preset, Quality
from tests.benchmarks.engine_process import Order, Report
from tests.benchmarks.engines import still_coder

ANY_SIZE = 1 << 62
"""Bits."""


def intra(preset: Preset, path: str) -> bytes:
    """One frame as an intra picture."""
    rgb = np.fromfile(path, np.uint8).reshape(preset.height, preset.width, 3)
    return still_coder(preset).code(to_i420(rgb), ANY_SIZE)


def main() -> None:
    order = Order.read(Path(sys.argv[1]))
    preset = PRESETS[Quality[order.quality]]
    wall, cpu = time.perf_counter(), time.process_time()
    with Path(order.video).open("wb") as file, ThreadPoolExecutor(cpu_count()) as workers:
        file.writelines(workers.map(lambda path: intra(preset, path), order.frames))
    report = Report(time.perf_counter() - wall, time.process_time() - cpu, 0, 0)
    Path(order.report).write_text(json.dumps(asdict(report)))


if __name__ == "__main__":
    main()
