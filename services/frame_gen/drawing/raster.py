"""Painting of set glyphs onto a picture, antialiased, within a frame that they cannot leave."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import uharfbuzz as hb
from numpy.typing import NDArray

from frame_gen.drawing.fonts import Style, font
from frame_gen.drawing.paragraph import Glyph

Picture = NDArray[np.uint8]
Transform = tuple[float, float, float, float, float, float]
"""2x3 affine transform as HarfBuzz takes it: xx, yx, xy, yy, x, y."""


@dataclass(frozen=True)
class Region:
    """A part of a picture, in pixels."""

    left: int
    top: int
    width: int
    height: int


@dataclass(frozen=True)
class Row:
    """A set line and where it stands, in pixels of the picture."""

    glyphs: list[Glyph]
    style: Style
    size: float
    """One em."""
    x: float
    """Left end."""
    baseline: float


def paint_rows(
    picture: Picture,
    region: Region,
    rows: Iterable[Row],
    ink: tuple[int, int, int],
    checkpoint: Callable[[], None] = lambda: None,
) -> None:
    """Paints `rows` onto an RGB picture. What leaves `region` is cut off."""
    bottom = region.top + region.height
    outlines = hb.RasterDraw()
    outlines.extents = hb.RasterExtents(region.left, -bottom, region.width, region.height, 0)
    coloured: list[tuple[hb.Font, Glyph, Transform]] = []
    for row in rows:
        checkpoint()
        for glyph in row.glyphs:
            cut = font(glyph.typeface, row.style)
            scale = row.size * glyph.typeface.scale / cut.face.upem
            # HarfBuzz counts y upwards.
            x, y = row.x + glyph.x * row.size, glyph.y * row.size - row.baseline
            transform: Transform = (scale, 0.0, 0.0, scale, x, y)
            if glyph.typeface.colour:
                coloured.append((cut, glyph, transform))
            else:
                outlines.transform = transform
                outlines.draw_glyph(cut, glyph.number)
    image = outlines.render()
    if image is not None:
        _blend(_part(picture, region), _pixels(image, 1)[..., 0], ink)
    for cut, glyph, transform in coloured:
        _paint_coloured(picture, region, cut, glyph, transform)


def fill(picture: Picture, region: Region, ink: tuple[int, int, int], opacity: float) -> None:
    """Lays `ink` over a region."""
    part = _part(picture, region)
    part[...] = np.rint(part * (1 - opacity) + np.array(ink) * opacity)


def _paint_coloured(
    picture: Picture, region: Region, cut: hb.Font, glyph: Glyph, transform: Transform
) -> None:
    extents = cut.get_glyph_extents(glyph.number)
    painter = hb.RasterPaint()
    painter.transform = transform
    if extents is None or not painter.set_glyph_extents(extents):
        return
    painter.paint_glyph(cut, glyph.number)
    image = painter.render()
    if image is None:
        return
    place = image.extents
    left, top = place.x_origin, -(place.y_origin + place.height)
    box = Region(
        max(left, region.left),
        max(top, region.top),
        min(left + place.width, region.left + region.width) - max(left, region.left),
        min(top + place.height, region.top + region.height) - max(top, region.top),
    )
    if box.width <= 0 or box.height <= 0:
        return
    from_left, from_top = box.left - left, box.top - top
    bgra = _pixels(image, 4)[from_top : from_top + box.height, from_left : from_left + box.width]
    part = _part(picture, box)
    clear = 255 - bgra[..., 3:].astype(np.uint16)
    # The colours are premultiplied by their opacity.
    part[...] = np.minimum(bgra[..., 2::-1] + (part * clear + 127) // 255, 255)


def _blend(part: Picture, cover: Picture, ink: tuple[int, int, int]) -> None:
    """Blends `ink` into the pixels that `cover` (0 to 255) touches; most it does not."""
    rows, columns = np.nonzero(cover)
    opacity = cover[rows, columns, None].astype(np.float32) / 255
    below = part[rows, columns].astype(np.float32)
    part[rows, columns] = np.rint(below + (np.array(ink, np.float32) - below) * opacity)


def _part(picture: Picture, region: Region) -> Picture:
    rows = slice(region.top, region.top + region.height)
    return picture[rows, region.left : region.left + region.width]


def _pixels(image: hb.RasterImage, channels: int) -> Picture:
    """The pixels from top to bottom; HarfBuzz keeps them from bottom to top."""
    place = image.extents
    rows = np.frombuffer(image.buffer, np.uint8).reshape(place.height, place.stride)[::-1]
    return rows[:, : place.width * channels].reshape(place.height, place.width, channels)
