"""Time for the tests of backends."""

import pytest

from frame_gen.backends import fallback
from tests.support.passing_time import PassingTime


@pytest.fixture
async def clock(monkeypatch):
    """The clock of the loop and of the chain of backends."""
    return PassingTime(monkeypatch, fallback)
