"""A render end to end, through the gateway and the compositor, with a frame source we steer."""

import asyncio
import errno
import hashlib
import io
import threading
from datetime import timedelta
from fractions import Fraction

import av
import grpc
import pytest

from compositor.servicer import build as build_compositor
from compositor.settings import Settings as CompositorSettings
from gateway import downstream, service
from gateway.jobs import states
from gateway.spool import SpooledFrame
from gator.frame_gen.v1 import frame_gen_service_pb2 as frame_gen_pb
from gator.frame_gen.v1 import frame_gen_service_pb2_grpc as frame_gen_stubs
from gator.gateway.v1 import render_service_pb2 as pb
from gator.type.v1 import frame_pb2, video_pb2
from rpckit.errors import FieldViolation, GatorError, Reason, invalid
from rpckit.server import RunningServer
from rpckit.status import from_rpc_error
from rpckit.testing import other_tasks, running, scripted
from tests.support.frame_source import FrameSource
from tests.support.gateways import LOOPBACK, gateway, request, stack
from tests.support.leftovers import nothing_left
from tests.support.processes import server_process


async def read(call) -> list[pb.RenderResponse]:
    return [response async for response in call]


async def failure(call) -> tuple[GatorError, list[pb.RenderResponse]]:
    seen: list[pb.RenderResponse] = []
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        async for response in call:
            seen.append(response)
    return from_rpc_error(raised.value, "gateway"), seen


def video_of(responses: list[pb.RenderResponse]) -> bytes:
    return b"".join(r.video.data for r in responses if r.WhichOneof("event") == "video")


def pictures(video: bytes) -> int:
    """How many pictures of a video that is not complete can be shown."""
    if not video:
        return 0
    with av.open(io.BytesIO(video)) as container:
        return sum(1 for _ in container.decode(video=0))


@pytest.fixture
def quick_retries(monkeypatch):
    """A render is tried again at once."""
    monkeypatch.setattr(states, "FIRST_BACKOFF", timedelta(milliseconds=10))


async def test_the_result_describes_the_video_that_came():
    source = FrameSource()
    async with stack(source) as stub:
        responses = await read(stub.Render(request(3, 0.5)))
    events = [r.WhichOneof("event") for r in responses]
    assert events[0] == "accepted"
    assert events[-1] == "result"
    accepted, result, video = responses[0].accepted, responses[-1].result, video_of(responses)
    assert accepted.frame_count == result.frame_count == 36
    assert accepted.render_id == result.render_id
    assert result.size_bytes == len(video)
    assert result.sha256 == hashlib.sha256(video).digest()
    assert (result.width, result.height, result.fps, result.format) == (854, 480, 24, "MP4")
    assert (result.num_scenes, result.frames_generated) == (3, 3)
    assert result.transition == video_pb2.TRANSITION_CROSSFADE
    assert [s.start_time.ToMilliseconds() for s in result.scenes] == [0, 500, 1000]
    assert {s.provenance.backend for s in result.scenes} == {frame_pb2.BACKEND_DIFFUSERS}
    assert result.scenes[2].transition == video_pb2.TRANSITION_UNSPECIFIED
    assert [w.field for w in result.warnings] == [f"scenes[{i}].prompt" for i in range(3)]
    with av.open(io.BytesIO(video)) as container:
        assert sum(1 for _ in container.decode(video=0)) == 36
        assert Fraction(container.duration, av.time_base) == Fraction(3, 2)
    progress = [r.progress.fraction for r in responses if r.WhichOneof("event") == "progress"]
    assert progress == sorted(progress)
    assert progress[-1] == 1
    finished = [
        r.scene.index for r in responses if r.scene.state == pb.SceneState.SCENE_STATE_FINISHED
    ]
    assert sorted(finished) == [0, 1, 2]


async def test_the_shortest_scenes_are_one_picture_each():
    async with stack(FrameSource()) as stub:
        call = stub.Render(request(3, 0.0, quality=video_pb2.QUALITY_STANDARD))
        responses = await read(call)
    assert responses[-1].result.frame_count == pictures(video_of(responses)) == 3
    assert [w.field for w in responses[0].accepted.warnings] == ["duration_per_frame"]


async def test_video_comes_while_a_later_scene_is_still_being_made():
    source = FrameSource()
    source.hold(1)
    async with stack(source) as stub:
        responses = aiter(stub.Render(request(2, 3.0)))
        video = b""
        # Scene 0 is held for 60 pictures; the muxer keeps less than half a second of them.
        while pictures(video) < 60 - 12:
            video += (await anext(responses)).video.data
        assert source.running == {1}
        source.release(1)
        rest = await read(responses)
    assert rest[-1].result.frame_count == 144
    assert rest[-1].result.sha256 == hashlib.sha256(video + video_of(rest)).digest()


async def test_scenes_run_side_by_side_within_both_bounds():
    source = FrameSource()
    source.hold(*range(12))
    async with stack(source, max_concurrent_scenes=3, scenes_ahead=4) as stub:
        call = stub.Render(request(12, 0.2))
        reading = asyncio.create_task(read(call))
        for index in (0, 1, 2):
            await source.started[index].wait()
        assert source.running == {0, 1, 2}
        # Scene 0 is being composed: 1 to 4 may be made, 5 not.
        source.release(1, 2, 3, 4)
        for index in (1, 2, 3, 4):
            await source.ended[index].wait()
        assert 5 not in source.asked
        source.release(0)
        await source.started[5].wait()
        source.release(*range(5, 12))
        responses = await reading
    assert responses[-1].result.num_scenes == 12
    assert source.most_running == 3


async def test_a_scene_is_started_again_after_a_transient_error():
    source = FrameSource()
    source.errors[1] = [
        GatorError(Reason.SHUTTING_DOWN, "going away", retry_after=0.01),
        GatorError(Reason.OVERLOADED, "busy", retry_after=0.01),
    ]
    async with stack(source) as stub:
        responses = await read(stub.Render(request(2, 0.2)))
    assert responses[-1].result.num_scenes == 2
    assert source.asked == {0: 1, 1: 3}


async def test_an_error_of_a_scene_ends_the_render_with_its_reason():
    source = FrameSource()
    source.hold(0)
    source.errors[1] = [GatorError(Reason.GENERATION_FAILED, "the model broke")]
    async with stack(source) as stub:
        before, threads = other_tasks(), set(threading.enumerate())
        error, seen = await failure(stub.Render(request(2, 0.2)))
        await source.ended[0].wait()
        await nothing_left(before, threads)
    assert error.reason is Reason.GENERATION_FAILED
    assert error.message == "the model broke"
    assert error.metadata["service"] == "frame_gen"
    assert seen[0].WhichOneof("event") == "accepted"
    assert source.asked == {0: 1, 1: 1}


async def test_a_client_that_leaves_ends_everything(tmp_path):
    source = FrameSource()
    source.hold(1)
    async with stack(source, spool_dir=tmp_path) as stub:
        before, threads = other_tasks(), set(threading.enumerate())
        call = stub.Render(request(2, 2.0))
        async for response in call:
            if response.WhichOneof("event") == "video":
                break
        call.cancel()
        await source.ended[1].wait()
        await nothing_left(before, threads)
    assert list(tmp_path.iterdir()) == []


async def test_a_deadline_tells_which_service_was_waited_for(monkeypatch):
    # Each hop keeps back so much that its answer comes in time on any machine.
    monkeypatch.setattr(service, "hop_timeout", lambda left, _: None if left is None else left - 20)
    source = FrameSource()
    source.hold(0)
    async with stack(source) as stub:
        before, threads = other_tasks(), set(threading.enumerate())
        error, _ = await failure(stub.Render(request(1), timeout=43.0))
        await source.ended[0].wait()
        await nothing_left(before, threads)
    assert error.reason is Reason.DEADLINE_EXCEEDED
    assert error.metadata["downstream"] == "frame_gen"


async def test_a_render_waits_for_its_turn_and_one_too_many_is_told_when_to_come_back():
    source = FrameSource()
    source.hold(0)
    async with stack(source, max_concurrent_renders=1, max_queued=1) as stub:
        first = stub.Render(request(1, 0.2))
        await source.started[0].wait()
        second = aiter(stub.Render(request(1, 0.2)))
        assert (await anext(second)).WhichOneof("event") == "accepted"
        error, _ = await failure(stub.Render(request(1, 0.2)))
        assert source.asked[0] == 1
        source.release(0)
        renders = await asyncio.gather(read(first), read(second))
    assert error.reason is Reason.OVERLOADED
    assert error.retry_after == 5
    assert [r[-1].result.num_scenes for r in renders] == [1, 1]


async def test_a_frame_that_cannot_be_is_not_the_clients_fault():
    class Broken(frame_gen_stubs.FrameGenServiceServicer):
        async def GenerateFrame(self, request, context):
            yield frame_gen_pb.GenerateFrameResponse(header=frame_pb2.FrameHeader(width=1))

    def register(server):
        frame_gen_stubs.add_FrameGenServiceServicer_to_server(Broken(), server)

    videos = CompositorSettings(listen=LOOPBACK)
    async with (
        running(scripted(register, "gator.frame_gen.v1.FrameGenService")) as frame_gen,
        RunningServer(build_compositor(videos), videos) as compositor,
        gateway(frame_gen.address, compositor.address, scene_attempts=1) as stub,
    ):
        error, _ = await failure(stub.Render(request(1)))
    assert error.reason is Reason.FRAME_CORRUPT
    assert error.violations == ()
    assert error.metadata["downstream"] == "frame_gen"


async def test_a_spooled_frame_that_cannot_be_read_ends_the_render(monkeypatch):
    async def chunks(self):
        raise OSError(errno.EIO, "the disk is broken")
        yield b""

    monkeypatch.setattr(SpooledFrame, "chunks", chunks)
    async with stack(FrameSource()) as stub:
        before, threads = other_tasks(), set(threading.enumerate())
        error, _ = await failure(stub.Render(request(2, 0.2)))
        await nothing_left(before, threads)
    assert error.reason is Reason.INTERNAL
    assert error.metadata["service"] == "gateway"


async def test_renders_wait_for_a_compositor_that_has_no_room():
    source = FrameSource()
    async with stack(source, videos_at_a_time=1) as stub:
        renders = await asyncio.gather(*(read(stub.Render(request(1, 0.2))) for _ in range(5)))
    assert [r[-1].result.frame_count for r in renders] == [5] * 5


async def test_a_field_that_frame_generation_refuses_is_named_as_in_the_request():
    source = FrameSource()
    source.errors[1] = [invalid(FieldViolation("prompt", "is not liked"))]
    async with stack(source) as stub:
        error, _ = await failure(stub.Render(request(2, 0.2)))
    assert error.reason is Reason.INVALID_ARGUMENT
    assert [v.field for v in error.violations] == ["scenes[1].prompt"]


async def test_a_frame_generation_server_that_dies_in_each_frame(quick_retries):
    videos = CompositorSettings(listen=LOOPBACK)
    async with (
        server_process("tests.support.dying_frame_gen") as (process, frame_gen),
        RunningServer(build_compositor(videos), videos) as compositor,
        gateway(frame_gen, compositor.address, scene_attempts=1) as stub,
    ):
        before, threads = other_tasks(), set(threading.enumerate())
        error, _ = await failure(stub.Render(request(2, 0.5)))
        await process.wait()
        await nothing_left(before, threads)
    assert error.reason is Reason.DOWNSTREAM_UNAVAILABLE
    assert error.metadata["downstream"] == "frame_gen"


async def test_a_compositor_that_dies_in_a_video(quick_retries):
    source = FrameSource()
    source.hold(1)
    frames = CompositorSettings(listen=LOOPBACK)
    async with (
        RunningServer(source.service(), frames) as frame_gen,
        server_process("compositor", GATOR_COMPOSITOR_LISTEN=LOOPBACK) as (process, compositor),
        gateway(frame_gen.address, compositor) as stub,
    ):
        before, threads = other_tasks(), set(threading.enumerate())
        call = stub.Render(request(2, 2.0))
        async for response in call:
            if response.WhichOneof("event") == "video":
                process.kill()
                break
        error, _ = await failure(call)
        await source.ended[1].wait()
        await nothing_left(before, threads)
    assert error.reason is Reason.DOWNSTREAM_UNAVAILABLE
    assert error.metadata["downstream"] == "compositor"


async def test_capabilities_without_a_compositor_leave_no_call_to_the_other(monkeypatch):
    monkeypatch.setattr(downstream, "CAPABILITIES_TIMEOUT", 3600)
    left = asyncio.Event()

    class Slow(frame_gen_stubs.FrameGenServiceServicer):
        async def GetCapabilities(self, request, context):
            try:
                await asyncio.Event().wait()
            finally:
                left.set()

    def register(server):
        frame_gen_stubs.add_FrameGenServiceServicer_to_server(Slow(), server)

    async with (
        running(scripted(register, "gator.frame_gen.v1.FrameGenService")) as frame_gen,
        gateway(frame_gen.address, "127.0.0.1:1") as stub,
    ):
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await stub.GetCapabilities(pb.GetCapabilitiesRequest())
        await left.wait()
    assert from_rpc_error(raised.value, "gateway").metadata["downstream"] == "compositor"


async def test_capabilities_are_those_of_both_services_and_the_limits():
    async with stack(FrameSource()) as stub:
        answer = await stub.GetCapabilities(pb.GetCapabilitiesRequest())
    assert [p.preset.width for p in answer.presets] == [854, 1280, 1920, 3840]
    assert len(answer.transitions) == 6
    assert [b.models for b in answer.backends] == [["plain"]]
    assert answer.limits.max_scenes == 500
    assert "x264" in answer.encoder
    assert [(c.codec, c.hardware) for c in answer.codecs] == [(1, False), (2, False), (3, False)]
    assert answer.codecs[0].encoder == answer.encoder
