"""Decoding of image files that others made, with nothing trusted."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image, ImageOps

from rpckit.frame import MAX_PIXELS, MAX_SIDE, Frame

FORMATS = ("PNG", "JPEG", "WEBP")
"""What is decoded; every other decoder of Pillow stays out of reach."""
MAX_BYTES = 50_000_000


class ImageError(Exception):
    """The bytes are not an image that is taken; the message says why."""


def decode_image(data: object) -> Frame:
    """The picture in an image file: RGB, turned as its EXIF says, transparency over black.

    Raises:
        ImageError: not bytes, too many of them, another format, too many
            pixels, broken.
    """
    if not isinstance(data, bytes | bytearray | memoryview):
        raise ImageError(f"it gave {type(data).__name__}, not the bytes of an image")
    if len(data) > MAX_BYTES:
        raise ImageError(f"the image has {len(data)} bytes; at most {MAX_BYTES} are taken")
    try:
        image = Image.open(io.BytesIO(data), formats=FORMATS)
        _check_size(image)
        pixels = np.ascontiguousarray(_flat(ImageOps.exif_transpose(image)))
    except ImageError:
        raise
    except Exception as error:
        # Pillow's decoders raise many kinds for broken bytes: struct.error, EOFError, ...
        formats = ", ".join(FORMATS)
        raise ImageError(f"the bytes are not a whole {formats} image") from error
    height, width = pixels.shape[:2]
    return Frame.of(width, height, pixels.data.cast("B"))


def _check_size(image: Image.Image) -> None:
    """Before a pixel is decoded."""
    if max(image.size) > MAX_SIDE or image.width * image.height > MAX_PIXELS:
        raise ImageError(
            f"the image has {image.width}x{image.height} pixels; at most {MAX_PIXELS} are taken, "
            f"and {MAX_SIDE} a side"
        )


def _flat(image: Image.Image) -> np.ndarray[tuple[int, int, int], np.dtype[np.uint8]]:
    if image.mode.startswith("I"):
        # 16 bits a sample; Pillow's own conversion would clip instead of scale.
        grey = (np.asarray(image).astype(np.uint32) >> 8).clip(0, 255).astype(np.uint8)
        image = Image.fromarray(grey)
    if image.has_transparency_data:
        coloured = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, (0, 0, 0, 255)), coloured)
    return np.asarray(image.convert("RGB"))
