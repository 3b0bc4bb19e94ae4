"""The hop to PostgreSQL by TLS, as the URL of a deployment asks for it."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trustme

from gateway.jobs.store import Store, opening
from rpckit.errors import GatorError, Reason
from tests.support.databases import Database
from tests.support.postgres_tls import Front, tls_front

AUTHORITY, OTHER = trustme.CA(), trustme.CA()


@pytest.fixture
async def front(postgresql_database: Database) -> AsyncIterator[Front]:
    async with tls_front(postgresql_database.url, AUTHORITY.issue_cert("localhost")) as running:
        yield running


@pytest.fixture
def authority(tmp_path: Path) -> Path:
    AUTHORITY.cert_pem.write_to_path(tmp_path / "ca.crt")
    return tmp_path / "ca.crt"


async def test_the_server_is_known_by_its_authority_and_its_name(front: Front, authority: Path):
    url = front.url(sslmode="verify-full", sslrootcert=authority)
    async with Store.open(url) as store:
        assert await store.ready()
    assert front.connections > 0


@pytest.mark.parametrize("wrong", ["authority", "name", "plaintext", "no authority"])
async def test_another_server_is_not_spoken_to(
    front: Front, authority: Path, wrong: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(opening, "START_TIMEOUT", 0)
    monkeypatch.setenv("HOME", str(tmp_path))
    OTHER.cert_pem.write_to_path(tmp_path / "other.crt")
    url = {
        "authority": front.url(sslmode="verify-full", sslrootcert=tmp_path / "other.crt"),
        "name": front.url("127.0.0.1", sslmode="verify-full", sslrootcert=authority),
        "plaintext": front.url(sslmode="disable"),
        # It is not looked for among those of the system.
        "no authority": front.url(sslmode="verify-full"),
    }[wrong]
    with pytest.raises(GatorError) as caught:
        async with Store.open(url):
            pass
    assert caught.value.reason is Reason.STORAGE_UNAVAILABLE
