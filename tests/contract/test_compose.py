"""CompositorService over loopback: the order of messages, bad requests, corrupt frames."""

import asyncio
import hashlib
import io
import tempfile
import threading
from fractions import Fraction
from pathlib import Path

import av
import grpc
import numpy as np
import pytest
from google.protobuf.duration_pb2 import Duration
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from compositor.servicer import build
from compositor.settings import Settings
from gator.compositor.v1 import compositor_service_pb2 as pb
from gator.compositor.v1 import compositor_service_pb2_grpc as stubs
from gator.type.v1 import frame_pb2, video_pb2
from rpckit.frame import MAX_CHUNK_SIZE
from rpckit.testing import connected, other_tasks, running

NANO = Duration(nanos=1)
HALF = Duration(nanos=500_000_000)
COLOUR = bytes((200, 120, 40))


@pytest.fixture
async def stub():
    async with connected(build(Settings(threads=2, max_concurrent=2, grace=1))) as channel:
        yield stubs.CompositorServiceStub(channel)
    if ending := other_tasks():  # those in which gRPC itself ends a call
        await asyncio.wait(ending, timeout=100)
    assert not other_tasks()
    assert not [t.name for t in threading.enumerate() if t.name.startswith("compose")]


def specification(*scenes, quality=video_pb2.QUALITY_DRAFT, **fields):
    message = pb.ComposeSpecification(quality=quality, scenes=scenes, **fields)
    return pb.ComposeRequest(specification=message)


def scene(**fields):
    return pb.ComposeScene(**{"duration": HALF, **fields})


def header(index=0, **changes):
    fields = {
        "width": 32,
        "height": 18,
        "pixel_format": video_pb2.PIXEL_FORMAT_RGB24,
        "size_bytes": 32 * 18 * 3,
        "sha256": hashlib.sha256(COLOUR * (32 * 18)).digest(),
        **changes,
    }
    return pb.ComposeRequest(
        scene=pb.SceneFrame(index=index, frame=frame_pb2.FrameHeader(**fields))
    )


def chunk(data=COLOUR * (32 * 18)):
    return pb.ComposeRequest(chunk=frame_pb2.FrameChunk(data=data))


async def answers(stub, *requests, **options):
    async def stream():
        for request in requests:
            yield request

    call = stub.Compose(stream(), **options)
    try:
        return [response async for response in call]
    finally:
        call.cancel()


async def refusal(stub, *requests):
    """Status code, ErrorInfo and the fields of BadRequest of a call that fails."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await answers(stub, *requests)
    return details(caught.value)


def details(error):
    info, bad = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
    for detail in rpc_status.from_call(error).details:
        detail.Unpack(info)
        detail.Unpack(bad)
    assert info.domain == "gator.video"
    assert info.metadata["service"] == "compositor"
    assert error.details()
    return error.code(), info, [v.field for v in bad.field_violations]


async def test_a_video_is_planned_sent_and_summed_up(stub):
    whole = COLOUR * (32 * 18)
    first, *between, last = await answers(
        stub,
        specification(scene(), scene(duration=Duration(seconds=1))),
        header(0),
        chunk(whole[:100]),
        chunk(whole[100:]),
        header(1),
        chunk(),
    )
    plan = first.plan
    assert (plan.frame_count, plan.preset.width, plan.preset.fps) == (36, 854, 24)
    assert plan.duration == Duration(seconds=1, nanos=500_000_000)
    slots = [(s.first_frame, s.frame_count, s.transition_frame_count) for s in plan.slots]
    assert slots == [(0, 12, 11), (12, 24, 0)]
    data = b"".join(r.video.data for r in between)
    assert {r.WhichOneof("part") for r in between} <= {"progress", "video"}
    assert all(len(r.video.data) <= 1 << 20 for r in between)
    summary = last.summary
    assert (summary.frame_count, summary.duration) == (36, plan.duration)
    assert (summary.size_bytes, summary.sha256) == (len(data), hashlib.sha256(data).digest())
    assert summary.format == "MP4"
    assert "x264" in summary.encoder


async def test_defaults_are_high_crossfade_and_half_a_second(stub):
    message = pb.ComposeSpecification(scenes=[pb.ComposeScene(duration=Duration(seconds=1))] * 2)
    call = stub.Compose()
    await call.write(pb.ComposeRequest(specification=message))
    plan = (await call.read()).plan
    call.cancel()
    assert (plan.preset.width, plan.preset.fps) == (1920, 30)
    assert plan.slots[0].transition_frame_count == 15


FRAGMENTED, FASTSTART = video_pb2.VIDEO_FORM_FRAGMENTED, video_pb2.VIDEO_FORM_FASTSTART
FORMS = {
    "none said": ([], True, False),
    "unspecified": ([0], True, False),
    "fragmented": ([FRAGMENTED], True, False),
    "faststart": ([FASTSTART], False, True),
    "both": ([FASTSTART, FRAGMENTED, FASTSTART], True, True),
}


@pytest.mark.parametrize("name", FORMS)
@pytest.mark.parametrize("codec", [0, video_pb2.CODEC_HEVC, video_pb2.CODEC_AV1])
async def test_the_forms_that_are_asked_for_are_sent(stub, name, codec):
    forms, fragmented, stored = FORMS[name]
    responses = await answers(
        stub,
        specification(scene(), scene(), forms=forms, codec=codec),
        *(header(0), chunk()),
        *(header(1), chunk()),
    )
    kinds = [r.WhichOneof("part") for r in responses]
    assert ("video" in kinds, "stored" in kinds) == (fragmented, stored)
    # The stored form comes when the other is complete, and the summary last.
    assert kinds[-1] == "summary"
    assert "video" not in kinds[kinds.index("stored") :] if stored else True
    summary = responses[-1].summary
    first = b"".join(r.video.data for r in responses)
    second = b"".join(r.stored.data for r in responses)
    assert (summary.size_bytes, summary.sha256) == told_of(first)
    assert (summary.stored_size_bytes, summary.stored_sha256) == told_of(second)
    shown = [pictures(data) for data in (first, second) if data]
    for found in shown:
        assert [time for time, _ in found] == [Fraction(k, 24) for k in range(24)]
        same = zip(found, shown[0], strict=True)
        assert all(np.array_equal(luma, other) for (_, luma), (_, other) in same)
    if stored:
        assert second.index(b"moov") < second.index(b"mdat")
        assert b"moof" not in second


def told_of(data):
    return len(data), hashlib.sha256(data).digest() if data else b""


def pictures(data):
    """(time in seconds, luma) of each picture."""
    with av.open(io.BytesIO(data)) as container:
        stream = container.streams.video[0]
        return [
            (frame.pts * stream.time_base, frame.to_ndarray()[: frame.height])
            for frame in container.decode(stream)
        ]


async def test_a_client_that_leaves_amid_the_stored_form_leaves_no_file(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    # Detail enough that the file is larger than what this connection holds on its way.
    narrow = (("grpc.http2.bdp_probe", 0), ("grpc.http2.lookahead_bytes", 65_536))
    noisy = np.random.default_rng(1).integers(0, 256, 854 * 480 * 3, np.uint8).tobytes()
    frame = {"width": 854, "height": 480, "size_bytes": len(noisy)}
    sha256 = hashlib.sha256(noisy).digest()
    scenes = [scene(duration=Duration(seconds=1))] * 6
    async with (
        running(build(Settings(threads=2, grace=1))) as server,
        grpc.aio.insecure_channel(server.address, options=narrow) as channel,
    ):
        call = stubs.CompositorServiceStub(channel).Compose()
        await call.write(specification(*scenes, forms=[FASTSTART]))
        for index in range(len(scenes)):
            await call.write(header(index, **frame, sha256=sha256))
            for begin in range(0, len(noisy), 1 << 20):
                await call.write(chunk(noisy[begin : begin + (1 << 20)]))
        await call.done_writing()
        while (await call.read()).WhichOneof("part") != "stored":
            pass
        assert open_files_without_name(tmp_path)
        call.cancel()
    assert not open_files_without_name(tmp_path)


def open_files_without_name(folder):
    links = (path.readlink() for path in Path("/proc/self/fd").iterdir() if path.is_symlink())
    return [link for link in map(str, links) if link.startswith(str(folder))]


BAD_SPECIFICATIONS = {
    "unknown codec": ([scene()], {"codec": 9}, ["codec"]),
    "unknown form": ([scene()], {"forms": [FASTSTART, 7]}, ["forms[1]"]),
    "no scenes": ([], {}, ["scenes"]),
    "501 scenes": ([scene()] * 501, {}, ["scenes"]),
    "over 7,200 s": ([scene(duration=Duration(seconds=600))] * 13, {}, ["scenes"]),
    "unknown quality": ([scene()], {"quality": 99}, ["quality"]),
    "unknown transition": ([scene(transition=77)], {}, ["scenes[0].transition"]),
    "no duration": ([pb.ComposeScene()], {}, ["scenes[0].duration"]),
    "zero duration": ([scene(duration=Duration())], {}, ["scenes[0].duration"]),
    "negative duration": ([scene(duration=Duration(seconds=-1))], {}, ["scenes[0].duration"]),
    "under a frame": ([scene(duration=Duration(nanos=41_666_666))], {}, ["scenes[0].duration"]),
    "over 600 s": ([scene(duration=Duration(seconds=600, nanos=1))], {}, ["scenes[0].duration"]),
    "mixed signs": ([scene(duration=Duration(seconds=1, nanos=-1))], {}, ["scenes[0].duration"]),
    "too many nanos": ([scene(duration=Duration(nanos=2**31 - 1))], {}, ["scenes[0].duration"]),
    "transition over 10 s": (
        [scene(transition_duration=Duration(seconds=11))],
        {},
        ["scenes[0].transition_duration"],
    ),
    "negative transition": (
        [scene(transition_duration=Duration(nanos=-1))],
        {},
        ["scenes[0].transition_duration"],
    ),
    "everything at once": (
        [scene(), scene(duration=NANO, transition=9, transition_duration=Duration(seconds=-1))],
        {"quality": 99},
        ["quality", "scenes[1].duration", "scenes[1].transition", "scenes[1].transition_duration"],
    ),
}


@pytest.mark.parametrize("name", BAD_SPECIFICATIONS)
async def test_a_bad_specification_is_refused_with_every_bad_field(stub, name):
    scenes, options, fields = BAD_SPECIFICATIONS[name]
    code, info, named = await refusal(stub, specification(*scenes, **options))
    assert (code, info.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_ARGUMENT")
    assert named == [f"specification.{field}" for field in fields]


async def test_the_shortest_and_the_longest_scene_are_accepted(stub):
    for duration in (Duration(nanos=41_666_667), Duration(seconds=600)):
        call = stub.Compose()
        await call.write(specification(scene(duration=duration)))
        assert (await call.read()).plan.frame_count in {1, 14_400}
        call.cancel()


BAD_HEADERS = {
    "no width": ({"width": 0}, ["width"]),
    "too wide": ({"width": 16_385}, ["width"]),
    "too many pixels": ({"width": 16_384, "height": 16_384}, ["width"]),
    "no pixel format": ({"pixel_format": 0}, ["pixel_format"]),
    "unknown pixel format": ({"pixel_format": 9}, ["pixel_format"]),
    "odd I420": ({"width": 33, "pixel_format": video_pb2.PIXEL_FORMAT_I420}, ["pixel_format"]),
    "another size": ({"size_bytes": 1}, ["size_bytes"]),
    "no checksum": ({"sha256": b""}, ["sha256"]),
    "several": ({"height": 0, "sha256": b"x"}, ["height", "sha256"]),
}


@pytest.mark.parametrize("name", BAD_HEADERS)
async def test_a_bad_header_is_refused_with_every_bad_field(stub, name):
    changes, fields = BAD_HEADERS[name]
    code, info, named = await refusal(stub, specification(scene()), header(**changes))
    assert (code, info.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_ARGUMENT")
    assert set(fields) <= {field.removeprefix("scene.frame.") for field in named}
    assert all(field.startswith("scene.frame.") for field in named)


TWO = specification(scene(), scene())
LONG = specification(*[scene(duration=Duration(seconds=600))] * 2)
MISPLACED = {
    "nothing": ((), "specification"),
    "a scene first": ((header(),), "specification"),
    "a chunk first": ((chunk(),), "specification"),
    "no part at all": ((pb.ComposeRequest(),), "part"),
    "two specifications": ((TWO, TWO), "scene"),
    "a chunk before its header": ((TWO, chunk()), "scene"),
    "scenes out of order": ((TWO, header(1)), "scene"),
    "a scene twice": ((TWO, header(0), chunk(), header(0)), "scene"),
    "a header before the frame is whole": ((TWO, header(0), header(1)), "chunk"),
    "a chunk too many": ((TWO, header(0), chunk(), chunk()), "scene"),
    "a closed stream with scenes missing": ((TWO, header(0), chunk()), "scene"),
    "a scene too many": (
        # So long that the video is not complete before the message that is too many is read.
        (LONG, header(0), chunk(), header(1), chunk(), header(2)),
        "end",
    ),
}


@pytest.mark.parametrize("name", MISPLACED)
async def test_messages_out_of_order_are_refused(stub, name):
    requests, expected = MISPLACED[name]
    code, info, _ = await refusal(stub, *requests)
    assert (code, info.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "MESSAGE_OUT_OF_ORDER")
    assert info.metadata["expected"] == expected


CORRUPT = {
    "closed within the frame": (chunk(COLOUR),),
    "too many bytes": (chunk(COLOUR * (32 * 18) + b"x"),),
    "another checksum": (chunk(bytes(32 * 18 * 3)),),
    "an empty chunk": (chunk(b""),),
    "a chunk over the limit": (chunk(bytes(MAX_CHUNK_SIZE + 1)),),
}


@pytest.mark.parametrize("name", CORRUPT)
async def test_a_corrupt_frame_is_refused(stub, name):
    code, info, _ = await refusal(stub, specification(scene()), header(), *CORRUPT[name])
    assert (code, info.reason) == (grpc.StatusCode.DATA_LOSS, "FRAME_CORRUPT")


async def test_one_video_too_many_is_told_when_to_come_back(stub):
    calls = []
    for _ in range(2):
        call = stub.Compose()
        await call.write(specification(scene()))
        assert (await call.read()).WhichOneof("part") == "plan"
        calls.append(call)
    code, info, _ = await refusal(stub, specification(scene()))
    assert (code, info.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "OVERLOADED")
    for call in calls:
        call.cancel()


async def test_a_client_that_leaves_frees_its_place(stub):
    for _ in range(3):
        for call in [await admitted(stub) for _ in range(2)]:
            await call.write(header())
            await call.write(chunk())
            while (await call.read()).WhichOneof("part") != "video":
                pass
            call.cancel()


async def admitted(stub):
    """A call that has its place, once there is one."""
    while True:
        call = stub.Compose()
        try:
            await call.write(specification(scene(duration=Duration(seconds=600))))
            assert (await call.read()).WhichOneof("part") == "plan"
        except grpc.aio.AioRpcError as error:
            if error.code() is not grpc.StatusCode.RESOURCE_EXHAUSTED:
                raise
        else:
            return call


async def test_a_deadline_ends_the_encoder(stub):
    # Every picture of HEVC is coded, which takes far longer.
    asked = specification(scene(duration=Duration(seconds=600)), codec=video_pb2.CODEC_HEVC)
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await answers(stub, asked, header(), chunk(), timeout=2)
    assert error.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED


async def test_capabilities_list_presets_transitions_and_codecs(stub):
    response = await stub.GetCapabilities(pb.GetCapabilitiesRequest())
    presets = [(p.quality, p.preset.width, p.preset.height, p.preset.fps) for p in response.presets]
    assert presets == [
        (video_pb2.QUALITY_DRAFT, 854, 480, 24),
        (video_pb2.QUALITY_STANDARD, 1280, 720, 30),
        (video_pb2.QUALITY_HIGH, 1920, 1080, 30),
        (video_pb2.QUALITY_PREMIUM, 3840, 2160, 60),
    ]
    assert list(response.transitions) == [1, 2, 3, 4, 5, 6]
    assert list(response.codecs) == ["h264", "hevc", "av1"]
    assert "x264" in response.encoder
    told = [(c.codec, c.encoder.split()[0], c.hardware) for c in response.codec_capabilities]
    assert told == [
        (video_pb2.CODEC_H264, response.encoder.split()[0], False),
        (video_pb2.CODEC_HEVC, "x265", False),
        (video_pb2.CODEC_AV1, "SVT-AV1", False),
    ]
    assert response.version
