"""Pictures as PNG files."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np


def png(rgb: np.ndarray) -> bytes:
    """A PNG file of `rgb`, (height, width, 3), uint8."""
    from PIL import Image  # noqa: PLC0415 - only the embedded services need it

    file = io.BytesIO()
    Image.fromarray(rgb).save(file, "PNG", compress_level=1)  # ten times as fast as 9
    return file.getvalue()
