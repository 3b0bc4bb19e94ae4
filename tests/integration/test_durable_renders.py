"""Renders that outlive the calls about them: created, found, made, fetched, stopped, retried."""

import asyncio
import hashlib
import threading

import pytest

from gateway.settings import Settings
from gator.gateway.v1 import render_service_pb2 as pb
from gator.type.v1 import frame_pb2, video_pb2
from rpckit.errors import GatorError, Reason
from rpckit.testing import other_tasks
from tests.support.frame_source import FrameSource
from tests.support.gateways import (
    created,
    downloaded,
    downloading,
    ended,
    gateway,
    got,
    pictures,
    refused,
    request,
    services_below,
    stack,
    two_gateways,
)
from tests.support.leftovers import nothing_left

NOBODY = "00000000-0000-0000-0000-000000000000"


async def test_what_was_created_is_made_and_its_video_is_kept():
    async with stack(FrameSource()) as stub:
        before = await created(stub, request(3, 0.5, labels={"film": "one"}))
        after = await ended(stub, before.render_id)
        video = await downloaded(stub, before.render_id)
        assert await got(stub, before.render_id) == after
    assert before.state == pb.RENDER_STATE_QUEUED
    assert (before.sequence, before.attached, before.attempts) == (1, False, 0)
    assert after.state == pb.RENDER_STATE_SUCCEEDED
    assert (after.attempts, after.retry_of, after.HasField("error")) == (1, "", False)
    assert after.create_time.ToNanoseconds() <= after.start_time.ToNanoseconds()
    assert after.start_time.ToNanoseconds() < after.end_time.ToNanoseconds()
    kept = after.expire_time.ToDatetime() - after.end_time.ToDatetime()
    assert abs(kept - Settings().video_ttl).total_seconds() < 1
    assert (after.progress.scenes_finished, after.progress.frames_encoded) == (3, 36)
    assert after.progress.fraction == 1
    assert [(s.index, s.state) for s in after.scenes] == [
        (i, pb.SCENE_STATE_FINISHED) for i in range(3)
    ]
    result = after.result
    assert result.form == video_pb2.VIDEO_FORM_FASTSTART
    assert (result.frame_count, result.frames_generated, result.frames_reused) == (36, 3, 0)
    assert video.header.form == video_pb2.VIDEO_FORM_FASTSTART
    assert result.size_bytes == video.header.size_bytes == video.trailer.size_bytes
    assert result.size_bytes == len(video.data)
    assert hashlib.sha256(video.data).digest() == result.sha256 == video.trailer.sha256
    assert pictures(video.data) == 36


async def test_the_effective_request_stands_in_the_render():
    asked = request(2, 0.5, negative_prompt="rain", num_inference_steps=500, labels={"a": "b"})
    asked.scenes[1].negative_prompt = "snow"
    asked.scenes[1].seed = 7
    async with stack(FrameSource()) as stub:
        render = await created(stub, asked)
    assert [w.field for w in render.warnings] == ["num_inference_steps"]
    made = render.request
    assert (made.negative_prompt, made.priority, made.labels) == (
        "rain",
        pb.PRIORITY_BATCH,
        {"a": "b"},
    )
    assert made.use_ai_generation
    assert [s.num_inference_steps for s in made.scenes] == [100, 100]
    assert [s.negative_prompt for s in made.scenes] == ["", "snow"]
    assert made.scenes[0].HasField("seed")
    assert made.scenes[1].seed == 7
    assert {s.transition for s in made.scenes} == {video_pb2.TRANSITION_CROSSFADE}


async def test_a_request_id_creates_one_render_however_often_it_comes(tmp_path):
    source = FrameSource()
    source.hold(0)
    async with two_gateways(source, tmp_path) as (one, other):
        asked = request(1, 0.2, request_id="mine")
        renders = await asyncio.gather(*(created(s, asked) for s in [one, other] * 25))
        error = await refused(
            one.CreateRender(pb.CreateRenderRequest(render=request(2, 0.2, request_id="mine")))
        )
        listed = await one.ListRenders(pb.ListRendersRequest())
        source.release(0)
    assert len({render.render_id for render in renders}) == 1
    assert [render.render_id for render in listed.renders] == [renders[0].render_id]
    assert error.reason is Reason.REQUEST_ID_REUSED
    assert error.metadata["render_id"] == renders[0].render_id


async def test_nothing_is_stored_of_a_request_that_is_refused():
    bad = request(0, request_id="x" * 129, labels={"": "a", "k" * 64: "b", "c": "v" * 256})
    async with stack(FrameSource()) as stub:
        error = await refused(stub.CreateRender(pb.CreateRenderRequest(render=bad)))
        listed = await stub.ListRenders(pb.ListRendersRequest())
    assert error.reason is Reason.INVALID_ARGUMENT
    fields = sorted(v.field for v in error.violations)
    assert fields == ["labels", "labels[c]", "labels[" + "k" * 63 + "]", "request_id", "scenes"]
    assert list(listed.renders) == []


async def test_one_gateway_tells_and_sends_what_another_makes(tmp_path):
    source = FrameSource()
    source.hold(1)
    async with (
        services_below(source) as below,
        gateway(*below, state_dir=tmp_path) as busy,
        gateway(*below, state_dir=tmp_path, max_concurrent_renders=1) as other,
    ):
        # One of them takes it; both know all about it.
        render = await created(busy, request(2, 1.0))
        await source.started[1].wait()
        states = [(await got(s, render.render_id)).state for s in (busy, other)]
        downloads = await downloading(render.render_id, busy, other)
        source.release(1)
        ends = await asyncio.gather(*(ended(s, render.render_id) for s in (busy, other)))
        videos = await asyncio.gather(*downloads)
        stored = [await downloaded(s, render.render_id) for s in (busy, other)]
    assert states == [pb.RENDER_STATE_RUNNING] * 2
    assert ends[0] == ends[1]
    assert ends[0].attempts == 1
    assert {v.header.form for v in videos} == {video_pb2.VIDEO_FORM_FRAGMENTED}
    assert videos[0].data == videos[1].data
    assert videos[0].trailer.sha256 == hashlib.sha256(videos[0].data).digest()
    assert pictures(videos[0].data) == 48
    assert stored[0].data == stored[1].data
    assert hashlib.sha256(stored[0].data).digest() == ends[0].result.sha256


async def test_renders_go_on_after_a_restart_of_the_gateway(tmp_path):
    source = FrameSource()
    source.hold(1)
    async with services_below(source) as below:
        async with gateway(*below, state_dir=tmp_path, grace=0) as stub:
            render = await created(stub, request(2, 0.5))
            await source.ended[0].wait()
            await source.started[1].wait()
            while not (await got(stub, render.render_id)).progress.scenes_finished:
                await source.started[0].wait()
        source.release(1)
        async with gateway(*below, state_dir=tmp_path) as stub:
            render = await ended(stub, render.render_id)
            video = await downloaded(stub, render.render_id)
    assert render.state == pb.RENDER_STATE_SUCCEEDED
    assert render.attempts == 2
    assert (render.result.frames_generated, render.result.frames_reused) == (2, 0)
    # The scene that was finished was not made again.
    assert source.asked == {0: 1, 1: 2}
    assert pictures(video.data) == 24


async def test_a_changed_prompt_has_one_frame_made_and_the_others_reused():
    source = FrameSource()
    edited = request(20, 0.1)
    edited.scenes[7].prompt = "another"
    async with stack(source) as stub:
        first = await ended(stub, (await created(stub, request(20, 0.1))).render_id)
        second = await ended(stub, (await created(stub, edited)).render_id)
    assert first.result.frames_generated == 20
    assert (second.result.frames_generated, second.result.frames_reused) == (1, 19)
    assert source.asked == {i: 1 + (i == 7) for i in range(20)}
    origins = [(s.provenance.backend, s.provenance.original_backend) for s in second.result.scenes]
    cached = (frame_pb2.BACKEND_CACHE, frame_pb2.BACKEND_DIFFUSERS)
    made = (frame_pb2.BACKEND_DIFFUSERS, frame_pb2.BACKEND_UNSPECIFIED)
    assert origins == [made if i == 7 else cached for i in range(20)]


async def test_a_frame_that_may_not_be_shared_is_made_for_each_render():
    source = FrameSource()
    source.shareable = False
    async with stack(source) as stub:
        for _ in range(2):
            render = await ended(stub, (await created(stub, request(1, 0.1))).render_id)
            assert render.result.frames_generated == 1
    assert source.asked[0] == 2


async def test_cancelling_stops_the_work_within_a_second_and_may_be_repeated(tmp_path):
    source = FrameSource()
    source.hold(0)
    async with two_gateways(source, tmp_path) as (one, other):
        before, threads = other_tasks(), set(threading.enumerate())
        render = await created(one, request(1))
        await source.started[0].wait()
        answers = [
            (await s.CancelRender(pb.CancelRenderRequest(render_id=render.render_id))).render
            for s in (other, one)
        ]
        # Half a second and a little; a renewal of leases would notice it after 10 s.
        async with asyncio.timeout(8):
            await source.ended[0].wait()
        again = await ended(one, render.render_id)
        await nothing_left(before, threads)
    assert [a.state for a in answers] == [pb.RENDER_STATE_CANCELLED] * 2
    assert answers[0] == answers[1] == again


async def test_a_render_that_waits_can_be_cancelled():
    source = FrameSource()
    source.hold(0)
    async with stack(source, max_concurrent_renders=1) as stub:
        running = await created(stub, request(1, 0.1))
        await source.started[0].wait()
        waiting = await created(stub, request(1, 0.1))
        await stub.CancelRender(pb.CancelRenderRequest(render_id=waiting.render_id))
        source.release(0)
        assert (await ended(stub, running.render_id)).state == pb.RENDER_STATE_SUCCEEDED
        assert (await ended(stub, waiting.render_id)).state == pb.RENDER_STATE_CANCELLED
    assert source.asked[0] == 1


async def test_a_render_that_failed_says_why_and_its_retry_shares_what_was_finished():
    source = FrameSource()
    source.errors[1] = [GatorError(Reason.GENERATION_FAILED, "the model broke")]
    async with stack(source, max_concurrent_scenes=1) as stub:
        failed = await ended(stub, (await created(stub, request(2, 0.2))).render_id)
        asked = pb.RetryRenderRequest(render_id=failed.render_id, request_id="again")
        retries = [(await stub.RetryRender(asked)).render for _ in range(2)]
        retried = await ended(stub, retries[0].render_id)
    assert failed.state == pb.RENDER_STATE_FAILED
    assert failed.error.message == "the model broke"
    assert not failed.HasField("result")
    assert retries[0].render_id == retries[1].render_id != failed.render_id
    assert retried.retry_of == failed.render_id
    assert retried.state == pb.RENDER_STATE_SUCCEEDED
    assert list(retried.request.scenes) == list(failed.request.scenes)
    assert (retried.result.frames_generated, retried.result.frames_reused) == (1, 1)
    assert source.asked == {0: 1, 1: 2}


async def test_what_is_deleted_is_gone_with_its_video(tmp_path):
    async with stack(FrameSource(), state_dir=tmp_path) as stub:
        render = await ended(stub, (await created(stub, request(1, 0.1))).render_id)
        asked = pb.DeleteRenderRequest(render_id=render.render_id)
        await stub.DeleteRender(asked)
        left = [p for p in tmp_path.rglob("*") if render.render_id in str(p) and p.is_file()]
        errors = [
            await refused(stub.DeleteRender(asked)),
            await refused(stub.GetRender(pb.GetRenderRequest(render_id=render.render_id))),
            await refused(stub.DownloadVideo(pb.DownloadVideoRequest(render_id=render.render_id))),
        ]
    assert left == []
    assert {error.reason for error in errors} == {Reason.RENDER_NOT_FOUND}


async def test_what_still_runs_is_neither_deleted_nor_retried():
    source = FrameSource()
    source.hold(0)
    async with stack(source) as stub:
        render = await created(stub, request(1, 0.1))
        await source.started[0].wait()
        errors = [
            await refused(stub.DeleteRender(pb.DeleteRenderRequest(render_id=render.render_id))),
            await refused(stub.RetryRender(pb.RetryRenderRequest(render_id=render.render_id))),
        ]
        source.release(0)
    assert [error.reason for error in errors] == [Reason.WRONG_STATE] * 2
    assert {error.metadata["state"] for error in errors} == {"RUNNING"}


@pytest.mark.parametrize(
    "call",
    [
        lambda stub: stub.GetRender(pb.GetRenderRequest(render_id=NOBODY)),
        lambda stub: stub.WatchRender(pb.WatchRenderRequest(render_id=NOBODY)),
        lambda stub: stub.CancelRender(pb.CancelRenderRequest(render_id="")),
        lambda stub: stub.DeleteRender(pb.DeleteRenderRequest(render_id="..")),
        lambda stub: stub.DownloadVideo(pb.DownloadVideoRequest(render_id=NOBODY)),
        lambda stub: stub.RetryRender(pb.RetryRenderRequest(render_id=NOBODY)),
    ],
)
async def test_a_render_that_is_not_there(call):
    async with stack(FrameSource()) as stub:
        error = await refused(call(stub))
    assert error.reason is Reason.RENDER_NOT_FOUND


async def test_renders_are_listed_newest_first_in_pages_by_state_and_label():
    source = FrameSource()
    async with stack(source) as stub:
        renders = [
            await created(stub, request(1, 0.1, labels={"n": str(i), "odd": str(i % 2)}))
            for i in range(5)
        ]
        for render in renders:
            await ended(stub, render.render_id)
        seen, token = [], ""
        while True:
            page = await stub.ListRenders(pb.ListRendersRequest(page_size=2, page_token=token))
            seen += [render.render_id for render in page.renders]
            if not (token := page.next_page_token):
                break
        odd = await stub.ListRenders(pb.ListRendersRequest(labels={"odd": "1"}))
        queued = await stub.ListRenders(pb.ListRendersRequest(states=[pb.RENDER_STATE_QUEUED]))
        errors = [
            await refused(stub.ListRenders(pb.ListRendersRequest(**asked)))
            for asked in ({"page_size": -1}, {"page_token": "made up"}, {"states": [0, 9]})
        ]
    assert seen == [render.render_id for render in reversed(renders)]
    assert [render.request.labels["n"] for render in odd.renders] == ["3", "1"]
    assert all(not render.scenes and not render.HasField("result") for render in odd.renders)
    assert list(queued.renders) == []
    fields = [[v.field for v in error.violations] for error in errors]
    assert fields == [["page_size"], ["page_token"], ["states[0]", "states[1]"]]
