"""Looks into the MP4 files that tests get."""

import io
import subprocess
from dataclasses import dataclass
from fractions import Fraction

import av
import imageio_ffmpeg
import numpy as np

FFMPEG = imageio_ffmpeg.get_ffmpeg_exe()


class Collector:
    """A sink that keeps everything."""

    def __init__(self):
        self.writes = []
        self.frames = 0

    @property
    def data(self):
        return b"".join(self.writes)

    def write(self, data):
        self.writes.append(data)
        return len(data)

    def progress(self, frames):
        self.frames = frames

    def check(self):
        pass


@dataclass
class Decoded:
    times: list[Fraction]
    """Presentation times in seconds, in order."""
    lumas: list[np.ndarray]
    start_time: Fraction
    duration: Fraction
    profile: int
    level: int


def decode(data):
    """Every picture of a file that may be incomplete."""
    with av.open(io.BytesIO(data)) as container:
        stream = container.streams.video[0]
        times, lumas = [], []
        for frame in container.decode(stream):
            times.append(frame.pts * stream.time_base)
            lumas.append(frame.to_ndarray()[: frame.height].copy())
        parameters = stream.codec_context.extradata
        return Decoded(
            times,
            lumas,
            stream.start_time * stream.time_base,
            Fraction(container.duration, 1_000_000),
            parameters[1],
            parameters[3],
        )


def decode_any(data):
    """(time in seconds, luma) of every picture of a file in any codec."""
    with av.open(io.BytesIO(data)) as container:
        stream = container.streams.video[0]
        return [
            (frame.pts * stream.time_base, frame.to_ndarray()[: frame.height].copy())
            for frame in container.decode(stream)
        ]


def pictures_so_far(data):
    """How many pictures a player can show of a file that is still coming."""
    end = at = 0
    while at + 8 <= len(data):
        at += int.from_bytes(data[at : at + 4], "big")
        if at <= len(data):
            end = at
    whole = data[:end]
    return len(decode(whole).times) if b"mdat" in whole else 0


def packets(data):
    """(pts, dts, is key, types of its NAL units) of each packet in decoding order."""
    with av.open(io.BytesIO(data)) as container:
        stream = container.streams.video[0]
        tick = 1 / (stream.time_base * stream.average_rate)
        return [
            (p.pts / tick, p.dts / tick, p.is_keyframe, _nal_types(bytes(p)))
            for p in container.demux(stream)
            if p.size
        ]


def _nal_types(data):
    types = []
    while data:
        size = int.from_bytes(data[:4], "big")
        types.append(data[4] & 31)
        data = data[4 + size :]
    return types


def complaints(path):
    """What ffmpeg says when it decodes the file strictly; it may complain and exit with 0."""
    command = [FFMPEG, "-v", "error", "-err_detect", "explode", "-xerror"]
    done = subprocess.run(
        [*command, "-i", str(path), "-f", "null", "-"], capture_output=True, text=True, check=False
    )
    return done.stderr + ("" if done.returncode == 0 else f"exit status {done.returncode}")


def described(path):
    """ffmpeg's description of the file."""
    done = subprocess.run(
        [FFMPEG, "-hide_banner", "-i", str(path)], capture_output=True, text=True, check=False
    )
    return done.stderr


def nal_units(annexb):
    """The NAL units of an Annex B byte stream, without their start codes."""
    return [unit.rstrip(b"\0") for unit in annexb.split(b"\0\0\1")[1:]]


def boxes(data):
    """(type, size) of each box at the top of an MP4 file."""
    found, at = [], 0
    while at < len(data):
        size = int.from_bytes(data[at : at + 4], "big")
        found.append((data[at + 4 : at + 8].decode(), size))
        at += size
    return found
