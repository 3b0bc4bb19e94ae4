"""The other way round: pictures out of files, by the decoders that FFmpeg has. For checks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import av
import numpy as np
from av.bitstream import BitStreamFilterContext
from av.codec.hwaccel import HWAccel, hwdevices_available
from av.container import InputContainer
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from compositor.planes import Planes

_STRICT = {"err_detect": "explode"}
_NAMED = ("h264_cuvid", "h264_qsv", "h264_v4l2m2m", "h264_amf", "h264_mediacodec")
"""Decoders of devices that FFmpeg knows by a name of their own."""


class DecodingError(Exception):
    """A decoder is not there, or refuses a file, or finds an error in it."""


@dataclass(frozen=True)
class AccessUnit:
    """A coded picture."""

    data: bytes
    """In Annex B, with parameter sets where decoding can begin."""
    output: int
    """Number of the picture in output order, from 0."""
    begins: bool
    """Whether decoding can begin here, so that nothing after it refers to anything before."""


@dataclass(frozen=True)
class FfmpegDecoder:
    """One of FFmpeg's H.264 decoders."""

    codec: str = "h264"
    """FFmpeg's name of it."""
    device: str | None = None
    """FFmpeg's name of the kind of device that decodes for it, such as "cuda"; None: no device."""
    cropped: bool = True
    """Whether pictures end where they are shown, or come in whole macroblocks."""

    @property
    def name(self) -> str:
        """What people call it."""
        if self.device is not None:
            return f"FFmpeg {self.device}"
        return "FFmpeg" if self.codec == "h264" else f"FFmpeg {self.codec}"

    def pictures(self, path: Path) -> Iterator[Planes]:
        """The pictures of a file in output order; damage is an error.

        Raises:
            DecodingError: there is no such decoder or device, or it fails.
        """
        with _failures(), _opened(path, self.device) as container:
            stream = container.streams.video[0]
            for frame in self._frames(container, stream):
                yield _planes(frame)

    def _frames(self, container: InputContainer, stream: VideoStream) -> Iterator[VideoFrame]:
        options = {**_STRICT, "apply_cropping": "1" if self.cropped else "0"}
        if self.codec == "h264":
            stream.codec_context.options = options
            yield from container.decode(stream)
            return
        codec = cast("VideoCodecContext", av.CodecContext.create(self.codec, "r"))
        codec.extradata = stream.codec_context.extradata
        codec.width, codec.height = stream.codec_context.width, stream.codec_context.height
        for packet in container.demux(stream):
            yield from codec.decode(packet)


def hardware_decoders() -> list[FfmpegDecoder]:
    """Those that this FFmpeg was built with, whether or not there is such a device."""
    devices = [FfmpegDecoder(device=device) for device in hwdevices_available()]
    return [*devices, *(FfmpegDecoder(name) for name in _NAMED if name in av.codecs_available)]


def access_units(path: Path) -> Iterator[AccessUnit]:
    """The coded pictures of a file in decoding order, for decoders that know no MP4.

    Raises:
        DecodingError: the file cannot be read, or its pictures have no constant rate.
    """
    with _failures(), _opened(path) as container:
        stream = container.streams.video[0]
        to_annexb = BitStreamFilterContext("h264_mp4toannexb", stream)
        for packet in container.demux(stream):
            if packet.pts is None or stream.time_base is None or stream.average_rate is None:
                continue  # the empty packet at the end
            number = packet.pts * stream.time_base * stream.average_rate
            if number.denominator != 1:
                raise DecodingError(f"a picture is shown at {number} of a picture's time")
            begins = packet.is_keyframe  # the filter empties the packet
            data = b"".join(map(bytes, to_annexb.filter(packet)))
            yield AccessUnit(data, number.numerator, begins)


def codec_string(path: Path) -> str:
    """What a browser is asked whether it plays, such as "avc1.640028" (RFC 6381).

    Raises:
        DecodingError: the file is no H.264 in MP4.
    """
    with _failures(), _opened(path) as container:
        avcc = container.streams.video[0].codec_context.extradata or b""
    if len(avcc) < 4 or avcc[0] != 1:
        raise DecodingError(f"{path} has no AVCDecoderConfigurationRecord")
    return f"avc1.{avcc[1:4].hex()}"


def _planes(frame: VideoFrame) -> Planes:
    # Devices give NV12, whose samples are the same ones in another order.
    return Planes(np.asarray(frame.to_ndarray(format="yuv420p"), np.uint8))


@contextmanager
def _opened(path: Path, device: str | None = None) -> Iterator[InputContainer]:
    acceleration = HWAccel(device, allow_software_fallback=False) if device else None
    with av.open(str(path), hwaccel=acceleration) as container:
        yield container


@contextmanager
def _failures() -> Iterator[None]:
    try:
        yield
    except (av.error.FFmpegError, RuntimeError, NotImplementedError) as error:
        raise DecodingError(getattr(error, "strerror", None) or str(error)) from error
