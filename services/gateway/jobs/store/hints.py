"""Hints that something changed: to listeners in this process, and to other processes."""

from __future__ import annotations

from collections.abc import Callable

from gateway.jobs.records import Hint
from gateway.jobs.store.work import Work
from rpckit.telemetry import logger

log = logger(__name__)

Listener = Callable[[Hint], None]


class Hints:
    """Tells listeners, on the event loop, what was committed here or elsewhere."""

    def __init__(self) -> None:
        self._listeners: list[Listener] = []
        self.outgoing: Listener | None = None
        """Tells other processes what was committed here."""

    def listen(self, listener: Listener) -> Callable[[], None]:
        """Adds a listener; returns what removes it."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    def committed(self, work: Work) -> None:
        """An operation of this process was committed."""
        if not work.changed and not work.queued:
            return
        hint = Hint(frozenset(work.changed), work.queued)
        self.tell(hint)
        if self.outgoing is not None:
            self.outgoing(hint)

    def tell(self, hint: Hint) -> None:
        """Tells the listeners."""
        for listener in tuple(self._listeners):
            try:
                listener(hint)
            except Exception:
                # Whoever waits for the commit must hear of it all the same.
                log.exception("a listener of the store failed")
