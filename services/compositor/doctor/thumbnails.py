"""Pictures as a few mean colours, by which a page tells what a browser shows."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from compositor.planes import BLACK_Y, NEUTRAL_C, Pixels, Planes

COLUMNS, ROWS = 16, 9

# ITU-R BT.709-6, items 3.2 and 4.6, the other way round.
_RGB_OF_YCC = np.array(
    [
        [255 / 219, 0, 255 / 224 * 2 * (1 - 0.2126)],
        [
            255 / 219,
            -255 / 224 * 2 * (1 - 0.0722) * 0.0722 / 0.7152,
            -255 / 224 * 2 * (1 - 0.2126) * 0.2126 / 0.7152,
        ],
        [255 / 219, 255 / 224 * 2 * (1 - 0.0722), 0],
    ]
)


def thumbnail(picture: Planes) -> NDArray[np.uint8]:
    """Mean RGB of each of 9 x 16 cells, (9, 16, 3), of a picture in which no colour is clipped.

    Cell i of n begins at 2 * floor(i * size / 2n), so that chroma has the same cells.
    """
    rows, columns = _begins(picture.height, ROWS), _begins(picture.width, COLUMNS)
    means = [
        _means(plane, rows // scale, columns // scale)
        for plane, scale in ((picture.y, 1), (picture.u, 2), (picture.v, 2))
    ]
    ycc = np.stack(means, axis=-1) - (BLACK_Y, NEUTRAL_C, NEUTRAL_C)
    rgb: NDArray[np.float64] = np.rint(ycc @ _RGB_OF_YCC.T)
    return np.clip(rgb, 0, 255).astype(np.uint8)


def _begins(size: int, count: int) -> NDArray[np.intp]:
    return 2 * (np.arange(count) * size // (2 * count))


def _means(plane: Pixels, rows: NDArray[np.intp], columns: NDArray[np.intp]) -> NDArray[np.float64]:
    sums = np.add.reduceat(plane, columns, axis=1, dtype=np.uint32)
    sums = np.add.reduceat(sums, rows, axis=0)
    height, width = plane.shape
    areas = np.outer(np.diff(rows, append=height), np.diff(columns, append=width))
    return np.asarray(sums / areas, np.float64)
