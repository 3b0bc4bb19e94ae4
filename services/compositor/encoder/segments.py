"""Pictures by x264 as closed groups, for a stream that others write: transitions that move."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from av.packet import Packet
from av.video.codeccontext import VideoCodecContext
from av.video.stream import VideoStream

from compositor.encoder.codec import WIDE
from compositor.encoder.failures import failures
from compositor.encoder.frames import frame
from compositor.encoder.x264 import COMMON, X264Coding, x264
from compositor.planes import Planes
from rpckit.video import Preset

_PARAMETERS = (
    *COMMON,
    "open-gop=0",
    # B pictures would save 2 % of a video of zooms and cost half as much time again, and
    # OpenH264 (so Firefox, where it has no other decoder) shows x264's wrongly.
    "bframes=0",
    # With 2 it would refer to a picture twice, and number its frames accordingly.
    "weightp=1",
    "ref=3",
    "slices=1",
    "annexb=1",
    "repeat-headers=1",
    # The same PPS for all segments.
    "stitchable=1",
    # A group begins where it must and nowhere else: these pictures have no cuts.
    "scenecut=0",
)
_NO_LOOKAHEAD = ("ultrafast", "superfast")
_LOOKAHEAD = 10
"""Pictures; x264 looks up to 60 ahead from preset "medium" on."""

# A 4K picture with its filtered copies is some 30 MB in x264: as few as do little harm,
# which is 400 MB instead of 700.
_WIDE_LOOKAHEAD = 3
_WIDE_PARAMETERS = ("sync-lookahead=0",)
_WIDE_THREADS = 4


@dataclass(frozen=True, slots=True)
class CodedUnit:
    """A coded picture."""

    data: bytes
    """An access unit of one slice in Annex B; an IDR picture brings its SPS and PPS."""
    output: int
    """Number of the picture in display order, from 0 at the segment's first."""
    idr: bool
    """Whether it is an IDR picture, at which a group begins."""


class SegmentCoder:
    """Codes runs of pictures at the quality and under the ceilings of a whole video.

    May be used for any number of segments, in several threads at once. Methods
    raise GatorError(ENCODING_FAILED) if x264 fails.
    """

    def __init__(self, preset: Preset, coding: X264Coding, gop_pictures: int) -> None:
        """`gop_pictures` is the most pictures of a group, at least 1."""
        self._preset = preset
        self._coding = coding
        self._gop_pictures = gop_pictures

    def parameter_sets(self) -> bytes:
        """x264's SPS and PPS in Annex B, those of every segment of this coder."""
        with failures():
            return self._opened(threads=1, global_header=True).extradata or b""

    def code(self, pictures: Iterable[Planes]) -> Iterator[CodedUnit]:
        """The access units of `pictures`, in decoding order, each as soon as x264 lets go of it.

        A picture has been read when the next is asked for, and may then change.
        """
        codec: VideoCodecContext | None = None
        for number, planes in enumerate(pictures):
            with failures():
                codec = codec or self._opened(
                    threads=self._coding.thread_count, global_header=False
                )
                packets = codec.encode(frame(planes, number, codec.time_base))
            yield from map(_unit, packets)
        if codec is not None:
            with failures():
                packets = codec.encode(None)
            yield from map(_unit, packets)

    def _opened(self, *, threads: int, global_header: bool) -> VideoCodecContext:
        x264_preset = self._coding.x264_preset
        wide = self._preset.width > WIDE
        lookahead = _WIDE_LOOKAHEAD if wide else _LOOKAHEAD
        if x264_preset in _NO_LOOKAHEAD:
            lookahead = 0
        return x264(
            self._preset,
            x264_preset,
            self._coding.options(self._preset),
            [
                *_PARAMETERS,
                *(_WIDE_PARAMETERS if wide else ()),
                f"keyint={self._gop_pictures}",
                f"rc-lookahead={lookahead}",
            ],
            threads=min(threads, _WIDE_THREADS) if wide else threads,
            global_header=global_header,
        )


def _unit(packet: Packet[VideoStream]) -> CodedUnit:
    assert packet.pts is not None  # noqa: S101 - every picture had one
    return CodedUnit(bytes(packet), packet.pts, packet.is_keyframe)
