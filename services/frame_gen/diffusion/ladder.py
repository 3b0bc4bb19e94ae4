"""What is given up, rung by rung, when memory runs out. Pure but for its lock."""

from __future__ import annotations

import threading
from collections import Counter
from enum import IntEnum

from frame_gen.diffusion.memory import Phase


class Rung(IntEnum):
    """Ways of needing less memory, the cheapest first."""

    FEWER_ROWS = 1
    """Fewer images in one call of the UNet; taken again until it is one row."""
    VAE_TILING = 2
    """Pictures are decoded one by one and in tiles."""
    TEXT_ENCODERS_TO_CPU = 3
    """Prompts are encoded by the CPU."""
    MODEL_OFFLOAD = 4
    """Only the module that works is on the device."""


_RUNGS = {
    Phase.ENCODE: (Rung.TEXT_ENCODERS_TO_CPU, Rung.MODEL_OFFLOAD),
    Phase.DENOISE: tuple(Rung),
    Phase.DECODE: (Rung.VAE_TILING, Rung.TEXT_ENCODERS_TO_CPU, Rung.MODEL_OFFLOAD),
}
"""The rungs that make room in a phase."""


class Ladder:
    """Which rungs are taken now. Safe to use from several threads."""

    def __init__(self, max_rows: int, *, calm: float = 60.0) -> None:
        """Rows are limited to `max_rows`; after `calm` seconds with enough memory one rung goes.

        The time doubles, up to 32 times, whenever a rung that went is needed again.
        """
        self._max_rows = max_rows
        self._calm = calm
        self._longest_calm = 32 * calm
        self._gave_back = False
        self._lock = threading.Lock()
        self._rows = max_rows
        self._taken: set[Rung] = set()
        self._last = 0.0
        self.counts: Counter[tuple[Phase, Rung]] = Counter()
        """How often each rung was taken, by the phase in which memory ran out."""

    @property
    def row_limit(self) -> int:
        """Most rows in one call of the UNet."""
        return self._rows

    @property
    def strained(self) -> bool:
        """Whether memory ran out lately: pieces of work then run one at a time."""
        return bool(self._taken)

    def taken(self, rung: Rung) -> bool:
        """Whether a rung is taken."""
        return rung in self._taken

    def cap_rows(self, rows: int) -> None:
        """Limits the rows for good: relaxing does not go beyond."""
        with self._lock:
            self._max_rows = min(self._max_rows, rows)
            self._rows = min(self._rows, self._max_rows)

    def descend(self, phase: Phase, *, rows: int, now: float) -> Rung | None:
        """Takes the next rung because memory ran out in a call with `rows` rows.

        None if there is none left: the piece of work cannot be done on this device.
        """
        with self._lock:
            self._last = now
            if self._gave_back:
                self._gave_back = False
                self._calm = min(2 * self._calm, self._longest_calm)
            for rung in _RUNGS[phase]:
                if rung is Rung.FEWER_ROWS and rows > 1:
                    self._rows = min(self._rows, rows // 2)
                elif rung is Rung.FEWER_ROWS or rung in self._taken:
                    continue
                self._taken.add(rung)
                self.counts[phase, rung] += 1
                return rung
            return None

    def relax(self, now: float) -> Rung | None:
        """Gives the latest rung back if memory sufficed for long enough; which one, if any."""
        if not self._taken or now - self._last < self._calm:
            return None
        with self._lock:
            self._last = now
            self._gave_back = True
            rung = max(self._taken)
            if rung is Rung.FEWER_ROWS:
                self._rows = min(self._rows * 2, self._max_rows)
            if rung is not Rung.FEWER_ROWS or self._rows == self._max_rows:
                self._taken.remove(rung)
            return rung
