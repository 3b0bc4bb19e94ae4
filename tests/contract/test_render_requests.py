"""RenderService as any client sees it: what is refused, what is replaced, and how it is told."""

import io
import math

import av
import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from google.rpc import code_pb2, error_details_pb2
from grpc_status import rpc_status

from gator.gateway.v1 import render_service_pb2 as pb
from gator.gateway.v1.render_service_pb2_grpc import RenderServiceStub
from gator.type.v1 import video_pb2
from rpckit.client import open_channel
from standalone import Standalone

DRAFT = video_pb2.QUALITY_DRAFT


@pytest.fixture
async def stub():
    async with Standalone() as stack, open_channel(stack.address) as channel:
        yield RenderServiceStub(channel)


def request(*prompts: str, **values: object) -> pb.RenderRequest:
    scenes = [pb.Scene(prompt=prompt) for prompt in prompts]
    defaults = {
        "quality": DRAFT,
        "use_ai_generation": False,
        "duration_per_frame": Duration(nanos=200_000_000),
    }
    return pb.RenderRequest(scenes=scenes, **{**defaults, **values})


def one(**values: object) -> pb.RenderRequest:
    made = request()
    made.scenes.add(**{"prompt": "a fox", **values})
    return made


async def details(call) -> tuple[error_details_pb2.ErrorInfo, list[str]]:
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        async for _ in call:
            pytest.fail("a message came before the error")
    status = rpc_status.from_call(raised.value)
    assert status.code == code_pb2.INVALID_ARGUMENT
    info, bad = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
    assert status.details[0].Unpack(info)
    assert status.details[1].Unpack(bad)
    return info, [violation.field for violation in bad.field_violations]


REFUSED = {
    "no scenes": (request(), ["scenes"]),
    "all prompts blank": (request("", " "), ["scenes[0].prompt", "scenes[1].prompt"]),
    "one prompt blank": (request("a fox", "\n"), ["scenes[1].prompt"]),
    "too many scenes": (request(*["a fox"] * 501), ["scenes"]),
    "prompt too long": (request("x" * 10_000), ["scenes[0].prompt"]),
    "control character": (request("a\x00fox"), ["scenes[0].prompt"]),
    "negative prompt too long": (one(negative_prompt="x" * 4_001), ["scenes[0].negative_prompt"]),
    "too long a video": (
        request(*["a fox"] * 13, duration_per_frame=Duration(seconds=600)),
        ["scenes"],
    ),
    "strict unknown quality": (request("a fox", quality=77, strict=True), ["quality"]),
    "strict unknown codec": (request("a fox", codec=7, strict=True), ["codec"]),
    "strict NaN": (request("a fox", guidance_scale=math.nan, strict=True), ["guidance_scale"]),
    "strict bidi": (request("a \u202efox", strict=True), ["scenes[0].prompt"]),
    "several at once": (
        request("", "a\x07", num_inference_steps=0, strict=True),
        ["num_inference_steps", "scenes[0].prompt", "scenes[1].prompt"],
    ),
}


@pytest.mark.parametrize("name", REFUSED)
async def test_refused_with_every_bad_field(stub, name):
    message, fields = REFUSED[name]
    info, bad = await details(stub.Render(message))
    assert (info.reason, info.domain) == ("INVALID_ARGUMENT", "gator.video")
    assert info.metadata["service"] == "gateway"
    assert bad == fields


SECOND = Duration(seconds=1)
REPLACED = {
    "unknown quality": (request("a fox", quality=77), "quality", "HIGH"),
    "unknown codec": (request("a fox", codec=7), "codec", "H264"),
    "unknown transition": (request("a fox", transition=-1), "transition", "CROSSFADE"),
    "unknown policy": (request("a fox", fallback_policy=9), "fallback_policy", "PLACEHOLDER"),
    "NaN guidance": (request("a fox", guidance_scale=math.nan), "guidance_scale", "7.5"),
    "infinite guidance": (request("a fox", guidance_scale=math.inf), "guidance_scale", "7.5"),
    "low guidance": (request("a fox", guidance_scale=0), "guidance_scale", "1"),
    "no steps": (request("a fox", num_inference_steps=0), "num_inference_steps", "1"),
    "many steps": (request("a fox", num_inference_steps=9999), "num_inference_steps", "100"),
    "negative duration": (
        request("a fox", duration_per_frame=Duration(seconds=-3)),
        "duration_per_frame",
        "0.0416667",
    ),
    "negative transition": (
        request("a fox", transition_duration=Duration(seconds=-1)),
        "transition_duration",
        "0",
    ),
    "scene's duration": (one(duration=Duration()), "scenes[0].duration", "0.0416667"),
    "scene's steps": (one(num_inference_steps=-5), "scenes[0].num_inference_steps", "1"),
    "scene's transition": (one(transition=55), "scenes[0].transition", "CROSSFADE"),
    "bidi controls": (request("a \u202efox"), "scenes[0].prompt", "0 of them"),
}


@pytest.mark.parametrize("name", REPLACED)
async def test_replaced_with_a_warning(stub, name):
    message, field, applied = REPLACED[name]
    call = stub.Render(message)
    accepted = (await call.read()).accepted
    call.cancel()
    assert [(w.field, w.applied) for w in accepted.warnings] == [(field, applied)]
    assert accepted.warnings[0].reason


async def test_a_prompt_alone_is_a_video_with_every_default(stub):
    call = stub.Render(pb.RenderRequest(scenes=[pb.Scene(prompt="a fox")]))
    accepted = (await call.read()).accepted
    call.cancel()
    assert accepted.quality == video_pb2.QUALITY_HIGH
    assert (accepted.preset.width, accepted.preset.height) == (1920, 1080)
    assert accepted.frame_count == 90
    assert accepted.duration == Duration(seconds=3)
    assert list(accepted.warnings) == []


@pytest.mark.parametrize(
    ("codec", "encoder", "entry"),
    [(0, "x264", b"avc1"), (1, "x264", b"avc1"), (2, "x265", b"hvc1"), (3, "SVT-AV1", b"av01")],
)
async def test_a_codec_is_what_the_video_is_coded_in(stub, codec, encoder, entry):
    responses = [r async for r in stub.Render(request("a fox", "a hen", codec=codec))]
    result = responses[-1].result
    assert encoder in result.encoder
    assert list(result.warnings) == []
    data = b"".join(r.video.data for r in responses)
    assert entry in data[: data.index(b"mdat")]
    with av.open(io.BytesIO(data)) as video:
        assert sum(1 for _ in video.decode(video=0)) == result.frame_count == 10


async def test_without_a_model_a_placeholder_says_what_was_passed_over(stub):
    responses = [r async for r in stub.Render(request("a fox", use_ai_generation=True))]
    (scene,) = responses[-1].result.scenes
    assert [over.reason for over in scene.provenance.passed_over]
    assert "No image generation models available" in scene.provenance.passed_over[0].message


async def test_fallback_policy_fail_fails_instead_of_a_placeholder(stub):
    message = request("a fox", use_ai_generation=True, fallback_policy="FALLBACK_POLICY_FAIL")
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        async for _ in stub.Render(message):
            pass
    assert raised.value.code() is grpc.StatusCode.FAILED_PRECONDITION
    assert "No image generation models available" in raised.value.details()
