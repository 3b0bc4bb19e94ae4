"""FrameGenService over loopback: the order of events, the frame's bytes, refusals, deadlines."""

import asyncio
import hashlib
import io
import math
import threading
from contextlib import asynccontextmanager

import grpc
import numpy as np
import pytest
from google.protobuf.duration_pb2 import Duration
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from PIL import Image

from frame_gen.servicer import build
from frame_gen.settings import Settings
from gator.frame_gen.v1 import frame_gen_service_pb2 as pb
from gator.frame_gen.v1 import frame_gen_service_pb2_grpc as stubs
from gator.type.v1 import frame_pb2, video_pb2
from rpckit.testing import connected, other_tasks
from rpckit.version import VERSION

MIB = 1 << 20
DEADLINE = (grpc.StatusCode.DEADLINE_EXCEEDED, "DEADLINE_EXCEEDED")
COLOURS = np.arange(7 * 5 * 3, dtype=np.uint8).reshape(5, 7, 3)


def png(picture=COLOURS):
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "PNG")
    return file.getvalue()


@asynccontextmanager
async def frame_gen(images=None, backends=("placeholder",), **settings):
    """A stub of a server; nothing of its calls is left at the end."""
    service = build(
        Settings(
            listen="127.0.0.1:0",
            backends=backends,
            placeholder_threads=2,
            grace=1,
            **settings,
        ),
        external_images=images,
    )
    async with connected(service) as channel:
        yield stubs.FrameGenServiceStub(channel)
    if ending := other_tasks():  # those in which gRPC itself ends a call
        await asyncio.wait(ending, timeout=100)
    assert not other_tasks()
    assert not [t.name for t in threading.enumerate() if t.name.startswith("placeholder")]


@pytest.fixture
async def stub():
    async with frame_gen() as stub:
        yield stub


def request(**changes):
    fields = {
        "prompt": "a lighthouse",
        "seed": 2**64 - 1,
        "num_inference_steps": 25,
        "guidance_scale": 7.5,
        "use_ai_generation": True,
        "video_width": 96,
        "video_height": 54,
        "scene_index": 1,
        "scene_count": 3,
        **changes,
    }
    return pb.GenerateFrameRequest(**fields)


async def answers(stub, asked, **call_options):
    call = stub.GenerateFrame(asked, **{"timeout": 500, **call_options})
    try:
        return [response async for response in call]
    finally:
        call.cancel()


async def frame(stub, asked=None, **call_options):
    """Header, bytes and done of a call whose messages come in the order of the contract."""
    messages = await answers(stub, asked or request(), **call_options)
    kinds = [message.WhichOneof("event") for message in messages]
    at = kinds.index("header")
    assert set(kinds[:at]) <= {"queued", "progress", "preview"}
    assert "progress" in kinds[:at]
    assert set(kinds[at + 1 : -1]) == {"chunk"}
    assert kinds[-1] == "done"
    chunks = [message.chunk.data for message in messages[at + 1 : -1]]
    assert [len(chunk) for chunk in chunks[:-1]] == [MIB] * (len(chunks) - 1)
    assert 1 <= len(chunks[-1]) <= MIB
    header, data, done = messages[at].header, b"".join(chunks), messages[-1].done
    assert header.pixel_format == video_pb2.PIXEL_FORMAT_RGB24
    assert header.size_bytes == len(data) == header.width * header.height * 3
    assert header.sha256 == hashlib.sha256(data).digest() == done.provenance.frame_sha256
    return header, data, done


async def refusal(stub, asked, **call_options):
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await answers(stub, asked, **call_options)
    return details(caught.value)


def details(error):
    """Status code, text, ErrorInfo, fields of BadRequest, RetryInfo."""
    info, bad = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
    retry = error_details_pb2.RetryInfo()
    for detail in rpc_status.from_call(error).details:
        detail.Unpack(info)
        detail.Unpack(bad)
        detail.Unpack(retry)
    assert info.domain == "gator.video"
    assert info.metadata["service"] == "frame_gen"
    violations = {v.field: v.description for v in bad.field_violations}
    assert all(violations.values())
    return error.code(), error.details(), info, violations, retry.retry_delay


@pytest.mark.parametrize(
    ("width", "height"), [(101, 67), (16, 16), (854, 480), (853, 479), (16, 8192), (8192, 17)]
)
async def test_a_placeholder_has_exactly_the_size_of_the_video(stub, width, height):
    header, _, done = await frame(stub, request(video_width=width, video_height=height))
    assert (header.width, header.height) == (width, height)
    assert (done.provenance.width, done.provenance.height) == (width, height)


async def test_a_placeholder_tells_where_it_comes_from(stub):
    _, _, done = await frame(stub)
    provenance = done.provenance
    assert provenance.backend == frame_pb2.BACKEND_PLACEHOLDER
    assert provenance.model == ""
    assert provenance.seed == 2**64 - 1
    assert (provenance.num_inference_steps, provenance.guidance_scale) == (0, 0.0)
    assert provenance.queue_time == Duration()
    assert provenance.generation_time.ToNanoseconds() > 0
    (over,) = provenance.passed_over
    assert (over.backend, over.reason) == (frame_pb2.BACKEND_DIFFUSERS, "NO_MODEL_AVAILABLE")
    assert over.message.startswith("No image generation models available")
    assert list(done.warnings) == []


@pytest.mark.parametrize("policy", frame_pb2.FallbackPolicy.values())
async def test_without_ai_a_placeholder_passes_nothing_over(stub, policy):
    _, _, done = await frame(stub, request(use_ai_generation=False, fallback_policy=policy))
    assert done.provenance.backend == frame_pb2.BACKEND_PLACEHOLDER
    assert list(done.provenance.passed_over) == []


async def test_the_same_request_gives_the_same_bytes_and_another_scene_others(stub):
    (first, same, other), third = (
        [(await frame(stub, request(scene_index=index)))[1] for index in (0, 0, 1)],
        (await frame(stub, request(scene_index=0, prompt="a harbour")))[1],
    )
    assert first == same
    assert len({first, other, third}) == 3


async def test_characters_that_cannot_be_drawn_are_warned_of(stub):
    _, _, done = await frame(stub, request(prompt="sea ზღვა", video_width=320, video_height=180))
    (warning,) = done.warnings
    assert warning.field == "prompt"
    assert warning.asked == "ზ (U+10D6), ღ (U+10E6), ვ (U+10D5), ა (U+10D0)"
    assert warning.applied == "\ufffd"
    assert warning.reason


async def test_many_frames_at_a_time_are_all_made_and_waiting_is_told(stub):
    made = await asyncio.gather(
        *(answers(stub, request(scene_index=i, scene_count=50)) for i in range(50))
    )
    assert all(messages[-1].WhichOneof("event") == "done" for messages in made)
    queued = [messages[0].queued for messages in made if messages[0].HasField("queued")]
    assert queued
    assert all(answer.position < 48 for answer in queued)


async def test_an_image_of_the_embedding_program_is_the_frame_at_its_own_size():
    async def images(asked):
        assert (asked.prompt, asked.negative_prompt) == ("a lighthouse", "fog")
        assert (asked.width, asked.height) == (96, 54)
        assert (asked.num_inference_steps, asked.guidance_scale) == (25, 7.5)
        assert asked.seed == 2**64 - 1
        return png()

    async with frame_gen(images) as stub:
        header, data, done = await frame(stub, request(negative_prompt="fog"))
    assert (header.width, header.height) == (7, 5)
    assert data == COLOURS.tobytes()
    provenance = done.provenance
    assert (provenance.backend, provenance.model) == (frame_pb2.BACKEND_EXTERNAL, "external")
    assert (provenance.num_inference_steps, provenance.guidance_scale) == (25, 7.5)
    assert list(provenance.passed_over) == []


@pytest.mark.parametrize(("width", "height"), [(1024, 1024), (1023, 1025), (8192, 128)])
async def test_a_frame_of_several_chunks_comes_whole(width, height):
    picture = np.random.default_rng(1).integers(0, 256, (height, width, 3), dtype=np.uint8)

    async def images(asked):
        return png(picture)

    async with frame_gen(images) as stub:
        _, data, _ = await frame(stub)
    assert data == picture.tobytes()


async def test_a_generator_that_fails_is_passed_over_for_a_placeholder():
    async def images(asked):
        raise RuntimeError("sk-secret")

    async with frame_gen(images) as stub:
        _, _, done = await frame(stub)
        status, text, info, _, _ = await refusal(
            stub, request(fallback_policy=frame_pb2.FALLBACK_POLICY_FAIL)
        )
    assert done.provenance.backend == frame_pb2.BACKEND_PLACEHOLDER
    (over,) = done.provenance.passed_over
    assert (over.backend, over.reason) == (frame_pb2.BACKEND_EXTERNAL, "GENERATION_FAILED")
    assert over.message.startswith("AI frame generation failed")
    assert "secret" not in over.message
    assert (status, info.reason) == (grpc.StatusCode.INTERNAL, "GENERATION_FAILED")
    assert text.startswith("scenes[1]: AI frame generation failed")
    assert "EXTERNAL" in text
    assert "secret" not in text
    assert (info.metadata["backends"], info.metadata["scene"]) == ("EXTERNAL", "1")


async def test_the_policy_fail_with_no_model_is_a_failed_precondition(stub):
    status, text, info, violations, _ = await refusal(
        stub, request(fallback_policy=frame_pb2.FALLBACK_POLICY_FAIL)
    )
    assert (status, info.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "NO_MODEL_AVAILABLE")
    assert text.startswith("scenes[1]: No image generation models available")
    assert not violations


BAD_FIELDS = {
    "no prompt": ({"prompt": ""}, "prompt", "blank"),
    "blank prompt": ({"prompt": " \t\n\u3000\u2003"}, "prompt", "blank"),
    "long prompt": ({"prompt": "😀" * 4_001}, "prompt", "4001"),
    "long negative prompt": ({"negative_prompt": "x" * 4_001}, "negative_prompt", "4001"),
    "no steps": ({"num_inference_steps": 0}, "num_inference_steps", "from 1 to 100"),
    "101 steps": ({"num_inference_steps": 101}, "num_inference_steps", "is 101;"),
    "most steps": ({"num_inference_steps": 2**32 - 1}, "num_inference_steps", "is 4294967295;"),
    "guidance nan": ({"guidance_scale": math.nan}, "guidance_scale", "is nan;"),
    "guidance inf": ({"guidance_scale": math.inf}, "guidance_scale", "is inf;"),
    "guidance -inf": ({"guidance_scale": -math.inf}, "guidance_scale", "is -inf;"),
    "guidance 0.99": ({"guidance_scale": 0.99}, "guidance_scale", "is 0.99;"),
    "guidance just over": ({"guidance_scale": 20.00001}, "guidance_scale", "is 20.00001"),
    "narrow": ({"video_width": 15}, "video_width", "from 16 to 8192"),
    "wide": ({"video_width": 8_193}, "video_width", "is 8193;"),
    "low": ({"video_height": 15}, "video_height", "from 16 to 8192"),
    "high": ({"video_height": 1_234_567}, "video_height", "is 1234567;"),
    "index at count": ({"scene_index": 3}, "scene_index", "is 3;"),
    "501 scenes": ({"scene_count": 501}, "scene_count", "from 1 to 500"),
    "unknown policy": ({"fallback_policy": 99}, "fallback_policy", "is 99"),
    "negative policy": ({"fallback_policy": -1}, "fallback_policy", "is -1"),
}


@pytest.mark.parametrize("name", BAD_FIELDS)
async def test_a_bad_field_is_named(stub, name):
    changes, field, said = BAD_FIELDS[name]
    status, text, info, violations, _ = await refusal(stub, request(**changes))
    assert (status, info.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_ARGUMENT")
    assert list(violations) == [field]
    assert said in violations[field]
    assert field in text


async def test_every_bad_field_is_named_at_once(stub):
    asked = pb.GenerateFrameRequest(
        negative_prompt="x" * 4_001, guidance_scale=math.nan, scene_index=1, fallback_policy=7
    )
    _, text, _, violations, _ = await refusal(stub, asked)
    fields = {
        "prompt",
        "negative_prompt",
        "num_inference_steps",
        "guidance_scale",
        "video_width",
        "video_height",
        "scene_count",
        "scene_index",
        "fallback_policy",
    }
    assert set(violations) == fields
    assert all(field in text for field in fields)


@pytest.mark.parametrize(
    "changes",
    [
        {"prompt": "😀" * 4_000, "negative_prompt": "x" * 4_000},
        {"num_inference_steps": 1, "guidance_scale": 1.0},
        {"num_inference_steps": 100, "guidance_scale": 20.0},
        {"scene_index": 499, "scene_count": 500},
        {"seed": 0, "scene_index": 0, "scene_count": 1},
        {"prompt": "\u202e\x00\u200b"},
    ],
    ids=["longest", "least", "most", "last scene", "only scene", "odd characters"],
)
async def test_the_outermost_values_are_taken(stub, changes):
    await frame(stub, request(**changes))


class Gated:
    """Images that come when the gate is opened."""

    def __init__(self):
        self.begun, self.ended, self.gate = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def __call__(self, asked):
        self.begun.set()
        try:
            await self.gate.wait()
            return png()
        finally:
            self.ended.set()


async def test_one_request_too_many_is_refused_with_a_time_to_try_again():
    images = Gated()
    async with frame_gen(images, max_requests=2) as stub:
        held = [stub.GenerateFrame(request()) for _ in range(2)]
        for call in held:
            assert (await call.read()).WhichOneof("event") in {"progress", "queued"}
        status, text, info, _, delay = await refusal(stub, request())
        assert (status, info.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "OVERLOADED")
        assert delay == Duration(seconds=2)
        assert "try later" in text
        images.gate.set()
        for call in held:
            while (message := await call.read()) is not grpc.aio.EOF:
                last = message
            assert last.HasField("done")
        await frame(stub)


@pytest.mark.parametrize("policy", ["PLACEHOLDER", "FAIL"])
async def test_a_slow_model_leaves_time_of_the_call_for_what_comes_after(policy):
    """A placeholder, or an error that says more than that time is over."""
    images = Gated()
    asked = request(fallback_policy=f"FALLBACK_POLICY_{policy}", video_width=16, video_height=16)
    async with frame_gen(images) as stub:
        if policy == "PLACEHOLDER":
            _, _, done = await frame(stub, asked, timeout=5)
            (over,) = done.provenance.passed_over
            assert (over.backend, over.reason) == (frame_pb2.BACKEND_EXTERNAL, "DEADLINE_EXCEEDED")
        else:
            status, text, info, _, _ = await refusal(stub, asked, timeout=5)
            assert (status, info.reason) == DEADLINE
            assert "EXTERNAL: AI frame generation failed: the call's time ran out" in text
        assert images.ended.is_set()


async def test_a_model_that_takes_longer_than_a_frame_may_is_passed_over():
    images = Gated()
    async with frame_gen(images, frame_timeout=3) as stub:
        _, _, done = await frame(stub)
        images.gate.set()
        _, _, after = await frame(stub)
    assert done.provenance.passed_over[0].reason == "DEADLINE_EXCEEDED"
    assert "GATOR_FRAME_GEN_FRAME_TIMEOUT" in done.provenance.passed_over[0].message
    assert after.provenance.backend == frame_pb2.BACKEND_EXTERNAL


@pytest.mark.parametrize("how", ["cancel", "deadline"])
async def test_a_client_that_leaves_ends_the_work_and_the_next_request_is_made(how):
    images = Gated()
    asked = request(fallback_policy=frame_pb2.FALLBACK_POLICY_FAIL)
    async with frame_gen(images) as stub:
        call = stub.GenerateFrame(asked, timeout=500 if how == "cancel" else 3)
        await images.begun.wait()
        if how == "cancel":
            call.cancel()
        await images.ended.wait()
        with pytest.raises((grpc.aio.AioRpcError, asyncio.CancelledError)):
            async for message in call:
                assert message.WhichOneof("event") == "progress"
        images.gate.set()
        _, _, done = await frame(stub)
        assert done.provenance.backend == frame_pb2.BACKEND_EXTERNAL


async def test_clients_that_leave_while_they_wait_make_room_for_others():
    images = Gated()
    async with frame_gen(images) as stub:
        first = asyncio.create_task(frame(stub))
        await images.begun.wait()
        waiting = [stub.GenerateFrame(request()) for _ in range(10)]
        for call in waiting:
            assert (await call.read()).HasField("queued")
        for call in waiting[:9]:
            call.cancel()
        images.gate.set()
        await first
        while (message := await waiting[9].read()) is not grpc.aio.EOF:
            last = message
        assert last.done.provenance.backend == frame_pb2.BACKEND_EXTERNAL


async def test_clients_that_leave_while_their_placeholders_are_drawn_leave_no_thread(stub):
    asked = request(video_width=3840, video_height=2160)
    calls = [stub.GenerateFrame(asked) for _ in range(6)]
    for call in calls:
        assert (await call.read()).WhichOneof("event") in {"queued", "progress"}
    for call in calls:
        call.cancel()
    await frame(stub)


async def test_capabilities_without_a_model_say_what_to_do(monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.setenv("GATOR_FRAME_GEN_DIFFUSERS_ENABLED", "false")
    async with frame_gen(backends=("diffusers", "openai", "placeholder")) as stub:
        answer = await stub.GetCapabilities(pb.GetCapabilitiesRequest())
    *models, placeholder = answer.backends
    assert [(m.backend, m.available) for m in models] == [
        (frame_pb2.BACKEND_DIFFUSERS, False),
        (frame_pb2.BACKEND_OPENAI, False),
    ]
    assert all(m.message.startswith("No image generation models available") for m in models)
    assert (placeholder.backend, placeholder.available) == (frame_pb2.BACKEND_PLACEHOLDER, True)
    assert placeholder.message == ""
    assert answer.device.type == "cpu"
    assert answer.version == VERSION


async def test_capabilities_list_backends_in_the_order_in_which_they_are_tried():
    async with frame_gen(Gated()) as stub:
        answer = await stub.GetCapabilities(pb.GetCapabilitiesRequest())
    assert [b.backend for b in answer.backends] == [
        frame_pb2.BACKEND_EXTERNAL,
        frame_pb2.BACKEND_PLACEHOLDER,
    ]
    assert all(b.available for b in answer.backends)
    assert list(answer.backends[0].models) == ["external"]
