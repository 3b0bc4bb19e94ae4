"""Pictures that x264 codes for the tests, and what FFmpeg decodes, as (y, u, v) or not at all."""

from contextlib import contextmanager
from fractions import Fraction

import av
import av.logging
import numpy as np

from compositor.h264.coded import CodedPicture, PictureReader
from compositor.h264.format import Format
from compositor.h264.stream import Stream

STILL = "keyint=1:bframes=0:rc-lookahead=0:sync-lookahead=0:annexb=1:stitchable=1:cabac=1:8x8dct=1"
SEGMENT = "keyint=300:b-pyramid=none:scenecut=0:annexb=1:stitchable=1:cabac=1:8x8dct=1"


def blocks(width, height, seed, *, size=4):
    """A picture of noise in blocks of `size` samples, in I420."""
    rng = np.random.default_rng(seed)
    rows = height * 3 // 2
    coarse = rng.integers(16, 236, (-(-rows // size), -(-width // size)), dtype=np.uint8)
    return np.ascontiguousarray(np.kron(coarse, np.ones((size, size), np.uint8))[:rows, :width])


def moving(width, height, count, seed=0):
    """A picture that moves sideways and darkens: worth motion, weights and skips."""
    picture = blocks(width, height, seed, size=8).astype(int)
    return [
        np.ascontiguousarray((np.roll(picture, 2 * i, axis=1) * (64 - i) // 64).astype(np.uint8))
        for i in range(count)
    ]


def access_units(pictures, params, **options):
    """x264's access units in Annex B, in decoding order."""
    return [data for data, _ in timed_access_units(pictures, params, **options)]


def timed_access_units(pictures, params, *, preset="superfast", crf=20, fps=30):
    """x264's access units with the numbers of their pictures in output order."""
    rows, width = pictures[0].shape
    codec = av.CodecContext.create("libx264", "w")
    codec.width, codec.height, codec.pix_fmt = width, rows * 2 // 3, "yuv420p"
    codec.time_base, codec.framerate = Fraction(1, fps), Fraction(fps)
    codec.thread_count = 1
    codec.options = {
        "preset": preset,
        "crf": str(crf),
        "x264-params": params + ":repeat-headers=1:log-level=none",
    }
    packets = []
    for number, picture in enumerate(pictures):
        frame = av.VideoFrame.from_numpy_buffer(picture, format="yuv420p")
        frame.pts = number
        packets += codec.encode(frame)
    return [(bytes(packet), packet.pts) for packet in [*packets, *codec.encode(None)]]


def still(width, height, seed, *, params="", **options):
    """An intra picture of noise, as x264 codes it."""
    (unit,) = access_units([blocks(width, height, seed)], STILL + params, **options)
    return CodedPicture.parse(unit)


def segment(units):
    reader = PictureReader()
    return [reader.read(unit) for unit in units]


@contextmanager
def silence():
    """libav says nothing at the level of a warning or worse meanwhile."""
    level = av.logging.get_level()
    av.logging.set_level(av.logging.WARNING)
    try:
        with av.logging.Capture() as messages:
            yield
    finally:
        av.logging.set_level(level)
    assert not messages


def decoded(packets, extradata=None):
    """The pictures of (data, pts), by pts, as (y, u, v) of what is not cropped."""
    with silence():
        codec = av.CodecContext.create("h264", "r")
        codec.extradata = extradata
        codec.options = {"err_detect": "explode"}
        codec.thread_count = 1
        frames = []
        for data, pts in packets:
            packet = av.Packet(data)
            packet.pts = pts
            frames += codec.decode(packet)
        frames += codec.decode(None)
    assert not any(frame.is_corrupt for frame in frames)
    assert [frame.pts for frame in frames] == sorted(pts for _, pts in packets)
    return {frame.pts: planes(frame) for frame in frames}


def shown(stream, units):
    """What a decoder shows of a stream's access units."""
    return decoded([(unit.data, unit.output) for unit in units], stream.avcc)


def planes(frame):
    """Copies of the planes of a frame, without padding."""
    return tuple(
        np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)[: plane.height, : plane.width]
        for plane in frame.planes
    )


def uncropped(picture):
    """A still with the samples that cropping hides, which its decoder refers to all the same."""
    columns, rows = picture.sps.mb_columns, picture.sps.mb_rows
    whole = Stream(Format(16 * columns, 16 * rows, 30, 10), picture.pps, picture.pps)
    unit, _ = whole.intra(picture, 0, idr=True)
    return shown(whole, [unit])[0]


def same(one, other):
    return all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))
