"""Spans of calls and of work, and the ids that go from hop to hop."""

import asyncio
import json
import subprocess
import sys
import threading

import grpc
import pytest
from opentelemetry import trace
from opentelemetry.trace import SpanKind, StatusCode

from gator.frame_gen.v1 import frame_gen_service_pb2 as pb
from gator.frame_gen.v1 import frame_gen_service_pb2_grpc as stubs
from rpckit import trace_export, tracing
from rpckit.errors import GatorError, Reason
from rpckit.status import from_rpc_error
from rpckit.testing import connected, scripted
from rpckit.trace_export import exported_traces
from rpckit.tracing import begun, client_span, current_origin, of_origin, past_span, span
from tests.support.spans import named, recorded_spans

SERVICE = "gator.frame_gen.v1.FrameGenService"
TRACE, CALLER = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
METADATA = (("traceparent", f"00-{TRACE}-{CALLER}-01"), ("tracestate", "vendor=1"))


class Servicer(stubs.FrameGenServiceServicer):
    """Tells under which span it runs, or fails as the prompt says."""

    async def GetCapabilities(self, request, context):
        return pb.GetCapabilitiesResponse(version=current_origin())

    async def GenerateFrame(self, request, context):
        yield pb.GenerateFrameResponse(queued=pb.GenerationQueued(position=0))
        if request.prompt == "gone":
            raise GatorError(Reason.RENDER_NOT_FOUND, "a secret harbour")
        if request.prompt == "bug":
            raise ZeroDivisionError("a secret harbour")
        await asyncio.Event().wait()


def service():
    return scripted(
        lambda server: stubs.add_FrameGenServiceServicer_to_server(Servicer(), server), SERVICE
    )


async def call(channel, **metadata) -> str:
    stub = stubs.FrameGenServiceStub(channel)
    return (await stub.GetCapabilities(pb.GetCapabilitiesRequest(), **metadata)).version


async def stream(channel, prompt: str) -> grpc.StatusCode:
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        async for _ in stubs.FrameGenServiceStub(channel).GenerateFrame(
            pb.GenerateFrameRequest(prompt=prompt)
        ):
            pass
    return raised.value.code()


async def test_a_call_is_a_span_under_that_of_its_caller():
    with recorded_spans() as spans:
        async with connected(service()) as channel:
            inside = await call(channel, metadata=METADATA)
    served = named(spans, f"{SERVICE}/GetCapabilities")
    assert served.kind is SpanKind.SERVER
    assert trace.format_trace_id(served.context.trace_id) == TRACE
    assert trace.format_span_id(served.parent.span_id) == CALLER
    assert served.attributes == {
        "rpc.system.name": "grpc",
        "rpc.method": f"{SERVICE}/GetCapabilities",
        "rpc.response.status_code": "OK",
    }
    assert served.status.status_code is StatusCode.UNSET
    span_id = trace.format_span_id(served.context.span_id)
    assert inside == f"00-{TRACE}-{span_id}-01 vendor=1"


async def test_without_a_provider_the_ids_of_the_caller_are_passed_on():
    async with connected(service()) as channel:
        assert await call(channel, metadata=METADATA) == f"00-{TRACE}-{CALLER}-01 vendor=1"
        assert await call(channel, metadata=(("traceparent", "of no use"),)) == ""
        assert await call(channel) == ""


@pytest.mark.parametrize(
    ("prompt", "code", "failed"), [("gone", "NOT_FOUND", False), ("bug", "INTERNAL", True)]
)
async def test_the_span_of_a_call_has_the_code_with_which_it_ended(prompt, code, failed):
    with recorded_spans() as spans:
        async with connected(service()) as channel:
            assert (await stream(channel, prompt)).name == code
    served = named(spans, f"{SERVICE}/GenerateFrame")
    assert served.attributes["rpc.response.status_code"] == code
    assert (served.status.status_code is StatusCode.ERROR) == failed
    assert "secret" not in served.to_json()


async def test_a_call_that_its_caller_leaves_is_cancelled():
    with recorded_spans() as spans:
        async with connected(service()) as channel:
            left = stubs.FrameGenServiceStub(channel).GenerateFrame(pb.GenerateFrameRequest())
            async for _ in left:
                break
            left.cancel()
    served = named(spans, f"{SERVICE}/GenerateFrame")
    assert served.attributes["rpc.response.status_code"] == "CANCELLED"
    assert served.status.status_code is StatusCode.UNSET


async def test_a_call_of_another_service_carries_its_span():
    with recorded_spans() as spans:
        async with connected(service()) as channel:
            with span("work"), client_span(f"{SERVICE}/GetCapabilities") as metadata:
                await call(channel, metadata=metadata)
    calling, served = (
        next(s for s in spans.get_finished_spans() if s.kind is kind)
        for kind in (SpanKind.CLIENT, SpanKind.SERVER)
    )
    assert served.parent.span_id == calling.context.span_id
    assert calling.parent.span_id == named(spans, "work").context.span_id
    assert calling.attributes["rpc.response.status_code"] == "OK"


async def test_the_span_of_a_call_that_fails_says_how_whatever_it_was_made_into():
    with recorded_spans() as spans:
        async with connected(service()) as channel:
            with pytest.raises(GatorError), client_span("a.B/C"):
                try:
                    await stubs.FrameGenServiceStub(channel).PlanFrame(pb.PlanFrameRequest())
                except grpc.aio.AioRpcError as error:
                    raise from_rpc_error(error, "frame_gen") from error
    calling = named(spans, "a.B/C")
    assert calling.attributes["rpc.response.status_code"] == "UNIMPLEMENTED"
    assert calling.status.status_code is StatusCode.ERROR


def test_an_exception_fails_a_span_and_leaves_nothing_of_its_text():
    with recorded_spans() as spans:
        with pytest.raises(ValueError, match="secret"), span("a"):
            raise ValueError("a secret harbour")
        with pytest.raises(GatorError), span("b"):
            raise GatorError(Reason.STORAGE_FULL, "a secret harbour")
    a, b = named(spans, "a"), named(spans, "b")
    assert a.attributes["error.type"] == "ValueError"
    assert b.attributes["error.type"] == "STORAGE_FULL"
    for failed in (a, b):
        assert failed.status.status_code is StatusCode.ERROR
        assert "secret" not in failed.to_json()


async def test_cancelled_work_says_so_and_has_not_failed():
    working = asyncio.Event()

    async def work() -> None:
        with span("work"):
            working.set()
            await asyncio.Event().wait()

    with recorded_spans() as spans:
        task = asyncio.create_task(work())
        await working.wait()
        task.cancel()
        await asyncio.wait([task])
    ended = named(spans, "work")
    assert ended.attributes == {"gator.cancelled": True}
    assert ended.status.status_code is StatusCode.UNSET


async def test_a_generators_span_is_not_that_of_its_reader():
    seen = []

    async def numbers():
        with begun("numbers"):
            seen.append(current_origin())
            yield 1
            yield 2

    with recorded_spans() as spans, span("reader"):
        async for _ in (reading := numbers()):
            seen.append(current_origin())
            break
        await reading.aclose()
        here = current_origin()
    assert seen == [here, here]
    assert named(spans, "numbers").parent.span_id == named(spans, "reader").context.span_id
    assert named(spans, "numbers").status.status_code is StatusCode.UNSET


def test_work_goes_on_under_an_origin_that_was_stored():
    with recorded_spans() as spans:
        with span("asked"):
            origin = current_origin()
        assert current_origin() == ""
        with span("done", {"n": 1}, parent=of_origin(origin)):
            past_span("part", 1_000, 2_000, {})
        with span("of nobody", parent=of_origin("")):
            pass
        with span("of no use", parent=of_origin("00-nonsense")):
            pass
    asked, done, part = (named(spans, name) for name in ("asked", "done", "part"))
    assert done.kind is SpanKind.CONSUMER
    assert done.parent.span_id == asked.context.span_id
    assert part.parent.span_id == done.context.span_id
    assert (part.start_time, part.end_time) == (1_000, 2_000)
    assert named(spans, "of nobody").parent is None
    assert named(spans, "of no use").parent is None


# --- what the environment says ---------------------------------------------------------------


ENDPOINT = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"}


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"OTEL_SERVICE_NAME": "mine"},
        {**ENDPOINT, "OTEL_SDK_DISABLED": "true"},
        {**ENDPOINT, "OTEL_TRACES_EXPORTER": "none"},
    ],
)
def test_nothing_is_sent_unless_it_is_asked_for(environment):
    with exported_traces("gator-test", environment):
        assert not tracing.recorded()


@pytest.mark.parametrize(
    ("environment", "why"),
    [
        ({"OTEL_TRACES_EXPORTER": "jaeger"}, "OTEL_TRACES_EXPORTER is jaeger"),
        ({**ENDPOINT, "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"}, "only grpc is spoken"),
    ],
)
def test_what_cannot_be_used_is_told_and_keeps_nobody_from_work(environment, why, caplog):
    with exported_traces("gator-test", environment):
        assert not tracing.recorded()
    assert why in caplog.text


def test_the_protocol_of_traces_comes_before_that_of_all():
    protocols = {
        "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
        "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "grpc",
    }
    trace_export._check_protocol(protocols)


def test_a_collector_that_does_not_answer_does_not_keep_a_process(monkeypatch):
    monkeypatch.setattr(trace_export, "FLUSH_SECONDS", 0.01)
    release = threading.Event()

    class Stuck:
        def shutdown(self) -> None:
            release.wait()

    trace_export._end(Stuck())
    release.set()


PROGRAM = """
import logging
from rpckit.settings import LogSettings
from rpckit.telemetry import configure_logging, logger
from rpckit.trace_export import exported_traces
from rpckit.tracing import span

configure_logging(LogSettings(format="json"))
with exported_traces("gator-test"):
    with span("work"):
        logger("ours").info("of ours")
        logging.getLogger("theirs").warning("of a library")
    logger("ours").info("of nothing")
"""


def test_lines_of_the_log_have_the_ids_of_the_span_around_them():
    environment = {"OTEL_TRACES_EXPORTER": "console", "PATH": ""}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True, env=environment
    )
    told = json.loads(done.stdout)
    lines = {line["event"]: line for line in map(json.loads, done.stderr.splitlines())}
    for event in ("of ours", "of a library"):
        assert "0x" + lines[event]["trace_id"] == told["context"]["trace_id"]
        assert "0x" + lines[event]["span_id"] == told["context"]["span_id"]
    assert "trace_id" not in lines["of nothing"]
    assert told["resource"]["attributes"]["service.name"] == "gator-test"
