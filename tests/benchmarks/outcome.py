"""What a contender made: that it is the same job, how large it is, and how good."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from statistics import median

import av

from tests.benchmarks.job import GOP_SECONDS, Job, x264_options
from tests.benchmarks.quality import Likeness, likeness
from tests.support import video


@dataclass(frozen=True)
class Outcome:
    size: int
    """Bytes."""
    likeness: Likeness | None = None
    """None where there is no video."""
    held: float = 0
    """Bytes of a held picture, the median: stills stand among them."""


def outcome(job: Job, path: Path, *, same_pictures: bool = True) -> Outcome:
    """Looks at a video. AssertionError if it is not the same job."""
    _same_job(job, path)
    found = likeness(job, path, same_pictures=same_pictures)
    return Outcome(path.stat().st_size, found, _held(job, path))


def _held(job: Job, path: Path) -> float:
    last = (job.count - 1) * job.slot_frames
    sizes = []
    with av.open(path) as container:
        stream = container.streams.video[0]
        tick = 1 / stream.average_rate / stream.time_base
        for packet in container.demux(stream):
            if packet.size == 0 or packet.is_keyframe:
                continue
            number = packet.pts // tick
            if number >= last or number % job.slot_frames < job.hold_frames:
                sizes.append(packet.size)
    return median(sizes)


def _same_job(job: Job, path: Path) -> None:
    preset = job.preset
    pictures = video.accesses(path)
    assert sorted(access.pts for access in pictures) == list(range(job.frame_count)), path.name
    starts = [access.pts for access in pictures if access.idr]
    longest = max(b - a for a, b in zip(starts, [*starts[1:], job.frame_count], strict=True))
    assert longest <= GOP_SECONDS * preset.fps, (path.name, longest)
    found = video.described(path)
    assert (found.width, found.height, found.fps) == (preset.width, preset.height, preset.fps)
    assert (found.pix_fmt, found.profile) == ("yuv420p", "High")
    assert found.colours == ("MPEG", "ITU709", "BT709", "BT709"), path.name
    settings = video.encoder_settings(path)
    if "vbv_maxrate" in settings:  # coded by x264 from its first picture to its last
        options = x264_options(preset)
        assert settings["crf"] == f"{float(options['crf']):.1f}"
        assert settings["vbv_maxrate"] == str(int(options["maxrate"]) // 1000)
        assert settings["vbv_bufsize"] == str(int(options["bufsize"]) // 1000)


def same_settings(one: Path, other: Path) -> None:
    """AssertionError if x264 was told other things for two videos."""
    found = [video.encoder_settings(path) for path in (one, other)]
    assert found[0] == found[1], (one.name, other.name, found)
