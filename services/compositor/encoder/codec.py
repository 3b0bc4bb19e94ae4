"""What all ways to code the pictures of a video have in common."""

from __future__ import annotations

import os
from fractions import Fraction
from typing import Protocol

import av
from av.codec.context import Flags
from av.video.codeccontext import VideoCodecContext
from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc

from rpckit.video import Codec, Preset

MAX_THREADS = 16
"""Each thread of x264 holds a picture with its filtered copies: about 40 MB at 4K."""
WIDE = 2048
"""Columns above which pictures are so large that coders are told to hold fewer of them."""


class PictureCoder(Protocol):
    """A way to code the pictures of whole videos, under the design's ceilings.

    Groups of pictures are closed, and begin with a picture at which a reader
    can start.
    """

    @property
    def codec(self) -> Codec:
        """The standard that the pictures are coded in."""

    @property
    def description(self) -> str:
        """What codes the pictures, such as "x264 core 165 veryfast crf 18"."""

    @property
    def hardware(self) -> bool:
        """Whether a device made for it does the coding."""

    @property
    def reorder(self) -> int:
        """Pictures by which decoding may be ahead of display, where FFmpeg does not tell."""

    def open(self, preset: Preset, *, header: bool = False) -> VideoCodecContext:
        """A coder for pictures of `preset`, of which each is one tick of its time base.

        It gives packets without parameter sets, which are its extradata, the
        same for each that is opened. `header` asks for that and codes nothing.

        Raises:
            av.error.FFmpegError: there is no such coder, or it cannot do that.
        """


def available(encoder: str) -> bool:
    """Whether the linked FFmpeg has the encoder `encoder`, such as "libx264"."""
    try:
        av.codec.Codec(encoder, "w")
    except av.codec.codec.UnknownCodecError:
        return False
    return True


def create(
    encoder: str, preset: Preset, hwaccel: av.codec.hwaccel.HWAccel | None = None
) -> VideoCodecContext:
    """FFmpeg's encoder `encoder`, not yet open, with parameter sets as its extradata."""
    codec = av.CodecContext.create(encoder, "w", hwaccel)
    assert isinstance(codec, VideoCodecContext)  # noqa: S101 - only names of such are given
    describe(codec, preset.width, preset.height, preset.fps)
    codec.flags |= Flags.global_header
    return codec


def describe(codec: VideoCodecContext, width: int, height: int, fps: int) -> None:
    """Says what the pictures are: 8 bit 4:2:0, BT.709, limited range, a constant rate."""
    codec.width = width
    codec.height = height
    codec.pix_fmt = "yuv420p"
    codec.framerate = Fraction(fps)
    codec.time_base = Fraction(1, fps)
    codec.color_range = ColorRange.MPEG
    codec.colorspace = Colorspace.ITU709
    codec.color_primaries = ColorPrimaries.BT709
    codec.color_trc = ColorTrc.BT709


def ceilings(preset: Preset, margin: Fraction = Fraction(1)) -> dict[str, str]:
    """FFmpeg's options for the rate that a video may not exceed, times `margin`, and its buffer."""
    rate = Fraction(3, 2) * preset.bitrate * margin
    return {"maxrate": str(int(rate)), "bufsize": str(preset.bitrate * 2)}


def gop_pictures(seconds: float, fps: int) -> int:
    """Most pictures from one at which a reader can start to the next, at least 1."""
    return max(1, int(seconds * fps))


def cpu_count() -> int:
    """CPUs that this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1
