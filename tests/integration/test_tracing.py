"""Traces as a collector sees them, of the services as they are deployed: a process each."""

import re
import secrets
from pathlib import Path

from gator.gateway.v1 import render_service_pb2 as pb
from gator.gateway.v1.render_service_pb2_grpc import RenderServiceStub
from rpckit.client import open_channel
from rpckit.server import RunningServer
from rpckit.testing import LoopbackSettings
from tests.support.collector import Trace, collector
from tests.support.frame_source import FrameSource
from tests.support.gateways import created, ended, request
from tests.support.watched_process import three_services, watched_process

SECRET = "a lighthouse that nobody may know of"


def callers_trace() -> tuple[str, str, tuple[tuple[str, str], ...]]:
    """Ids of a trace and of a span that a client began, and the metadata that says so."""
    trace_id, span_id = secrets.token_hex(16), secrets.token_hex(8)
    return trace_id, span_id, (("traceparent", f"00-{trace_id}-{span_id}-01"),)


def with_secret(message: pb.RenderRequest) -> pb.RenderRequest:
    for scene in message.scenes:
        scene.prompt = SECRET
    return message


def assert_documented(trace: Trace) -> None:
    """Every span, and all it says, stands in docs/telemetry.md."""
    page = (Path(__file__).parents[2] / "docs/telemetry.md").read_text()
    table = page.partition("### Spans")[2]
    rows = dict(re.findall(r"^\| (?:`([\w ]+)`|of a call.*?) \| (.+) \|$", table, re.MULTILINE))
    calls, of_frame = rows.pop(""), re.search(r"^Attributes of a frame: (.+)$", table, re.MULTILINE)
    for span in trace.spans:
        told = rows.get(span.name, "") if "/" not in span.name else calls
        if "those of a frame" in told:
            told += of_frame[1]
        assert span.attributes.keys() <= set(re.findall(r"`([\w.]+)`", told)), span
        assert span.service.removeprefix("gator-").replace("-", "_") in told or "/" in span.name


def assert_whole(trace: Trace, caller: str) -> None:
    """Every span hangs under another of the trace, and the first under the caller's."""
    orphans = [span for span in trace.spans if span.parent_id not in trace.ids]
    assert {span.parent_id for span in orphans} == {caller}, orphans


def assert_shows_render(trace: Trace, scenes: int, pictures: int) -> None:
    """What a render's trace has, whoever worked on it."""
    render = trace.one("render")
    assert render.attributes["gator.render.outcome"] == "succeeded"
    assert render.attributes["gator.render.scenes"] == scenes
    assert render.attributes["gator.render.pictures"] == pictures
    assert [s.attributes["gator.scene.index"] for s in trace.named("scene")] == [*range(scenes)]
    for scene in trace.named("scene"):
        assert scene.parent_id == render.span_id
        assert scene.attributes["gator.frame.backend"] == "placeholder"
    made = trace.named("make frame")
    assert len(made) == scenes
    for frame in made:
        assert trace.path(frame)[-5:] == [
            "gator-gateway render",
            "gator-gateway scene",
            "gator-gateway GenerateFrame",
            "gator-frame-gen GenerateFrame",
            "gator-frame-gen make frame",
        ]
        assert frame.attributes["gator.frame.steps"] == 0
    encode = trace.one("encode")
    assert trace.path(encode)[-5:] == [
        "gator-gateway render",
        "gator-gateway compose",
        "gator-gateway Compose",
        "gator-compositor Compose",
        "gator-compositor encode",
    ]
    assert encode.attributes["gator.video.pictures"] == pictures
    assert encode.attributes["gator.video.bytes"] > 0
    assert "x264" in encode.attributes["gator.video.encoder"]
    transitions = trace.under(encode)
    assert [t.attributes["gator.scene.index"] for t in transitions] == [*range(scenes - 1)]
    assert {t.attributes["gator.transition"] for t in transitions} == {"crossfade"}
    for one in transitions:
        assert encode.began <= one.began <= one.ended <= encode.ended
    assert trace.one("compose").attributes["gator.video.pictures"] == pictures
    assert len(trace.named("store frame")) == scenes
    assert trace.one("publish").attributes["gator.video.bytes"] > 0


async def test_a_render_is_one_trace_across_the_three_services(tmp_path):
    trace_id, caller, metadata = callers_trace()
    async with (
        collector() as (kept, environment),
        three_services(tmp_path, **environment) as services,
    ):
        async with open_channel(await services.gateway.address) as channel:
            call = RenderServiceStub(channel).Render(
                with_secret(request(3, 1.0, use_ai_generation=False)),
                metadata=metadata,
                wait_for_ready=True,
            )
            events = [response.WhichOneof("event") async for response in call]
        await services.end()
    assert events[-1] == "result"
    trace = kept.trace(trace_id)
    assert_whole(trace, caller)
    assert_shows_render(trace, scenes=3, pictures=72)
    assert trace.one("Render").parent_id == caller
    assert trace.one("Render").attributes["rpc.response.status_code"] == "OK"
    assert trace.one("render").parent_id == trace.one("Render").span_id
    assert not any(span.failed for span in trace.spans)
    assert_documented(trace)
    assert {r["service.name"] for r in kept.resources} == {
        *("gator-gateway", "gator-frame-gen", "gator-compositor")
    }
    assert all(r["service.version"] for r in kept.resources)
    assert SECRET.encode() not in kept.raw
    # What is logged meanwhile says so.
    attempt = await services.gateway.logged(lambda line: line["event"] == "attempt")
    assert attempt["trace_id"] == trace_id
    assert attempt["span_id"] == trace.one("render").span_id


async def test_a_durable_render_is_one_trace_whichever_process_works_on_it(tmp_path):
    trace_id, caller, metadata = callers_trace()
    source = FrameSource()
    source.hold(0)
    state = {"GATOR_GATEWAY_STATE_DIR": str(tmp_path)}
    async with (
        collector() as (kept, environment),
        RunningServer(source.service(), LoopbackSettings()) as held,
        watched_process("compositor", **environment) as compositor,
        watched_process(
            "gateway",
            GATOR_GATEWAY_FRAME_GEN_TARGET=held.address,
            GATOR_GATEWAY_COMPOSITOR_TARGET=await compositor.address,
            GATOR_GATEWAY_MAX_CONCURRENT_RENDERS="1",
            GATOR_GATEWAY_GRACE="0",
            OTEL_RESOURCE_ATTRIBUTES="service.instance.id=asked",
            **state,
            **environment,
        ) as asked,
        open_channel(await asked.address) as channel,
    ):
        # One render that does not end keeps the process busy that is asked for another.
        stub = RenderServiceStub(channel)
        await created(stub, request(1))
        await source.started[0].wait()
        answer = await stub.CreateRender(
            pb.CreateRenderRequest(render=with_secret(request(2, 1.0, use_ai_generation=False))),
            metadata=metadata,
        )
        async with (
            watched_process(
                "frame_gen", GATOR_FRAME_GEN_BACKENDS="placeholder", **environment
            ) as frame_gen,
            watched_process(
                "gateway",
                GATOR_GATEWAY_FRAME_GEN_TARGET=await frame_gen.address,
                GATOR_GATEWAY_COMPOSITOR_TARGET=await compositor.address,
                OTEL_RESOURCE_ATTRIBUTES="service.instance.id=worker",
                **state,
                **environment,
            ) as worker,
        ):
            assert (await ended(stub, answer.render.render_id)).state == pb.RENDER_STATE_SUCCEEDED
            source.release(0)
            for service in (asked, worker, frame_gen, compositor):
                assert await service.end() == 0
    trace = kept.trace(trace_id)
    assert_whole(trace, caller)
    create, render = trace.one("CreateRender"), trace.one("render")
    assert (create.instance, render.instance) == ("asked", "worker")
    assert render.parent_id == create.span_id
    assert render.kind == "SPAN_KIND_CONSUMER"
    assert render.attributes["gator.render.id"] == answer.render.render_id
    assert_shows_render(trace, scenes=2, pictures=48)
    assert SECRET.encode() not in kept.raw
