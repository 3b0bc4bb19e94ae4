"""SIGTERM and SIGINT, noted from the start of a process and not only once it serves.

A process that has no handler ends by the signal, without a drain; as the first process of a
container it even ignores the signal, and is killed when its grace is over.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator
from contextlib import contextmanager

_SIGNALS = (signal.SIGTERM, signal.SIGINT)
_noted: set[int] = set()


def note_signals() -> None:
    """From now on a signal ends nothing: `terminations` tells of it. For the main thread.

    To be called before what takes time, such as imports.
    """
    for number in _SIGNALS:
        signal.signal(number, lambda number, _: _noted.add(number))


@contextmanager
def terminations() -> Iterator[asyncio.Event]:
    """An event that is set by the first signal, also by one that was noted before the block.

    A second one then ends the process at once, as does the first one after the block.
    """
    loop = asyncio.get_running_loop()
    terminated = asyncio.Event()

    def end() -> None:
        for number in _SIGNALS:
            loop.remove_signal_handler(number)
        terminated.set()

    for number in _SIGNALS:
        loop.add_signal_handler(number, end)
    if _noted:  # looked at last: none can come in between
        _noted.clear()
        end()
    try:
        yield terminated
    finally:
        for number in _SIGNALS:
            loop.remove_signal_handler(number)
