"""The keys of an issuer at an address: fetched, kept, fetched again, and away."""

import asyncio
import ssl

import pytest
import trustme
from structlog.testing import capture_logs

from rpckit.auth_jwks import FETCH_AGAIN, KEYS_LAST, JwksError, KeyAddress, fetch_keys
from rpckit.errors import GatorError, Reason
from rpckit.settings import SettingsError
from tests.support.tokens import Issuer, serving_keys

PAUSE = 10.0


@pytest.fixture
def issuer():
    return Issuer()


@pytest.fixture
def server(issuer):
    with serving_keys(issuer.key_set()) as running:
        yield running


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
async def source(server, clock):
    address = KeyAddress(server.url, None, pause=PAUSE, clock=clock)
    yield address
    await address.close()


async def fetched(source):
    """Returns when no fetch runs."""
    while source._fetching is not None:
        await asyncio.wait([source._fetching])


async def test_keys_are_fetched_once_for_all_calls(source, server):
    found = await asyncio.gather(*(source.keys("k1") for _ in range(20)))
    assert all("k1" in keys for keys in found)
    assert server.asked == ["/keys"]


async def test_a_new_key_is_fetched_when_a_token_names_it(source, server, issuer, clock):
    await source.keys("k1")
    issuer.add("k2")
    server.content = issuer.key_set()
    clock.now += PAUSE
    assert "k2" in await source.keys("k2")
    assert len(server.asked) == 2


async def test_made_up_key_ids_cause_no_storm(source, server):
    await source.keys("k1")
    for number in range(50):
        assert f"made up {number}" not in await source.keys(f"made up {number}")
    assert len(server.asked) == 1


async def test_old_keys_serve_while_new_ones_are_fetched(source, server, issuer, clock):
    await source.keys("k1")
    issuer.add("k2")
    issuer.remove("k1")
    server.content = issuer.key_set()
    clock.now += FETCH_AGAIN
    assert "k1" in await source.keys("k1")
    await fetched(source)
    assert set(await source.keys("k2")) == {"k2"}
    assert len(server.asked) == 2


async def test_keys_last_a_day_while_their_address_is_away(source, server, clock):
    await source.keys("k1")
    server.status = 503
    clock.now += KEYS_LAST
    assert "k1" in await source.keys("k1")
    await fetched(source)
    clock.now += 1
    with pytest.raises(GatorError) as raised:
        await source.keys("k1")
    assert raised.value.reason is Reason.DOWNSTREAM_UNAVAILABLE
    assert raised.value.retry_after == PAUSE
    server.status = 200
    clock.now += PAUSE
    with pytest.raises(GatorError):
        await source.keys("k1")  # starts the fetch
    await fetched(source)
    assert "k1" in await source.keys("k1")


@pytest.mark.parametrize("fault", ["status", "redirect", "no keys", "too long"])
async def test_an_answer_that_cannot_be_used_is_told_in_the_log(source, server, fault):
    if fault == "status":
        server.status = 500
    elif fault == "redirect":
        server.status, server.headers = 302, {"Location": server.url.replace("keys", "other")}
    elif fault == "no keys":
        server.content = "<html>"
    else:
        server.content = " " * (1 << 20) + server.content
    with capture_logs() as logs, pytest.raises(GatorError) as raised:
        await source.keys("k1")
    assert raised.value.reason is Reason.DOWNSTREAM_UNAVAILABLE
    assert server.asked == ["/keys"]
    assert [entry["url"] for entry in logs] == [server.url]


async def test_nobody_at_the_address_is_unavailable(clock):
    source = KeyAddress("http://127.0.0.1:1/keys", None, clock=clock)
    with pytest.raises(GatorError) as raised:
        await source.keys("k1")
    assert raised.value.reason is Reason.DOWNSTREAM_UNAVAILABLE
    await source.close()


def test_an_address_whose_certificate_is_not_trusted_is_not_read(issuer, tmp_path):
    ca = trustme.CA()
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert("127.0.0.1").configure_cert(tls)
    trusting = ssl.create_default_context(cadata=ca.cert_pem.bytes().decode())
    with serving_keys(issuer.key_set(), tls) as server:
        assert fetch_keys(server.url, trusting).decode() == server.content
        with pytest.raises(OSError, match="certificate verify failed"):
            fetch_keys(server.url, ssl.create_default_context())


def test_an_answer_is_read_to_a_bound(server):
    server.content = "x" * (1 << 21)
    with pytest.raises(JwksError, match="more than 1048576 bytes"):
        fetch_keys(server.url, ssl.create_default_context())


def test_authorities_that_cannot_be_read_are_told(tmp_path):
    with pytest.raises(SettingsError, match=r"ca\.crt cannot be used"):
        KeyAddress("https://login.example/keys", tmp_path / "ca.crt")
