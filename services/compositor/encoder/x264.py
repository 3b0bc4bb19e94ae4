"""x264: how it is told to code, and which one is linked."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import cache

import av
import numpy as np
from av.codec.context import Flags
from av.video.codeccontext import VideoCodecContext

from compositor.encoder.codec import MAX_THREADS, ceilings, cpu_count, create, gop_pictures
from compositor.encoder.failures import failures
from compositor.planes import NEUTRAL_C
from rpckit.video import Codec, Preset

COMMON = ("force-cfr=1", "cabac=1", "8x8dct=1")
"""A constant rate, and what makes it High, which the fastest preset leaves out."""
_MORE_THAN_4_REFERENCES = ("slow", "slower")


@dataclass(frozen=True)
class X264Coding:
    """H.264 by x264, a `PictureCoder`."""

    x264_preset: str = "veryfast"
    """x264's own preset, "ultrafast" to "slower"."""
    crf: float = 18.0
    """Constant rate factor: the quality that is kept while the rate allows it."""
    gop_seconds: float = 8.0
    """Longest time between two pictures at which a reader can start, 1 to 10 s."""
    threads: int = 0
    """Pictures that are coded at the same time; 0 takes the number of CPUs, at most 16."""

    @property
    def thread_count(self) -> int:
        """Pictures that are coded at the same time."""
        return self.threads or min(cpu_count(), MAX_THREADS)

    def gop_pictures(self, fps: int) -> int:
        """Most pictures from one at which a reader can start to the next, at least 1."""
        return gop_pictures(self.gop_seconds, fps)

    @property
    def description(self) -> str:
        """What codes the pictures, such as "x264 core 165 veryfast crf 18"."""
        return f"{x264_version()} {self.x264_preset} crf {self.crf:g}"

    @property
    def codec(self) -> Codec:
        """See `PictureCoder`."""
        return Codec.H264

    @property
    def hardware(self) -> bool:
        """See `PictureCoder`."""
        return False

    @property
    def reorder(self) -> int:
        """See `PictureCoder`."""
        return 0

    def options(self, preset: Preset) -> dict[str, str]:
        """FFmpeg's options for the quality, and for the rate that it may not exceed."""
        return {"crf": f"{self.crf:g}", **ceilings(preset)}

    def open(self, preset: Preset, *, header: bool = False) -> VideoCodecContext:
        """See `PictureCoder`."""
        return x264(
            preset,
            self.x264_preset,
            self.options(preset),
            [
                *COMMON,
                f"keyint={self.gop_pictures(preset.fps)}",
                "open-gop=0",
                *(["ref=4"] if self.x264_preset in _MORE_THAN_4_REFERENCES else []),
            ],
            threads=1 if header else self.thread_count,
            global_header=True,
        )


def x264(
    preset: Preset,
    x264_preset: str,
    options: Mapping[str, str],
    parameters: Iterable[str],
    *,
    threads: int,
    global_header: bool,
) -> VideoCodecContext:
    """An open x264 for pictures of `preset`, of which each is one tick of its time base.

    Args:
        preset: Size, rate and level.
        x264_preset: x264's own, "ultrafast" to "slower".
        options: FFmpeg's options.
        parameters: x264's own, such as "keyint=1".
        threads: Pictures that are coded at the same time.
        global_header: Whether parameter sets are the extradata, or stand before IDR pictures.
    """
    codec = create("libx264", preset)
    # PyAV's default is slices on as many threads as there are CPUs.
    codec.thread_type = "FRAME"
    codec.thread_count = threads
    if not global_header:
        codec.flags &= ~Flags.global_header
    codec.options = {
        "preset": x264_preset,
        "profile": "high",
        "level": f"{preset.h264_level / 10:.1f}",
        **options,
        "x264-params": ":".join(parameters),
    }
    codec.open()
    return codec


@cache
def x264_version() -> str:
    """Name and build of the linked x264, such as "x264 core 165", by coding one picture.

    Raises:
        GatorError: ENCODING_FAILED; there is no working x264.
    """
    with failures():
        codec = av.CodecContext.create("libx264", "w")
        codec.width = codec.height = 16
        codec.pix_fmt = "yuv420p"
        codec.time_base = Fraction(1, 1)
        codec.thread_count = 1
        grey = np.full((24, 16), NEUTRAL_C, np.uint8)
        packets = codec.encode(av.VideoFrame.from_numpy_buffer(grey, format="yuv420p"))
        coded = b"".join(bytes(packet) for packet in [*packets, *codec.encode(None)])
    # x264 signs its streams: "x264 - core 165 r3222 b35605a - H.264/MPEG-4 AVC codec".
    build = re.search(rb"x264 - core (\d+)", coded)
    return f"x264 core {build[1].decode()}" if build else "x264"
