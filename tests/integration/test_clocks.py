"""Gateways whose clocks are wrong, on PostgreSQL: leases go by the database's."""

import asyncio
import os
import signal
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import asyncpg

from gator.gateway.v1 import render_service_pb2 as pb
from tests.support import shifted_gateway
from tests.support.frame_source import FrameSource
from tests.support.gateways import (
    LOOPBACK,
    begun,
    created,
    ended,
    gateway,
    request,
    services_below,
)
from tests.support.processes import halt, server_process

HOUR = 3600
LEASES = """
    select id, worker, attempts,
        lease_until - (extract(epoch from clock_timestamp()) * 1000000)::bigint
    from renders order by create_time
"""


@asynccontextmanager
async def gateway_with_a_wrong_clock(below, settings, ahead):
    """The id of the process of a gateway that runs one render at a time."""
    frame_gen, compositor = below
    said = []
    environment = {
        "GATOR_GATEWAY_LISTEN": LOOPBACK,
        "GATOR_GATEWAY_FRAME_GEN_TARGET": frame_gen,
        "GATOR_GATEWAY_COMPOSITOR_TARGET": compositor,
        "GATOR_GATEWAY_STATE_DIR": str(settings["state_dir"]),
        "GATOR_GATEWAY_DATABASE_URL": settings["database_url"],
        "GATOR_GATEWAY_MAX_CONCURRENT_RENDERS": "1",
        shifted_gateway.SECONDS: str(ahead),
    }
    module = shifted_gateway.__name__
    async with server_process(module, said.append, **environment) as (process, _):
        stamp = next(line["timestamp"] for line in said if "timestamp" in line)
        told = datetime.fromisoformat(stamp)
        assert abs(told - datetime.now(UTC) - timedelta(seconds=ahead)) < timedelta(minutes=2)
        yield process.pid


async def halted_until_taken(database, ids, processes):
    """Halts processes, ends their leases, and lets them go on once others have the renders.

    One that is halted in the middle of a transaction keeps its row locked: it goes on until it
    is halted elsewhere. What it had sent before may hold its lease again: that is ended again.
    """
    renders = "', '".join(ids)
    await halt(*processes)
    try:
        while await database.sql(
            f"select 1 from renders where id in ('{renders}') and attempts = 1"
        ):
            try:
                await database.sql(
                    f"""with mine as (
                        select id from renders where id in ('{renders}') and attempts = 1
                        for update nowait
                    )
                    update renders set lease_until = 1 from mine where renders.id = mine.id"""
                )
            except asyncpg.LockNotAvailableError:
                go_on(processes)
                await asyncio.sleep(0.05)
                await halt(*processes)
            else:
                await asyncio.sleep(0.05)
    finally:
        go_on(processes)


def go_on(processes):
    for process in processes:
        os.kill(process, signal.SIGCONT)


async def test_gateways_whose_clocks_are_an_hour_off_neither_steal_nor_are_stolen_from(
    postgresql_database, tmp_path
):
    source = FrameSource()
    source.hold(0)
    settings = {"database_url": postgresql_database.url, "state_dir": tmp_path}

    async def leases():
        return await postgresql_database.sql(LEASES)

    async with (
        services_below(source, videos_at_a_time=8) as below,
        gateway(*below, **settings, max_concurrent_renders=1) as right,
    ):
        ids = []

        async def another():
            """One more render; there is one gateway that has room for it."""
            ids.append((await created(right, request(1, 0.2))).render_id)
            await begun(right, ids[-1])

        await another()
        async with gateway_with_a_wrong_clock(below, settings, HOUR) as ahead:
            await another()
            async with gateway_with_a_wrong_clock(below, settings, -HOUR) as behind:
                await another()
                async with gateway(*below, **settings) as other:
                    # It has room for all, and takes all that it may in one statement.
                    await another()
                    before = await leases()
                    await halted_until_taken(postgresql_database, ids[1:3], (ahead, behind))
                    for render_id in ids[1:3]:
                        await begun(other, render_id, attempt=2)
                    source.release(0)
                    renders = [await ended(other, render_id) for render_id in ids]
                    after = await leases()
    assert [row[0] for row in before] == ids
    assert [row[2] for row in before] == [1, 1, 1, 1]
    assert f"-{ahead}-" in before[1][1]
    assert f"-{behind}-" in before[2][1]
    assert all(0 < row[3] <= 30_000_000 for row in before)
    assert {render.state for render in renders} == {pb.RENDER_STATE_SUCCEEDED}
    assert [row[2] for row in after] == [1, 2, 2, 1]
