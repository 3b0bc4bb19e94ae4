"""H.264 by x264 into a fragmented MP4, picture by picture. The one importer of av."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from typing import Any

import av
import numpy as np
from av.codec.context import Flags
from av.packet import Packet
from av.video.codeccontext import VideoCodecContext
from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc
from av.video.stream import VideoStream

from compositor.engine import Sink
from compositor.planes import NEUTRAL_C, Planes
from rpckit.errors import GatorError, Reason
from rpckit.video import Preset

log = logging.getLogger(__name__)

Picture = av.VideoFrame
"""A picture in the form that the encoder takes; see `Encoder.picture`."""

MAX_THREADS = 16
"""Each thread of x264 holds a picture with its filtered copies: about 40 MB at 4K."""
FRAGMENT_SECONDS = Fraction(1, 4)
_WRITE_SIZE = 1 << 18

_MORE_THAN_4_REFERENCES = ("slow", "slower")
# The fragment waits for its first packets (delay_moov) because only then the
# muxer knows how much B-pictures delay the start: an empty moov starts late.
_MOVFLAGS = "frag_keyframe+delay_moov+default_base_moof"


@dataclass(frozen=True)
class Coding:
    """How pictures are coded."""

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

    @property
    def description(self) -> str:
        """What codes the pictures, such as "x264 core 165 veryfast crf 18"."""
        return f"{x264_version()} {self.x264_preset} crf {self.crf:g}"


class Encoder:
    """Codes the pictures of one video and writes an MP4 that plays before it is complete.

    Pictures are numbered in the order in which they are added, from 0, at the
    preset's constant rate. Every method raises GatorError(ENCODING_FAILED) when
    the coder fails, and lets through what the sink raises.
    """

    def __init__(self, preset: Preset, coding: Coding, sink: Sink) -> None:
        self._preset = preset
        self._coding = coding
        self._sink = sink
        self._file = _File(sink)
        self._frames = 0
        self._packets = 0
        with _failures():
            self._container = av.open(
                self._file,
                "w",
                format="mp4",
                options={
                    "movflags": _MOVFLAGS,
                    "frag_duration": str(int(FRAGMENT_SECONDS * 1_000_000)),
                },
                buffer_size=_WRITE_SIZE,
            )
            self._stream: VideoStream = self._container.add_stream("libx264", rate=preset.fps)
            self._stream.time_base = Fraction(1, preset.fps)
            # The stream's own x264 only tells the muxer the parameters. It codes
            # nothing, because it would keep its pictures until the file is complete.
            header = self._stream.codec_context
            _configure(header, preset, coding, threads=1)
            header.open()
        self._extradata = header.extradata
        # Pictures by which decoding order may be behind display order.
        self._delay = header.reorder_depth
        self._codec: VideoCodecContext | None = None

    def picture(self, planes: Planes) -> Picture:
        """`planes` as they are, without a copy, to be added any number of times."""
        return av.VideoFrame.from_numpy_buffer(planes.i420, format="yuv420p")

    def add(self, picture: Picture) -> None:
        """Codes the next picture. It has been read when this returns and may then change."""
        with _failures():
            codec = self._codec or self._start()
            picture.pts = self._frames
            picture.time_base = codec.time_base
            self._frames += 1
            self._mux(codec.encode_lazy(picture))

    def flush(self) -> None:
        """Codes and sends what the encoder holds back to look ahead.

        x264 cannot go on after that, so the next picture begins a new instance
        with the same parameters, with a picture at which a reader can start. Of
        what is sent, the muxer still holds the last fragment, under 0.5 s.
        """
        with _failures():
            if self._codec is not None:
                codec, self._codec = self._codec, None
                self._mux(codec.encode_lazy(None))

    def close(self) -> None:
        """Codes what is left and completes the file."""
        self.flush()
        with _failures():
            self._container.close()

    def abort(self) -> None:
        """Lets go of everything; writes nothing more."""
        self._codec = None
        self._file.closed = True
        self._container.close()

    def _start(self) -> VideoCodecContext:
        codec = av.CodecContext.create("libx264", "w")
        _configure(codec, self._preset, self._coding, threads=self._coding.thread_count)
        codec.open()
        if codec.extradata != self._extradata:
            raise GatorError(
                Reason.ENCODING_FAILED,
                "the encoder started with other parameters than the file has; compose again",
            )
        self._codec = codec
        return codec

    def _mux(self, packets: Iterable[Packet[Any]]) -> None:
        for packet in packets:
            self._sink.check()
            packet.stream = self._stream
            # x264 derives decoding times from the pictures of one instance, and
            # otherwise for its first few; counted, they grow across instances.
            packet.dts = self._packets - self._delay
            packet.duration = 1
            self._packets += 1
            self._container.mux_one(packet)


class _File:
    """What the muxer writes to. PyAV writes no trailer to a file that is closed."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self.closed = False

    def write(self, data: bytes) -> int:
        return len(data) if self.closed else self._sink.write(data)


def _configure(codec: VideoCodecContext, preset: Preset, coding: Coding, *, threads: int) -> None:
    codec.width = preset.width
    codec.height = preset.height
    codec.pix_fmt = "yuv420p"
    codec.framerate = Fraction(preset.fps)
    codec.time_base = Fraction(1, preset.fps)
    codec.color_range = ColorRange.MPEG
    codec.colorspace = Colorspace.ITU709
    codec.color_primaries = ColorPrimaries.BT709
    codec.color_trc = ColorTrc.BT709
    # PyAV's default is slices on as many threads as there are CPUs.
    codec.thread_type = "FRAME"
    codec.thread_count = threads
    codec.flags |= Flags.global_header
    codec.options = {
        "preset": coding.x264_preset,
        "crf": f"{coding.crf:g}",
        "profile": "high",
        "level": f"{preset.h264_level / 10:.1f}",
        "maxrate": str(preset.bitrate * 3 // 2),
        "bufsize": str(preset.bitrate * 2),
        "x264-params": ":".join(_parameters(preset, coding)),
    }


def _parameters(preset: Preset, coding: Coding) -> Iterator[str]:
    yield f"keyint={max(1, int(coding.gop_seconds * preset.fps))}"
    yield "open-gop=0"
    yield "force-cfr=1"
    # What makes it High, which the fastest preset leaves out.
    yield "cabac=1"
    yield "8x8dct=1"
    if coding.x264_preset in _MORE_THAN_4_REFERENCES:
        yield "ref=4"


def cpu_count() -> int:
    """CPUs that this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


@cache
def x264_version() -> str:
    """Name and build of the linked x264, such as "x264 core 165", by coding one picture.

    Raises:
        GatorError: ENCODING_FAILED; there is no working x264.
    """
    with _failures():
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


@contextmanager
def _failures() -> Iterator[None]:
    try:
        yield
    except av.error.FFmpegError as error:
        log.exception("x264 or the muxer failed")
        raise GatorError(
            Reason.ENCODING_FAILED,
            "the video could not be encoded; the compositor's log has the details",
        ) from error
