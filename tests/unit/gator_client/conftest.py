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
