"""Gateways whose clocks are wrong, on PostgreSQL: leases go by the database's."""

import os
import signal
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

from gator.gateway.v1 import render_service_pb2 as pb
from tests.support import shifted_gateway
from tests.support.frame_source import FrameSource
from tests.support.gateways import LOOPBACK, created, ended, gateway, request, services_below
from tests.support.processes import server_process

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


async def begun(stub, render_id, attempt=1):
    """Returns once the render is begun for the first time, or the next."""
    async for event in stub.WatchRender(pb.WatchRenderRequest(render_id=render_id)):
        if event.render.attempts >= attempt:
            return


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
                    # Halted, they cannot hold their leases again before another looks.
                    for process in (ahead, behind):
                        os.kill(process, signal.SIGSTOP)
                    await postgresql_database.sql(
                        "update renders set lease_until = lease_until - 31000000 "
                        f"where id in ('{ids[1]}', '{ids[2]}')"
                    )
                    for render_id in ids[1:3]:
                        await begun(other, render_id, attempt=2)
                    for process in (ahead, behind):
                        os.kill(process, signal.SIGCONT)
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
