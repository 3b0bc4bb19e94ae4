"""Which engine makes the videos of each codec."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from compositor.compressed import CompressedEngine
from compositor.encoder import av1, hevc
from compositor.encoder.av1 import Av1Coding
from compositor.encoder.codec import PictureCoder, available
from compositor.encoder.hardware import h264_coder
from compositor.encoder.hevc import HevcCoding
from compositor.encoder.x264 import X264Coding
from compositor.engine import Engine
from compositor.reference import ReferenceEngine
from compositor.settings import Settings
from rpckit.video import Codec


@dataclass(frozen=True)
class Choice:
    """The engine of a codec."""

    engine: Engine
    hardware: bool
    """Whether a device made for it codes the pictures."""


def choose(settings: Settings) -> dict[Codec, Choice]:
    """The engine of each codec that the linked FFmpeg can code.

    Raises:
        GatorError: ENCODING_FAILED; the coder of the setting h264_encoder cannot be used.
    """
    return dict(_choices(settings))


def _choices(settings: Settings) -> Iterator[tuple[Codec, Choice]]:
    yield Codec.H264, _h264(settings)
    gop_seconds, crf, threads = settings.gop_seconds, settings.crf, settings.threads
    if available(hevc.ENCODER):
        hevc_coding = HevcCoding(settings.x265_preset, crf, gop_seconds, threads)
        yield Codec.HEVC, _reference(settings, hevc_coding)
    if available(av1.ENCODER):
        av1_coding = Av1Coding(settings.svtav1_preset, crf, gop_seconds, threads)
        yield Codec.AV1, _reference(settings, av1_coding)


def _h264(settings: Settings) -> Choice:
    coding = X264Coding(settings.x264_preset, settings.crf, settings.gop_seconds, settings.threads)
    if settings.engine == "auto" and settings.h264_encoder in ("x264", "auto"):
        # Faster than any device could code the pictures: most are not coded at all.
        return Choice(CompressedEngine(coding, settings.intra_preset), hardware=False)
    return _reference(settings, h264_coder(settings.h264_encoder, coding))


def _reference(settings: Settings, coder: PictureCoder) -> Choice:
    return Choice(ReferenceEngine(coder, settings.flush_after), coder.hardware)
