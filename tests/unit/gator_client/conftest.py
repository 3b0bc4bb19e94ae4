import pytest
from anyio.from_thread import start_blocking_portal
from scripted_gateway import gateway as scripted_gateway


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
