import pytest
from anyio.from_thread import start_blocking_portal
from scripted_gateway import gateway as scripted_gateway

from gator_client import reconnecting


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self):
        self.now = 1000.0
        self.between = 0.0
        """Seconds that pass between two tries."""

    def monotonic(self):
        return self.now

    def wait(self, _):
        self.now += self.between
        return 0


@pytest.fixture
def clock(monkeypatch):
    """The clock by which streams are taken up again, at once."""
    clock = Clock()
    monkeypatch.setattr(reconnecting, "time", clock)
    monkeypatch.setattr(reconnecting, "_wait", clock.wait)
    return clock


@pytest.fixture
def gateway():
    """A scripted gateway, in a thread of its own."""
    with (
        start_blocking_portal() as portal,
        portal.wrap_async_context_manager(scripted_gateway()) as servicer,
    ):
        yield servicer


@pytest.fixture
def empty_folder(tmp_path, monkeypatch):
    """The current folder, with nothing in it and no server in the environment."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GATOR_SERVER", raising=False)
    monkeypatch.setenv("COLUMNS", "100")
    return tmp_path
