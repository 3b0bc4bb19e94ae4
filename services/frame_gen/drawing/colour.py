"""Colours in OKLCH, a perceptual space.

OKLab and its matrices are Björn Ottosson's, "A perceptual color space for image
processing" (2020).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]

_LAB_TO_LMS = np.array(
    [
        [1.0, 0.3963377774, 0.2158037573],
        [1.0, -0.1055613458, -0.0638541728],
        [1.0, -0.0894841775, -1.2914855480],
    ]
)
_LMS_TO_LINEAR = np.array(
    [
        [4.0767416621, -3.3077115913, 0.2309699292],
        [-1.2684380046, 2.6097574011, -0.3413193965],
        [-0.0041960863, -0.7034186147, 1.7076147010],
    ]
)


@dataclass(frozen=True)
class Colour:
    """A colour in OKLCH."""

    lightness: float
    """0 (black) to 1 (white)."""
    chroma: float
    """0 (grey) to about 0.3."""
    hue: float
    """Degrees."""

    def oklab(self) -> FloatArray:
        """The colour as (L, a, b)."""
        angle = math.radians(self.hue)
        a, b = self.chroma * math.cos(angle), self.chroma * math.sin(angle)
        return np.array([self.lightness, a, b])

    def in_gamut(self) -> Colour:
        """The colour with as much of its chroma as sRGB can show."""
        low, high = 0.0, self.chroma
        for _ in range(20):
            middle = (low + high) / 2
            linear = to_linear(Colour(self.lightness, middle, self.hue).oklab())
            if linear.min() >= 0 and linear.max() <= 1:
                low = middle
            else:
                high = middle
        return Colour(self.lightness, low, self.hue)

    def rgb(self) -> tuple[int, int, int]:
        """The colour in 8-bit sRGB."""
        red, green, blue = np.rint(encode(to_linear(self.oklab())) * 255).astype(int)
        return int(red), int(green), int(blue)


def to_linear(oklab: FloatArray) -> FloatArray:
    """Linear-light sRGB of OKLab colours, shape (..., 3); out of 0..1 where out of gamut."""
    lms = (oklab @ _LAB_TO_LMS.T) ** 3
    linear: FloatArray = lms @ _LMS_TO_LINEAR.T
    return linear


def encode(linear: FloatArray) -> FloatArray:
    """Values in sRGB, 0..1, of linear light, clipped to it (IEC 61966-2-1)."""
    light = np.clip(linear, 0.0, 1.0)
    return np.where(light <= 0.0031308, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055)
