"""Pictures as YUV 4:2:0 planes, and the one conversion of a frame into them.

Colours are BT.709 in limited range: Y is 16 (black) to 235, U and V are 128
where there is no colour. Chroma is sampled where H.264 expects it unless told
otherwise (and where every decoder therefore puts it): horizontally at every
other luma column, vertically between two luma rows.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from rpckit.frame import Frame, PixelFormat

Pixels = NDArray[np.uint8]

BLACK_Y = 16
NEUTRAL_C = 128

_KR, _KB = 0.2126, 0.0722  # ITU-R BT.709-6, item 3.2
_KG = 1 - _KR - _KB
_Y_SPAN, _C_SPAN = 219 / 255, 224 / 255  # limited range, item 4.6
_CB, _CR = _C_SPAN / (2 * (1 - _KB)), _C_SPAN / (2 * (1 - _KR))
_YCC_OF_RGB = np.array(
    [
        [_KR * _Y_SPAN, _KG * _Y_SPAN, _KB * _Y_SPAN, BLACK_Y],
        [-_KR * _CB, -_KG * _CB, (1 - _KB) * _CB, NEUTRAL_C],
        [(1 - _KR) * _CR, -_KG * _CR, -_KB * _CR, NEUTRAL_C],
    ]
)


class Planes:
    """A picture in YUV 4:2:0: one packed I420 buffer and a view of each plane.

    One buffer, so that what treats every sample alike does it in one go, and
    an encoder can read it without a copy.
    """

    def __init__(self, i420: Pixels) -> None:
        """`i420` is (height * 3/2, width) uint8, packed; both sides are even."""
        rows, width = i420.shape
        height = rows * 2 // 3
        if rows % 3 or width % 2 or height % 2:
            raise ValueError(f"{width}x{rows} is not an I420 buffer of even sides")
        if i420.dtype != np.uint8 or not i420.flags.c_contiguous:
            raise ValueError("an I420 buffer is packed uint8")
        self.i420 = i420
        self.width = width
        self.height = height
        self.y = i420[:height]
        """(height, width) uint8."""
        self.chroma = i420[height:]
        """U, then V, as one (height / 2, width) block for what treats them alike."""
        u, v = self.chroma.reshape(2, height // 2, width // 2)
        self.u: Pixels = u
        """(height / 2, width / 2) uint8."""
        self.v: Pixels = v
        """(height / 2, width / 2) uint8."""

    @classmethod
    def empty(cls, width: int, height: int) -> Planes:
        """A picture with nothing in it yet."""
        return cls(np.empty((height * 3 // 2, width), np.uint8))


def still(frame: Frame, width: int, height: int) -> Planes:
    """`frame` as a `width` x `height` picture: fitted by cover, then converted.

    An I420 frame of that size is used as it is. One of another size is cropped
    on even columns and rows, and each plane is resized by itself; its chroma
    then stands off by (ratio - 1) / 4 chroma samples at most.
    """
    header = frame.header
    samples = np.frombuffer(frame.data, np.uint8)
    if header.pixel_format is PixelFormat.RGB24:
        return to_i420(fit_cover(samples.reshape(header.height, header.width, 3), width, height))
    source = Planes(samples.reshape(header.height * 3 // 2, header.width))
    if (source.width, source.height) == (width, height):
        return source
    x, y, w, h = _cover(source.width, source.height, width, height, even=True)
    fitted = Planes.empty(width, height)
    _resize(source.y[y : y + h, x : x + w], fitted.y)
    for plane, into in ((source.u, fitted.u), (source.v, fitted.v)):
        _resize(plane[y // 2 : (y + h) // 2, x // 2 : (x + w) // 2], into)
    return fitted


def fit_cover(rgb: Pixels, width: int, height: int) -> Pixels:
    """The centre of `rgb` (h, w, 3), as much as has the shape of width x height, at that size.

    Resampled with OpenCV's INTER_LANCZOS4 where it grows and INTER_AREA where
    it shrinks. A picture that fits already is returned as it is.
    """
    source_height, source_width = rgb.shape[:2]
    x, y, w, h = _cover(source_width, source_height, width, height)
    part = rgb[y : y + h, x : x + w]
    if (w, h) == (width, height):
        return part
    fitted = np.empty((height, width, 3), np.uint8)
    _resize(part, fitted)
    return fitted


def to_i420(rgb: Pixels) -> Planes:
    """`rgb` (height, width, 3), sRGB, even sides, as BT.709 limited planes.

    Within 2 levels of the formula in exact arithmetic. Chroma is halved with
    the weights 1 2 1 around every other column and the mean of two rows.
    """
    height, width = rgb.shape[:2]
    planes = Planes.empty(width, height)
    ycc = cv2.transform(rgb, _YCC_OF_RGB)
    cv2.extractChannel(ycc, 0, dst=planes.y)
    full = np.empty((height, width), np.uint8)
    for channel, half in ((1, planes.u), (2, planes.v)):
        cv2.extractChannel(ycc, channel, dst=full)
        _halve_chroma(full, half)
    return planes


def _halve_chroma(full: Pixels, half: Pixels) -> None:
    """Halves a plane of even sides; sample i stands at column 2i, its left neighbour's edge.

    1 2 1 is the mean of two boxes of two columns, one that begins at column 2i
    and one that ends there, and boxes are what OpenCV is fastest at.
    """
    height, width = half.shape
    before = np.empty_like(half)
    cv2.resize(full, (width, height), dst=half, interpolation=cv2.INTER_AREA)
    if width > 1:
        inner = full[:, 1:-1]
        cv2.resize(inner, (width - 1, height), dst=before[:, 1:], interpolation=cv2.INTER_AREA)
    # Left of the first column the picture goes on as it begins.
    cv2.resize(full[:, :1], (1, height), dst=before[:, :1], interpolation=cv2.INTER_AREA)
    cv2.addWeighted(before, 0.5, half, 0.5, 0, dst=half)


def _cover(
    source_width: int, source_height: int, width: int, height: int, *, even: bool = False
) -> tuple[int, int, int, int]:
    """x, y, width, height of the centred part of the source with the target's shape.

    All even, if so asked, of a source of even sides.
    """
    w, h, step = source_width, source_height, 2 if even else 1
    if w * height > h * width:
        w = max(1, _rounded(h * width, step * height)) * step
    else:
        h = max(1, _rounded(w * height, step * width)) * step
    x, y = (source_width - w) // 2, (source_height - h) // 2
    x, y = x - x % step, y - y % step
    return x, y, w, h


def _rounded(numerator: int, denominator: int) -> int:
    return (2 * numerator + denominator) // (2 * denominator)


def _resize(source: Pixels, into: Pixels) -> None:
    height, width = into.shape[:2]
    grows = width > source.shape[1] or height > source.shape[0]
    interpolation = cv2.INTER_LANCZOS4 if grows else cv2.INTER_AREA
    cv2.resize(source, (width, height), dst=into, interpolation=interpolation)
