"""HEVC by x265."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache

from av.video.codeccontext import VideoCodecContext

from compositor.encoder.codec import (
    MAX_THREADS,
    WIDE,
    ceilings,
    cpu_count,
    create,
    gop_pictures,
)
from compositor.encoder.failures import failures
from compositor.encoder.frames import frame
from compositor.planes import NEUTRAL_C, Planes
from rpckit.video import Codec, Preset

ENCODER = "libx265"
"""FFmpeg's name of it."""

_CRF_OFFSET = 2
"""x265's scale against x264's: with 2 more it is as good in PSNR, in 60% of the bytes."""
_LOOKAHEAD = 10
_SILENT = "log-level=-1"


@dataclass(frozen=True)
class HevcCoding:
    """HEVC Main profile by x265, a `PictureCoder`."""

    x265_preset: str = "veryfast"
    """x265's own preset, "ultrafast" to "slower"."""
    crf: float = 18.0
    """Quality on x264's scale, as in `x264.X264Coding`."""
    gop_seconds: float = 8.0
    """Longest time between two pictures at which a reader can start, 1 to 10 s."""
    threads: int = 0
    """Threads, all of which work on one or two pictures; 0 takes the number of CPUs."""

    @property
    def codec(self) -> Codec:
        """See `PictureCoder`."""
        return Codec.HEVC

    @property
    def description(self) -> str:
        """See `PictureCoder`."""
        return f"{x265_version()} {self.x265_preset} crf {self.crf + _CRF_OFFSET:g}"

    @property
    def hardware(self) -> bool:
        """See `PictureCoder`."""
        return False

    @property
    def reorder(self) -> int:
        """x265 has B pictures that others refer to."""
        return 2

    def open(self, preset: Preset, *, header: bool = False) -> VideoCodecContext:
        """See `PictureCoder`."""
        codec = create(ENCODER, preset)
        threads = 1 if header else self.threads or min(cpu_count(), MAX_THREADS)
        parameters = [
            _SILENT,
            "info=0",  # what it signs its streams with names the number of threads
            f"keyint={gop_pictures(self.gop_seconds, preset.fps)}",
            "open-gop=0",
            # Each picture that is coded at the same time is 150 MB at 4K.
            f"frame-threads={1 if preset.width > WIDE else min(threads, 2)}",
            f"pools={threads}",
            f"rc-lookahead={_LOOKAHEAD}",
        ]
        codec.options = {
            "preset": self.x265_preset,
            "crf": f"{self.crf + _CRF_OFFSET:g}",
            **ceilings(preset),
            "x265-params": ":".join(parameters),
        }
        codec.open()
        return codec


@cache
def x265_version() -> str:
    """Name and version of the linked x265, such as "x265 4.1", by coding one picture.

    Raises:
        GatorError: ENCODING_FAILED; there is no working x265.
    """
    small = Preset(width=64, height=64, fps=1, bitrate=100_000, h264_level=10, use_case="")
    with failures():
        codec = create(ENCODER, small)
        codec.options = {"x265-params": f"{_SILENT}:pools=1:frame-threads=1"}
        planes = Planes.empty(small.width, small.height)
        planes.i420[:] = NEUTRAL_C
        packets = [*codec.encode(frame(planes, 0, codec.time_base)), *codec.encode(None)]
    # x265 signs its streams: "x265 (build 215) - 4.1+1-1d117be:[Linux][GCC ...".
    signed = b"".join([codec.extradata or b"", *map(bytes, packets)])
    version = re.search(rb"x265 \(build \d+\) - ([\d.]+)", signed)
    return f"x265 {version[1].decode()}" if version else "x265"
