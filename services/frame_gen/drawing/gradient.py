"""The ground of a placeholder: a few colours that flow into each other.

Hues follow the golden angle from scene to scene, so that neighbours always
differ, and the SHA-256 of prompt and scene index moves hue, light and places,
so that a prompt always looks the same.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from frame_gen.drawing.colour import Colour, FloatArray, encode, to_linear

GOLDEN_TURN = 0.3819660113
"""The golden section of a turn: steps by it do not come near an earlier place soon."""

FIRST_PLACE = 0.42
"""Where on the arc of hues the first scene starts: blue."""

_HUES = (162.0, 185.0, 210.0, 232.0, 250.0, 268.0, 290.0, 318.0, 345.0, 370.0, 390.0, 408.0)
"""Hues in degrees that stay clean when dark, from green over blue and red to amber.

Dark yellows, which turn olive, are left out, and so is every mixture over them.
"""

MAX_LIGHTNESS = 0.54
"""OKLCH lightness that no point exceeds: what near-white type needs for its contrast."""

_BAYER = 8


class _Digest:
    """Numbers 0..1 from SHA-256 of a scene, the same on every machine."""

    def __init__(self, prompt: str, scene_index: int) -> None:
        seed = f"{scene_index}\n{prompt}".encode("utf-8", "surrogatepass")
        self._bytes = hashlib.sha256(seed).digest()
        self._at = 0

    def next(self) -> float:
        pair = self._bytes[self._at : self._at + 2]
        self._at += 2
        return int.from_bytes(pair, "big") / 0xFFFF

    def between(self, low: float, high: float) -> float:
        return low + (high - low) * self.next()


@dataclass(frozen=True)
class Anchor:
    """A colour and the place that it radiates from."""

    colour: Colour
    x: float
    """0 (left) to 1 (right); may lie outside."""
    y: float
    """0 (top) to 1 (bottom); may lie outside."""
    reach: float
    """Standard deviation of its influence, in units of the picture's longer side."""
    strength: float = 1.0


@dataclass(frozen=True)
class Palette:
    """The colours of a scene."""

    anchors: tuple[Anchor, ...]
    ink: Colour
    """Of what is written."""


def hue_at(place: float) -> float:
    """The hue in degrees at a place on the arc of clean hues, 0 to 1."""
    return float(np.interp(place, np.linspace(0, 1, len(_HUES)), _HUES)) % 360


def palette(prompt: str, scene_index: int) -> Palette:
    """The colours for a prompt as scene `scene_index`, from 0."""
    digest = _Digest(prompt, scene_index)
    place_of_scene = (FIRST_PLACE + scene_index * GOLDEN_TURN) % 1.0
    main = min(max(place_of_scene + digest.between(-0.06, 0.06), 0.0), 1.0)
    near_step, far_step = digest.between(0.06, 0.11), digest.between(0.16, 0.24)
    lean = 1.0 if digest.next() < 0.5 else -1.0
    if not 0 <= main + lean * far_step <= 1:
        lean = -lean
    glow = digest.between(MAX_LIGHTNESS - 0.05, MAX_LIGHTNESS)
    right = digest.next() < 0.75

    def colour(lightness: float, chroma: float, step: float) -> Colour:
        return Colour(lightness, chroma, hue_at(main + lean * step)).in_gamut()

    def place(x: float) -> float:
        return x if right else 1.0 - x

    anchors = (
        Anchor(colour(0.34, 0.13, 0.0), place(0.0), digest.between(-0.05, 0.2), 0.40),
        Anchor(
            colour(glow, 0.19, near_step),
            place(digest.between(0.72, 0.95)),
            digest.between(-0.1, 0.2),
            digest.between(0.27, 0.33),
            1.2,
        ),
        Anchor(
            colour(0.40, 0.16, far_step),
            place(digest.between(0.9, 1.1)),
            digest.between(0.95, 1.2),
            0.32,
        ),
        Anchor(colour(0.20, 0.08, -0.03), place(digest.between(0.1, 0.4)), 1.1, 0.40, 1.1),
    )
    return Palette(anchors, ink=colour(0.98, 0.008, near_step))


def field(colours: Palette, x: FloatArray, y: FloatArray, aspect: float) -> FloatArray:
    """SRGB values 0..1 of the ground at the crossings of `x` and `y`, shape (len(y), len(x), 3).

    `x` and `y` run from 0 to 1; `aspect` is width / height. The anchors' colours
    are mixed in OKLab by normalized Gaussian weights.
    """
    wide, high = (1.0, 1.0 / aspect) if aspect >= 1 else (aspect, 1.0)
    total = np.zeros((len(y), len(x), 1))
    mixed = np.zeros((len(y), len(x), 3))
    for anchor in colours.anchors:
        across = np.exp(-(((x - anchor.x) * wide) ** 2) / (2 * anchor.reach**2))
        down = np.exp(-(((y - anchor.y) * high) ** 2) / (2 * anchor.reach**2))
        weight = anchor.strength * np.multiply.outer(down, across)[..., None] + 1e-9
        total += weight
        mixed += weight * anchor.colour.oklab()
    return encode(to_linear(mixed / total))


def draw_gradient(
    colours: Palette, width: int, height: int, checkpoint: Callable[[], None] = lambda: None
) -> NDArray[np.uint8]:
    """The ground at `width` x `height` pixels: RGB, shape (height, width, 3).

    The field is evaluated every few pixels and interpolated in between, which
    differs from the field by less than 0.1 of a level. Ordered dither takes the
    banding away. It is finer than noise to the eye, and in H.264 a still with
    it has half the bytes of one with noise and less banding (measured with
    x264 at crf 18 against noise of one level).
    """
    cell = 1 << min(4, max(0, (min(width, height) // 80).bit_length() - 1))
    across, down = -(-width // cell), -(-height // cell)
    x = (np.arange(across + 1) * cell + 0.5) / width
    y = (np.arange(down + 1) * cell + 0.5) / height
    points = (field(colours, x, y, width / height) * 255).clip(1, 254).astype(np.float32)

    part = (np.arange(cell, dtype=np.float32) / cell)[:, None]
    left, right = points[:, :-1, None, :], points[:, 1:, None, :]
    wide = (left + (right - left) * part).reshape(down + 1, across * cell * 3)
    # From here on in 1/256 of a level: 16-bit integers are twice as fast as floats.
    rows = (wide[:, : width * 3] * 256).astype(np.int32)
    steps = (np.diff(rows, axis=0) // cell).astype(np.uint16)
    rows_16 = rows.astype(np.uint16)

    thresholds = _dither(width)
    picture = np.empty((height, width * 3), np.uint8)
    strip = np.empty((cell, width * 3), np.uint16)
    count = np.arange(cell, dtype=np.uint16)[:, None]
    for index in range(down):
        checkpoint()
        top = index * cell
        lines = min(cell, height - top)
        out = strip[:lines]
        # Falling steps are negative numbers modulo 2^16, which add up right.
        np.multiply(steps[index], count[:lines], out=out)
        out += rows_16[index]
        at = top % _BAYER
        out += thresholds[at : at + lines]
        out >>= 8
        np.copyto(picture[top : top + lines], out, casting="unsafe")
    return picture.reshape(height, width, 3)


def _dither(width: int) -> NDArray[np.uint16]:
    """Thresholds 0 to 1 level in 1/256 of a level: Bayer's 8x8 matrix, 24 rows of it.

    Adding one and cutting off the fraction rounds without bias. Sums stay in range because the
    field is kept one level away from black and white.
    """
    matrix = np.zeros((1, 1), np.uint16)
    while len(matrix) < _BAYER:
        matrix = np.block([[4 * matrix, 4 * matrix + 2], [4 * matrix + 3, 4 * matrix + 1]])
    tiled = np.tile(matrix * 4 + 2, (3, -(-width // _BAYER)))[:, :width]
    return np.repeat(tiled, 3, axis=1)
