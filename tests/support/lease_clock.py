"""The clock by which gateways of this process tell how old their leases are, in a test's hand.

So leases are given up at the moment that a test wants, and not because a machine is slow.
"""

from __future__ import annotations

import time

import pytest

from gateway.jobs import heartbeat, worker
from gateway.jobs.heartbeat import Rhythm
from tests.support.databases import Database


class LeaseClock:
    """Runs as `time.monotonic` does, from where a test has put it."""

    def __init__(self) -> None:
        self._ahead = 0.0

    def monotonic(self) -> float:
        """Seconds."""
        return time.monotonic() + self._ahead

    def give_up(self) -> None:
        """Puts it so far ahead that every lease is given up that cannot be renewed."""
        self._ahead += Rhythm().give_up


async def end_leases(database: Database) -> None:
    """Lets the database find that all leases have run out."""
    await database.sql("update renders set lease_until = 1 where lease_until is not null")


@pytest.fixture
def lease_clock(monkeypatch: pytest.MonkeyPatch) -> LeaseClock:
    """The clock, at the time that it is."""
    clock = LeaseClock()
    for module in (heartbeat, worker):
        monkeypatch.setattr(module, "time", clock)
    return clock
