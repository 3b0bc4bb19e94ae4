"""Pictures into MP4, one by one, in any codec."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal

from av.packet import Packet
from av.video.codeccontext import VideoCodecContext

from compositor.encoder.codec import PictureCoder
from compositor.encoder.failures import failures
from compositor.encoder.frames import frame
from compositor.encoder.mp4 import Mp4, Track
from compositor.engine import Sink
from compositor.planes import Planes
from compositor.spool import Spool
from rpckit.errors import GatorError, Reason
from rpckit.video import Codec, Preset

_TRACKS: dict[Codec, Literal["h264", "hevc", "av1"]] = {
    Codec.H264: "h264",
    Codec.HEVC: "hevc",
    Codec.AV1: "av1",
}


class Encoder:
    """Codes the pictures of one video and writes an MP4 that plays before it is complete.

    Pictures are numbered in the order in which they are added, from 0, at the
    preset's constant rate. Every method raises GatorError(ENCODING_FAILED) when
    the coder fails, and lets through what the sink raises.
    """

    def __init__(
        self, preset: Preset, coder: PictureCoder, sink: Sink, stored: Spool | None = None
    ) -> None:
        """`stored`, if given, gets the same video with its index in front; see `Mp4`."""
        self._preset = preset
        self._coder = coder
        self._sink = sink
        self._frames = 0
        self._packets = 0
        with failures():
            # This one only tells the muxer the parameters.
            header = coder.open(preset, header=True)
        self._extradata = header.extradata or b""
        # Pictures by which decoding order may be behind display order.
        self._delay = max(header.reorder_depth, coder.reorder)
        codec = _TRACKS[coder.codec]
        track = Track(codec, preset.width, preset.height, preset.fps, self._extradata)
        self._file = Mp4(track, sink, stored)
        self._codec: VideoCodecContext | None = None

    def add(self, picture: Planes) -> None:
        """Codes the next picture. It has been read when this returns and may then change."""
        with failures():
            codec = self._codec or self._start()
            coming = frame(picture, self._frames, codec.time_base)
            self._frames += 1
            self._mux(codec.encode_lazy(coming))

    def flush(self) -> None:
        """Codes and sends what the coder holds back to look ahead, if it does.

        A coder cannot go on after that, so the next picture begins a new one
        with the same parameters, with a picture at which a reader can start. Of
        what is sent, the muxer still holds the last fragment, under 0.5 s.
        """
        if self._frames > self._packets:
            self._drain()

    def close(self) -> None:
        """Codes what is left and completes the file."""
        self._drain()
        self._file.close()

    def abort(self) -> None:
        """Lets go of everything; writes nothing more."""
        self._codec = None
        self._file.abort()

    def _drain(self) -> None:
        with failures():
            if self._codec is not None:
                codec, self._codec = self._codec, None
                self._mux(codec.encode_lazy(None))

    def _start(self) -> VideoCodecContext:
        codec = self._coder.open(self._preset)
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
            assert packet.pts is not None  # noqa: S101 - every picture had one
            # x264 derives decoding times from the pictures of one instance, and
            # otherwise for its first few; counted, they grow across instances.
            dts = self._packets - self._delay
            self._packets += 1
            self._file.add(bytes(packet), pts=packet.pts, dts=dts, key=packet.is_keyframe)
