"""The picture rules of the design once more, straightforward, in RGB and floating point.

Written from the design alone: it shares no code with the compositor, so that
one can prove the other. Pictures are float arrays (height, width, 3), full
range RGB 0 to 255 with black at 0; the same functions take a chroma plane
(height, width) that is `scale` times smaller than luma.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import accumulate
from math import ceil, floor

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Scene:
    """A scene of a test video."""

    duration: Fraction
    transition: str = "CROSSFADE"
    """Name of the transition to the next scene, as in video.proto."""
    transition_duration: Fraction = Fraction(1, 2)


@dataclass(frozen=True)
class Shown:
    """What a picture of a video shows: a scene, or two of them at progress `p`."""

    scene: int
    p: Fraction | None = None


def half_up(x: Fraction) -> int:
    return floor(x + Fraction(1, 2))


def timeline(scenes: Sequence[Scene], fps: int) -> list[Shown]:
    """What each picture of the video shows, in order."""
    ends = [half_up(fps * total) for total in accumulate(scene.duration for scene in scenes)]
    pictures: list[Shown] = []
    for i, (scene, end) in enumerate(zip(scenes, ends, strict=True)):
        slot = end - len(pictures)
        n = min(half_up(fps * scene.transition_duration), slot - 1)
        if i == len(scenes) - 1:
            n = 0
        pictures += [Shown(i)] * (slot - n)
        pictures += [Shown(i, Fraction(k + 1, n + 1)) for k in range(n)]
    return pictures


def transition(
    name: str, a: Floats, b: Floats, p: Fraction, *, index: int, scale: int = 1
) -> Floats:
    """The picture of A giving way to B at progress `p`. `index` is the number of scene A."""
    height, width = a.shape[:2]
    luma_width, t = width * scale, float(p)
    if name == "FADE":
        return a * (1 - 2 * t) if t <= 0.5 else b * (2 * t - 1)
    if name == "CROSSFADE":
        return a * (1 - t) + b * t
    if name == "ZOOM":
        return enlarged(a, 1 + t) * (1 - t) + b * t
    if name == "WIPE":
        column = 8 * half_up(p * luma_width / 8) // scale
        return np.concatenate([b[:, :column], a[:, column:]], axis=1)
    if name == "SLIDE":
        step = 8 if luma_width > 2048 else 2
        edge = luma_width - step * half_up(p * luma_width / step)
        seam = min(8 * ceil(Fraction(edge, 8)), luma_width)
        edge, seam = edge // scale, seam // scale
        repeated = np.repeat(a[:, -1:], seam - edge, axis=1)
        return np.concatenate(
            [a[:, width - edge :], repeated, b[:, seam - edge : width - edge]], axis=1
        )
    if name == "DISSOLVE":
        shown = dissolved(index, p, height * scale, luma_width)
        cells = shown.repeat(8 // scale, axis=0).repeat(8 // scale, axis=1)[:height, :width]
        return np.where(cells.reshape(height, width, *[1] * (a.ndim - 2)), b, a)
    raise ValueError(name)


def enlarged(a: Floats, by: float) -> Floats:
    """A enlarged about its centre: bilinear, pixel centres aligned, the size kept."""
    for axis in (0, 1):
        size = a.shape[axis]
        at = (np.arange(size) + 0.5 - size / 2) / by + size / 2 - 0.5
        low = np.clip(np.floor(at).astype(int), 0, size - 2)
        part = (at - low).astype(np.float32)
        part = part.reshape([-1 if i == axis else 1 for i in range(a.ndim)])
        a = a.take(low, axis) * (1 - part) + a.take(low + 1, axis) * part
    return a


def dissolved(index: int, p: Fraction, height: int, width: int) -> NDArray[np.bool_]:
    """Which 8x8 cells show B: those whose noise, a 32 bit fraction, is less than p."""
    rows, columns = -(-height // 8), -(-width // 8)
    words = np.random.PCG64(index).random_raw(rows * columns) >> np.uint64(32)
    shown = words * np.uint64(p.denominator) < np.uint64(p.numerator << 32)
    return shown.reshape(rows, columns)


def luma(rgb: Floats) -> Floats:
    """Y of BT.709 in limited range: 16 to 235."""
    return 16 + _brightness(rgb) * (219 / 255)


def chroma(rgb: Floats) -> tuple[Floats, Floats]:
    """U and V of BT.709 in limited range about 0, 4:2:0.

    Sited as H.264 has it unless told otherwise: on every other column (so the
    weights are 1 2 1), between two rows.
    """
    y = _brightness(rgb)
    u = (rgb[..., 2] - y) * np.float32(224 / 255 / (2 * (1 - 0.0722)))
    v = (rgb[..., 0] - y) * np.float32(224 / 255 / (2 * (1 - 0.2126)))
    return _halved(u), _halved(v)


def _brightness(rgb: Floats) -> Floats:
    return rgb @ np.array([0.2126, 0.7152, 0.0722], np.float32)


def _halved(plane: Floats) -> Floats:
    rows = (plane[0::2] + plane[1::2]) / 2
    padded = np.pad(rows, ((0, 0), (1, 0)), mode="edge")
    return (padded[:, 0:-1:2] + 2 * padded[:, 1::2] + padded[:, 2::2]) / 4


def psnr(picture: NDArray[np.uint8], wanted: Floats) -> float:
    """Peak signal to noise ratio of a plane in dB, for a peak of 255."""
    error = np.mean(np.square(picture - wanted), dtype=np.float64)
    return float(10 * np.log10(255**2 / max(error, 1e-9)))
