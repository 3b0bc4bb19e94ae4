"""How much memory the compositor takes at 4K, as a process of its own."""

import re
from collections.abc import Sequence
from fractions import Fraction
from math import ceil
from pathlib import Path

import numpy as np
import pytest

from rpckit.client import open_channel
from rpckit.video import PRESETS, Quality
from tests.support.composing import compose
from tests.support.natural import still
from tests.support.processes import server_process
from tests.support.reference import Scene

PREMIUM = PRESETS[Quality.PREMIUM]
FRAME_MIB = PREMIUM.width * PREMIUM.height * 3 / (1 << 20)
"""One frame as it travels, in RGB."""


def seconds(pictures: int) -> Fraction:
    """How long so many pictures take, in whole nanoseconds."""
    return Fraction(ceil(Fraction(10**9 * pictures, PREMIUM.fps)), 10**9)


def peak_mib(pid: int) -> float:
    """Most memory that the process had resident so far."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) / 1024


async def peak_of(scenes: Sequence[Scene], base: np.ndarray) -> float:
    """Peak of a fresh compositor that composes `scenes`, each with a picture of its own."""
    # As many coded at a time on any machine: each thread of x264 holds pictures.
    settings = {"GATOR_COMPOSITOR_LISTEN": "127.0.0.1:0", "GATOR_COMPOSITOR_THREADS": "2"}
    server = server_process("compositor", **settings)
    async with server as (process, address), open_channel(address) as channel:
        await compose(
            channel, Quality.PREMIUM, scenes, lambda i: np.roll(base, 96 * i, axis=(0, 1))
        )
        return peak_mib(process.pid)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads /proc")
async def test_peak_memory_does_not_grow_with_the_number_of_scenes():
    # Enlarged by the test, so that it is smooth and fast to code.
    small = still(0, PREMIUM.width // 8, PREMIUM.height // 8)
    base = small.repeat(8, axis=0).repeat(8, axis=1)

    def scenes(count: int, pictures: int) -> list[Scene]:
        return [Scene(seconds(pictures), transition_duration=seconds(1))] * count

    # As many pictures both times, more than x264 holds to look ahead.
    few = await peak_of(scenes(4, 20), base)
    many = await peak_of(scenes(40, 2), base)

    said = f"peak of 4 scenes {few:.0f} MiB, of 40 {many:.0f} MiB, a frame {FRAME_MIB:.0f} MiB"
    print(said)
    # 36 scenes more, and not the room of three frames more.
    assert many - few < 3 * FRAME_MIB, said
    assert many < 400, said
