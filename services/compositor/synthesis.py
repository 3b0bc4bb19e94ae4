"""Transitions that are synthesized as syntax: which can be, and their pictures.

A crossfade picture is both stills, weighted; a fade picture one still, weighted
with an offset to black; a wipe or a dissolve takes each block of 8x8 from one of
them; a slide moves both. The weights have 7 bits, and that is where synthesis
ends: see `can_be_synthesized`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from math import ceil

import numpy as np

from compositor.h264.levels import HORIZONTAL_MV_RANGE
from compositor.h264.references import Reference
from compositor.h264.slice_data import Strip, random_mosaic_bits
from compositor.h264.slice_header import Weight
from compositor.h264.stream import AccessUnit, Stream
from compositor.planes import BLACK_Y, NEUTRAL_C
from compositor.rate import CODED_OF_BUFFER, Ceiling
from compositor.timeline import Slot, round_half_up
from compositor.transitions import CELL, dissolve_cells, slide_shift, wipe_column
from rpckit.video import Preset, Transition

LONGEST = 255
"""Pictures of a crossfade or fade. In a longer one the first weight of 7 bits would be 0."""

_ONE = 128
"""The weight that shows a picture as it is."""
_MACROBLOCK = 16
_QUARTER = 4
"""Motion vectors count quarters of a sample."""


def can_be_synthesized(slot: Slot, preset: Preset, ceiling: Ceiling) -> bool:
    """Whether the slot's transition can be synthesized as exactly as it is asked for.

    A zoom cannot: it needs samples between samples. A crossfade and a fade up
    to 255 pictures. A wipe always; a dissolve unless it would need more than the
    ceiling allows. A slide unless it moves further than a vector reaches with
    no picture on the way to refer to: see `slide_pivot`.
    """
    match slot.transition:
        case Transition.ZOOM:
            return False
        case Transition.CROSSFADE | Transition.FADE:
            return slot.transition_frame_count <= LONGEST
        case Transition.WIPE:
            return True
        case Transition.SLIDE:
            return _slide_can_be_synthesized(slot, preset.width)
        case Transition.DISSOLVE:
            return _dissolve_fits(slot, preset, ceiling)


def _slide_can_be_synthesized(slot: Slot, width: int) -> bool:
    shifts = [slide_shift(p, width) for p in slot.progress()]
    return all(_reaches(width, shift) for shift in shifts) or slide_pivot(shifts, width) is not None


def _dissolve_fits(slot: Slot, preset: Preset, ceiling: Ceiling) -> bool:
    macroblocks = ceil(preset.width / _MACROBLOCK) * ceil(preset.height / _MACROBLOCK)
    # What fewer blocks show is what is written.
    bits = sum(random_mosaic_bits(float(min(p, 1 - p)), macroblocks) for p in slot.progress())
    given = ceiling.rate * slot.transition_frame_count / preset.fps
    return bits - given <= CODED_OF_BUFFER * ceiling.buffer


def _reaches(width: int, shift: int) -> bool:
    """Whether A and B can both be moved to their places from where they are."""
    return max(shift, width - shift) * _QUARTER < HORIZONTAL_MV_RANGE.stop


def slide_pivot(shifts: list[int], width: int) -> int | None:
    """Which picture of a slide can serve the others as a reference half way.

    The one nearest the middle, if A and B both reach their places in it. Every
    other picture is then at most as far from it, or from A or B, as a motion
    vector reaches.
    """
    nearest = min(range(len(shifts)), key=lambda k: abs(2 * shifts[k] - width))
    return nearest if _reaches(width, shifts[nearest]) else None


def crossfade_weight(p: Fraction) -> int:
    """B's weight of 128ths: round(128 p), 1 to 127."""
    return min(max(round_half_up(_ONE * p), 1), _ONE - 1)


def fade_weights(p: Fraction) -> tuple[Weight, Weight]:
    """What is left of a still, luma and chroma, in 128ths, with offsets towards black.

    round(128 |1 - 2p|). Chroma has 127 where black would take an offset of 128.
    """
    gain = round_half_up(_ONE * abs(1 - 2 * p))
    chroma = max(gain, 1)
    return (
        Weight(gain, round_half_up(Fraction(BLACK_Y * (_ONE - gain), _ONE))),
        Weight(chroma, round_half_up(Fraction(NEUTRAL_C * (_ONE - chroma), _ONE))),
    )


Steps = list[tuple[int, Fraction]]
"""The pictures of a transition: number in output order, and progress."""


@dataclass(frozen=True)
class TransitionSynthesizer:
    """Writes the pictures of transitions into a stream."""

    stream: Stream
    preset: Preset

    def pictures(self, slot: Slot, index: int, a: Reference, b: Reference) -> Iterator[AccessUnit]:
        """The pictures of the transition after scene `index`, in decoding order.

        `a` and `b` are the stills; `b` has been decoded, and is shown next.
        """
        steps = list(enumerate(slot.progress(), slot.first_frame + slot.hold_frame_count))
        match slot.transition:
            case Transition.CROSSFADE:
                return self._crossfade(a, b, steps)
            case Transition.FADE:
                return self._fade(a, b, steps)
            case Transition.WIPE:
                return self._wipe(a, b, steps)
            case Transition.DISSOLVE:
                return self._dissolve(a, b, steps, index)
            case Transition.SLIDE:
                return self._slide(a, b, steps)
            case Transition.ZOOM:
                raise ValueError("a zoom cannot be synthesized")

    def _crossfade(self, a: Reference, b: Reference, steps: Steps) -> Iterator[AccessUnit]:
        for frame, p in steps:
            yield self.stream.blend(a, b, crossfade_weight(p), frame)

    def _fade(self, a: Reference, b: Reference, steps: Steps) -> Iterator[AccessUnit]:
        for frame, p in steps:
            yield self.stream.scale(a if 2 * p <= 1 else b, *fade_weights(p), frame)

    def _wipe(self, a: Reference, b: Reference, steps: Steps) -> Iterator[AccessUnit]:
        for frame, p in steps:
            boundary = wipe_column(p, self.preset.width) // CELL
            yield self.stream.pan(b, a, self._strips(boundary, 0, 0), frame)[0]

    def _dissolve(
        self, a: Reference, b: Reference, steps: Steps, index: int
    ) -> Iterator[AccessUnit]:
        rows, columns = self._blocks()
        for frame, p in steps:
            cells = dissolve_cells(p, index, self.preset.width, self.preset.height)
            beyond = ((0, rows - cells.shape[0]), (0, columns - cells.shape[1]))
            yield self.stream.mosaic(a, b, np.pad(cells, beyond, mode="edge"), frame)

    def _slide(self, a: Reference, b: Reference, steps: Steps) -> Iterator[AccessUnit]:
        """A from `shift` columns to the right, B from `width - shift` to the left."""
        width = self.preset.width
        shifts = [slide_shift(p, width) for _, p in steps]
        if not all(_reaches(width, shift) for shift in shifts):
            yield from self._wide_slide(a, b, steps, shifts)
            return
        for (frame, _), shift in zip(steps, shifts, strict=True):
            yield self.stream.pan(a, b, self._slid(shift, shift, shift - width), frame)[0]

    def _wide_slide(
        self, a: Reference, b: Reference, steps: Steps, shifts: list[int]
    ) -> Iterator[AccessUnit]:
        """A slide whose pictures are too far from one of the stills to refer to it.

        They take that one from the pivot, in which it stands half way.
        """
        width = self.preset.width
        middle = slide_pivot(shifts, width)
        assert middle is not None  # noqa: S101 - `can_be_synthesized` said so
        half = shifts[middle]
        strips = self._slid(half, half, half - width)
        unit, pivot = self.stream.pan(a, b, strips, steps[middle][0], keep=True)
        assert pivot is not None  # noqa: S101 - it is kept
        yield unit
        for k, ((frame, _), shift) in enumerate(zip(steps, shifts, strict=True)):
            if k < middle:
                strips = self._slid(shift, shift, shift - half)
                yield self.stream.pan(a, pivot, strips, frame)[0]
            elif k > middle:
                strips = self._slid(shift, shift - half, shift - width)
                yield self.stream.pan(pivot, b, strips, frame)[0]

    def _slid(self, shift: int, left: int, right: int) -> list[Strip]:
        """Strips with the seam on the next multiple of 8 columns at or after B's edge."""
        return self._strips(ceil((self.preset.width - shift) / CELL), left, right)

    def _strips(self, boundary: int, left: int, right: int) -> list[Strip]:
        """The first reference moved by `left` columns, from `boundary` on the other by `right`."""
        _, columns = self._blocks()
        before, after = Strip(0, _QUARTER * left), Strip(1, _QUARTER * right)
        return [before if column < boundary else after for column in range(columns)]

    def _blocks(self) -> tuple[int, int]:
        """Rows and columns of 8x8 blocks in whole macroblocks."""
        per_side = _MACROBLOCK // CELL
        return (
            per_side * ceil(self.preset.height / _MACROBLOCK),
            per_side * ceil(self.preset.width / _MACROBLOCK),
        )
