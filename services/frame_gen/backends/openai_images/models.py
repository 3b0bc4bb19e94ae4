"""OpenAI's image models: which are gone, and the sizes that the others take."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

RETIRED = {"dall-e-2": "2026-05-12", "dall-e-3": "2026-05-12", "gpt-image-1": "2026-10-23"}
"""Models that OpenAI has shut down, and when, by the documentation of its client 3.54."""

STEP = 16
"""Sides of a size are multiples of it, in pixels."""
_FLEXIBLE = re.compile(r"gpt-image-(?:[2-9]|[1-9]\d)(?:[.-]|$)")
_SIZE = re.compile(r"([1-9]\d{1,4})x([1-9]\d{1,4})")


@dataclass(frozen=True)
class Size:
    """Of an image, in pixels."""

    width: int
    height: int

    def __str__(self) -> str:
        return f"{self.width}x{self.height}"

    @classmethod
    def parse(cls, text: str) -> Size:
        """The size in a text such as "1536x864"; ValueError if there is none."""
        match = _SIZE.fullmatch(text)
        if not match:
            raise ValueError(f"{text!r} is not a size such as 1536x864")
        return cls(int(match[1]), int(match[2]))


WIDE = Size(1536, 864)
"""16:9, what every preset needs, for models that take any size."""
FIXED = (Size(1024, 1024), Size(1536, 1024), Size(1024, 1536))
"""What the other models take."""
NEAR = 0.02
"""How far an aspect may be from 16:9, relative, to count as that: 854x480 does."""


def takes_any_size(model: str) -> bool:
    """Whether a model takes sizes between 1:3 and 3:1, by its name: from gpt-image-2 on."""
    return bool(_FLEXIBLE.match(model))


def size_for(model: str, width: int, height: int) -> Size:
    """The size to ask `model` for, for a video of `width` x `height` pixels.

    It depends on the video's aspect and not on its size, so that a draft and
    a premium render ask for the same image.
    """
    aspect = width / height
    if not takes_any_size(model):
        return min(FIXED, key=lambda size: abs(math.log(size.width / size.height / aspect)))
    if abs(aspect * 9 / 16 - 1) < NEAR:
        return WIDE
    aspect = min(max(aspect, 1 / 3), 3.0)
    ideal = math.sqrt(WIDE.width * WIDE.height / aspect)
    high = round(ideal / STEP) * STEP
    wide = round(high * aspect / STEP) * STEP
    return Size(min(wide, 3 * high), min(high, 3 * wide))
