"""Where a video's groups of pictures begin, and which transitions are synthesized. Pure.

A reader can start at an IDR picture, and nothing after one refers to anything
before it. A still can be sent again as an IDR picture anywhere in its hold. A
transition that is synthesized refers to the stills on both sides, so no IDR picture
can stand in it, nor at the first picture of the scene that comes: that is the
still to which it refers. One that is coded is groups of pictures of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from compositor.timeline import Slot, Timeline


@dataclass(frozen=True)
class ScenePlan:
    """How a scene is written."""

    slot: Slot
    referred: bool
    """Whether the transition before is synthesized, so that the still is decoded before it and
    is no IDR picture."""
    idrs: tuple[int, ...]
    """Numbers of the pictures of the hold, rising, at which the still is an IDR picture."""
    synthesized: bool
    """Whether the transition to the next scene is synthesized; a cut always is."""

    @property
    def first_transition_frame(self) -> int:
        """Number of the first picture after the hold."""
        return self.slot.first_frame + self.slot.hold_frame_count

    @property
    def transition_is_synthesized(self) -> bool:
        """Whether there are pictures of a transition, and they are synthesized."""
        return self.synthesized and self.slot.transition_frame_count > 0


def plan(
    timeline: Timeline, longest: int, can_be_synthesized: Callable[[int], bool]
) -> tuple[ScenePlan, ...]:
    """The scenes of `timeline`, with an IDR picture at least every `longest` pictures.

    Args:
        timeline: Which picture belongs to which scene.
        longest: Pictures from one IDR picture to the next, at least 1.
        can_be_synthesized: Whether the transition after scene i may be synthesized. One that
            may is coded all the same where it cannot lie between two IDR
            pictures.
    """
    return tuple(_Planner(timeline, longest, can_be_synthesized).scenes())


class _Planner:
    def __init__(
        self, timeline: Timeline, longest: int, can_be_synthesized: Callable[[int], bool]
    ) -> None:
        self._slots: Sequence[Slot] = timeline.slots
        self._end = timeline.frame_count
        self._fps = timeline.fps
        self._longest = longest
        self._can_be_synthesized = can_be_synthesized
        self._last = 0
        """Number of the last IDR picture so far."""

    def scenes(self) -> list[ScenePlan]:
        scenes = []
        referred = False
        for index, slot in enumerate(self._slots):
            idrs = self._hold(slot, referred=referred)
            synthesized = self._synthesized(index, slot, idrs, referred=referred)
            scene = ScenePlan(slot, referred, tuple(idrs), synthesized)
            scenes.append(scene)
            referred = scene.transition_is_synthesized
            if not synthesized:
                first = scene.first_transition_frame
                count = slot.transition_frame_count
                self._last = first + (count - 1) // self._longest * self._longest
        return scenes

    def _hold(self, slot: Slot, *, referred: bool) -> list[int]:
        """IDR pictures as far apart as they may be."""
        if not referred:
            self._last = slot.first_frame
        idrs = [] if referred else [slot.first_frame]
        hold_end = slot.first_frame + slot.hold_frame_count
        while self._last + self._longest < hold_end:
            self._last += self._longest
            idrs.append(self._last)
        return idrs

    def _synthesized(self, index: int, slot: Slot, idrs: list[int], *, referred: bool) -> bool:
        """Whether the transition is synthesized; puts an IDR picture before it if need be."""
        count = slot.transition_frame_count
        if not count:
            return True
        if not self._can_be_synthesized(index):
            return False
        begin = slot.first_frame + slot.hold_frame_count
        earliest = self._next_idr(index) - self._longest
        if self._last >= earliest:
            return True
        first = max(earliest, slot.first_frame + 1 if referred else self._last + 1)
        if first >= begin:
            return False
        # A second before the transition, whose still comes right at its begin:
        # the rate has time to recover from one large picture before the next.
        self._last = max(first, self._last + 1, begin - self._fps)
        idrs.append(self._last)
        return True

    def _next_idr(self, index: int) -> int:
        """Where the first IDR picture after a synthesized transition can stand."""
        for following in range(index + 1, len(self._slots)):
            slot = self._slots[following]
            if slot.hold_frame_count > 1:
                return slot.first_frame + 1
            ends_gop = not slot.transition_frame_count or not self._can_be_synthesized(following)
            if ends_gop and following + 1 < len(self._slots):
                return slot.first_frame + 1
        return self._end
