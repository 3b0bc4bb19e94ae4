"""Planes as FFmpeg takes them."""

from __future__ import annotations

from fractions import Fraction

import av
import numpy as np

from compositor.planes import Pixels, Planes


def frame(planes: Planes, number: int, time_base: Fraction) -> av.VideoFrame:
    """`planes` as picture `number` of a video with one picture a tick of `time_base`.

    Not copied, so a frame is good for one call of a coder. PyAV takes only
    heights that are multiples of 4 so; others are copied.
    """
    if planes.height % 4 == 0:
        taken = av.VideoFrame.from_numpy_buffer(planes.i420, format="yuv420p")
    else:
        taken = av.VideoFrame(planes.width, planes.height, "yuv420p")
        for place, samples in zip(taken.planes, (planes.y, planes.u, planes.v), strict=True):
            rows = np.frombuffer(memoryview(place), np.uint8).reshape(-1, place.line_size)
            into: Pixels = rows[: samples.shape[0], : samples.shape[1]]
            into[:] = samples
    taken.pts = number
    taken.time_base = time_base
    return taken
