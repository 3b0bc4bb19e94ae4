"""Gateways that share PostgreSQL and an S3 store: the same code, and what it does in trouble."""

import asyncio
import hashlib

import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from gateway.jobs import watch, worker
from gateway.jobs.store import opening
from gator.gateway.v1 import render_service_pb2 as pb
from gator.gateway.v1.render_service_pb2_grpc import RenderServiceStub
from rpckit import server
from rpckit.client import open_channel
from rpckit.errors import Reason
from tests.support.frame_source import FrameSource
from tests.support.gateways import (
    created,
    downloaded,
    downloading,
    ended,
    gateway,
    gateway_server,
    got,
    pictures,
    refused,
    request,
    services_below,
)
from tests.support.lease_clock import end_leases
from tests.support.severed_link import Link, linked


async def test_two_gateways_share_a_database_and_a_store_of_objects(
    postgresql_database, s3, tmp_path, monkeypatch
):
    for name, value in s3.environment.items():
        monkeypatch.setenv(name, value)
    shared = {"database_url": postgresql_database.url, "objects_url": s3.url(tmp_path.name)}
    source = FrameSource()
    source.hold(1)
    async with (
        services_below(source) as below,
        gateway(*below, **shared) as one,
        gateway(*below, **shared) as other,
    ):
        render = await created(one, request(2, 2.0))
        watching = [asyncio.create_task(ended(stub, render.render_id)) for stub in (one, other)]
        live = await downloading(render.render_id, one, other)
        await source.started[1].wait()
        source.release(1)
        ends = await asyncio.gather(*watching)
        videos = await asyncio.gather(*live)
        stored = [await downloaded(stub, render.render_id) for stub in (one, other)]
    assert ends[0] == ends[1]
    assert ends[0].state == pb.RENDER_STATE_SUCCEEDED
    assert videos[0].data == videos[1].data
    assert pictures(videos[0].data) == pictures(stored[0].data) == 96
    assert stored[0].data == stored[1].data
    assert hashlib.sha256(stored[0].data).digest() == ends[0].result.sha256


@pytest.fixture
def fast(monkeypatch):
    """Everything is looked at often."""
    monkeypatch.setattr(watch, "POLL", 0.1)
    monkeypatch.setattr(worker, "POLL", 0.1)


async def test_a_database_that_goes_away_and_comes_back(
    postgresql_database, lease_clock, fast, tmp_path
):
    source = FrameSource()
    source.hold(1)
    real = postgresql_database.server.folder
    settings = {
        "database_url": postgresql_database.url.replace(str(real), str(tmp_path)),
        "state_dir": tmp_path,
    }
    async with (
        linked(tmp_path / ".s.PGSQL.5432", real / ".s.PGSQL.5432") as link,
        services_below(source) as below,
        gateway(*below, **settings) as stub,
    ):
        asked = request(2, 0.5, request_id="mine")
        call = stub.Render(asked)
        render_id = (await call.read()).accepted.render_id
        while (await call.read()).scene.state != pb.SCENE_STATE_FINISHED:
            pass
        await source.started[1].wait()
        await link.cut()
        error = await refused(stub.CreateRender(pb.CreateRenderRequest(render=asked)))
        lease_clock.give_up()
        await source.ended[1].wait()  # given up: another may have it by now
        await link.mend()
        await end_leases(postgresql_database)
        source.release(1)
        while not (response := await call.read()).HasField("result"):
            pass
        render = await got(stub, render_id)
        video = await downloaded(stub, render_id)
    assert error.reason is Reason.STORAGE_UNAVAILABLE
    assert error.retry_after
    assert response.result.render_id == render_id
    assert (render.state, render.attempts) == (pb.RENDER_STATE_SUCCEEDED, 2)
    assert source.asked == {0: 1, 1: 2}
    assert pictures(video.data) == 24


async def test_a_gateway_serves_as_long_as_its_database_is_there(
    postgresql_database, fast, tmp_path, monkeypatch
):
    monkeypatch.setattr(opening, "START_TIMEOUT", 0.1)
    monkeypatch.setattr(server, "READY_POLL", 0.1)
    real = postgresql_database.server.folder
    url = postgresql_database.url.replace(str(real), str(tmp_path))
    link = Link(tmp_path / ".s.PGSQL.5432", real / ".s.PGSQL.5432")
    async with (
        services_below(FrameSource()) as below,
        gateway_server(*below, database_url=url, state_dir=tmp_path) as address,
        open_channel(address) as channel,
    ):
        stub, health = RenderServiceStub(channel), health_pb2_grpc.HealthStub(channel)
        watching = health.Watch(health_pb2.HealthCheckRequest())
        states = [(await watching.read()).status]
        error = await refused(stub.CreateRender(pb.CreateRenderRequest(render=request(1, 0.1))))
        await link.mend()
        states.append((await watching.read()).status)
        render = await ended(stub, (await created(stub, request(1, 0.1))).render_id)
        await link.cut()
        states.append((await watching.read()).status)
        await link.mend()
        states.append((await watching.read()).status)
        watching.cancel()
        await link.cut()
    assert (error.reason, error.retry_after) == (Reason.STORAGE_UNAVAILABLE, 1)
    assert render.state == pb.RENDER_STATE_SUCCEEDED
    serving, not_serving = (
        health_pb2.HealthCheckResponse.SERVING,
        health_pb2.HealthCheckResponse.NOT_SERVING,
    )
    assert states == [not_serving, serving, not_serving, serving]
