"""Natural test pictures of any size, from photographs that scikit-image ships. Offline.

A small photograph that is merely enlarged is smooth, and easy to code. What a
camera of that size would have seen is put back: fine texture where the
photograph has contrast, and a sensor's noise.
"""

from functools import cache
from importlib.resources import files

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import gaussian_filter

PHOTOGRAPHS = (
    "astronaut.png",
    "coffee.png",
    "motorcycle_left.png",
    "chelsea.png",
    "rocket.jpg",
    "hubble_deep_field.jpg",
    "retina.jpg",
    "ihc.png",
)
TEXTURES = ("grass.png", "gravel.png")

GRAIN = 0.5
"""How much is put back; at 1 a photograph of 1080p is as noisy as at high ISO."""

Floats = NDArray[np.float32]


def still(index: int, width: int, height: int) -> NDArray[np.uint8]:
    """Picture `index`, (height, width, 3) RGB, the same each time; from 8 on they are mirrored."""
    photograph = _photograph(PHOTOGRAPHS[index % len(PHOTOGRAPHS)], width / height)
    if index // len(PHOTOGRAPHS) % 2:
        photograph = photograph[:, ::-1]
    base = np.stack([_enlarged(photograph[..., c], width, height) for c in range(3)], axis=-1)
    amount = np.clip(_enlarged(_contrast(photograph), width, height) / 20, 0.05, 0.6)
    noise = np.random.default_rng(index)
    grain = (_texture(TEXTURES[index % len(TEXTURES)], width, height) * amount)[..., None]
    grain = grain + 1.5 * noise.standard_normal((height, width, 1), np.float32)
    grain = grain + 0.5 * noise.standard_normal((height, width, 3), np.float32)
    base += GRAIN * grain
    return np.clip(base, 0, 255).astype(np.uint8)


def _shipped(name: str) -> Image.Image:
    with (files("skimage") / "data" / name).open("rb") as file:
        image = Image.open(file)
        image.load()
    return image


def _photograph(name: str, shape: float) -> Floats:
    rgb = np.asarray(_shipped(name).convert("RGB"), np.float32)
    height, width = rgb.shape[:2]
    w, h = min(width, round(height * shape)), min(height, round(width / shape))
    x, y = (width - w) // 2, (height - h) // 3
    return rgb[y : y + h, x : x + w]


def _enlarged(plane: Floats, width: int, height: int) -> Floats:
    image = Image.fromarray(np.ascontiguousarray(plane))
    return np.array(image.resize((width, height), Image.Resampling.LANCZOS))


def _contrast(photograph: Floats) -> Floats:
    """Standard deviation of the brightness about each pixel."""
    grey = photograph.mean(axis=-1)
    mean = gaussian_filter(grey, 3)
    return np.sqrt(np.maximum(gaussian_filter(grey * grey, 3) - mean * mean, 0))


@cache
def _tile(name: str) -> Floats:
    texture = np.asarray(_shipped(name).convert("L"), np.float32)
    return texture - gaussian_filter(texture, 3)


def _texture(name: str, width: int, height: int) -> Floats:
    tile = _tile(name)
    rows, columns = tile.shape
    return np.tile(tile, (-(-height // rows), -(-width // columns)))[:height, :width]
