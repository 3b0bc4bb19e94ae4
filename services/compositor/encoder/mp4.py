"""Packets of one video track into MP4 files: one that streams, and one that is stored.

The streamed file is fragmented and plays before it is complete. The stored one
has its index in front (faststart): its packets go to a file as they come, and
when the last is there FFmpeg moves them up in place to make room for the index,
1 ms for 4 MB. (Room that is kept free from the start would have to be larger
than needed, and it is 8 bytes a picture.)
"""

from __future__ import annotations

import io
import os
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Literal, cast

import av
from av.container import OutputContainer
from av.packet import Packet
from av.video.stream import VideoStream

from compositor.encoder.codec import describe
from compositor.encoder.failures import failures
from compositor.engine import Sink
from compositor.spool import Spool

FRAGMENT_SECONDS = Fraction(1, 4)
_WRITE_SIZE = 1 << 18

# The fragment waits for its first packets (delay_moov) because only then the
# muxer knows how much B-pictures delay the start: an empty moov starts late.
_STREAMED = {
    "movflags": "frag_keyframe+delay_moov+default_base_moof",
    "frag_duration": str(int(FRAGMENT_SECONDS * 1_000_000)),
}
_STORED = {"movflags": "faststart"}

# By which FFmpeg knows what the packets are, and the sample entry that every player knows.
_CODERS = {"h264": ("libx264", "avc1"), "hevc": ("libx265", "hvc1"), "av1": ("libsvtav1", "av01")}


@dataclass(frozen=True)
class Track:
    """What the files say of their video: BT.709 in limited range, and this."""

    codec: Literal["h264", "hevc", "av1"]
    width: int
    """Pixels, as shown."""
    height: int
    """Pixels, as shown."""
    fps: int
    """Pictures a second; times of packets are whole pictures."""
    extradata: bytes
    """The parameter sets, in one of two forms, which also decides that of the packets.
    H.264: an AVCDecoderConfigurationRecord (ISO/IEC 14496-15) for packets whose NAL
    units have 4 bytes of length before them, or Annex B for packets in Annex B. HEVC
    likewise. AV1: a sequence header OBU, for temporal units."""


class Mp4:
    """Writes the packets of one video.

    Methods raise GatorError ENCODING_FAILED when the muxer refuses a packet,
    STORAGE_FULL when the stored file's disk is full, and let through what the
    sink raises.
    """

    def __init__(self, track: Track, sink: Sink, stored: Spool | None = None) -> None:
        """The fragmented file goes to `sink`, the other, if wanted, to `stored`."""
        self._time_base = Fraction(1, track.fps)
        self._ends: list[_End] = [_SinkEnd(sink)]
        if stored is not None:
            self._ends.append(_SpoolEnd(stored))
        with failures():
            self._outputs = [_Output(end, track) for end in self._ends]

    def add(self, data: bytes, *, pts: int, dts: int, key: bool) -> None:
        """Takes the packet of one picture, in decoding order.

        Args:
            data: the packet, not empty.
            pts: number of the picture in display order, from 0.
            dts: when it is decoded, in pictures. Grows by 1 from packet to
                packet and is at most `pts`; it begins below 0 where pictures
                are decoded ahead of their turn.
            key: whether a reader can start here.
        """
        with failures():
            for output in self._outputs:
                packet = Packet(data)
                packet.time_base = self._time_base
                packet.pts = pts
                packet.dts = dts
                packet.duration = 1
                packet.is_keyframe = key
                output.mux(packet)

    def close(self) -> None:
        """Completes both files."""
        with failures():
            for output in self._outputs:
                output.close()

    def abort(self) -> None:
        """Lets go of everything; writes nothing more."""
        for end in self._ends:
            end.closed = True
        for output in self._outputs:
            # Only what is written can fail, and nothing is.
            with suppress(av.error.FFmpegError):
                output.close()


class _SinkEnd:
    """Where the streamed file goes. PyAV writes no trailer to a file that is closed."""

    options = _STREAMED

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self.closed = False

    def write(self, data: bytes) -> int:
        return len(data) if self.closed else self._sink.write(data)


class _SpoolEnd:
    """A place in the stored file. The muxer opens a second one to move the packets."""

    options = _STORED

    def __init__(self, spool: Spool) -> None:
        self._spool = spool
        self._at = 0
        self.closed = False

    def another(self, _url: str, _flags: int, _options: dict[str, str]) -> _SpoolEnd:
        return _SpoolEnd(self._spool)

    def read(self, size: int) -> bytes:
        data = self._spool.read(self._at, size)
        self._at += len(data)
        return data

    def write(self, data: bytes) -> int:
        if not self.closed:
            self._spool.write(self._at, data)
        self._at += len(data)
        return len(data)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        begin = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._spool.size}
        self._at = begin[whence] + offset
        return self._at

    def tell(self) -> int:
        return self._at


_End = _SinkEnd | _SpoolEnd


class _Output:
    """One file in the making."""

    def __init__(self, end: _End, track: Track) -> None:
        self._container: OutputContainer = av.open(
            end,
            "w",
            format="mp4",
            options=end.options,
            buffer_size=_WRITE_SIZE,
            io_open=end.another if isinstance(end, _SpoolEnd) else None,
        )
        self._stream = _stream(self._container, track)

    def mux(self, packet: Packet[Any]) -> None:
        packet.stream = self._stream
        self._container.mux_one(packet)

    def close(self) -> None:
        self._container.close()


def _stream(container: OutputContainer, track: Track) -> VideoStream:
    # FFmpeg asks for a coder even where packets are ready. A stream that is made
    # after another's is not opened as one: it only names the codec.
    coder, tag = _CODERS[track.codec]
    template = av.open(io.BytesIO(), "w", format="mp4").add_stream(coder, rate=track.fps)
    stream = container.add_stream_from_template(cast("VideoStream", template), opaque=True)
    stream.time_base = Fraction(1, track.fps)
    described = stream.codec_context
    describe(described, track.width, track.height, track.fps)
    described.codec_tag = tag
    described.extradata = track.extradata
    return stream
