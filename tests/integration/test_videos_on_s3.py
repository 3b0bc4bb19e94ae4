"""Frames and videos on a real S3 server, as several replicas see them."""

import asyncio
import hashlib
import uuid
from datetime import UTC, datetime, timedelta

import pytest

from gateway.jobs import live_feeds
from gateway.jobs.frames import FrameStore, shared_folder
from gateway.jobs.objects import Objects
from gateway.jobs.retention import Keeping, RenderView
from gateway.jobs.sweeper import Sweeper
from gateway.jobs.videos import Videos
from gateway.spool import SpooledFrame
from rpckit.frame import Frame
from rpckit.provenance import Backend, Provenance
from rpckit.testing import other_tasks

MIB = 1 << 20
FOLDER = shared_folder("ab" * 32)


@pytest.fixture
def open_store(s3, monkeypatch):
    """Opens the same new store, once for each replica."""
    for name, value in s3.environment.items():
        monkeypatch.setenv(name, value)
    url = s3.url(uuid.uuid4().hex)
    return lambda: Objects.open(url)


async def test_a_video_is_followed_at_another_replica_stored_and_read(open_store, monkeypatch):
    monkeypatch.setattr(live_feeds, "POLL_SECONDS", 0.05)
    here, there = Videos(open_store()), Videos(open_store())
    pieces = [bytes([n]) * (MIB // 2 + n) for n in range(23)]
    whole = b"".join(pieces)

    async def follow(videos, offset):
        follower = videos.follow("render", 1, offset)
        return b"".join([piece async for piece in follower.chunks()]), follower.ending

    async with here.live("render", 1) as live, here.upload("render", 1) as upload:
        offsets = (0, 3 * MIB + 7)
        following = [
            asyncio.create_task(follow(videos, offset))
            for videos in (here, there)
            for offset in offsets
        ]
        for piece in pieces:
            await live.write(piece)
            await upload.write(piece)
        ending = await live.finish()
        video = await upload.finish()
        followed = await asyncio.gather(*following)
    assert ending.sha256 == hashlib.sha256(whole).digest()
    assert followed == [(whole[offset:], ending) for offset in offsets] * 2
    assert await there.live_ending("render", 1) == ending
    assert video.ending == ending
    await there.verify(video)
    for offset in (0, 5 * MIB + 3, len(whole)):
        read = [piece async for piece in there.read(video, offset)]
        assert b"".join(read) == whole[offset:]
    await there.delete("render")
    assert [info async for batch in open_store().listing("outputs") for info in batch] == []
    assert not other_tasks()


async def test_a_frame_is_made_at_one_replica_and_used_at_another(open_store):
    frame = Frame.of(1344, 768, bytes(range(256)) * (1344 * 768 * 3 // 256))
    provenance = Provenance(
        Backend.DIFFUSERS, "sdxl@1", 7, 25, 7.5, 1344, 768, 0, 1, frame.header.sha256
    )
    spooled = SpooledFrame(frame.header, None)
    for chunk in frame.chunks():
        await spooled.write(chunk)
    await FrameStore(open_store()).put(FOLDER, spooled, provenance)
    spooled.close()
    stored = await FrameStore(open_store()).get(FOLDER)
    assert stored.provenance == provenance
    assert b"".join([chunk async for chunk in stored.frame.chunks()]) == frame.data
    stored.frame.close()
    # Bytes that the store lost or changed are seen.
    objects = open_store()
    await objects.put(f"{FOLDER}/{frame.header.sha256.hex()}.raw", bytes(frame.header.size))
    assert await FrameStore(objects).get(FOLDER) is None
    assert [info async for batch in objects.listing("frames") for info in batch] == []


async def test_it_is_swept(open_store):
    class Rows:
        async def now(self):
            return datetime.now(UTC) + timedelta(days=99)

        async def retention(self, render_ids):
            return {"kept": RenderView(2, video_key="outputs/kept/2.mp4")}

        async def frames_in_use(self, folders):
            return {f"{FOLDER}2"} & set(folders)

        async def prune(self, *, renders_after):
            raise AssertionError

    objects = open_store()
    kept = ["outputs/kept/2.mp4", f"{FOLDER}2/manifest"]
    for key in (*kept, "outputs/kept/1.mp4", "outputs/gone/1.live/end", f"{FOLDER}/manifest"):
        await objects.put(key, b"x")
    sweeper = Sweeper(objects, Videos(objects), Rows(), Keeping())
    assert await sweeper.sweep() == 3
    left = []
    for prefix in ("outputs", "frames"):
        left += [info.key async for batch in objects.listing(prefix) for info in batch]
    assert left == kept
