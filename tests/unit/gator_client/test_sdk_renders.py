"""Renders that outlive their client, by the SDK: made, found, watched, ended."""

from datetime import UTC

import pytest
from google.protobuf.duration_pb2 import Duration
from google.rpc import code_pb2, error_details_pb2, status_pb2
from scripted_gateway import BrokenConnectionError, provenance, result

from gator.gateway.v1 import render_service_pb2 as pb
from gator.type.v1 import frame_pb2, video_pb2
from gator_client import (
    AsyncClient,
    Backend,
    Client,
    ConnectionLost,
    InvalidRequestError,
    Priority,
    Render,
    RenderError,
    RenderProgress,
    RenderState,
    Scene,
    SceneProgress,
    SceneState,
    Transition,
    VideoForm,
    watching,
)
from rpckit.errors import GatorError, Reason


async def test_a_render_is_made_once_under_its_request_id(gateway):
    async with AsyncClient(gateway.address) as client:
        first = await client.create(["a", "b"], request_id="mine", labels={"k": "v"})
        second = await client.create(["a", "b"], request_id="mine", labels={"k": "v"})
        third = await client.create(["a", "b"])
    assert first.render_id == second.render_id != third.render_id
    assert (first.state, first.request_id, first.labels) == ("queued", "mine", {"k": "v"})
    assert third.request_id not in ("", "mine")


async def test_what_the_client_replaced_stands_in_the_render(gateway):
    async with AsyncClient(gateway.address) as client:
        render = await client.create(["a"], duration_per_frame=float("inf"))
    assert [(w.field, w.asked) for w in render.warnings] == [("duration_per_frame", "inf")]


def failure():
    status = status_pb2.Status(code=code_pb2.UNAVAILABLE, message="no disk")
    status.details.add().Pack(
        error_details_pb2.ErrorInfo(
            reason="STORAGE_FULL", domain="gator.video", metadata={"service": "gateway"}
        )
    )
    return status


async def test_a_render_as_it_stands(gateway):
    request = pb.RenderRequest(scenes=[pb.Scene()])
    made = gateway.add(
        "a",
        state=pb.RENDER_STATE_SUCCEEDED,
        labels={"k": "v"},
        attempts=2,
        error=failure(),
        sequence=7,
        retry_of="other",
        attached=True,
        scenes=[
            pb.SceneProgress(state=pb.SCENE_STATE_FINISHED, provenance=provenance()),
        ],
        result=result(request, form=video_pb2.VIDEO_FORM_FASTSTART, frames_reused=3).result,
    )
    made.request.MergeFrom(
        pb.RenderRequest(priority=pb.PRIORITY_BATCH, use_ai_generation=False, negative_prompt="fog")
    )
    made.request.scenes[0].MergeFrom(
        pb.Scene(
            duration=Duration(seconds=2, nanos=370_000_000),
            transition=video_pb2.TRANSITION_WIPE,
            transition_duration=Duration(),
            seed=41,
            num_inference_steps=30,
            guidance_scale=9,
        )
    )
    made.end_time.FromDatetime(made.create_time.ToDatetime())
    made.result.scenes[0].provenance.backend = frame_pb2.BACKEND_CACHE
    made.result.scenes[0].provenance.original_backend = frame_pb2.BACKEND_DIFFUSERS
    async with AsyncClient(gateway.address) as client:
        render = await client.get(made.render_id)
    assert render.state is RenderState.SUCCEEDED
    assert render.state.ended
    assert render.request.scenes == (
        Scene(
            "a",
            duration=2.37,
            transition=Transition.WIPE,
            transition_duration=0,
            seed=41,
            num_inference_steps=30,
            guidance_scale=9,
        ),
    )
    assert render.request.options["quality"] == "draft"
    assert (render.request.options["use_ai_generation"], render.priority) == (False, Priority.BATCH)
    assert render.create_time.tzinfo is UTC
    assert (render.start_time, render.end_time) == (None, render.create_time)
    assert (render.error.code, render.error.reason) == ("UNAVAILABLE", "STORAGE_FULL")
    assert "disk space" in render.error.advice
    assert str(render.error.as_error()) == "no disk"
    assert render.scene_progress[0].state is SceneState.FINISHED
    assert (render.result.form, render.result.frames_reused) == (VideoForm.FASTSTART, 3)
    assert render.result.scenes[0].provenance.original_backend is Backend.DIFFUSERS
    assert (render.attempts, render.sequence, render.retry_of) == (2, 7, "other")
    assert render.attached


async def test_a_render_can_be_asked_for_again_with_a_change(gateway):
    made = gateway.add("a", "b")
    made.request.scenes[0].duration.FromNanoseconds(2_370_000_001)
    async with AsyncClient(gateway.address) as client:
        render = await client.get(made.render_id)
        await client.create([*render.request.scenes, "c"], **render.request.options)
    sent = gateway.requests[-1]
    assert [scene.prompt for scene in sent.scenes] == ["a", "b", "c"]
    assert sent.scenes[0].duration == made.request.scenes[0].duration
    assert sent.quality == video_pb2.QUALITY_DRAFT


async def test_all_pages_are_listed_newest_first(gateway):
    made = [gateway.add(str(number)).render_id for number in range(5)]
    async with AsyncClient(gateway.address) as client:
        listed = [render.render_id async for render in client.list()]
    assert listed == made[::-1]
    assert len(gateway.pages) == 3


async def test_pages_come_as_they_are_asked_for(gateway):
    for number in range(5):
        gateway.add(str(number))
    async with AsyncClient(gateway.address) as client:
        async for _ in client.list():
            break
    assert len(gateway.pages) == 1


async def test_only_some_are_listed(gateway):
    wanted = gateway.add("a", state=pb.RENDER_STATE_FAILED, labels={"k": "v"})
    gateway.add("b", state=pb.RENDER_STATE_FAILED)
    gateway.add("c", labels={"k": "v"})
    async with AsyncClient(gateway.address) as client:
        listed = [r async for r in client.list(states=["Failed", "cancelled"], labels={"k": "v"})]
        assert [render.render_id for render in listed] == [wanted.render_id]
        for states in (["unknown"], ["faled"], "faled", [3]):
            with pytest.raises(InvalidRequestError, match="must be one of queued, running"):
                [r async for r in client.list(states=states)]


def event(sequence, **what):
    return pb.WatchRenderResponse(sequence=sequence, **what)


def progress(fraction):
    return pb.RenderProgress(scene_count=1, frame_count=72, fraction=fraction)


async def test_a_watch_goes_on_after_the_last_event_when_its_connection_breaks(gateway):
    made = gateway.add("a", sequence=1)

    async def watching(request, attempt):
        yield event(max(1, request.after_sequence), render=made)
        if attempt == 1:
            yield event(2, progress=progress(0.25))
            yield event(3, scene=pb.SceneProgress(state=pb.SCENE_STATE_GENERATING))
            yield event(3, preview=pb.ScenePreview(jpeg=b"x"))
            raise BrokenConnectionError
        if attempt == 2:
            raise GatorError(Reason.SHUTTING_DOWN, "the gateway shuts down", retry_after=0.01)
        if attempt == 3:
            raise GatorError(Reason.STORAGE_UNAVAILABLE, "the database is away")
        yield event(4, progress=progress(0.5))
        made.state = pb.RENDER_STATE_SUCCEEDED
        yield pb.WatchRenderResponse(sequence=5)  # of a kind that this client does not know
        yield event(5, render=made)

    gateway.watching = watching
    async with AsyncClient(gateway.address) as client:
        events = [e async for e in client.watch(made.render_id, previews=True)]
    assert [request.after_sequence for request in gateway.watches] == [0, 3, 3, 3]
    assert all(request.previews for request in gateway.watches)
    fractions = [e.fraction for e in events if isinstance(e, RenderProgress)]
    assert fractions == [0.25, 0.5]
    assert sum(isinstance(e, SceneProgress) for e in events) == 1
    assert any(isinstance(e, ConnectionLost) for e in events)
    assert isinstance(events[0], Render)
    assert events[-1].state is RenderState.SUCCEEDED


async def test_a_watch_may_begin_after_an_event(gateway):
    made = gateway.add("a", state=pb.RENDER_STATE_CANCELLED)
    async with AsyncClient(gateway.address) as client:
        [e async for e in client.watch(made.render_id, after_sequence=7)]
        assert (await client.wait(made.render_id)).state is RenderState.CANCELLED
    assert [request.after_sequence for request in gateway.watches] == [7, 0]


async def test_a_watch_that_ends_early_is_an_error(gateway):
    made = gateway.add("a")
    async with AsyncClient(gateway.address) as client:
        with pytest.raises(RenderError, match="before the render had ended"):
            await client.wait(made.render_id)


async def test_a_server_that_stays_away_ends_the_watch(gateway, clock):
    clock.between = watching.PATIENCE
    made = gateway.add("a")

    async def once(request, attempt):
        if attempt == 1:
            yield event(1, render=made)
        raise BrokenConnectionError

    gateway.watching = once
    async with AsyncClient(gateway.address) as client:
        with pytest.raises(RenderError) as caught:
            await client.wait(made.render_id)
    assert caught.value.reason == "UNREACHABLE"
    assert len(gateway.watches) > 1


async def test_a_time_out_is_for_all_of_a_watch(gateway, clock):
    made = gateway.add("a")

    async def watching(request, attempt):
        yield event(1, render=made)
        yield event(2, render=made)
        clock.now += 400
        raise BrokenConnectionError

    gateway.watching = watching
    async with AsyncClient(gateway.address, timeout=1000) as client:
        with pytest.raises(RenderError) as caught:
            await client.wait(made.render_id)
    assert caught.value.code == "DEADLINE_EXCEEDED"
    assert len(gateway.watches) >= 3


async def test_what_there_is_not_says_how_to_find_what_there_is(gateway):
    async with AsyncClient(gateway.address) as client:
        calls = (client.get, client.cancel, client.delete, client.retry, client.wait)
        for call in calls:
            with pytest.raises(RenderError) as caught:
                await call("none")
            assert caught.value.reason == "RENDER_NOT_FOUND"
            assert "gator list" in caught.value.advice


async def test_cancel_retry_delete(gateway):
    made = gateway.add("a")
    async with AsyncClient(gateway.address) as client:
        with pytest.raises(RenderError) as caught:
            await client.delete(made.render_id)
        assert caught.value.reason == "WRONG_STATE"
        assert (await client.cancel(made.render_id)).state is RenderState.CANCELLED
        again = await client.retry(made.render_id)
        assert (again.retry_of, again.state) == (made.render_id, "queued")
        assert again.request_id
        assert (await client.retry(made.render_id, request_id="mine")).request_id == "mine"
        await client.delete(made.render_id)
    assert made.render_id not in gateway.renders


def test_the_sync_client_has_the_same_calls(gateway, tmp_path):
    with Client(gateway.address) as client:
        made = client.create("a", labels={"k": "v"})
        assert client.get(made.render_id) == made
        assert [r.render_id for r in client.list(states=["queued"])] == [made.render_id]
        assert client.cancel(made.render_id).state == "cancelled"
        assert [e.state for e in client.watch(made.render_id)] == ["cancelled"]
        assert client.wait(made.render_id).state == "cancelled"
        assert client.retry(made.render_id).retry_of == made.render_id
        video = client.download(made.render_id, tmp_path / "film.mp4")
        assert video.size_bytes == (tmp_path / "film.mp4").stat().st_size
        client.delete(made.render_id)
        assert len(list(client.list())) == 1
