"""Calls that gRPC drops before the server's code has seen them: there are too many."""

import asyncio
import signal

import grpc
import pytest

from gator.gateway.v1 import render_service_pb2 as pb
from gator.gateway.v1 import render_service_pb2_grpc as stubs
from gator_client import AsyncClient, RenderError
from rpckit.testing import running, scripted
from tests.support.halting_gateway import HALTED
from tests.support.processes import server_process


async def test_a_call_too_many_is_said_to_be_dropped_and_those_that_wait_are_answered():
    halted = asyncio.Event()

    def heard(line):
        if line["event"] == HALTED:
            halted.set()

    async with (
        server_process("tests.support.halting_gateway", heard) as (process, address),
        grpc.aio.insecure_channel(address) as channel,
        AsyncClient(address) as client,
    ):
        stub = stubs.RenderServiceStub(channel)
        process.send_signal(signal.SIGUSR2)
        await halted.wait()
        asked = pb.GetCapabilitiesRequest()
        calls = {asyncio.ensure_future(_outcome(stub.GetCapabilities(asked))) for _ in range(20)}
        # From the first that is dropped on there is room for none, as long as none is taken.
        dropped, waiting = await asyncio.wait(calls, return_when=asyncio.FIRST_COMPLETED)
        with pytest.raises(RenderError) as told:
            await client.capabilities()
        process.send_signal(signal.SIGUSR1)
        outcomes = {task.result() for task in dropped} | set(await asyncio.gather(*waiting))
        await client.capabilities()
    # What gRPC says of it, and nothing besides.
    assert outcomes == {(grpc.StatusCode.CANCELLED, ()), (grpc.StatusCode.OK, None)}
    assert (told.value.code, told.value.reason) == ("UNAVAILABLE", "UNREACHABLE")
    assert f"the server at {address} dropped the call" in told.value.message
    assert told.value.advice == "Try again in a moment."


async def _outcome(call):
    try:
        await call
    except grpc.aio.AioRpcError as error:
        return error.code(), tuple(error.trailing_metadata())
    return grpc.StatusCode.OK, None


class Full(stubs.RenderServiceServicer):
    """Drops calls as gRPC does: the first two that create, and all that stay."""

    def __init__(self):
        self.asked = []

    async def CreateRender(self, request, context):
        self.asked.append(request.render.request_id)
        if len(self.asked) < 3:
            await context.abort(grpc.StatusCode.CANCELLED, "CANCELLED")
        return pb.CreateRenderResponse(render=pb.Render(render_id="r-1", state=1))

    async def Render(self, request, context):
        await context.abort(grpc.StatusCode.CANCELLED, "CANCELLED")
        yield


@pytest.fixture
async def full():
    """A client, and whom it calls."""
    servicer = Full()
    service = scripted(
        lambda server: stubs.add_RenderServiceServicer_to_server(servicer, server),
        "gator.gateway.v1.RenderService",
    )
    async with running(service) as server, AsyncClient(server.address) as client:
        yield client, servicer


async def test_a_dropped_call_is_made_again(full):
    client, server = full
    assert (await client.create("a hill")).render_id == "r-1"
    # By the id the server knows it for the same render, should it have taken an earlier one.
    assert len(server.asked) == 3
    assert len(set(server.asked)) == 1
    assert server.asked[0]


async def test_a_render_that_is_dropped_before_it_began_says_so(full):
    client, _ = full
    with pytest.raises(RenderError, match="dropped the call") as told:
        [event async for event in client.render("a hill")]
    assert (told.value.code, told.value.advice) == ("UNAVAILABLE", "Try again in a moment.")
