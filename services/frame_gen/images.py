"""Decoding of image files that others made, with nothing trusted."""

from __future__ import annotations

import io

import numpy as np
from PIL import ExifTags, Image

from rpckit.frame import MAX_PIXELS, MAX_SIDE, Frame

FORMATS = ("PNG", "JPEG", "WEBP")
"""What is decoded; every other decoder of Pillow stays out of reach."""
MAX_BYTES = 50_000_000

_TAKEN = f"at most {MAX_PIXELS} are taken, and {MAX_SIDE} a side"
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What brings a picture upright, by its EXIF orientation."""


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
        image.load()
        pixels = np.ascontiguousarray(_flat(_upright(image)))
    except ImageError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ImageError(f"the image has too many pixels; {_TAKEN}") from error
    except Exception as error:
        # Pillow's decoders raise many kinds for broken bytes: struct.error, EOFError, ...
        formats = ", ".join(FORMATS)
        raise ImageError(f"the bytes are not a whole {formats} image") from error
    height, width = pixels.shape[:2]
    return Frame.of(width, height, pixels.data.cast("B"))


def _check_size(image: Image.Image) -> None:
    """Before a pixel is decoded."""
    if max(image.size) > MAX_SIDE or image.width * image.height > MAX_PIXELS:
        raise ImageError(f"the image has {image.width}x{image.height} pixels; {_TAKEN}")


def _upright(image: Image.Image) -> Image.Image:
    """As its EXIF says. An EXIF that cannot be read does not spoil the picture."""
    try:
        orientation = image.getexif().get(ExifTags.Base.Orientation)
        turn = _TURNS.get(orientation) if isinstance(orientation, int) else None
    except Exception:  # noqa: BLE001 - Pillow raises many kinds, SyntaxError among them
        return image
    return image if turn is None else image.transpose(turn)


def _flat(image: Image.Image) -> np.ndarray[tuple[int, int, int], np.dtype[np.uint8]]:
    if image.mode.startswith("I"):
        # 16 bits a sample; Pillow's own conversion would clip instead of scale.
        grey = (np.asarray(image).astype(np.uint32) >> 8).clip(0, 255).astype(np.uint8)
        image = Image.fromarray(grey)
    if image.has_transparency_data:
        coloured = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, (0, 0, 0, 255)), coloured)
    return np.asarray(image.convert("RGB"))
