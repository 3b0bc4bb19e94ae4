"""The design's rules once more, sample by sample in floating point, and pictures to try them on."""

import math
from fractions import Fraction
from functools import cache

import cv2
import numpy as np
import skimage.data

from rpckit.video import Transition


@cache
def natural(index, width, height):
    """A photograph of the given size, (height, width, 3) uint8."""
    names = ("astronaut", "coffee", "chelsea")
    source = getattr(skimage.data, names[index % len(names)])()
    if index >= len(names):
        source = source[:, ::-1, ::-1]
    rows = min(source.shape[0], math.ceil(source.shape[1] * height / width))
    top = (source.shape[0] - rows) // 2
    part = np.ascontiguousarray(source[top : top + rows], np.float32)
    sized = cv2.resize(part, (width, height), interpolation=cv2.INTER_CUBIC)
    # Natural pictures have detail in every pixel, enlarged ones do not.
    grain = np.random.default_rng(index).normal(0, 2, sized.shape)
    return np.clip(sized + grain, 0, 255).astype(np.uint8)


def luma(rgb):
    """Y of BT.709 in limited range, unrounded."""
    return 16 + np.asarray(rgb, float) @ np.array([0.2126, 0.7152, 0.0722]) * 219 / 255


def chroma(rgb):
    """U and V in 4:2:0, unrounded: 1 2 1 around even columns, the mean of row pairs."""
    rgb = np.asarray(rgb, float)
    y = rgb @ np.array([0.2126, 0.7152, 0.0722])
    pair = []
    for channel, weight in ((2, 0.0722), (0, 0.2126)):
        full = (rgb[..., channel] - y) / (2 * (1 - weight)) * 224 / 255
        rows = (full[0::2] + full[1::2]) / 2
        padded = np.pad(rows, ((0, 0), (1, 0)), mode="edge")
        width = rows.shape[1]
        pair.append(
            128
            + (
                padded[:, 0:width:2]
                + 2 * padded[:, 1 : width + 1 : 2]
                + padded[:, 2 : width + 2 : 2]
            )
            / 4
        )
    return pair


def round_half_up(x):
    return math.floor(x + Fraction(1, 2))


def transition(kind, a, b, p, *, index=0, scale=1, black=0.0):
    """A picture of a transition from the arrays (h, w, ...) of A and B, in floating point.

    `scale` is 1 for luma or RGB and 2 for chroma planes.
    """
    a, b = np.asarray(a, float), np.asarray(b, float)
    height, width = a.shape[:2]
    x = np.arange(width)
    luma_width = width * scale
    if kind is Transition.FADE:
        q = float(p)
        return black + ((a - black) * (1 - 2 * q) if q <= 0.5 else (b - black) * (2 * q - 1))
    if kind is Transition.CROSSFADE:
        return a * float(1 - p) + b * float(p)
    if kind is Transition.WIPE:
        column = 8 * round_half_up(p * luma_width / 8)
        return np.where(_columns(x * scale < column, a), b, a)
    if kind is Transition.SLIDE:
        step = 8 if luma_width > 2048 else 2
        shift = step * round_half_up(p * luma_width / step)
        edge = luma_width - shift
        seam = edge + (-edge) % 8
        from_a = np.minimum(x + shift // scale, width - 1)
        # Between the edge and the seam A's last column is repeated.
        from_b = np.clip(x - edge // scale, 0, width - 1)
        return np.where(_columns(x * scale < seam, a), a[:, from_a], b[:, from_b])
    if kind is Transition.ZOOM:
        return _grown(a, 1 + float(p)) * float(1 - p) + b * float(p)
    cell = 8 // scale
    rows, columns = math.ceil(height / cell), math.ceil(width / cell)
    raw = np.random.PCG64(index).random_raw(rows * columns).reshape(rows, columns)
    shows_b = (raw >> np.uint64(32)).astype(float) / 2**32 < float(p)
    mask = shows_b[np.arange(height)[:, None] // cell, x[None, :] // cell]
    return np.where(mask if a.ndim == 2 else mask[..., None], b, a)


def _columns(condition, like):
    return condition.reshape((1, -1) + (1,) * (like.ndim - 2))


def _grown(a, factor):
    for axis in (0, 1):
        n = a.shape[axis]
        at = (np.arange(n) + 0.5 - n / 2) / factor + n / 2 - 0.5
        low = np.floor(at).astype(int)
        rest = (at - low).reshape((-1, 1) if axis == 0 else (1, -1))
        rest = rest if a.ndim == 2 else rest[..., None]
        high = np.minimum(low + 1, n - 1)
        a = np.take(a, low, axis) * (1 - rest) + np.take(a, high, axis) * rest
    return a
