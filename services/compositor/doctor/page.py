"""One HTML page, with clips and what they should look like inside, that checks its browser."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files

from compositor.doctor.clips import ClipFiles
from rpckit.video import Preset

_PLACE = "{{CLIPS}}"


@dataclass(frozen=True)
class PageClip:
    """A clip on the page."""

    name: str
    about: str
    preset: Preset
    codec: str
    """As browsers name it, such as "avc1.640028"."""
    pictures: int
    thumbnails: bytes
    """`thumbnail` of each picture, one after the other."""
    files: ClipFiles


def page(clips: Sequence[PageClip]) -> str:
    """The page. It needs nothing else, so that it can be sent to a phone as a file.

    Its `window.report` is a promise of what it found.
    """
    template = files("compositor.doctor").joinpath("page.html").read_text(encoding="utf-8")
    # No "<" in a script element could end it.
    content = json.dumps([_document(clip) for clip in clips]).replace("<", "\\u003c")
    return template.replace(_PLACE, content)


def _document(clip: PageClip) -> dict[str, object]:
    return {
        "name": clip.name,
        "about": clip.about,
        "width": clip.preset.width,
        "height": clip.preset.height,
        "fps": clip.preset.fps,
        "codec": clip.codec,
        "count": clip.pictures,
        "thumbnails": b64encode(clip.thumbnails).decode(),
        "stored": b64encode(clip.files.stored).decode(),
        "streamed": b64encode(clip.files.streamed).decode(),
    }
