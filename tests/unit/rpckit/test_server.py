"""The server builder: statuses, health, cancellation, drain."""

import asyncio
from collections import Counter
from dataclasses import replace

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from structlog.testing import capture_logs

from gator.frame_gen.v1 import frame_gen_service_pb2 as pb
from gator.frame_gen.v1 import frame_gen_service_pb2_grpc as stubs
from rpckit.client import open_channel
from rpckit.errors import Code, FieldViolation, GatorError, Reason, invalid
from rpckit.server import RunningServer, ServerStartError, Service
from rpckit.settings import ServerSettings
from rpckit.status import from_rpc_error
from rpckit.testing import LoopbackSettings, connected, other_tasks, running, scripted

NAME = "gator.frame_gen.v1.FrameGenService"


class Scripted(stubs.FrameGenServiceServicer):
    """Does what the prompt says."""

    def __init__(self) -> None:
        self.waiting = asyncio.Event()
        self.cleaned = asyncio.Event()

    async def GenerateFrame(self, request, context):
        yield pb.GenerateFrameResponse(queued=pb.GenerationQueued(position=7))
        if request.prompt == "refuse":
            raise GatorError(
                Reason.OVERLOADED, "come back later", retry_after=1.5, metadata={"queue": "full"}
            )
        if request.prompt == "bug":
            raise ZeroDivisionError("secret")
        try:
            self.waiting.set()
            while request.prompt == "flood":
                yield pb.GenerateFrameResponse(preview=pb.GenerationPreview(jpeg=bytes(1 << 20)))
            await asyncio.Event().wait()
        finally:
            self.cleaned.set()

    async def GetCapabilities(self, request, context):
        raise invalid(FieldViolation("a", "is bad"), FieldViolation("b[1].c", "is worse"))


def service(servicer: Scripted) -> Service:
    return scripted(
        lambda server: stubs.add_FrameGenServiceServicer_to_server(servicer, server),
        NAME,
        name="frame_gen",
    )


async def collect(call):
    messages = []
    with pytest.raises(grpc.aio.AioRpcError) as error:
        async for message in call:
            messages.append(message)
    return messages, error.value


async def test_unary_error_carries_reason_and_every_bad_field():
    async with connected(service(Scripted())) as channel:
        stub = stubs.FrameGenServiceStub(channel)
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await stub.GetCapabilities(pb.GetCapabilitiesRequest())
    assert raised.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    error = from_rpc_error(raised.value, "frame_gen")
    assert error.reason is Reason.INVALID_ARGUMENT
    assert [v.field for v in error.violations] == ["a", "b[1].c"]
    assert error.metadata["service"] == "frame_gen"


async def test_stream_error_comes_after_the_messages_before_it():
    async with connected(service(Scripted())) as channel:
        stub = stubs.FrameGenServiceStub(channel)
        call = stub.GenerateFrame(pb.GenerateFrameRequest(prompt="refuse"))
        messages, error = await collect(call)
    assert [m.queued.position for m in messages] == [7]
    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    decoded = from_rpc_error(error, "frame_gen")
    assert decoded.retry_after == 1.5
    assert decoded.metadata["queue"] == "full"
    details = dict(error.trailing_metadata())["grpc-status-details-bin"]
    status = status_pb2.Status.FromString(details)
    info = error_details_pb2.ErrorInfo()
    assert status.details[0].Unpack(info)
    assert info.domain == "gator.video"


async def test_a_fault_is_internal_and_tells_nothing_of_the_inside():
    with capture_logs() as logs:
        async with connected(service(Scripted())) as channel:
            stub = stubs.FrameGenServiceStub(channel)
            _, error = await collect(stub.GenerateFrame(pb.GenerateFrameRequest(prompt="bug")))
    assert error.code() is grpc.StatusCode.INTERNAL
    assert "secret" not in error.details()
    error_id = from_rpc_error(error, "frame_gen").metadata["error_id"]
    logged = next(entry for entry in logs if entry.get("error_id") == error_id)
    assert isinstance(logged["exc_info"], ZeroDivisionError)


@pytest.mark.parametrize("prompt", ["wait", "flood"])
async def test_a_client_that_leaves_runs_the_servicers_finally(prompt):
    servicer = Scripted()
    async with connected(service(servicer)) as channel:
        before = other_tasks()
        stub = stubs.FrameGenServiceStub(channel)
        call = stub.GenerateFrame(pb.GenerateFrameRequest(prompt=prompt))
        await servicer.waiting.wait()
        call.cancel()
        await servicer.cleaned.wait()
        while calls := other_tasks() - before:
            await asyncio.wait(calls)


async def test_a_reader_that_stops_reading_is_given_up_after_the_write_timeout():
    servicer = Scripted()
    settings = LoopbackSettings(write_timeout=0.3)
    async with connected(service(servicer), settings) as channel:
        stub = stubs.FrameGenServiceStub(channel)
        call = stub.GenerateFrame(pb.GenerateFrameRequest(prompt="flood"))
        await servicer.cleaned.wait()
        call.cancel()


async def test_its_call_ends_on_the_server_though_it_never_reads_again():
    servicer = Scripted()
    async with (
        running(service(servicer), LoopbackSettings(write_timeout=0.3)) as server,
        open_channel(server.address) as channel,
    ):
        stub = stubs.FrameGenServiceStub(channel)
        call = stub.GenerateFrame(pb.GenerateFrameRequest(prompt="flood"))
        await servicer.waiting.wait()
        await server._calls.idle()
        _, error = await collect(call)
    assert error.code() in (grpc.StatusCode.CANCELLED, grpc.StatusCode.DEADLINE_EXCEEDED)


async def test_a_channel_tries_again_what_is_cheap_and_leaves_frames_to_their_caller():
    tried = Counter()

    class Away(Scripted):
        async def GetCapabilities(self, request, context):
            tried["GetCapabilities"] += 1
            raise GatorError(Reason.DOWNSTREAM_UNAVAILABLE, "away")

        async def GenerateFrame(self, request, context):
            tried["GenerateFrame"] += 1
            raise GatorError(Reason.DOWNSTREAM_UNAVAILABLE, "away")
            yield

    async with connected(service(Away())) as channel:
        stub = stubs.FrameGenServiceStub(channel)
        with pytest.raises(grpc.aio.AioRpcError):
            await stub.GetCapabilities(pb.GetCapabilitiesRequest())
        _, error = await collect(stub.GenerateFrame(pb.GenerateFrameRequest()))
    assert error.code() is grpc.StatusCode.UNAVAILABLE
    assert tried == {"GetCapabilities": 4, "GenerateFrame": 1}


async def test_as_many_bad_fields_are_named_as_a_client_takes():
    class Strict(Scripted):
        async def GetCapabilities(self, request, context):
            raise invalid(*(FieldViolation(f"scenes[{i}].é", "is blank") for i in range(500)))

    async with connected(service(Strict())) as channel:
        stub = stubs.FrameGenServiceStub(channel)
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await stub.GetCapabilities(pb.GetCapabilitiesRequest())
    error = from_rpc_error(raised.value, "frame_gen")
    assert error.reason is Reason.INVALID_ARGUMENT
    named = [v.field for v in error.violations]
    assert len(named) > 50
    assert named == [f"scenes[{i}].é" for i in range(len(named))]
    assert error.metadata["violations_left_out"] == str(500 - len(named))
    assert error.message.endswith(f"(and {500 - len(named)} more bad fields)")


async def test_details_that_are_not_ours_do_not_hide_the_status():
    class Proxied(Scripted):
        async def GetCapabilities(self, request, context):
            trailers = (("grpc-status-details-bin", b"\xff"),)
            await context.abort(grpc.StatusCode.UNAVAILABLE, "no upstream", trailers)

    async with connected(service(Proxied())) as channel:
        stub = stubs.FrameGenServiceStub(channel)
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await stub.GetCapabilities(pb.GetCapabilitiesRequest())
    error = from_rpc_error(raised.value, "frame_gen")
    assert error.reason is Reason.DOWNSTREAM_UNAVAILABLE
    assert "no upstream" in error.message


async def test_health_follows_readiness_and_starts_not_serving():
    ready = asyncio.Event()

    async def is_ready() -> bool:
        return ready.is_set()

    base = service(Scripted())
    watched = Service(base.name, base.full_name, base.register, is_ready, base.close)
    async with connected(watched) as channel:
        health = health_pb2_grpc.HealthStub(channel)
        states = health.Watch(health_pb2.HealthCheckRequest(service=NAME))
        assert (await states.read()).status == health_pb2.HealthCheckResponse.NOT_SERVING
        ready.set()
        assert (await states.read()).status == health_pb2.HealthCheckResponse.SERVING
        states.cancel()


async def test_a_watcher_of_health_does_not_hold_up_the_stop():
    server = RunningServer(service(Scripted()), LoopbackSettings(grace=3600))
    async with open_channel((await server.__aenter__()).address) as channel:
        watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest())
        await watch.read()
        async with asyncio.timeout(100):  # less than pytest's, and much less than the grace
            await server.__aexit__(None, None, None)
        watch.cancel()


async def test_stop_ends_a_running_call_after_the_grace_and_frees_the_service(monkeypatch):
    monkeypatch.setattr("rpckit.server.LAST_WORD", 60.0)
    servicer = Scripted()
    closed = asyncio.Event()

    async def close() -> None:
        closed.set()

    settings = LoopbackSettings(grace=0.1)
    base = service(servicer)
    watched = Service(base.name, base.full_name, base.register, base.ready, close)
    server = RunningServer(watched, settings)
    async with open_channel((await server.__aenter__()).address) as channel:
        call = stubs.FrameGenServiceStub(channel).GenerateFrame(pb.GenerateFrameRequest())
        await servicer.waiting.wait()
        await server.__aexit__(None, None, None)
        assert servicer.cleaned.is_set()
        assert closed.is_set()
        _, error = await collect(call)
    told = from_rpc_error(error, "frame_gen")
    assert (told.reason, told.retry_after) == (Reason.SHUTTING_DOWN, 0.1)


async def test_callers_have_time_to_find_another_server_before_their_streams_end():
    at: dict[str, float] = {}
    clock = asyncio.get_running_loop().time
    base = service(Scripted())
    leaving = replace(
        base,
        drain=lambda: at.setdefault("drain", clock()),
        dismiss=lambda: at.setdefault("dismiss", clock()),
    )
    async with connected(leaving, LoopbackSettings(drain_delay=0.1)):
        assert not at
    assert at["dismiss"] - at["drain"] > 0.09


async def test_a_taken_port_is_an_error_that_says_so():
    async with running(service(Scripted())) as server:
        settings = ServerSettings(listen=server.address)
        with pytest.raises(ServerStartError, match="another server on that port"):
            await RunningServer(service(Scripted()), settings).__aenter__()


async def test_no_server_is_downstream_unavailable():
    async with open_channel("127.0.0.1:1") as channel:
        stub = stubs.FrameGenServiceStub(channel)
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await stub.GetCapabilities(pb.GetCapabilitiesRequest(), timeout=60)
    error = from_rpc_error(raised.value, "frame_gen")
    assert error.reason is Reason.DOWNSTREAM_UNAVAILABLE
    assert error.code is Code.UNAVAILABLE
    assert error.metadata["downstream"] == "frame_gen"
