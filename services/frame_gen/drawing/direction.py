"""The visual order of mixed text: python-bidi's, with the places that characters came from."""

from __future__ import annotations

import regex
from bidi import get_base_level, get_display

_RIGHT_TO_LEFT = regex.compile(r"[\p{Bidi_Class=R}\p{Bidi_Class=AL}\p{Bidi_Class=AN}]")
_TAGS = (0xE0020, 0xE0040, 0xE0060)
_BASE_LETTERS = ("a", "\u05d0")


def base_direction(text: str) -> bool:
    """Whether a paragraph runs right to left, by its first strong character."""
    return bool(text) and get_base_level(text) == 1


def visual_order(text: str, rtl: bool) -> list[tuple[int, bool]]:
    """Index of each character, and whether it runs right to left, from left to right.

    `rtl` is the direction of the paragraph. python-bidi tells only the
    reordered text. Each character is therefore followed by its index in three
    tag characters, which the Unicode Bidirectional Algorithm passes over (X9).
    """
    if not rtl and not _RIGHT_TO_LEFT.search(text):
        return [(index, False) for index in range(len(text))]
    # A letter of the paragraph's own direction keeps the last tags from being trailing space.
    sentinel = _BASE_LETTERS[rtl]
    tagged = "".join(character + _tag(index) for index, character in enumerate(text))
    shown = get_display(tagged + sentinel, base_dir="R" if rtl else "L")
    shown = shown[1:] if rtl else shown[:-1]
    order = []
    for start in range(0, len(shown), 4):
        item = shown[start : start + 4]
        # The first tag follows its character in the direction of the text.
        backward = not _TAGS[0] <= ord(item[1]) < _TAGS[1]
        order.append((_index(item[::-1] if backward else item), backward))
    return order


def _tag(index: int) -> str:
    """Three tag characters, each from a range of its own, that hold 15 bits."""
    return "".join(chr(tag + (index >> 5 * place & 31)) for place, tag in enumerate(_TAGS))


def _index(item: str) -> int:
    return sum((ord(item[place + 1]) & 31) << 5 * place for place in range(3))
