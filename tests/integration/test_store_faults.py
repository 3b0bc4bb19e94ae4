"""The database away, locked, full or slow: what callers are told, and that it passes by itself."""

import asyncio
import os
import shutil
import subprocess
import sys
import uuid
from contextlib import contextmanager

import asyncpg
import pytest

from gateway.jobs.records import Lease, LeaseLost, SceneRecord
from gateway.jobs.states import Phase, RenderState
from gateway.jobs.store import Store, sqlite
from rpckit.errors import GatorError, Reason
from tests.support.databases import Database
from tests.support.renders import claimed, new_render, succeeded
from tests.support.small_disk import small_disk

LOCKED = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("BEGIN IMMEDIATE")
print("locked", flush=True)
sys.stdin.read()
"""


async def told(awaitable):
    with pytest.raises(GatorError) as raised:
        await awaitable
    return raised.value


@contextmanager
def locked_by_another_process(database):
    """Holds the file's write lock from a process of its own."""
    process = subprocess.Popen(
        [sys.executable, "-c", LOCKED, str(database.file)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    with process:
        assert process.stdout.readline() == b"locked\n"
        try:
            yield
        finally:
            process.stdin.close()
            process.wait()


# --- a group of operations -------------------------------------------------------------------


async def test_an_operation_that_fails_spoils_none_of_its_group(sqlite_database):
    async with Store.open(sqlite_database.url) as store:
        claim = await claimed(store)
        await store.create(new_render(request_id="taken"))
        with locked_by_another_process(sqlite_database):
            # The first of these waits for the lock; the others then go together.
            good = [asyncio.ensure_future(store.create(new_render())) for _ in range(30)]
            bad = [
                store.append_events(Lease(claim.lease.render_id, 9), [b"stale"]),
                store.create(new_render(request_id="taken", request=b"other")),
                store.create(new_render(fingerprint=None)),  # the table refuses it
                store.finish_scene(claim.lease, SceneRecord(0, None, "frames/x"), [b"half"]),
            ]
            bad = [asyncio.ensure_future(call) for call in bad]
            good += [
                asyncio.ensure_future(store.append_events(claim.lease, [b"e"])) for _ in range(30)
            ]
            await asyncio.sleep(0)
        answers = await asyncio.gather(*good)
        failures = await asyncio.gather(*bad, return_exceptions=True)
    assert isinstance(failures[0], LeaseLost)
    assert failures[1].reason is Reason.REQUEST_ID_REUSED
    assert all(isinstance(failure, Exception) for failure in failures)
    assert sorted(answers[30:]) == list(range(3, 33))
    assert await sqlite_database.sql("SELECT count(*) FROM renders") == [(32,)]
    # What a failed operation had written before it failed is undone.
    assert await sqlite_database.sql("SELECT count(*) FROM events WHERE payload = x'68616c66'") == [
        (0,)
    ]


async def test_a_caller_that_goes_away_disturbs_nobody(store):
    calls = [asyncio.ensure_future(store.create(new_render())) for _ in range(60)]
    await asyncio.sleep(0)
    for call in calls[::2]:
        call.cancel()
    stayed = await asyncio.gather(*calls[1::2])
    for render, is_new in stayed:
        assert is_new
        assert await store.get("ada", render.render_id) == render
    assert (await store.create(new_render()))[1]


# --- SQLite ----------------------------------------------------------------------------------


async def test_a_file_that_another_process_locks_is_unavailable_until_it_is_free(
    sqlite_database, monkeypatch
):
    monkeypatch.setattr(sqlite, "BUSY_TIMEOUT", 0.1)
    async with Store.open(sqlite_database.url) as store:
        claim = await claimed(store)
        with locked_by_another_process(sqlite_database):
            errors = await asyncio.gather(
                *(told(store.create(new_render())) for _ in range(20)),
                told(store.heartbeat([claim.lease])),
                told(store.claim("worker", 1)),
            )
            assert {error.reason for error in errors} == {Reason.STORAGE_UNAVAILABLE}
            assert all(error.retry_after > 0 for error in errors)
            assert "locked" in errors[0].message
            # Readers are not in its way.
            assert (await store.get("ada", claim.lease.render_id)).state is RenderState.RUNNING
            assert await store.ready()
        assert await store.heartbeat([claim.lease]) == {claim.lease}
        assert (await store.create(new_render()))[1]


async def test_a_full_disk_tears_nothing(sqlite_template, tmp_path):
    with small_disk(tmp_path / "disk", 3 << 20) as disk:
        path = shutil.copy(sqlite_template, disk / "renders.db")
        database = Database(f"sqlite:///{path}", file=path)
        async with Store.open(database.url) as store:
            claim = await claimed(store)
            filler = disk / "filler"
            with filler.open("wb") as file:
                file.write(bytes(os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize))
            large = [store.create(new_render(request=bytes(50_000))) for _ in range(20)]
            answers = await asyncio.gather(*large, return_exceptions=True)
            stored = [answer[0].render_id for answer in answers if isinstance(answer, tuple)]
            errors = [answer for answer in answers if not isinstance(answer, tuple)]
            assert errors
            assert {error.reason for error in errors} == {Reason.STORAGE_FULL}
            assert all(error.retry_after > 0 for error in errors)
            assert (await store.get("ada", claim.lease.render_id)).state is RenderState.RUNNING
            await check_whole(database, [claim.lease.render_id, *stored])

            filler.unlink()
            assert await store.heartbeat([claim.lease]) == {claim.lease}
            more, _ = await store.create(new_render(request=bytes(50_000)))
            await check_whole(database, [claim.lease.render_id, *stored, more.render_id])


async def check_whole(database, render_ids):
    """The renders are there with all that belongs to them, and no others."""
    assert await database.sql("PRAGMA integrity_check") == [("ok",)]
    rows = await database.sql("SELECT id FROM renders")
    assert {render_id for (render_id,) in rows} == set(render_ids)
    rows = await database.sql("SELECT render_id FROM contents")
    assert {render_id for (render_id,) in rows} == set(render_ids)


async def test_a_group_that_does_not_fit_lets_the_small_ones_through(sqlite_database):
    async with Store.open(sqlite_database.url) as store:
        claim = await claimed(store)
        [(pages,)] = await sqlite_database.sql("PRAGMA page_count")
        limit = f"PRAGMA max_page_count = {pages + 8}"
        await store._access._database.exclusively(
            lambda connection: connection.exec_driver_sql(limit)
        )
        with locked_by_another_process(sqlite_database):
            calls = [
                store.append_events(claim.lease, [b"one"]),
                store.create(new_render(request=bytes(500_000))),
                store.append_events(claim.lease, [b"two"]),
            ]
            tasks = [asyncio.ensure_future(call) for call in calls]
            await asyncio.sleep(0)
        one, large, two = await asyncio.gather(*tasks, return_exceptions=True)
        assert (one, two) == (3, 4)
        assert large.reason is Reason.STORAGE_FULL
        events = await store.events(claim.lease.render_id, 2)
        assert [event.payload for event in events] == [b"one", b"two"]


# --- PostgreSQL ------------------------------------------------------------------------------


async def test_a_server_that_is_away_is_unavailable_and_comes_back_by_itself(
    postgresql_database, postgres_server
):
    async with Store.open(postgresql_database.url) as store:
        claim = await claimed(store, attached_to="worker")
        render_id = claim.lease.render_id
        await asyncio.gather(*(store.get("ada", render_id) for _ in range(20)))  # fills the pool
        postgres_server.stop()
        try:
            for call in (
                lambda: store.create(new_render()),
                lambda: store.get("ada", render_id),
                lambda: store.snapshot("ada", render_id),
                lambda: store.list_renders("ada"),
                lambda: store.cancel("ada", render_id),
                lambda: store.claim("worker", 1),
                lambda: store.heartbeat([claim.lease]),
                lambda: store.enter_phase(claim.lease, Phase.ENCODING),
                lambda: store.events(render_id, 0),
                lambda: store.changed({render_id: 0}),
                lambda: store.touch_attached([render_id], "worker"),
                store.stats,
            ):
                error = await told(call())
                assert error.reason is Reason.STORAGE_UNAVAILABLE
                assert error.retry_after > 0
            assert not await store.ready()
        finally:
            postgres_server.start()
        assert await store.ready()
        assert (await store.create(new_render()))[1]
        assert await store.heartbeat([claim.lease]) == {claim.lease}
        # Nobody could say who was there.
        await postgresql_database.pass_time(60)
        assert await store.lapse_attached() == []
        store._access._away -= 31
        assert await store.lapse_attached() == [render_id]


async def test_a_server_that_restarts_under_load_loses_and_doubles_nothing(
    postgresql_database, postgres_server
):
    stored: set[str] = set()
    under_load, refused, started = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def create_one(store, owner):
        new = new_render(owner=owner, request_id=str(uuid.uuid4()))
        while True:
            try:
                return (await store.create(new))[0].render_id
            except GatorError as error:
                if error.reason is not Reason.STORAGE_UNAVAILABLE:
                    raise
            refused.set()
            await started.wait()

    async def create_many(store, owner):
        after = 0
        while after < 5:
            after += started.is_set()
            stored.add(await create_one(store, owner))
            if len(stored) >= 40:
                under_load.set()

    async with Store.open(postgresql_database.url) as store, asyncio.TaskGroup() as callers:
        for number in range(8):
            callers.create_task(create_many(store, f"o{number}"))
        await under_load.wait()
        await asyncio.to_thread(postgres_server.stop)
        await refused.wait()
        await asyncio.to_thread(postgres_server.start)
        started.set()
    rows = await postgresql_database.sql("SELECT id FROM renders")
    assert len(rows) == len(stored)
    assert {render_id for (render_id,) in rows} == stored


async def test_a_render_that_a_halted_gateway_has_locked_is_passed_over(postgresql_database):
    async with Store.open(postgresql_database.url) as store:
        locked, _ = await store.create(new_render())
        free, _ = await store.create(new_render())
        halted = await asyncpg.connect(postgresql_database.url)
        try:
            async with halted.transaction():
                await halted.execute(
                    f"SELECT * FROM renders WHERE id = '{locked.render_id}' FOR UPDATE"
                )
                [claim] = await store.claim("worker", 1)
                assert claim.lease.render_id == free.render_id
                assert await store.claim("worker", 1) == []
        finally:
            await halted.close()
        [claim] = await store.claim("worker", 1)
        assert claim.lease.render_id == locked.render_id


async def test_a_full_disk_of_the_server_is_told(postgres_server, tmp_path):
    folder = postgres_server.folder.parent / f"gator-disk-{os.getpid()}"
    name = f"full_{os.getpid()}"
    with small_disk(folder, 12 << 20, owner=postgres_server.user) as disk:
        postgres_server.sql(
            f"CREATE TABLESPACE {name} LOCATION '{disk}'",
            f"CREATE DATABASE {name} TABLESPACE {name}",
        )
        try:
            async with Store.open(postgres_server.url(name)) as store:
                claim = await claimed(store)
                with pytest.raises(GatorError) as raised:
                    for _ in range(100):
                        await store.create(new_render(request=os.urandom(500_000)))
                assert raised.value.reason is Reason.STORAGE_FULL
                assert await store.ready()
                resize = ["mount", "-o", "remount,size=64m", str(disk)]
                await asyncio.to_thread(subprocess.run, resize, check=True)
                await succeeded(store, claim)
            query = "SELECT (SELECT count(*) FROM renders) - (SELECT count(*) FROM contents)"
            whole = Database(postgres_server.url(name), server=postgres_server)
            assert await whole.sql(query) == [(0,)]
        finally:
            postgres_server.sql(f"DROP DATABASE {name} WITH (FORCE)", f"DROP TABLESPACE {name}")
