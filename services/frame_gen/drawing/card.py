"""A placeholder: the prompt set in type on a gradient, with the scene's number."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import regex

from frame_gen.drawing.fonts import LABEL, LATIN, Typeface, missing_in, order_for, typeface_for
from frame_gen.drawing.gradient import draw_gradient, palette
from frame_gen.drawing.layout import Box, Layout, fit
from frame_gen.drawing.paragraph import Paragraph
from frame_gen.drawing.raster import Picture, Region, Row, fill, paint_rows

SUBSTITUTE = "\ufffd"
"""Shown for a character that no typeface has."""
SMALLEST_TYPE = 6.0
"""Pixels below which letters cannot be told apart."""

SMALLEST_LABELLED = 48
"""Shorter side in pixels from which there is room for the scene's number."""

_CLUSTER = regex.compile(r"\X")
_NEW_LINE = regex.compile(r"[^\S\n]*(?:\r\n?|[\n\x0b\x0c\x85\u2028\u2029])[^\S\n]*")
_LINE_BREAKS = regex.compile(r"\n+")
_BLANK_LINES = regex.compile(r"\n{3,}")
_INVISIBLE = regex.compile(r"[[\p{Cc}\p{Cs}\p{Bidi_Control}]--\n]", regex.V1)
_MOST_SEGMENTS = 24


@dataclass(frozen=True)
class Card:
    """A planned placeholder. Lengths are in pixels."""

    width: int
    height: int
    layout: Layout
    """Of the prompt."""
    region: Region
    """Nothing of the prompt is painted outside of it."""
    missing: tuple[str, ...]
    """Characters of the prompt that no typeface has."""
    shown: int
    """Characters of the prompt that are shown: all, unless the picture is tiny."""
    length: int
    """Characters of the prompt."""

    @property
    def short(self) -> int:
        """The shorter side: what margins and sizes are relative to."""
        return min(self.width, self.height)


def plan_card(prompt: str, width: int, height: int) -> Card:
    """Fits the whole prompt into a picture of `width` x `height` pixels.

    Only where it does not fit in the smallest type, it ends early with an ellipsis.
    """
    text = _cleaned(prompt)
    order = order_for(text)
    text, missing = _substituted(text, order)
    short = min(width, height)
    margin = math.ceil(short * 0.085)
    head = math.ceil(_label_size(short) * 2.2) if short >= SMALLEST_LABELLED else 0
    top, bottom = margin + head, margin + math.ceil(short * 0.05)
    region = Region(margin, top, max(1, width - 2 * margin), max(1, height - top - bottom))
    box = Box(region.width, region.height, SMALLEST_TYPE, short * 0.042, short * 0.105)
    length = len(text)
    layout = _fit(text, order, box)
    if not layout.fits and "\n" in text:
        # Many short lines may fit as running text.
        text = _LINE_BREAKS.sub(" ", text)
        length = len(text)
        layout = _fit(text, order, box)
    while not layout.fits:
        length = min(length - 1, _fitting(layout, box))
        if length < 1:
            break
        layout = _fit(text[:length].rstrip() + "…", order, box)
    return Card(width, height, layout, region, missing, length, len(text))


def draw_card(
    card: Card,
    prompt: str,
    scene_index: int,
    scene_count: int,
    checkpoint: Callable[[], None] = lambda: None,
) -> Picture:
    """Draws a planned card for scene `scene_index`, from 0: RGB, shape (height, width, 3).

    `checkpoint` is called every few milliseconds; what it raises ends the drawing.
    """
    colours = palette(prompt, scene_index)
    picture = draw_gradient(colours, card.width, card.height, checkpoint)
    if card.shown > 0:
        paint_rows(picture, card.region, _rows(card), colours.ink.rgb(), checkpoint)
    _paint_label(card, picture, f"Scene {scene_index + 1} of {scene_count}", colours.ink.rgb())
    _paint_bar(card, picture, scene_index, scene_count, colours.ink.rgb())
    return picture


def _cleaned(prompt: str) -> str:
    """The prompt without what cannot be seen, its lines ended alike, blank ones not in a row."""
    text = _NEW_LINE.sub("\n", unicodedata.normalize("NFC", prompt).strip())
    return _INVISIBLE.sub("", _BLANK_LINES.sub("\n\n", text).replace("\t", " "))


def _fit(text: str, order: tuple[Typeface, ...], box: Box) -> Layout:
    parts = text.split("\n")
    return fit(lambda style: [Paragraph(p, order, style) for p in parts], len(text), box)


def _fitting(layout: Layout, box: Box) -> int:
    """How many characters of the text stand in the lines that the box has room for."""
    room = max(1, int(box.height / layout.leading)) * layout.columns
    lines = layout.lines[:room]
    breaks = len({id(line.paragraph) for line in lines}) - 1
    return sum(len(line.text) for line in lines) + breaks


def _substituted(text: str, order: tuple[Typeface, ...]) -> tuple[str, tuple[str, ...]]:
    """The text with a substitute for each cluster that no typeface has, and those characters."""
    missing: dict[str, None] = {}
    shown = []
    for cluster in _CLUSTER.findall(text):
        if cluster == "\n" or typeface_for(cluster, order):
            shown.append(cluster)
        else:
            missing.update(dict.fromkeys(missing_in(cluster, order)))
            shown.append(SUBSTITUTE)
    return "".join(shown), tuple(missing)


def _rows(card: Card) -> Iterator[Row]:
    """The lines of the prompt: from the bottom up, at the side where the text starts."""
    layout, region = card.layout, card.region
    rtl = layout.lines[0].paragraph.rtl
    # In a single column text stands at the bottom; columns start at the top of the longest.
    top = region.top + region.height - layout.rows * layout.leading
    for at, line in enumerate(layout.lines):
        column, row = divmod(at, layout.rows)
        if rtl:
            column = layout.columns - 1 - column
        left = region.left + column * (layout.column_width + layout.gutter)
        glyphs, width = line.paragraph.set_line(line.start, line.end)
        if line.paragraph.rtl:
            left += layout.column_width - width * layout.size
        baseline = top + (row + 0.5) * layout.leading + 0.36 * layout.size
        yield Row(glyphs, line.paragraph.style, layout.size, left, baseline)


def _label_size(short: int) -> float:
    return max(short * 0.027, SMALLEST_TYPE + 1)


def _paint_label(card: Card, picture: Picture, label: str, ink: tuple[int, int, int]) -> None:
    """Paints the scene's number above the prompt, where there is room for it."""
    size = _label_size(card.short)
    paragraph = Paragraph(label, (LATIN,), LABEL)
    glyphs, width = paragraph.set_line(0, len(label))
    margin = card.region.left
    region = Region(margin, margin, card.region.width, card.region.top - margin)
    if width * size > region.width or size > region.height:
        return
    left = float(margin)
    if card.layout.lines[0].paragraph.rtl:
        left += region.width - width * size
    paint_rows(picture, region, [Row(glyphs, LABEL, size, left, margin + 0.74 * size)], ink)


def _paint_bar(
    card: Card, picture: Picture, scene_index: int, scene_count: int, ink: tuple[int, int, int]
) -> None:
    """Paints a hairline at the foot that shows where in the video the scene stands."""
    margin, thickness = card.region.left, max(1, round(card.short * 0.0035))
    top = card.height - margin - thickness
    if scene_count < 2 or card.short < 96:
        return
    parts = min(scene_count, _MOST_SEGMENTS)
    now = scene_index * parts // scene_count
    gap = 2 * thickness
    each = (card.region.width + gap) / parts
    for part in range(parts):
        left = margin + round(part * each)
        right = margin + round((part + 1) * each) - gap
        fill(picture, Region(left, top, right - left, thickness), ink, 0.9 if part == now else 0.28)
