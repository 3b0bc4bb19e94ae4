"""How good a video is: SSIM and PSNR of luma against the composition without a codec.

The composition is that of `tests.support.reference`, in floating point, so
what it is compared with includes a contender's rounding. Sampled: some
pictures of some scenes, weighted by how many pictures they stand for. Decoded
planes are compared as they are: no filter comes between that could convert.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import av
import cv2
import numpy as np

from tests.benchmarks import ffmpeg
from tests.benchmarks.job import Job
from tests.support import reference

SCENES = 6
"""Scenes of a video that are looked at, at most."""
HELD = 3
"""Pictures of a hold that are looked at."""
MOVING = 5
"""Pictures of a transition that are looked at."""
BLACK = 16


@dataclass(frozen=True)
class Likeness:
    """Of luma."""

    ssim: float
    """Mean."""
    psnr: float
    """dB, from the mean of the squared errors."""
    worst: float
    """Least SSIM of a picture."""


@dataclass(frozen=True)
class Sample:
    """A picture that is looked at."""

    number: int
    held: bool
    weight: float
    """How many pictures it stands for."""


def samples(job: Job) -> list[Sample]:
    """The pictures to look at, in order."""
    found: dict[int, tuple[bool, int]] = {}
    for scene in _spread(job.count, SCENES):
        begin, last = scene * job.slot_frames, scene == job.count - 1
        hold = job.slot_frames if last else job.hold_frames
        found |= {begin + k: (True, scene) for k in _spread(hold, HELD)}
        if not last:
            moving = _spread(job.transition_frames, MOVING)
            found |= {begin + hold + k: (False, scene) for k in moving}
    moving_all = (job.count - 1) * job.transition_frames
    totals = {True: job.frame_count - moving_all, False: moving_all}
    counts = {kind: sum(held is kind for held, _ in found.values()) for kind in totals}
    return [
        Sample(number, held, totals[held] / counts[held])
        for number, (held, _) in sorted(found.items())
    ]


def _spread(count: int, at_most: int) -> list[int]:
    """The middles of at most so many equal parts of range(count)."""
    parts = min(count, at_most)
    return [(2 * k + 1) * count // (2 * parts) for k in range(parts)]


def compositions(job: Job, chosen: list[Sample]) -> Iterator[np.ndarray]:
    """What the samples show without a codec, by the design's formulas: (height, width) float."""
    shown = reference.timeline(job.scenes, job.preset.fps)
    for sample in chosen:
        scene, p = shown[sample.number].scene, shown[sample.number].p
        a = job.stills.luma(scene)
        if p is None:
            yield a
        else:
            b = job.stills.luma(scene + 1)
            yield BLACK + reference.transition(
                job.transition, a - BLACK, b - BLACK, p, index=scene
            ).astype(np.float32)


def likeness(job: Job, path: Path, *, same_pictures: bool = True) -> Likeness:
    """How the video's pictures are like the composition's.

    A video by ffmpeg whose transitions are not ours is compared with what
    ffmpeg showed to its own coder.
    """
    chosen = samples(job)
    numbers = [sample.number for sample in chosen]
    wanted = compositions(job, chosen) if same_pictures else ffmpeg.lossless(job, numbers)
    weights, ssims, errors = [], [], []
    for sample, picture, composed in zip(chosen, decoded(path, numbers), wanted, strict=True):
        a, b = picture.astype(np.float32), composed.astype(np.float32)
        weights.append(sample.weight)
        ssims.append(ssim(a, b))
        errors.append(float(np.mean(np.square(a - b), dtype=np.float64)))
    error = max(float(np.average(errors, weights=weights)), 1e-9)
    return Likeness(
        float(np.average(ssims, weights=weights)), 10 * np.log10(255**2 / error), min(ssims)
    )


def decoded(path: Path, numbers: list[int]) -> Iterator[np.ndarray]:
    """Luma (height, width) of pictures of a video, in order.

    Only the groups of pictures that hold one of them are decoded, each by itself.
    """
    wanted = set(numbers)
    with av.open(path) as container:
        stream = container.streams.video[0]
        codec = stream.codec_context
        codec.thread_type = "AUTO"
        tick = 1 / stream.average_rate / stream.time_base
        for group in _groups(container, stream):
            if wanted.isdisjoint(packet.pts // tick for packet in group):
                continue
            pictures = [frame for packet in group for frame in _wanted(codec, packet, tick, wanted)]
            pictures += _wanted(codec, None, tick, wanted)
            codec.flush_buffers()
            yield from (luma for _, luma in sorted(pictures, key=lambda picture: picture[0]))


def _groups(container, stream) -> Iterator[list[av.Packet]]:
    group: list[av.Packet] = []
    for packet in container.demux(stream):
        if packet.size == 0:
            continue
        if packet.is_keyframe and group:
            yield group
            group = []
        group.append(packet)
    yield group


def _wanted(codec, packet, tick, wanted) -> list[tuple[int, np.ndarray]]:
    return [
        (frame.pts, frame.to_ndarray(format="yuv420p")[: frame.height])
        for frame in codec.decode(packet)
        if frame.pts // tick in wanted
    ]


def ssim(a: np.ndarray, b: np.ndarray) -> float:
    """Structural similarity of two planes in float32, 0 to 255.

    Wang et al., "Image quality assessment: from error visibility to structural
    similarity", 2004: Gaussian window of 11x11, sigma 1.5, K1 0.01, K2 0.03.
    """
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    mean_a, mean_b = _blurred(a), _blurred(b)
    variances = _blurred(a * a + b * b) - mean_a**2 - mean_b**2
    product = mean_a * mean_b
    covariance = _blurred(a * b) - product
    found = (2 * product + c1) * (2 * covariance + c2)
    found /= (mean_a**2 + mean_b**2 + c1) * (variances + c2)
    return float(np.mean(found[5:-5, 5:-5], dtype=np.float64))


def _blurred(plane: np.ndarray) -> np.ndarray:
    return cv2.GaussianBlur(plane, (11, 11), 1.5)
