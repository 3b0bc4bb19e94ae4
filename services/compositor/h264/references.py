"""Which pictures a slice refers to, and by which numbers: ITU-T H.264 clauses 8.2.4 and 8.2.5.

Frames only, short-term references only: a picture number (PicNum) is a wrapped
frame number (FrameNumWrap), and MaxPicNum is MaxFrameNum.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from compositor.h264.bits import BitstreamError
from compositor.h264.slice_header import Modification, SliceHeader, SliceType


@dataclass(frozen=True, eq=False, slots=True)
class Reference:
    """A decoded reference picture; equal to itself only."""

    frame_num: int
    order_count: int
    """PicOrderCnt, 2 for each picture after the IDR picture in output order."""


References = list[Reference]
"""Reference pictures by reference index."""


class ReferencePictures:
    """The pictures that a decoder has marked as "used for reference"."""

    def __init__(self, maximum: int, max_frame_num: int) -> None:
        """Holds none yet.

        Args:
            maximum: max_num_ref_frames, at least 1.
            max_frame_num: MaxFrameNum.
        """
        self._maximum = maximum
        self._max_frame_num = max_frame_num
        self._held: list[Reference] = []
        self._next_frame_num = 0

    def __contains__(self, reference: object) -> bool:
        """Whether a slice can refer to it."""
        return reference in self._held

    @property
    def next_frame_num(self) -> int:
        """frame_num of the next picture unless it is an IDR picture: clause 7.4.3."""
        return self._next_frame_num

    @property
    def leaving(self) -> Reference | None:
        """The picture that the sliding window gives up for the next one; None if there is room."""
        return self._held[0] if len(self._held) == self._maximum else None

    def clear(self) -> None:
        """What an IDR picture does before it is added: clause 8.2.5.1."""
        self._held.clear()
        self._next_frame_num = 0

    def add(self, reference: Reference, leaving: Iterable[Reference] = ()) -> None:
        """Adds the picture that was decoded.

        Those `leaving` it has named (clause 8.2.5.4.1); if it has named none, the
        sliding window moves (clause 8.2.5.3).
        """
        named = list(leaving)
        if not named and self.leaving is not None:
            # The smallest FrameNumWrap is the one that was decoded first.
            named = [self.leaving]
        self._held = [held for held in self._held if held not in named]
        self._held.append(reference)
        self._next_frame_num = (reference.frame_num + 1) % self._max_frame_num

    def all_but_last(self, order_count: int) -> list[Reference]:
        """Those that precede PicOrderCnt `order_count` in output order, without the last of them.

        In decoding order.
        """
        before = [held for held in self._held if held.order_count < order_count]
        last = max(before, key=lambda held: held.order_count, default=None)
        return [held for held in before if held is not last]

    def unmarks(self, leaving: Iterable[Reference]) -> tuple[int, ...]:
        """How the next picture names those `leaving`: clause 7.4.3.3."""
        number = self._next_frame_num
        return tuple(number - self._pic_num(reference, number) for reference in leaving)

    def initial(
        self, slice_type: SliceType, frame_num: int, order_count: int
    ) -> tuple[References, ...]:
        """The reference lists as initialised, at full length: clause 8.2.4.2.

        Args:
            slice_type: Type of the slice.
            frame_num: Its frame_num.
            order_count: PicOrderCnt of its picture.
        """
        if slice_type is SliceType.I:
            return ()
        if slice_type is SliceType.P:
            # Clause 8.2.4.2.1
            return (sorted(self._held, key=lambda r: self._pic_num(r, frame_num), reverse=True),)
        # Clause 8.2.4.2.3
        by_order = sorted(self._held, key=lambda r: r.order_count)
        before = [r for r in reversed(by_order) if r.order_count < order_count]
        after = [r for r in by_order if r.order_count > order_count]
        list0, list1 = before + after, after + before
        if len(list1) > 1 and list1 == list0:
            list1[:2] = list1[1], list1[0]
        return list0, list1

    def lists(
        self, header: SliceHeader, active: Sequence[int], order_count: int
    ) -> tuple[References, ...]:
        """The final reference lists of a slice: clause 8.2.4.

        Args:
            header: The slice's header.
            active: Active entries of each list.
            order_count: PicOrderCnt of its picture.

        Raises:
            BitstreamError: an entry has no picture.
        """
        initial = self.initial(header.slice_type, header.frame_num, order_count)
        modifications = header.modifications or ((),) * len(initial)
        return tuple(
            self._modified(entries, steps, count, header.frame_num)
            for entries, steps, count in zip(initial, modifications, active, strict=True)
        )

    def modifications(
        self, wanted: Sequence[References], slice_type: SliceType, frame_num: int, order_count: int
    ) -> tuple[tuple[Modification, ...], ...]:
        """What modifies the initial lists of a slice to those `wanted`: clause 8.2.4.3.

        Args:
            wanted: For each list its active entries, all of them held.
            slice_type: Type of the slice.
            frame_num: Its frame_num.
            order_count: PicOrderCnt of its picture.

        Returns:
            For each list its steps; () if there are none at all.
        """
        initial = self.initial(slice_type, frame_num, order_count)
        steps = tuple(
            self._steps(entries, wish, frame_num)
            for entries, wish in zip(initial, wanted, strict=True)
        )
        return steps if any(steps) else ()

    def _steps(
        self, initial: References, wanted: References, frame_num: int
    ) -> tuple[Modification, ...]:
        """As few steps as lead from the first entry on to `wanted`."""
        steps: list[Modification] = []
        entries, predicted = list(initial), frame_num
        for index, reference in enumerate(wanted):
            if entries[: len(wanted)] == wanted:
                break
            number = self._pic_num(reference, frame_num)
            # A picture that follows itself is a whole turn of the numbers away.
            difference = (number - predicted) or self._max_frame_num
            steps.append(Modification(difference > 0, abs(difference)))
            entries = _moved_to(entries, index, reference)
            predicted = number
        return tuple(steps)

    def _modified(
        self, initial: References, steps: Iterable[Modification], count: int, frame_num: int
    ) -> References:
        """The modification process of a list: clause 8.2.4.3.1."""
        by_number = {self._pic_num(r, frame_num): r for r in self._held}
        entries, predicted = list(initial), frame_num
        for index, step in enumerate(steps):
            difference = step.abs_diff_pic_num if step.adds else -step.abs_diff_pic_num
            predicted = (predicted + difference) % self._max_frame_num
            # picNumLXNoWrap stays under MaxPicNum; numbers after this one are of the last turn.
            number = predicted - self._max_frame_num if predicted > frame_num else predicted
            if number not in by_number:
                raise BitstreamError(f"a reference list asks for picture number {number}")
            entries = _moved_to(entries, index, by_number[number])
        if len(entries) < count:
            raise BitstreamError(f"a reference list has {len(entries)} of {count} entries")
        return entries[:count]

    def _pic_num(self, reference: Reference, frame_num: int) -> int:
        """PicNum of a short-term reference frame: clause 8.2.4.1."""
        if reference.frame_num > frame_num:
            return reference.frame_num - self._max_frame_num
        return reference.frame_num


def _moved_to(entries: References, index: int, reference: Reference) -> References:
    """`reference` inserted at `index`, and left out after it: formula 8-37."""
    return [
        *entries[:index],
        reference,
        *(entry for entry in entries[index:] if entry is not reference),
    ]
