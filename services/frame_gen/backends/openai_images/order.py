"""An image to be bought."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass

from frame_gen.backends.openai_images.models import Size

_VERSION = 1
"""Of what the key is made from. A change of it, or of the text, forgets what was bought."""


@dataclass(frozen=True)
class Order:
    """An image to be bought, and for what. Orders that are equal are one purchase."""

    render_id: str
    scene_index: int
    prompt: str
    negative_prompt: str
    model: str
    size: Size
    quality: str

    @property
    def key(self) -> str:
        """SHA-256 over all of it, in hex: the name under which it is bought."""
        content = json.dumps([_VERSION, asdict(self)], sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(content.encode()).hexdigest()

    @property
    def render_key(self) -> str:
        """SHA-256 over the render's id, in hex: what images are counted by."""
        return hashlib.sha256(self.render_id.encode()).hexdigest()

    @property
    def text(self) -> str:
        """What OpenAI is told. It has no negative prompt of its own."""
        if not self.negative_prompt.strip():
            return self.prompt
        return f"{self.prompt}\n\nDo not show: {self.negative_prompt.strip()}"
