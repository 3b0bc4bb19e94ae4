"""Pictures to compose clips of: drawn, so that a check needs no files."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from compositor.planes import Planes, to_i420

_COARSEST = 3
"""Spots across the width of the largest pattern; each finer one has twice as many."""
_PATTERNS = 6
_CONTRAST = 60.0
"""Levels. Small enough that no colour has to be clipped, in a browser either."""
_SATURATION = 0.4
"""Pale, because libyuv, by which Chromium converts, takes 2.0 for blue's 2.11."""


def still(number: int, width: int, height: int) -> Planes:
    """Picture `number`: coloured spots of all sizes, as natural pictures have, and the number."""
    rgb = np.full((height, width, 3), 128, np.float32)
    for octave in range(_PATTERNS):
        rgb += _spots(number, octave, width, height) * _CONTRAST / 2**octave
    grey = rgb.mean(axis=-1, keepdims=True)
    picture = np.clip(grey + _SATURATION * (rgb - grey), 30, 225).astype(np.uint8)
    size = height / 90
    cv2.putText(
        picture,
        str(number + 1),
        (width // 16, height - height // 8),
        cv2.FONT_HERSHEY_SIMPLEX,
        size,
        (220, 220, 220),
        max(1, round(2 * size)),
        cv2.LINE_AA,
    )
    return to_i420(picture)


def _spots(number: int, octave: int, width: int, height: int) -> NDArray[np.float32]:
    """A pattern of (height, width, 3), about a level strong."""
    columns = _COARSEST << octave
    rows = max(2, round(columns * height / width))
    dice = np.random.Generator(np.random.PCG64((number, octave)))
    coarse = dice.uniform(-1, 1, (rows, columns, 3)).astype(np.float32)
    return np.asarray(
        cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC), np.float32
    )
