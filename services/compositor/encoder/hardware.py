"""H.264 by devices made for it, where there are any.

NVENC is in the FFmpeg of PyAV's wheels and needs NVIDIA's driver and a GPU
that has it (H100 and H200 do not). VAAPI is not in those wheels: it needs a
PyAV that is built against a system's FFmpeg.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import av
from av.codec.codec import UnknownCodecError
from av.codec.hwaccel import HWAccel
from av.video.codeccontext import VideoCodecContext

from compositor.encoder.codec import PictureCoder, ceilings, create, gop_pictures
from compositor.encoder.frames import frame
from compositor.encoder.x264 import X264Coding
from compositor.planes import NEUTRAL_C, Planes
from rpckit.errors import GatorError, Reason
from rpckit.telemetry import logger
from rpckit.video import Codec, Preset

log = logger(__name__)

EncoderName = Literal["x264", "h264_nvenc", "h264_vaapi", "auto"]

_PROBE = Preset(640, 360, 30, bitrate=2_000_000, h264_level=31, use_case="")
_PROBE_PICTURES = 3


@dataclass(frozen=True)
class DeviceCoding:
    """What coders on devices have in common. No B pictures, so none waits for a later one."""

    crf: float = 18.0
    """Quality on x264's scale, as far as the device has one."""
    gop_seconds: float = 8.0
    """Longest time between two pictures at which a reader can start, 1 to 10 s."""

    @property
    def codec(self) -> Codec:
        """See `PictureCoder`."""
        return Codec.H264

    @property
    def hardware(self) -> bool:
        """See `PictureCoder`."""
        return True

    @property
    def reorder(self) -> int:
        """See `PictureCoder`."""
        return 0


@dataclass(frozen=True)
class NvencCoding(DeviceCoding):
    """H.264 by NVIDIA's NVENC, a `PictureCoder`."""

    @property
    def description(self) -> str:
        """See `PictureCoder`."""
        return f"h264_nvenc p5 cq {self.crf:g}"

    def open(self, preset: Preset, *, header: bool = False) -> VideoCodecContext:  # noqa: ARG002
        """See `PictureCoder`."""
        codec = create("h264_nvenc", preset)
        codec.options = {
            "preset": "p5",
            "tune": "hq",
            "profile": "high",
            "level": f"{preset.h264_level / 10:.1f}",
            "rc": "vbr",
            "cq": f"{self.crf:g}",
            **ceilings(preset),
            "g": str(gop_pictures(self.gop_seconds, preset.fps)),
            "bf": "0",
            "no-scenecut": "1",
            "strict_gop": "1",
        }
        codec.open()
        return codec


@dataclass(frozen=True)
class VaapiCoding(DeviceCoding):
    """H.264 by VAAPI (Intel, AMD), a `PictureCoder`."""

    @property
    def description(self) -> str:
        """See `PictureCoder`."""
        return "h264_vaapi"

    def open(self, preset: Preset, *, header: bool = False) -> VideoCodecContext:  # noqa: ARG002
        """See `PictureCoder`."""
        codec = create("h264_vaapi", preset, HWAccel("vaapi"))
        codec.sw_format = "nv12"  # what all of these devices take
        codec.options = {
            "profile": "high",
            "level": f"{preset.h264_level / 10:g}",
            # A quality with a ceiling is more than most of their drivers can do.
            "rc_mode": "VBR",
            "b": str(preset.bitrate),
            **ceilings(preset),
            "g": str(gop_pictures(self.gop_seconds, preset.fps)),
            "bf": "0",
        }
        codec.open()
        return codec


def h264_coder(choice: EncoderName, coding: X264Coding) -> PictureCoder:
    """The coder of the setting h264_encoder: on a device, or by x264 as `coding` says.

    Each that comes into question codes pictures first; "auto" takes the first
    that can, x264 last.

    Raises:
        GatorError: ENCODING_FAILED; the one that was chosen cannot.
    """
    if choice == "x264":
        return coding
    devices: dict[EncoderName, PictureCoder] = {
        "h264_nvenc": NvencCoding(coding.crf, coding.gop_seconds),
        "h264_vaapi": VaapiCoding(coding.crf, coding.gop_seconds),
    }
    for name in devices if choice == "auto" else (choice,):
        problem = probe(devices[name])
        if not problem:
            return devices[name]
        log.info("a device is not used", coder=name, why=problem)
    if choice == "auto":
        return coding
    raise GatorError(
        Reason.ENCODING_FAILED,
        f"{choice} cannot code pictures here ({problem}); set GATOR_COMPOSITOR_H264_ENCODER "
        "to x264 or auto",
    )


def probe(coder: PictureCoder) -> str:
    """Why `coder` cannot code pictures that come back by decoding; empty if it can."""
    planes = Planes.empty(_PROBE.width, _PROBE.height)
    planes.i420[:] = NEUTRAL_C
    try:
        codec = coder.open(_PROBE)
        packets = []
        for number in range(_PROBE_PICTURES):
            packets += codec.encode(frame(planes, number, codec.time_base))
        packets += codec.encode(None)
        decoder = av.CodecContext.create("h264", "r")
        decoder.extradata = codec.extradata
        pictures = [picture for packet in packets for picture in decoder.decode(packet)]
        pictures += decoder.decode(None)
    except UnknownCodecError:
        return "the linked FFmpeg does not have it"
    except av.error.FFmpegError as error:
        return error.strerror or "no device has it"
    except NotImplementedError as error:
        return str(error)
    if len(pictures) != _PROBE_PICTURES:
        return f"{len(pictures)} of {_PROBE_PICTURES} pictures came back"
    return ""
