"""A database that hangs and does not refuse: as good as away, within a stated time."""

import asyncio
import threading
from contextlib import contextmanager

import asyncpg
import pytest

from gateway.jobs.persistence import persistently
from gateway.jobs.states import Phase, RenderState
from gateway.jobs.store import Store, postgresql, sqlite
from rpckit.errors import GatorError, Reason
from tests.integration.test_store_faults import locked_by_another_process
from tests.support.renders import claimed, new_render
from tests.support.severed_link import linked

SOON = 0.3
"""Seconds after which a server that hangs is given up here."""
MANY = 300
"""Calls at once: more than there are connections, and than a transaction takes together."""


@contextmanager
def hurried(monkeypatch):
    """Little time for answers, until the end of the block."""
    with monkeypatch.context() as patch:
        patch.setattr(postgresql, "ANSWER_WITHIN", SOON)
        patch.setattr(postgresql, "CLOSE_WITHIN", SOON)
        yield


@contextmanager
def halted(server, monkeypatch):
    with hurried(monkeypatch):
        server.halt()
        try:
            yield
        finally:
            server.resume()


async def refused(*calls):
    """All of them with STORAGE_UNAVAILABLE and a time to come back."""
    for error in await asyncio.gather(*calls, return_exceptions=True):
        assert isinstance(error, GatorError), error
        assert error.reason is Reason.STORAGE_UNAVAILABLE
        assert error.retry_after > 0


async def backends(store):
    """Processes of the server that serve the store's connections, as many as it may have."""
    meeting = asyncio.Barrier(postgresql.POOL_SIZE)

    async def one():
        async with store._access._database._connection(
            store._access._database._looking
        ) as connection:
            pid = (await connection.exec_driver_sql("SELECT pg_backend_pid()")).scalar_one()
            await meeting.wait()
            return pid

    return set(await asyncio.gather(*(one() for _ in range(postgresql.POOL_SIZE))))


def test_a_hanging_server_is_given_up_while_leases_still_hold():
    """The promise of docs/operations.md, and what renewals need for a second try."""
    limit = postgresql.ANSWER_WITHIN
    assert limit == 8
    statement = postgresql._SESSION["statement_timeout"]
    idle = postgresql._SESSION["idle_in_transaction_session_timeout"]
    assert int(idle.removesuffix("s")) < int(statement.removesuffix("s")) < limit


async def test_a_server_that_hangs_is_unavailable_and_its_connections_are_discarded(
    postgresql_database, postgres_server, monkeypatch
):
    async with Store.open(postgresql_database.url) as store:
        claim = await claimed(store, attached_to="worker")
        render_id = claim.lease.render_id
        before = await backends(store)
        with halted(postgres_server, monkeypatch):
            await refused(
                *(store.create(new_render()) for _ in range(MANY)),
                store.get("ada", render_id),
                store.snapshot("ada", render_id),
                store.list_renders("ada"),
                store.cancel("ada", render_id),
                store.claim("worker", 1),
                store.heartbeat([claim.lease]),
                store.still_held([claim.lease]),
                store.enter_phase(claim.lease, Phase.ENCODING),
                store.events(render_id, 0),
                store.changed({render_id: 0}),
                store.touch_attached([render_id], "worker"),
                store.prune(),
                store.now(),
            )
            assert not await store.ready()
        assert await persistently(lambda: store.heartbeat([claim.lease])) == {claim.lease}
        assert (await persistently(lambda: store.create(new_render())))[1]
        assert (await backends(store)).isdisjoint(before)
    rows = await postgresql_database.sql("SELECT state, count(*) FROM renders GROUP BY state")
    assert sorted(rows) == [("queued", 1), ("running", 1)]


async def test_a_server_that_hangs_is_not_waited_for_at_the_end(
    postgresql_database, postgres_server, monkeypatch
):
    async with Store.open(postgresql_database.url) as store:
        await backends(store)
        with halted(postgres_server, monkeypatch):
            await store._access._database.close()


async def test_a_server_that_hangs_at_the_start_is_unavailable(
    postgresql_database, postgres_server, monkeypatch
):
    monkeypatch.setattr("gateway.jobs.store.opening.START_TIMEOUT", 0)
    with halted(postgres_server, monkeypatch), pytest.raises(GatorError) as raised:
        async with Store.open(postgresql_database.url):
            pass
    assert raised.value.reason is Reason.STORAGE_UNAVAILABLE
    async with Store.open(postgresql_database.url) as store:
        assert await store.ready()


async def test_connections_that_the_network_has_dropped_cost_one_wait(
    postgresql_database, postgres_server, tmp_path, monkeypatch
):
    socket = ".s.PGSQL.5432"
    url = postgresql_database.url.replace(str(postgres_server.folder), str(tmp_path))
    async with (
        linked(tmp_path / socket, postgres_server.folder / socket) as link,
        Store.open(url) as store,
    ):
        claim = await claimed(store)
        await backends(store)
        link.lose()
        with hurried(monkeypatch):
            await refused(store.heartbeat([claim.lease]))
        # Not one of the other fifteen is found among these.
        assert len(await backends(store)) == postgresql.POOL_SIZE
        assert await store.heartbeat([claim.lease]) == {claim.lease}
        link.lose()  # and nobody waits for goodbyes
        monkeypatch.setattr(postgresql, "CLOSE_WITHIN", SOON)


async def test_what_a_halted_gateway_has_locked_is_free_again(postgresql_database):
    session = {**postgresql._SESSION, "idle_in_transaction_session_timeout": "1ms"}
    halted = await asyncpg.connect(postgresql_database.url, server_settings=session)
    async with Store.open(postgresql_database.url) as store:
        render, _ = await store.create(new_render())
        # In one message, so that nothing comes between the two.
        await halted.execute(
            f"BEGIN; SELECT * FROM renders WHERE id = '{render.render_id}' FOR UPDATE"
        )
        cancelled = await store.cancel("ada", render.render_id)
    assert cancelled.state is RenderState.CANCELLED
    halted.terminate()


async def test_a_gateway_that_was_halted_in_a_transaction_is_told_to_try_again(
    postgresql_database, postgres_server, monkeypatch
):
    async with Store.open(postgresql_database.url) as store:
        claim = await claimed(store)

        def halt(work):
            connection = work.connection
            pid = connection.exec_driver_sql("SELECT pg_backend_pid()").scalar_one()
            connection.exec_driver_sql("SET LOCAL idle_in_transaction_session_timeout = '1ms'")
            # The loop stands still, as it does in a process that is halted.
            postgres_server.sql(
                "DO $$ BEGIN LOOP PERFORM pg_stat_clear_snapshot(); "
                f"EXIT WHEN NOT EXISTS (SELECT FROM pg_stat_activity WHERE pid = {pid}); "
                "END LOOP; END $$"
            )
            connection.exec_driver_sql("SELECT 1")

        await refused(store._access.write(halt))
        assert await store.heartbeat([claim.lease]) == {claim.lease}


async def test_all_that_wait_for_a_locked_file_wait_for_it_once(sqlite_database, monkeypatch):
    monkeypatch.setattr(sqlite, "BUSY_TIMEOUT", SOON)
    async with Store.open(sqlite_database.url) as store:
        claim = await claimed(store)
        database = store._access._database
        all_asked = threading.Event()
        begun = []
        together = database._together

        def counted(group):
            begun.append(all_asked.wait())
            together(group)

        monkeypatch.setattr(database, "_together", counted)
        with locked_by_another_process(sqlite_database):
            calls = [
                asyncio.ensure_future(refused(store.append_events(claim.lease, [b"event"])))
                for _ in range(MANY)
            ]
            creations = [
                asyncio.ensure_future(refused(store.create(new_render()))) for _ in range(MANY)
            ]
            await asyncio.sleep(0)  # all of them have begun
            all_asked.set()
            await asyncio.gather(*calls, *creations)
        assert begun == [True]
        assert await store.heartbeat([claim.lease]) == {claim.lease}
