"""deploy/envoy/drain.sh with the real Envoy: what runs ends, what is new goes elsewhere."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc

from gator.gateway.v1 import render_service_pb2 as pb
from gator.gateway.v1 import render_service_pb2_grpc as stubs
from rpckit.client import open_channel
from rpckit.testing import running, scripted
from tests.support.envoy import CONFIGURATIONS, Envoy, envoy
from tests.support.rest import ask


class Watched(stubs.RenderServiceServicer):
    """A gateway whose stream ends when a test says so."""

    def __init__(self) -> None:
        self.end = asyncio.Event()

    async def WatchRender(self, request, context):
        yield pb.WatchRenderResponse(sequence=1)
        await self.end.wait()
        yield pb.WatchRenderResponse(sequence=2)


@asynccontextmanager
async def admin_port(proxy: Envoy) -> AsyncIterator[int]:
    """The admin interface on a port, as it is in a pod; the tests have it on a socket."""

    async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
        writer.close()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        its_reader, its_writer = await asyncio.open_unix_connection(str(proxy.folder / "admin"))
        asking = asyncio.create_task(carry(reader, its_writer))
        await carry(its_reader, writer)
        await asking

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def drained(port: int, patience: int) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *("bash", CONFIGURATIONS / "drain.sh", str(patience)),
        env={"ADMIN": f"127.0.0.1/{port}", "PATH": "/usr/bin:/bin"},
    )


async def test_a_proxy_that_is_stopped_waits_for_what_runs():
    gateway = Watched()
    service = scripted(
        lambda server: stubs.add_RenderServiceServicer_to_server(gateway, server),
        "gator.gateway.v1.RenderService",
    )
    async with (
        running(service) as server,
        envoy("edge", {"gateway": [server.address]}) as proxy,
        admin_port(proxy) as port,
    ):
        await proxy.until_healthy("gateway", 1)
        address = proxy.addresses["clients"]
        async with open_channel(address) as channel:
            call = stubs.RenderServiceStub(channel).WatchRender(pb.WatchRenderRequest())
            assert (await call.read()).sequence == 1

            draining = await drained(port, 500)
            # Probes and the balancer before it are told at once.
            while (await ask(proxy.addresses["observed"], "GET", "/ready")).status != 503:
                pass
            # A connection that is used is told to go: the next call comes over another one.
            before = await proxy.statistic("http.clients.downstream_cx_total")
            await _unary(channel)
            await _unary(channel)
            assert await proxy.statistic("http.clients.downstream_cx_total") > before

            assert draining.returncode is None
            gateway.end.set()
            assert (await call.read()).sequence == 2
            assert await call.read() is grpc.aio.EOF
            assert await draining.wait() == 0


async def _unary(channel: grpc.aio.Channel) -> None:
    call = stubs.RenderServiceStub(channel).GetCapabilities(
        pb.GetCapabilitiesRequest(), timeout=300
    )
    assert await call.code() is grpc.StatusCode.UNIMPLEMENTED  # this gateway has none
