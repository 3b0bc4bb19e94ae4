"""Reads finished videos: with PyAV, byte by byte, and with a separate ffmpeg binary."""

import json
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import imageio_ffmpeg
import numpy as np
from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc

NAL_IDR = 5


@dataclass(frozen=True)
class Described:
    """What a reader says of a video file."""

    width: int
    height: int
    fps: Fraction
    pix_fmt: str
    profile: str
    level: int
    """Times 10."""
    colours: tuple[str, ...]
    """Range, matrix, primaries, transfer."""
    start: Fraction
    """Seconds."""
    duration: Fraction
    """Of the container, seconds."""


@dataclass(frozen=True)
class Access:
    """A coded picture."""

    pts: int
    dts: int
    duration: int
    keyframe: bool
    idr: bool


def decoded(path: Path) -> Iterator[np.ndarray]:
    """The luma plane (height, width) uint8 of each picture."""
    with av.open(path) as container:
        for frame in container.decode(video=0):
            yield frame.to_ndarray(format="yuv420p")[: frame.height]


def timestamps(path: Path) -> list[Fraction]:
    """When each decoded picture is shown, in seconds."""
    with av.open(path) as container:
        return [frame.pts * frame.time_base for frame in container.decode(video=0)]


def described(path: Path) -> Described:
    """By PyAV; profile and level from the bytes of the stream's avcC (ISO/IEC 14496-15)."""
    with av.open(path) as container:
        stream = container.streams.video[0]
        codec = stream.codec_context
        avcc = codec.extradata
        names = {100: "High"}
        return Described(
            codec.width,
            codec.height,
            stream.average_rate,
            codec.pix_fmt,
            names.get(avcc[1], str(avcc[1])),
            avcc[3],
            (
                ColorRange(codec.color_range).name,
                Colorspace(codec.colorspace).name,
                ColorPrimaries(codec.color_primaries).name,
                ColorTrc(codec.color_trc).name,
            ),
            stream.start_time * stream.time_base,
            Fraction(container.duration, av.time_base),
        )


def accesses(path: Path) -> list[Access]:
    """The coded pictures in decoding order, times in pictures."""
    with av.open(path) as container:
        stream = container.streams.video[0]
        frame = 1 / stream.average_rate / stream.time_base
        assert frame.denominator == 1
        ticks = frame.numerator
        found = []
        for packet in container.demux(stream):
            if packet.size == 0:
                continue
            assert packet.pts % ticks == packet.dts % ticks == packet.duration % ticks == 0
            found.append(
                Access(
                    packet.pts // ticks,
                    packet.dts // ticks,
                    packet.duration // ticks,
                    packet.is_keyframe,
                    NAL_IDR in _nal_types(bytes(packet)),
                )
            )
        return found


def encoder_settings(path: Path) -> dict[str, str]:
    """The options that x264 signs its streams with (SEI in the first picture); empty if none."""
    with av.open(path) as container:
        first = bytes(next(packet for packet in container.demux(video=0)))
    signed = re.search(rb"x264 - core .*? options: ([^\x00]+)\x00", first)
    if signed is None:
        return {}
    return dict(option.partition("=")[::2] for option in signed[1].decode().split())


def _nal_types(access: bytes) -> set[int]:
    types, at = set(), 0
    while at < len(access):
        size = int.from_bytes(access[at : at + 4], "big")
        types.add(access[at + 4] & 31)
        at += 4 + size
    return types


def ffmpeg(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Runs the ffmpeg of the imageio-ffmpeg wheel, which is not the one that PyAV links."""
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-hide_banner", "-nostdin", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def ffmpeg_says(path: Path) -> dict[str, str]:
    """What `ffmpeg -i` prints of the file."""
    text = ffmpeg("-i", path).stderr
    found = re.search(
        r"Duration: (?P<duration>[\d:.]+), start: (?P<start>[-\d.]+),.*?"
        r"Video: h264 \((?P<profile>[^)]+)\) \(avc1[^)]*\), "
        r"(?P<pix_fmt>\w+)\((?P<colours>[^)]+)\), (?P<size>\d+x\d+).*? (?P<fps>[\d.]+) fps,",
        text,
        re.DOTALL,
    )
    assert found, text
    return found.groupdict()


def sequence_parameters(path: Path) -> dict[str, int]:
    """The first sequence parameter set, by ffmpeg's own bit stream reader."""
    text = ffmpeg(
        *("-i", path, "-c", "copy", "-frames:v", "1", "-bsf:v", "trace_headers", "-f", "null", "-")
    ).stderr
    text = text.partition("Sequence Parameter Set")[2].partition("Picture Parameter Set")[0]
    return {name: int(value) for name, value in re.findall(r" (\w+) +[01]+ = (-?\d+)\n", text)}


def ffprobe_says(path: Path) -> dict[str, Any]:
    """The stream as the ffprobe on the PATH sees it."""
    command = ["ffprobe", "-v", "error", "-count_frames", "-show_streams", "-of", "json", path]
    found = subprocess.run(command, capture_output=True, text=True, check=True)
    stream: dict[str, Any] = json.loads(found.stdout)["streams"][0]
    return stream


def ffmpeg_pictures(path: Path) -> list[tuple[int, int]]:
    """Time and length of each picture, in pictures, as ffmpeg decodes it; errors are fatal."""
    run = ffmpeg(
        *("-v", "error", "-err_detect", "explode", "-xerror", "-i", path),
        *("-map", "0:v", "-fps_mode", "passthrough", "-f", "framecrc", "-"),
    )
    assert (run.returncode, run.stderr) == (0, "")
    lines = [line for line in run.stdout.splitlines() if line and not line.startswith("#")]
    return [(int(line.split(",")[2]), int(line.split(",")[3])) for line in lines]
