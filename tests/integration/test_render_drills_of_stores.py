"""Renders while the database is away, or a disk is full: they wait, and go on by themselves."""

import asyncio
import hashlib
import os
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack, closing, contextmanager
from datetime import timedelta

import grpc
import pytest

from gateway import metrics
from gateway.jobs import objects, states
from gateway.jobs.frames import FrameStore
from gateway.jobs.objects import Objects
from gateway.jobs.store import postgresql
from gator.gateway.v1 import render_service_pb2 as pb
from rpckit.errors import Code, Reason
from rpckit.status import from_status
from rpckit.testing import other_tasks
from tests.support.databases import Database, PostgresServer
from tests.support.frame_source import FrameSource
from tests.support.gateways import (
    created,
    downloaded,
    ended,
    gateway,
    got,
    pictures,
    refused,
    request,
    services_below,
)
from tests.support.lease_clock import end_leases
from tests.support.leftovers import nothing_left, swept
from tests.support.small_disk import small_disk

DOWN = float(os.environ.get("GATOR_DRILL_DOWN", "0"))
"""Seconds that the database stays away; with 0 it stays away until all holders have given up
their leases, for which they need not wait."""
RENDERS = 4
POLL = 0.05
"""Seconds between two calls that are refused."""
KIB = 1 << 10


@pytest.fixture(autouse=True)
def hasty(monkeypatch):
    """What failed is soon tried again."""
    monkeypatch.setattr(states, "FIRST_BACKOFF", timedelta(seconds=0.1))
    # As long as with the waits of a deployment: short leases are lost where a machine is slow.
    monkeypatch.setattr(states, "MAX_FAILURES", 100)
    monkeypatch.setattr(objects, "RETRY_AFTER_FULL", 0.1)


async def check(stub, render_id: str, frames: int) -> None:
    render = await ended(stub, render_id)
    assert render.state == pb.RENDER_STATE_SUCCEEDED, render
    video = await downloaded(stub, render_id)
    assert hashlib.sha256(video.data).digest() == render.result.sha256
    assert pictures(video.data) == render.result.frame_count == frames


async def last(call):
    while (message := await call.read()) is not grpc.aio.EOF:
        found = message
    return found


@contextmanager
def stopped(server: PostgresServer) -> Iterator[None]:
    """It refuses connections."""
    server.stop()
    try:
        yield
    finally:
        server.start()


@contextmanager
def halted(server: PostgresServer) -> Iterator[None]:
    """It takes connections and does not answer; without `DOWN` it is soon given up."""
    with pytest.MonkeyPatch.context() as patch:
        if not DOWN:
            patch.setattr(postgresql, "ANSWER_WITHIN", 0.3)
            patch.setattr(postgresql, "CLOSE_WITHIN", 0.3)
        server.halt()
        try:
            yield
        finally:
            server.resume()


@pytest.mark.timeout(600 + 2 * DOWN)
@pytest.mark.parametrize("away", [stopped, halted])
async def test_the_database_is_away_for_a_while(
    postgresql_database, postgres_server, lease_clock, tmp_path, capsys, away
):
    source = FrameSource()
    source.hold(1)
    shared = {"database_url": postgresql_database.url, "state_dir": tmp_path}
    async with (
        services_below(source, videos_at_a_time=8) as below,
        gateway(*below, **shared) as one,
        gateway(*below, **shared) as other,
    ):
        before, threads = other_tasks(), set(threading.enumerate())
        asked = [request(2, 0.5, labels={"n": str(n)}) for n in range(RENDERS)]
        for n, message in enumerate(asked):
            for scene in message.scenes:
                scene.prompt += f" of {n}"
        ids = [(await created(one, message)).render_id for message in asked]
        for render_id in ids:
            while not (await got(other, render_id)).progress.scenes_finished:
                await source.started[1].wait()
        watching = [other.WatchRender(pb.WatchRenderRequest(render_id=one)) for one in ids]
        for call in watching:
            await call.read()
        with away(postgres_server):
            down = time.monotonic()
            running = metrics.RUNNING._value.get()
            errors = [
                await refused(stub.CreateRender(pb.CreateRenderRequest(render=asked[0])))
                for stub in (one, other)
            ]
            if not DOWN:
                lease_clock.give_up()
            while metrics.RUNNING._value.get() or time.monotonic() < down + DOWN:
                errors.append(await refused(one.GetRender(pb.GetRenderRequest(render_id=ids[0]))))
                await asyncio.sleep(POLL)
            given_up = time.monotonic() - down
        if not DOWN:
            await end_leases(postgresql_database)
        up = time.monotonic()
        source.release(1)
        told = await asyncio.gather(*map(last, watching))
        for render_id in ids:
            await check(other, render_id, 24)
        renders = [await got(one, render_id) for render_id in ids]
        recovered = time.monotonic() - up
        await nothing_left(before, threads)
    with capsys.disabled():
        print(
            f"\nthe database was {away.__name__} for {given_up:.0f} s: {len(errors)} calls "
            f"refused, {RENDERS} renders given up and finished {recovered:.1f} s after it was back"
        )
    assert running == RENDERS
    for error in errors:
        assert (error.reason, error.code) == (Reason.STORAGE_UNAVAILABLE, Code.UNAVAILABLE)
        assert error.retry_after > 0
    assert [event.render for event in told] == renders
    assert min(render.attempts for render in renders) >= 2
    # Not one that was finished.
    assert source.asked[0] == RENDERS
    left = await swept(postgresql_database, tmp_path)
    assert left.strays == ()


@pytest.mark.parametrize("away", [stopped, halted])
async def test_a_gateway_ends_while_the_database_is_away(
    postgresql_database, postgres_server, tmp_path, away
):
    source = FrameSource()
    source.hold(1)
    shared = {"database_url": postgresql_database.url, "state_dir": tmp_path}
    async with services_below(source) as below:
        async with AsyncExitStack() as running:
            one = await running.enter_async_context(gateway(*below, **shared))
            render_id = (await created(one, request(2, 0.5))).render_id
            while not (await got(one, render_id)).progress.scenes_finished:
                await source.started[1].wait()
            with away(postgres_server):
                # It cannot hand its render back, and does not wait until it can.
                await running.aclose()
        source.release(1)
        async with gateway(*below, **shared) as other:
            await check(other, render_id, 24)
    assert source.asked[0] == 1


def fill(disk) -> None:
    """Takes all room that is left."""
    with (disk / "filling").open("wb", buffering=0) as filling:
        for size in (64 * KIB, 4 * KIB, 1):
            while True:
                try:
                    filling.write(bytes(size))
                except OSError:
                    break


async def check_whole(kept: Objects) -> None:
    """Every frame that has a manifest is as it says."""
    keys = [info.key async for batch in kept.listing("") for info in batch]
    frames = [key.removesuffix("/manifest") for key in keys if key.endswith("/manifest")]
    for folder in frames:
        stored = await FrameStore(kept).get(folder)
        assert stored is not None
        stored.frame.close()
    assert len(frames) == 3


@pytest.mark.parametrize("what", ["objects", "objects and database"])
async def test_the_disk_is_full_for_a_while(what, lease_clock, tmp_path):
    source = FrameSource()
    source.hold(1)
    with small_disk(tmp_path / "disk", 8 << 20) as disk:
        settings = {"state_dir": disk}
        if what == "objects":
            settings = {"state_dir": tmp_path, "objects_url": (disk / "objects").as_uri()}
        file = settings["state_dir"] / "renders.sqlite3"
        database = Database(f"sqlite:///{file}", file=file)
        async with (
            services_below(source) as below,
            gateway(*below, **settings, spool_dir=tmp_path) as stub,
        ):
            before = (await ended(stub, (await created(stub, request(1, 0.5))).render_id)).render_id
            render_id = (await created(stub, request(3, 0.5))).render_id
            while not (await got(stub, render_id)).progress.scenes_finished:
                await source.started[1].wait()
            fill(disk)
            source.release(1)
            if what == "objects":
                async for event in stub.WatchRender(pb.WatchRenderRequest(render_id=render_id)):
                    if event.render.state == pb.RENDER_STATE_QUEUED and event.render.HasField(
                        "error"
                    ):
                        waits = event.render
                        break
            else:
                # The row cannot say so, and nothing new is taken in.
                asked = pb.CreateRenderRequest(render=request(1, 0.5))
                error = await refused(stub.CreateRender(asked))
                assert (error.reason, error.code) == (Reason.STORAGE_FULL, Code.RESOURCE_EXHAUSTED)
                assert error.retry_after > 0
                waits = None
                lease_clock.give_up()
                while metrics.RUNNING._value.get():
                    await refused(stub.CreateRender(asked))
            # What is there can be read.
            assert pictures((await downloaded(stub, before)).data) == 12
            (disk / "filling").unlink()
            if waits is None:
                await end_leases(database)
            await check(stub, render_id, 36)
            await check(stub, (await created(stub, request(1, 0.5))).render_id, 12)
            listed = (await stub.ListRenders(pb.ListRendersRequest())).renders
        await check_whole(Objects.open((disk / "objects").as_uri()))
        assert (await swept(database, disk)).strays == ()
        if what != "objects":
            with closing(sqlite3.connect(file)) as opened:
                assert opened.execute("pragma integrity_check").fetchall() == [("ok",)]
    assert len(listed) == 3
    if waits is not None:
        error = from_status(waits.error)
        assert (error.reason, error.code) == (Reason.STORAGE_FULL, Code.RESOURCE_EXHAUSTED)
        assert "full" in error.message
