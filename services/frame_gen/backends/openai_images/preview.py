"""A small JPEG of an image that is still being made."""

from __future__ import annotations

import io

from PIL import Image

from frame_gen.images import decode_image

MAX_SIDE = 512
"""Pixels."""
MAX_BYTES = 64 << 10


def preview_jpeg(data: bytes) -> bytes:
    """A JPEG of at most 512 pixels a side and 64 KiB, from an image file. ImageError as there."""
    frame = decode_image(data)
    image = Image.frombytes("RGB", (frame.header.width, frame.header.height), frame.data)
    image.thumbnail((MAX_SIDE, MAX_SIDE), Image.Resampling.BOX, reducing_gap=2.0)
    for quality in (80, 50, 20):
        file = io.BytesIO()
        image.save(file, "JPEG", quality=quality)
        if file.tell() <= MAX_BYTES:
            break
    return file.getvalue()
