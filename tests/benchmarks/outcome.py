"""What a contender made: that it is the same job, how large it is, and how good."""

from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np

from tests.benchmarks.job import SCENES, Job, x264_options
from tests.support import reference, video

SAMPLES = 4
"""Held pictures of each scene whose quality is looked at."""


@dataclass(frozen=True)
class Outcome:
    size: int
    """Bytes."""
    psnr: float
    """Luma of held pictures against their stills, dB, from the mean squared error of all."""


def outcome(job: Job, path: Path) -> Outcome:
    """Looks at a video. AssertionError if it is not the same job."""
    _same_job(job, path)
    return Outcome(path.stat().st_size, _psnr(job, path))


def _same_job(job: Job, path: Path) -> None:
    preset = job.preset
    pictures = video.accesses(path)
    assert sorted(access.pts for access in pictures) == list(range(job.frame_count)), path.name
    found = video.described(path)
    assert (found.width, found.height, found.fps) == (preset.width, preset.height, preset.fps)
    assert (found.pix_fmt, found.profile, found.level) == ("yuv420p", "High", preset.h264_level)
    assert found.colours == ("MPEG", "ITU709", "BT709", "BT709"), path.name
    settings = video.encoder_settings(path)
    options = x264_options(preset)
    assert settings["crf"] == f"{float(options['crf']):.1f}"
    assert settings["vbv_maxrate"] == str(int(options["maxrate"]) // 1000)
    assert settings["vbv_bufsize"] == str(int(options["bufsize"]) // 1000)


def same_settings(one: Path, other: Path) -> None:
    """AssertionError if x264 was told other things for two videos."""
    found = [video.encoder_settings(path) for path in (one, other)]
    assert found[0] == found[1], (one.name, other.name, found)


def _psnr(job: Job, path: Path) -> float:
    stills = [reference.luma(rgb.astype(np.float32)) for rgb in job.stills]
    wanted = {
        scene * job.slot_frames + (2 * k + 1) * job.hold_frames // (2 * SAMPLES): scene
        for scene in range(SCENES)
        for k in range(SAMPLES)
    }
    errors = []
    with av.open(path) as container:
        container.streams.video[0].thread_type = "AUTO"
        for number, frame in enumerate(container.decode(video=0)):
            if number in wanted:
                luma = frame.to_ndarray(format="yuv420p")[: frame.height]
                errors.append(float(np.mean(np.square(luma - stills[wanted[number]]))))
    assert len(errors) == len(wanted)
    return float(10 * np.log10(255**2 / max(float(np.mean(errors)), 1e-9)))
