"""A paragraph of the prompt: its characters' typefaces, and how wide they are."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import regex
import uharfbuzz as hb

from frame_gen.drawing.breaks import SPACE, break_after, line_class
from frame_gen.drawing.direction import base_direction, visual_order
from frame_gen.drawing.fonts import LATIN, Style, Typeface, font, typeface_for

_CLUSTER = regex.compile(r"\X")
ROUNDING = 1e-6


@dataclass(frozen=True)
class Glyph:
    """A glyph of a set line. Lengths are in em."""

    typeface: Typeface
    number: int
    """Glyph number in its font."""
    x: float
    """From the line's left end."""
    y: float
    """Above the baseline."""
    index: int
    """Of the character that it shows in the text that was set."""
    advance: float


class Paragraph:
    """Text without line breaks, measured in one style. Lengths are in em."""

    def __init__(self, text: str, order: tuple[Typeface, ...], style: Style) -> None:
        """`order` is that in which typefaces are tried; each character must be in one of them."""
        self.text = text
        self.style = style
        self.rtl = base_direction(text)
        clusters = _CLUSTER.findall(text)
        self._typefaces = _typefaces(clusters, order)
        self.typefaces = set(self._typefaces) or {LATIN}
        self._starts = [0]
        for cluster in clusters:
            self._starts.append(self._starts[-1] + len(cluster))
        self._measure(clusters)

    def _measure(self, clusters: list[str]) -> None:
        directions = [False] * len(self.text)
        for index, rtl in visual_order(self.text, self.rtl):
            directions[index] = rtl
        advances = [0.0] * len(self.text)
        for glyph in self._shape(self.text, 0, enumerate(directions)):
            advances[glyph.index] += glyph.advance
        self._before = [0.0]  # width before each cluster
        self._inked = [0.0]  # the same without the spaces just before it
        self._break = [0]  # last place before each cluster where a line may end
        for at, may_break in enumerate(break_after(clusters)):
            end = self._before[at] + sum(advances[self._starts[at] : self._starts[at + 1]])
            is_space = line_class(clusters[at][0]) == SPACE
            self._before.append(end)
            self._inked.append(self._inked[at] if is_space else end)
            self._break.append(at + 1 if may_break else self._break[at])

    def wrap(self, width: float) -> tuple[list[tuple[int, int]], bool]:
        """Start and end of each line of at most `width`, and whether a word had to be cut.

        Spaces at the end of a line count as part of it, not of its width.
        """
        last = len(self._before) - 1
        lines: list[tuple[int, int]] = []
        start, cut = 0, False
        while start < last:
            end = bisect_right(self._inked, self._before[start] + width + ROUNDING) - 1
            if end < last:
                if self._break[end] > start:
                    end = self._break[end]
                else:
                    end, cut = max(end, start + 1), True
            lines.append((self._starts[start], self._starts[end]))
            start = end
        return lines or [(0, 0)], cut

    def set_line(self, start: int, end: int) -> tuple[list[Glyph], float]:
        """The glyphs of characters `start` to `end` from left to right, and their width."""
        line = self.text[start:end].rstrip()
        glyphs = list(self._shape(line, start, visual_order(line, self.rtl)))
        return glyphs, glyphs[-1].x + glyphs[-1].advance if glyphs else 0.0

    def _shape(self, text: str, start: int, order: Iterable[tuple[int, bool]]) -> Iterator[Glyph]:
        """Glyphs of `text`, which starts at `start`, its characters in the given order."""
        pen = 0.0
        for indices, rtl in _pieces(order, self._typefaces, start):
            typeface = self._typefaces[start + indices[0]]
            first = min(indices)
            buffer = hb.Buffer()
            buffer.add_str(text[first : first + len(indices)])
            buffer.guess_segment_properties()
            buffer.direction = "rtl" if rtl else "ltr"
            cut = font(typeface, self.style)
            hb.shape(cut, buffer)
            em = typeface.scale / cut.face.upem
            for info, place in zip(buffer.glyph_infos, buffer.glyph_positions or (), strict=True):
                advance = place.x_advance * em
                x, y = pen + place.x_offset * em, place.y_offset * em
                yield Glyph(typeface, info.codepoint, x, y, first + info.cluster, advance)
                pen += advance


def _pieces(
    order: Iterable[tuple[int, bool]], typefaces: list[Typeface], start: int
) -> Iterator[tuple[list[int], bool]]:
    """Neighbours in `order` that are shaped together: in sequence, one typeface, one direction."""
    indices: list[int] = []
    piece_rtl = False
    for index, rtl in order:
        if indices and (
            rtl != piece_rtl
            or index != indices[-1] + (-1 if rtl else 1)
            or typefaces[start + index] != typefaces[start + indices[-1]]
        ):
            yield indices, piece_rtl
            indices = []
        indices.append(index)
        piece_rtl = rtl
    if indices:
        yield indices, piece_rtl


def _typefaces(clusters: list[str], order: tuple[Typeface, ...]) -> list[Typeface]:
    """The typeface of each character."""
    chosen: list[Typeface] = []
    for cluster in clusters:
        chosen += [typeface_for(cluster, order) or LATIN] * len(cluster)
    return chosen
