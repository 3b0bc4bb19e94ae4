"""A clock that a test moves on, so that long times pass at once and short ones never run out."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from types import ModuleType

import pytest


class PassingTime:
    """The clock of the running event loop: the real one, ahead by what a test let pass.

    Limits of minutes can then be reached in no time, and a slow machine never
    reaches one that a test does not mean.
    """

    def __init__(self, patch: pytest.MonkeyPatch, *modules: ModuleType) -> None:
        """The loop has this clock from now on, and `modules` in the place of their `time`."""
        loop = asyncio.get_running_loop()
        self._ahead = 0.0
        self._real = loop.time
        patch.setattr(loop, "time", self.monotonic)
        for module in modules:
            patch.setattr(module, "time", self)

    def monotonic(self) -> float:
        """Seconds, as of time.monotonic()."""
        return self._real() + self._ahead

    def go_on(self, seconds: float) -> None:
        """Lets `seconds` pass: what is due by then happens before anything else that waits."""
        self._ahead += seconds

    def taking(
        self, seconds: float, result: object = None
    ) -> Callable[[object], Awaitable[object]]:
        """A step of a scripted backend that takes `seconds`, and can be cancelled meanwhile."""

        async def step(_: object) -> object:
            self.go_on(seconds)
            # Timers go off in the order of their times: those that are due, then this one.
            await asyncio.sleep(0.001)
            return result

        return step
