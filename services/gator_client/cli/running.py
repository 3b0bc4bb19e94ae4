"""Runs the asynchronous part of a command until it is done or a signal ends it."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Coroutine
from typing import Any, TypeVar

_T = TypeVar("_T")


class InterruptionError(Exception):
    """A signal ended the command, after everything was put away."""

    def __init__(self, number: signal.Signals) -> None:
        super().__init__(f"ended by {number.name}")
        self.exit_status = 128 + number
        """What a shell expects of such a command."""


def run(main: Coroutine[Any, Any, _T]) -> _T:
    """The result of `main`. SIGINT, SIGTERM and SIGHUP cancel it and wait until it has ended."""
    try:
        return asyncio.run(_until_signal(main))
    except KeyboardInterrupt:
        raise InterruptionError(signal.SIGINT) from None


async def _until_signal(main: Coroutine[Any, Any, _T]) -> _T:
    # asyncio.run takes care of SIGINT, in the same way.
    loop = asyncio.get_running_loop()
    task = asyncio.ensure_future(main)
    received: list[signal.Signals] = []

    def end(number: signal.Signals) -> None:
        received.append(number)
        task.cancel()

    for number in _signals():
        with contextlib.suppress(NotImplementedError):  # there are none on Windows
            loop.add_signal_handler(number, end, number)
    try:
        return await task
    except asyncio.CancelledError:
        if received:
            raise InterruptionError(received[0]) from None
        raise


def _signals() -> list[signal.Signals]:
    found = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
    # One that is ignored stays so: that is what `nohup` asks for.
    return [number for number in found if signal.getsignal(number) is not signal.SIG_IGN]
