"""Fitting of paragraphs into a box: the size of the type, its lines and columns."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from frame_gen.drawing.fonts import DISPLAY, TEXT, Style
from frame_gen.drawing.paragraph import Paragraph

LONGEST_MEASURE = 40.0
"""Width in em from which lines are set in columns: about 80 characters are easy to read."""
MAX_COLUMNS = 3
DISPLAY_HEIGHT = 0.72
"""Part of the box that large type may fill, so that the picture keeps some air."""
NARROW = 0.3
"""Width in em of narrow characters: text that is too long even so is not tried large."""
BALANCED_LINES = 6
"""Up to so many lines are made about equally long."""


@dataclass(frozen=True)
class Line:
    """Characters `start` to `end` of a paragraph."""

    paragraph: Paragraph
    start: int
    end: int

    @property
    def text(self) -> str:
        """The characters, trailing spaces included."""
        return self.paragraph.text[self.start : self.end]


@dataclass(frozen=True)
class Box:
    """What the text must fit into, in pixels."""

    width: float
    height: float
    smallest: float
    """Least size of the type."""
    small: float
    """Size below which a cut of the typefaces for small text is used."""
    largest: float
    """Greatest size of the type."""


@dataclass(frozen=True)
class Layout:
    """Text that fits. Lengths are in pixels."""

    lines: tuple[Line, ...]
    size: float
    """Size of the type: one em."""
    leading: float
    """Distance of two baselines."""
    columns: int
    column_width: float
    gutter: float
    """Between two columns."""
    fits: bool
    """Whether the text fits at all; if not, this is its layout at the smallest size."""

    @property
    def rows(self) -> int:
        """Lines in the longest column."""
        return -(-len(self.lines) // self.columns)


def fit(measure: Callable[[Style], Sequence[Paragraph]], characters: int, box: Box) -> Layout:
    """The layout with the greatest size at which the paragraphs of `measure` fit into `box`.

    `characters` is about how many they have. Text that is long enough to be
    small is set in the style for text, in columns if its lines were too long to
    read. Words are cut only if they are longer than a line at a small size.
    """
    room = box.width * box.height * DISPLAY_HEIGHT / box.small**2  # in square em
    if box.smallest < box.small and characters * NARROW < room:
        low = box.height * DISPLAY_HEIGHT
        layout = _fit_columns(measure(DISPLAY), replace(box, height=low, smallest=box.small), 1)
        if layout.fits:
            return _balanced(layout, box)
    paragraphs = measure(TEXT)
    for columns in range(1, MAX_COLUMNS + 1):
        layout = _fit_columns(paragraphs, box, columns)
        if layout.column_width <= LONGEST_MEASURE * layout.size:
            break
    return _balanced(layout, box) if layout.fits and layout.columns == 1 else layout


def _fit_columns(paragraphs: Sequence[Paragraph], box: Box, columns: int) -> Layout:
    low, high = box.smallest, max(box.smallest, box.largest)
    best = _set(paragraphs, box, low, columns)
    while best.fits and high - low > 0.02 * low:
        middle = (low + high) / 2
        layout = _set(paragraphs, box, middle, columns)
        if layout.fits:
            low, best = middle, layout
        else:
            high = middle
    return best


def _set(
    paragraphs: Sequence[Paragraph],
    box: Box,
    size: float,
    columns: int,
    width: float | None = None,
) -> Layout:
    gutter = 2.2 * size if columns > 1 else 0.0
    column = (box.width - gutter * (columns - 1)) / columns
    lines: list[Line] = []
    any_cut = False
    for paragraph in paragraphs:
        ends, cut = paragraph.wrap((width or column) / size)
        lines += [Line(paragraph, start, end) for start, end in ends]
        any_cut |= cut
    need = max(t.leading for p in paragraphs for t in p.typefaces)
    # Large type stands closer than small type.
    leading = size * need * (1.18 if size >= box.small else 1.36)
    rows = -(-len(lines) // columns)
    too_early = any_cut and size > max(box.smallest, box.small / 2)
    fits = rows * leading <= box.height and not too_early
    return Layout(tuple(lines), size, leading, columns, column, gutter, fits)


def _balanced(layout: Layout, box: Box) -> Layout:
    """The same number of lines in the least width, so that none is left nearly empty."""
    count = len(layout.lines)
    if count > BALANCED_LINES:
        return layout
    paragraphs = list(dict.fromkeys(line.paragraph for line in layout.lines))
    low, high, best = layout.size, layout.column_width, layout
    while high - low > layout.size / 4:
        middle = (low + high) / 2
        tried = _set(paragraphs, box, layout.size, 1, middle)
        if tried.fits and len(tried.lines) == count:
            high, best = middle, tried
        else:
            low = middle
    return best
