"""The typefaces that text is set in, and which of them has a glyph for what.

They are files inside installed packages, so that a frame looks the same on
every machine. A package that is not there takes its characters with it: they
are then shown as missing, and told in a warning.
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib import resources

import regex
import uharfbuzz as hb


@dataclass(frozen=True, eq=False)  # equal is what is the same; that is fast to look up
class Typeface:
    """A font file and how it is used."""

    package: str
    """Package that holds the file."""
    file: str
    """Path inside the package."""
    leading: float = 1.0
    """Line height that its script needs, relative to that of Latin."""
    scale: float = 1.0
    """Size at which it matches the others in a line."""
    colour: bool = False
    """Whether its glyphs bring their own colours."""


@dataclass(frozen=True)
class Style:
    """A cut of the variable typefaces."""

    weight: float
    """100 (thin) to 900 (black)."""
    optical_size: float
    """14 (for text) to 32 (for display)."""


DISPLAY = Style(weight=600, optical_size=32)
TEXT = Style(weight=450, optical_size=16)
LABEL = Style(weight=560, optical_size=16)


def _western(path: str, leading: float = 1.0) -> Typeface:
    return Typeface("justmytype_western_core", f"fonts/ofl/{path}", leading)


def _noto(region: str, script: str, leading: float) -> Typeface:
    name = script.lower()
    file = f"fonts/ofl/notosans{name}/NotoSans{script}[wdth,wght].ttf"
    return Typeface(f"justmytype_intl_{region}", file, leading)


def _east_asian(code: str) -> Typeface:
    file = f"fonts/ofl/notosans{code.lower()}/NotoSans{code}[wght].ttf"
    return Typeface("justmytype_intl_cjk", file, leading=1.08)


LATIN = _western("inter/Inter[opsz,wght].ttf")
WIDE = _western("notosans/NotoSans[wdth,wght].ttf")
EMOJI = Typeface("deckr_fonts", "fonts/NotoColorEmoji-Regular.ttf", scale=0.86, colour=True)

_ALPHABETS = (
    LATIN,
    _noto("rtl", "Arabic", 1.42),
    _noto("rtl", "Hebrew", 1.0),
    _noto("south_asia", "Devanagari", 1.15),
    _noto("south_asia", "Bengali", 1.15),
    _noto("south_asia", "Tamil", 1.15),
    _noto("south_asia", "Telugu", 1.25),
    _noto("sea", "Thai", 1.25),
    _noto("sea", "Lao", 1.25),
    _noto("sea", "Khmer", 1.3),
    _noto("sea", "Myanmar", 1.5),
    _noto("africa", "Ethiopic", 1.1),
    WIDE,
)
_CHINESE, _JAPANESE, _KOREAN = _east_asian("SC"), _east_asian("JP"), _east_asian("KR")
_TAIWANESE = _east_asian("TC")
_SYMBOLS = (
    _western("notosanssymbols2/NotoSansSymbols2-Regular.ttf"),
    _western("stixtwomath/STIXTwoMath-Regular.ttf"),
    _western("notosansmono/NotoSansMono[wdth,wght].ttf"),
    EMOJI,
)

_KANA = regex.compile(r"[\p{Script=Hiragana}\p{Script=Katakana}]")
_HANGUL = regex.compile(r"\p{Script=Hangul}")
_IGNORABLE = regex.compile(r"[\p{Default_Ignorable_Code_Point}\s\p{Cc}]")
_EMOJI_STYLE = regex.compile(r"\p{Emoji_Presentation}|\p{Emoji}\uFE0F|[0-9#*]\uFE0F?\u20E3")
_TEXT_STYLE = "\ufe0e"


def order_for(text: str) -> tuple[Typeface, ...]:
    """The typefaces in the order in which they are tried for the characters of `text`.

    Chinese, Japanese and Korean share characters that each draws in its own
    way: kana or hangul in the text tell which it is.
    """
    east = [_CHINESE, _TAIWANESE, _JAPANESE, _KOREAN]
    if _HANGUL.search(text):
        east = [_KOREAN, _JAPANESE, _CHINESE, _TAIWANESE]
    if _KANA.search(text):
        east = [_JAPANESE, _CHINESE, _TAIWANESE, _KOREAN]
    return (*_ALPHABETS, *east, *_SYMBOLS)


@lru_cache(maxsize=1 << 15)
def typeface_for(cluster: str, order: tuple[Typeface, ...]) -> Typeface | None:
    """The first typeface with a glyph for each character of a grapheme cluster, if any."""
    needed = _visible(cluster)
    if _EMOJI_STYLE.search(cluster) and _TEXT_STYLE not in cluster:
        order = (EMOJI, *order)
    for typeface in order:
        if needed <= coverage(typeface):
            return typeface
    return None


def missing_in(cluster: str, order: tuple[Typeface, ...]) -> list[str]:
    """The characters of a cluster that no typeface has; all of it if none has them together."""
    needed = sorted(_visible(cluster))
    alone = [c for c in needed if not any(c in coverage(typeface) for typeface in order)]
    return [chr(c) for c in alone or needed]


@cache
def coverage(typeface: Typeface) -> frozenset[int]:
    """The code points that a typeface has glyphs for; none if it is not installed."""
    face = _face(typeface)
    return frozenset(face.unicodes) if face else frozenset()


@cache
def font(typeface: Typeface, style: Style) -> hb.Font:
    """A typeface in a style, in units of `upem` to the em. FileNotFoundError if not installed."""
    face = _face(typeface)
    if face is None:
        raise FileNotFoundError(f"the package {typeface.package} is not installed")
    cut = hb.Font(face)
    cut.set_variations({"wght": style.weight, "opsz": style.optical_size})
    return cut


def _visible(cluster: str) -> frozenset[int]:
    composed = unicodedata.normalize("NFC", cluster)
    return frozenset(map(ord, _IGNORABLE.sub("", composed)))


@cache
def _face(typeface: Typeface) -> hb.Face | None:
    try:
        found = resources.files(typeface.package).joinpath(typeface.file)
        with resources.as_file(found) as path:
            return hb.Face(hb.Blob.from_file_path(str(path)))
    except (ModuleNotFoundError, FileNotFoundError, hb.HarfBuzzError):
        return None
