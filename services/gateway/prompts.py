"""The text of prompts: normal form, and characters that have no place in it."""

from __future__ import annotations

import re
import unicodedata

BIDI_CONTROLS = re.compile("[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")
"""Unicode's Bidi_Control characters: they change how the rest of a text is shown."""

_SPACES = "\t\n\r"


def normalized(text: str) -> str:
    """`text` in NFC, without Bidi_Control characters and space at its ends."""
    return unicodedata.normalize("NFC", BIDI_CONTROLS.sub("", text)).strip()


def control_character(text: str) -> str | None:
    """The first control character of `text` but tab and line ends, as U+XXXX, or None."""
    for character in text:
        if unicodedata.category(character) == "Cc" and character not in _SPACES:
            return f"U+{ord(character):04X}"
    return None
