"""slice_data() of pictures that are synthesized, not coded: ITU-T H.264 clause 7.3.4.

Every macroblock is inter predicted without a residual. The slices are CAVLC
(entropy_coding_mode_flag 0), of frames without field coding, ChromaArrayType 1,
and hold a whole picture. What these functions return follows the slice header
directly; rbsp_slice_trailing_bits() comes after it.

P slices here have exactly two active references (num_ref_idx_l0_active_minus1
is 1), so a reference index is one bit. transform_size_8x8_flag and mb_qp_delta
are absent where coded_block_pattern is 0 (clause 7.3.5).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from functools import lru_cache
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compositor.h264.bits import Bits, signed, truncated, unsigned
from compositor.h264.levels import HORIZONTAL_MV_RANGE
from compositor.h264.motion import (
    STILL,
    Motion,
    Neighbours,
    Vector,
    predicted,
    predicted_left_half,
    predicted_right_half,
    skipped,
)


class MacroblockType(IntEnum):
    """mb_type of a P slice: Table 7-13."""

    P_L0_16x16 = 0
    P_L0_L0_16x8 = 1
    P_L0_L0_8x16 = 2
    P_8x8 = 3


P_L0_8x8 = 0
"""sub_mb_type of an undivided 8x8 block: Table 7-17."""

LAST_REFERENCE = 1
"""The higher of the two reference indices."""


@dataclass(frozen=True, slots=True)
class Strip:
    """What 8 luma columns of a picture show, the same in every row."""

    reference: int
    """Reference index, 0 or 1."""
    mv_x: int
    """How far right of it the columns shown lie, in quarter luma samples: -8192 to 8191."""

    def __post_init__(self) -> None:
        if not 0 <= self.reference <= LAST_REFERENCE:
            raise ValueError(f"a reference index is 0 or 1, not {self.reference}")
        if self.mv_x not in HORIZONTAL_MV_RANGE:
            raise ValueError(f"a vector of {self.mv_x} quarter samples is out of range")


@lru_cache(maxsize=4096)
def skip_run(macroblocks: int) -> Bits:
    """mb_skip_run, how many P_Skip or B_Skip macroblocks follow: clause 7.3.4."""
    return unsigned(macroblocks)


def all_skipped(macroblocks: int) -> Bits:
    """A P or B picture whose macroblocks are all skipped: clause 7.3.4.

    Raises:
        ValueError: there are no `macroblocks`.
    """
    if macroblocks < 1:
        raise ValueError("a picture has at least one macroblock")
    return skip_run(macroblocks)


def mosaic(shown: NDArray[np.bool_]) -> Bits:
    """A P picture that shows one of two references in each 8x8 block, without motion.

    With no motion anywhere all vectors are predicted right (clause 8.4.1.3), so
    every mvd is 0 and P_Skip shows reference index 0.

    Args:
        shown: the reference index of every 8x8 luma block in raster order, of shape
            (2 * macroblock rows, 2 * macroblock columns).

    Raises:
        ValueError: the shape is not that of whole macroblocks.
    """
    patterns = _patterns(shown)
    coded = np.flatnonzero(patterns)
    runs = np.diff(coded, prepend=-1) - 1
    bits = [
        skip_run(run) + _MOSAIC[pattern]
        for run, pattern in zip(runs.tolist(), patterns[coded].tolist(), strict=True)
    ]
    last = int(coded[-1]) if coded.size else -1
    bits.append(_trailing_run(patterns.size - 1 - last))
    return "".join(bits)


def random_mosaic_bits(share: float, macroblocks: int) -> float:
    """Bits that `mosaic` takes on average where blocks show index 1 at random.

    A macroblock is skipped with probability q, so a run is at least n long with
    probability q^n. Its code takes two bits more at each n = 2^k - 1, k >= 1
    (clause 9.1).

    Args:
        share: the probability of index 1 in each block, 0 to 1.
        macroblocks: how many the picture has, at least 1.
    """
    ones = [pattern.bit_count() for pattern in range(len(_MOSAIC))]
    chances = [share**n * (1 - share) ** (4 - n) for n in ones]
    coded_bits = sum(chance * len(bits) for chance, bits in zip(chances, _MOSAIC, strict=True))
    skipped_share = chances[0]
    steps = range(1, (macroblocks + 1).bit_length())
    longer = 2 * sum(pow(skipped_share, (1 << k) - 1) for k in steps)
    # A run stands before every coded macroblock, and at the end if it is not empty.
    run_bits = macroblocks * (1 - skipped_share) * (1 + longer) + skipped_share + longer
    return macroblocks * coded_bits + run_bits


def panned(strips: Sequence[Strip], mb_rows: int) -> Bits:
    """A P picture of vertical strips, each a piece of a reference moved sideways.

    Args:
        strips: from left to right, two to a macroblock.
        mb_rows: rows of macroblocks, at least 1.

    Raises:
        ValueError: `strips` is empty or odd in number, or there are no rows.
    """
    if not strips or len(strips) % 2:
        raise ValueError(f"{len(strips)} strips of 8 columns are no row of macroblocks")
    if mb_rows < 1:
        raise ValueError("a picture has at least one row of macroblocks")
    motions = [Motion(strip.reference, Vector(strip.mv_x, 0)) for strip in strips]
    top = _Row.of(_panned_row(motions, is_top=True))
    if not top.coded:
        # All rests at reference index 0, and so it is skipped in the other rows as well.
        return all_skipped(mb_rows * len(strips) // 2)
    bits = skip_run(top.skipped_before) + top.coded
    if mb_rows == 1:
        return bits + _trailing_run(top.skipped_after)
    # All rows but the first have the same neighbours above, so they are all alike.
    row = _Row.of(_panned_row(motions, is_top=False))
    bits += skip_run(top.skipped_after + row.skipped_before) + row.coded
    again = skip_run(row.skipped_after + row.skipped_before) + row.coded
    return bits + again * (mb_rows - 2) + _trailing_run(row.skipped_after)


@dataclass(frozen=True, slots=True)
class _Row:
    """A row of macroblocks whose first and last skip runs may go on in other rows."""

    skipped_before: int
    coded: Bits
    """From the first macroblock that is not skipped to the last such; empty if there is none."""
    skipped_after: int

    @classmethod
    def of(cls, macroblocks: Sequence[Bits]) -> _Row:
        """A row of macroblock_layer()s, empty where a macroblock is skipped."""
        coded = [i for i, bits in enumerate(macroblocks) if bits]
        if not coded:
            return cls(len(macroblocks), "", 0)
        runs = (skip_run(b - a - 1) + macroblocks[b] for a, b in pairwise(coded))
        return cls(
            coded[0],
            macroblocks[coded[0]] + "".join(runs),
            len(macroblocks) - 1 - coded[-1],
        )


def _panned_row(strips: Sequence[Motion], *, is_top: bool) -> list[Bits]:
    """A row's macroblocks, empty where P_Skip shows what is wanted."""
    return [
        _panned_macroblock(
            (strips[i], strips[i + 1]),
            _neighbours(strips, i, 2, is_top=is_top),
            _neighbours(strips, i, 1, is_top=is_top),
            _neighbours(strips, i + 1, 1, is_top=is_top),
        )
        for i in range(0, len(strips), 2)
    ]


def _neighbours(strips: Sequence[Motion], first: int, count: int, *, is_top: bool) -> Neighbours:
    """Neighbours of the partition that takes `count` strips from `first` on: clause 8.4.1.3.2.

    The row above shows the same strips. There, what is one strip further on is
    C. It lacks only at the end of a row; D, which takes its place, shows what A does.
    """
    left = strips[first - 1] if first else None
    if is_top:
        return Neighbours(left, None, None)
    end = first + count
    return Neighbours(left, strips[first], strips[end] if end < len(strips) else left)


@lru_cache(maxsize=4096)
def _panned_macroblock(
    halves: tuple[Motion, Motion], whole: Neighbours, left: Neighbours, right: Neighbours
) -> Bits:
    """A macroblock with those left and right halves, given the neighbours of each partition."""
    if halves[0] != halves[1]:
        vectors = (
            predicted_left_half(halves[0].reference, left),
            predicted_right_half(halves[1].reference, right),
        )
        return _macroblock_layer(MacroblockType.P_L0_L0_8x16, halves, vectors)
    motion = halves[0]
    if motion == skipped(whole):
        return ""
    prediction = predicted(motion.reference, whole)
    return _macroblock_layer(MacroblockType.P_L0_16x16, [motion], [prediction])


def _macroblock_layer(
    mb_type: MacroblockType, partitions: Sequence[Motion], predictions: Iterable[Vector]
) -> Bits:
    """macroblock_layer() without a residual: clauses 7.3.5, 7.3.5.1 and 7.3.5.2."""
    sub_types = unsigned(P_L0_8x8) * 4 if mb_type is MacroblockType.P_8x8 else ""
    references = [truncated(partition.reference, LAST_REFERENCE) for partition in partitions]
    differences = [
        signed(partition.vector.x - prediction.x) + signed(partition.vector.y - prediction.y)
        for partition, prediction in zip(partitions, predictions, strict=True)
    ]
    return "".join([unsigned(mb_type), sub_types, *references, *differences, _NO_RESIDUAL])


_NO_RESIDUAL = unsigned(0)
"""coded_block_pattern 0 of an Inter macroblock, codeNum 0: clause 9.1.2, Table 9-4."""


def _trailing_run(macroblocks: int) -> Bits:
    """The skip run that ends a slice; none where the last macroblock is not skipped."""
    return skip_run(macroblocks) if macroblocks else ""


def _patterns(shown: NDArray[np.bool_]) -> NDArray[np.integer[Any]]:
    """One number per macroblock, in raster order: its blocks are bits 3, 2, 1 and 0."""
    if shown.ndim != 2 or not shown.size or shown.shape[0] % 2 or shown.shape[1] % 2:
        raise ValueError(f"blocks of shape {shown.shape} are no whole macroblocks")
    blocks = shown.astype(np.uint8)
    top = blocks[0::2, 0::2] << 3 | blocks[0::2, 1::2] << 2
    bottom = blocks[1::2, 0::2] << 1 | blocks[1::2, 1::2]
    return (top | bottom).ravel()


def _mosaic_macroblock(pattern: int) -> Bits:
    """The shortest macroblock with that pattern of reference indices; empty for P_Skip."""
    blocks = [pattern >> shift & 1 for shift in (3, 2, 1, 0)]
    top_left, top_right, bottom_left, _ = blocks
    if not pattern:
        return ""
    if len(set(blocks)) == 1:
        mb_type, references = MacroblockType.P_L0_16x16, [top_left]
    elif blocks[:2] == blocks[2:]:
        mb_type, references = MacroblockType.P_L0_L0_8x16, [top_left, top_right]
    elif blocks[0::2] == blocks[1::2]:
        mb_type, references = MacroblockType.P_L0_L0_16x8, [top_left, bottom_left]
    else:
        mb_type, references = MacroblockType.P_8x8, blocks
    partitions = [Motion(reference, STILL) for reference in references]
    return _macroblock_layer(mb_type, partitions, [STILL] * len(partitions))


_MOSAIC = tuple(_mosaic_macroblock(pattern) for pattern in range(16))
