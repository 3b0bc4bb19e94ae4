"""How large the stills of a video may be. Pure.

A reader that takes a video at its ceiling keeps a buffer, the video buffering
verifier of H.264 (Annex C): it fills at the rate, and each picture leaves it at
once when its turn to be decoded comes. Synthesized pictures weigh next to nothing; the
stills are what must not empty it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from compositor.gops import ScenePlan

_OF_BUFFER = 0.8
"""Largest part of the buffer that one picture takes."""
CODED_OF_BUFFER = 0.5
"""Part of the buffer that a coded transition may use up."""


@dataclass(frozen=True)
class Ceiling:
    """What a video may not exceed."""

    rate: float
    """Bits a second, fed into the buffer."""
    buffer: float
    """Bits."""
    picture: float
    """Bits of any picture: the level's bound on compression, MinCR."""


class _Buffer:
    """What is in the reader's buffer."""

    def __init__(self, ceiling: Ceiling, fps: int) -> None:
        self.size = ceiling.buffer
        self.level = self.size
        self.per_frame = ceiling.rate / fps
        self._at = 0

    def fill(self, frame: int) -> None:
        """Lets time pass until it is the turn of picture `frame`."""
        self.level = min(self.size, self.level + self.per_frame * max(0, frame - self._at))
        self._at = max(self._at, frame)

    def take(self, bits: float) -> None:
        """Decodes a picture."""
        self.level = max(0.0, self.level - bits)

    def level_for(self, frames: Sequence[int]) -> float:
        """Bits that are there each time for a picture that is sent at each of `frames`."""
        gaps = [b - a for a, b in pairwise(frames)]
        again = len(gaps) * self.per_frame * min(gaps, default=0)
        return min(self.level, (self.level + again) / len(frames))


def still_budgets(scenes: Sequence[ScenePlan], fps: int, ceiling: Ceiling) -> list[int]:
    """Most bits of each scene's still.

    Each takes what the rate gives until the next still, or half of what is in
    the buffer if that is more; at most 0.8 of the buffer; and no more than is
    there, also when it is sent again inside its hold. What follows counts on
    each taking its whole budget, so that stills can be coded side by side.
    """
    buffer = _Buffer(ceiling, fps)
    arrivals = [_arrival(scenes, index) for index in range(len(scenes))]
    budgets = []
    for scene, (arrival, following) in zip(scenes, pairwise([*arrivals, None]), strict=True):
        assert arrival is not None  # noqa: S101 - only the one after the last is
        sent = sorted({arrival, *scene.idrs})
        buffer.fill(arrival)
        until_next = math.inf if following is None else following - sent[-1]
        budget = min(
            _OF_BUFFER * buffer.size,
            ceiling.picture,
            max(buffer.per_frame * until_next, buffer.level / 2),
            buffer.level_for(sent),
        )
        for frame in sent:
            buffer.fill(frame)
            buffer.take(budget)
        if not scene.synthesized:
            buffer.fill(scene.first_transition_frame)
            buffer.take(CODED_OF_BUFFER * buffer.size)
        budgets.append(int(budget))
    return budgets


def _arrival(scenes: Sequence[ScenePlan], index: int) -> int:
    """When a scene's still is decoded first, in pictures from the start."""
    if scenes[index].referred:
        return scenes[index - 1].first_transition_frame
    return scenes[index].slot.first_frame
