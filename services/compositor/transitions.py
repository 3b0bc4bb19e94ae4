"""The pictures between two scenes, on YUV planes. Pure.

A is the scene that leaves, B the one that comes, p the progress, between 0 and
1, W the width. The rules are the design's. Wipe, slide and dissolve stand on
an 8 pixel grid because the codec does: such pictures can be written without
coding a residual.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from fractions import Fraction
from functools import lru_cache
from math import ceil

import cv2
import numpy as np
from numpy.typing import NDArray

from compositor.planes import BLACK_Y, NEUTRAL_C, Pixels, Planes
from compositor.timeline import round_half_up
from rpckit.video import Transition

CELL = 8
"""Side of a dissolve's cell and step of a wipe, in luma pixels."""
WIDE = 2048
"""Wider pictures slide in steps of CELL: a motion vector reaches no further than this."""

_HALF = Fraction(1, 2)
_NOISE_BITS = 32


def compose(
    transition: Transition, a: Planes, b: Planes, p: Fraction, index: int, out: Planes
) -> None:
    """Writes the picture of a transition at progress `p`, 0 < p < 1, into `out`.

    `index` is the number of the leaving scene; it fixes a dissolve's noise.
    """
    if transition is Transition.DISSOLVE:
        dissolve(a, b, p, index, out)
    else:
        _RULES[transition](a, b, p, out)


def fade(a: Planes, b: Planes, p: Fraction, out: Planes) -> None:
    """Through black: A(1-2p), then B(2p-1)."""
    source, gain = (a, float(1 - 2 * p)) if p <= _HALF else (b, float(2 * p - 1))
    for plane, into, black in (
        (source.y, out.y, BLACK_Y),
        (source.chroma, out.chroma, NEUTRAL_C),
    ):
        cv2.convertScaleAbs(plane, dst=into, alpha=gain, beta=black * (1 - gain))


def crossfade(a: Planes, b: Planes, p: Fraction, out: Planes) -> None:
    """(1-p)A + pB."""
    cv2.addWeighted(a.i420, float(1 - p), b.i420, float(p), 0, dst=out.i420)


def wipe_column(p: Fraction, width: int) -> int:
    """Column c = 8 * round(p * W / 8), the column at which a wipe changes from B to A."""
    return CELL * round_half_up(p * width / CELL)


def slide_shift(p: Fraction, width: int) -> int:
    """Shift s = 2 * round(p * W / 2), by which A has moved; in steps of 8 above 2,048 wide."""
    step = CELL if width > WIDE else 2
    return step * round_half_up(p * width / step)


def dissolve_cells(p: Fraction, index: int, width: int, height: int) -> NDArray[np.bool_]:
    """Which cells of 8x8 luma pixels a dissolve shows from B: (rows, columns), rounded up."""
    cells = noise(index, ceil(height / CELL), ceil(width / CELL))
    # r / 2^32 < p is r < ceil(p * 2^32): no rounding on the way.
    shown: NDArray[np.bool_] = cells < ceil(p * (1 << _NOISE_BITS))
    return shown


def wipe(a: Planes, b: Planes, p: Fraction, out: Planes) -> None:
    """B left of column c = 8 * round(p * W / 8), A from there on."""
    column = wipe_column(p, a.width)
    for pa, pb, into, scale in _planes(a, b, out):
        c = column // scale
        into[:, :c] = pb[:, :c]
        into[:, c:] = pa[:, c:]


def slide(a: Planes, b: Planes, p: Fraction, out: Planes) -> None:
    """B comes in from the right and pushes A out on the left by s = 2 * round(p * W / 2).

    Pictures wider than 2,048 take steps of 8 columns. B's edge is at W - s; the
    seam stands on the next multiple of 8, and the at most 7 columns from the
    edge to it repeat A's last column. Where the width is not a multiple of 16,
    a coder extends the picture to one by repeating that same column, so that
    the last coded column, which a decoder repeats, is A's last one as well.
    """
    width = a.width
    shift = slide_shift(p, width)
    edge = width - shift
    seam = min(ceil(edge / CELL) * CELL, width)
    for pa, pb, into, scale in _planes(a, b, out):
        e, m, s, w = edge // scale, seam // scale, shift // scale, width // scale
        into[:, :e] = pa[:, s:]
        into[:, e:m] = pa[:, -1:]
        into[:, m:] = pb[:, m - e : w - e]


def zoom(a: Planes, b: Planes, p: Fraction, out: Planes) -> None:
    """A grows about its centre by 1 + p while it crossfades to B.

    Bilinear, pixel centres aligned, per plane: the sample at x comes from
    (x + 1/2 - w/2) / (1 + p) + w/2 - 1/2. OpenCV 5 does this in floating point;
    before, it rounded positions to 1/32 pixel.
    """
    scale = float(1 / (1 + p))
    for pa, _, into, _ in _planes(a, b, out):
        height, width = pa.shape
        matrix = np.array(
            [
                [scale, 0, (width - 1) / 2 * (1 - scale)],
                [0, scale, (height - 1) / 2 * (1 - scale)],
            ]
        )
        cv2.warpAffine(
            pa,
            matrix,
            (width, height),
            dst=into,
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_REPLICATE,
        )
    crossfade(out, b, p, out)


def dissolve(a: Planes, b: Planes, p: Fraction, index: int, out: Planes) -> None:
    """B in the 8x8 pixel cells whose noise is less than p, A in the others.

    Chroma cells are 4x4. `index` fixes the noise, see `noise`.
    """
    shown = dissolve_cells(p, index, a.width, a.height)
    rows, columns = shown.shape
    cells = shown.astype(np.uint8)
    np.copyto(out.i420, a.i420)
    for _, pb, into, scale in _planes(a, b, out):
        side = CELL // scale
        size = (columns * side, rows * side)
        mask = cv2.resize(cells, size, interpolation=cv2.INTER_NEAREST)
        height, width = into.shape
        cv2.copyTo(pb, mask[:height, :width], dst=into)


@lru_cache(maxsize=4)
def noise(index: int, rows: int, columns: int) -> NDArray[np.uint64]:
    """The dissolve noise of transition `index`: (rows, columns) integers of [0, 2^32).

    The upper halves of the first outputs of NumPy's PCG64(index), row by row.
    NumPy keeps that stream the same between versions (NEP 19), unlike those of
    `Generator`'s methods.
    """
    raw = np.random.PCG64(index).random_raw(rows * columns)
    values: NDArray[np.uint64] = (raw >> np.uint64(64 - _NOISE_BITS)).reshape(rows, columns)
    values.flags.writeable = False
    return values


def _planes(a: Planes, b: Planes, out: Planes) -> Iterator[tuple[Pixels, Pixels, Pixels, int]]:
    """Each plane of A, B and the output, and by how much it is smaller than luma."""
    yield a.y, b.y, out.y, 1
    yield a.u, b.u, out.u, 2
    yield a.v, b.v, out.v, 2


_RULES: dict[Transition, Callable[[Planes, Planes, Fraction, Planes], None]] = {
    Transition.FADE: fade,
    Transition.CROSSFADE: crossfade,
    Transition.WIPE: wipe,
    Transition.SLIDE: slide,
    Transition.ZOOM: zoom,
}
