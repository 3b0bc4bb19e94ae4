"""DownloadVideo: two forms, from any offset, while a video is encoded and after."""

import hashlib

import grpc
import pytest

from gator.gateway.v1 import render_service_pb2 as pb
from gator.type.v1 import video_pb2
from rpckit.errors import GatorError, Reason
from rpckit.status import from_rpc_error
from tests.support.frame_source import FrameSource
from tests.support.gateways import (
    created,
    downloaded,
    ended,
    pictures,
    refused,
    request,
    stack,
    two_gateways,
)

FRAGMENTED = video_pb2.VIDEO_FORM_FRAGMENTED
FASTSTART = video_pb2.VIDEO_FORM_FASTSTART


def download(stub, render_id, **asked):
    return stub.DownloadVideo(pb.DownloadVideoRequest(render_id=render_id, **asked))


async def test_a_stored_video_is_sent_from_any_offset(tmp_path):
    async with two_gateways(FrameSource(), tmp_path) as (one, other):
        render_id = (await created(one, request(2, 0.5))).render_id
        await ended(one, render_id)
        whole = await downloaded(one, render_id)
        size, tag = len(whole.data), whole.header.content_tag
        for offset in (1, size // 2, size - 1, size):
            rest = await downloaded(other, render_id, offset=offset, content_tag=tag)
            assert rest.header.offset == offset
            assert rest.data == whole.data[offset:]
            assert rest.trailer == whole.trailer
        error = await refused(download(one, render_id, offset=size + 1, content_tag=tag))
    assert error.reason is Reason.OFFSET_OUT_OF_RANGE
    assert error.metadata["size_bytes"] == str(size)


async def test_a_download_that_was_cut_off_goes_on_elsewhere_while_the_video_is_encoded(tmp_path):
    source = FrameSource()
    source.hold(1)
    async with two_gateways(source, tmp_path) as (one, other):
        render_id = (await created(one, request(2, 3.0))).render_id
        call = download(one, render_id)
        header = (await call.read()).header
        data = (await call.read()).chunk.data
        call.cancel()
        call = download(other, render_id, offset=len(data), content_tag=header.content_tag)
        again = (await call.read()).header
        source.release(1)
        while (part := await call.read()).HasField("chunk"):
            data += part.chunk.data
        # What was begun as one form is never continued with the other.
        after = await downloaded(
            one, render_id, offset=len(data) - 5, content_tag=header.content_tag
        )
        # The live form is whole before the stored one is published.
        await ended(one, render_id)
        stored = await downloaded(one, render_id)
    assert (header.form, header.HasField("size_bytes")) == (FRAGMENTED, False)
    assert (again.content_tag, again.offset) == (header.content_tag, again.offset)
    assert part.trailer.sha256 == hashlib.sha256(data).digest()
    assert part.trailer.size_bytes == len(data)
    assert pictures(data) == 144
    assert after.data == data[-5:]
    assert stored.header.form == FASTSTART
    assert stored.header.content_tag != header.content_tag


async def test_each_form_may_be_asked_for_and_is_waited_for():
    source = FrameSource()
    source.hold(0)
    async with stack(source) as stub:
        render_id = (await created(stub, request(1, 0.2))).render_id
        early = download(stub, render_id, form=FASTSTART)
        source.release(0)
        header = (await early.read()).header
        await ended(stub, render_id)
        live = await downloaded(stub, render_id, form=FRAGMENTED)
    assert header.form == FASTSTART
    assert live.header.form == FRAGMENTED
    assert live.header.size_bytes == len(live.data)
    assert pictures(live.data) == 5


async def test_a_video_that_is_made_anew_is_another_content(monkeypatch):
    source = FrameSource()
    source.hold(1)
    source.errors[1] = [GatorError(Reason.GENERATION_FAILED, "the model broke")]
    async with stack(source) as stub:
        render_id = (await created(stub, request(2, 3.0))).render_id
        call = download(stub, render_id)
        header = (await call.read()).header
        assert (await call.read()).HasField("chunk")
        source.release(1)
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            while await call.read() is not grpc.aio.EOF:
                pass
        await ended(stub, render_id)
        errors = [
            from_rpc_error(raised.value, "gateway"),
            await refused(download(stub, render_id)),
            await refused(download(stub, render_id, offset=1, content_tag=header.content_tag)),
        ]
    assert [e.reason for e in errors[:2]] == [Reason.CONTENT_CHANGED, Reason.WRONG_STATE]
    assert errors[1].metadata["state"] == "FAILED"
    assert errors[2].reason in (Reason.CONTENT_CHANGED, Reason.WRONG_STATE)


@pytest.mark.parametrize(
    ("asked", "reason"),
    [
        ({"offset": 5}, Reason.INVALID_ARGUMENT),
        ({"form": 9}, Reason.INVALID_ARGUMENT),
        ({"content_tag": "made up", "offset": 5}, Reason.CONTENT_CHANGED),
        ({"content_tag": "other", "offset": 5}, Reason.CONTENT_CHANGED),
        ({"content_tag": "own", "form": FRAGMENTED, "offset": 5}, Reason.INVALID_ARGUMENT),
    ],
)
async def test_what_cannot_be_continued(asked, reason):
    async with stack(FrameSource()) as stub:
        ids = [(await created(stub, request(1, 0.1))).render_id for _ in range(2)]
        tags = {}
        for name, render_id in zip(("own", "other"), ids, strict=True):
            await ended(stub, render_id)
            tags[name] = (await downloaded(stub, render_id)).header.content_tag
        if "content_tag" in asked:
            asked = {**asked, "content_tag": tags.get(asked["content_tag"], "made up")}
        error = await refused(download(stub, ids[0], **asked))
    assert error.reason is reason
