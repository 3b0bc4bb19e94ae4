"""What a trace shows of renders that fail, are stopped, try again, or find their frames."""

from opentelemetry.trace import StatusCode

from gator.gateway.v1 import render_service_pb2 as pb
from rpckit.errors import GatorError, Reason, invalid
from tests.support.frame_source import FrameSource
from tests.support.gateways import created, ended, request, stack
from tests.support.spans import recorded_spans


def named(spans, name):
    return [span for span in spans.get_finished_spans() if span.name.rpartition("/")[2] == name]


async def test_a_render_that_fails_says_why_on_the_way_up():
    source = FrameSource()
    source.errors[0] = [invalid()]
    with recorded_spans() as spans:
        async with stack(source) as stub:
            await ended(stub, (await created(stub, request(1, 0.2))).render_id)
    (render,), (scene,) = named(spans, "render"), named(spans, "scene")
    assert render.attributes["gator.render.outcome"] == "failed"
    for failed in (render, scene):
        assert failed.status.status_code is StatusCode.ERROR
        assert failed.attributes["error.type"] == "INVALID_ARGUMENT"
    codes = {span.attributes["rpc.response.status_code"] for span in named(spans, "GenerateFrame")}
    assert codes == {"INVALID_ARGUMENT"}


async def test_a_render_that_is_stopped_was_cancelled_and_has_not_failed():
    source = FrameSource()
    source.hold(0)
    with recorded_spans() as spans:
        # The grace is for the attempt to notice it.
        async with stack(source, grace=60) as stub:
            render_id = (await created(stub, request(1, 0.2))).render_id
            await source.started[0].wait()
            await stub.CancelRender(pb.CancelRenderRequest(render_id=render_id))
            await source.ended[0].wait()
    (render,), (scene,) = named(spans, "render"), named(spans, "scene")
    assert render.attributes["gator.render.outcome"] == "lost"
    assert scene.attributes["gator.cancelled"]
    assert {s.status.status_code for s in (render, scene)} == {StatusCode.UNSET}


async def test_each_try_at_a_scene_is_a_call_under_it():
    source = FrameSource()
    source.errors[0] = [GatorError(Reason.SHUTTING_DOWN, "going away", retry_after=0.01)]
    with recorded_spans() as spans:
        async with stack(source) as stub:
            await ended(stub, (await created(stub, request(1, 0.2))).render_id)
    (scene,) = named(spans, "scene")
    calls = [s for s in named(spans, "GenerateFrame") if s.parent.span_id == scene.context.span_id]
    assert [call.status.status_code for call in calls] == [StatusCode.ERROR, StatusCode.UNSET]
    assert scene.status.status_code is StatusCode.UNSET


async def test_a_frame_that_was_stored_says_so_and_what_made_it():
    with recorded_spans() as spans:
        async with stack(FrameSource()) as stub:
            for _ in range(2):
                await ended(stub, (await created(stub, request(1, 0.2))).render_id)
    made, found = named(spans, "scene")
    assert "gator.scene.found" not in made.attributes
    assert (made.attributes["gator.frame.backend"], made.attributes["gator.frame.model"]) == (
        *("diffusers", "plain"),
    )
    assert found.attributes["gator.scene.found"]
    assert found.attributes["gator.frame.backend"] == "cache"
    assert found.attributes["gator.frame.original_backend"] == "diffusers"
    assert len(named(spans, "store frame")) == 1
