"""Videos: the live form and who follows it, the stored form and who reads it."""

import asyncio
import gc
import hashlib
import tracemalloc
import weakref
from contextlib import aclosing

import pytest

from gateway.jobs import live_feeds
from gateway.jobs.live_form import RECENT
from gateway.jobs.objects import Objects
from gateway.jobs.videos import ContentTag, Ending, StoredVideo, Videos, live_folder
from rpckit.errors import Code, GatorError, Reason
from rpckit.testing import other_tasks
from rpckit.video import VideoForm

KIB = 1 << 10
MIB = 1 << 20
ID = "0b5f6d1e-0000-4000-8000-000000000001"


@pytest.fixture(params=["folder", "memory"])
def objects(request, tmp_path):
    url = (tmp_path / "objects").as_uri() if request.param == "folder" else "memory:///"
    return Objects.open(url)


@pytest.fixture
def videos(objects):
    """In the process that makes the video."""
    return Videos(objects)


@pytest.fixture
def replica(objects, monkeypatch):
    """In another process with the same store."""
    monkeypatch.setattr(live_feeds, "POLL_SECONDS", 0.01)
    return Videos(objects)


@pytest.fixture(autouse=True)
async def no_task_is_left():
    yield
    assert not other_tasks()


async def keys(objects):
    return sorted([i.key async for batch in objects.listing("outputs") for i in batch])


def pattern(start, size):
    """Bytes of a video: each tells its place, modulo 251."""
    return bytes((start + n) % 251 for n in range(251)) * (size // 251 + 1)


def chunk(start, size):
    return pattern(start, size)[:size]


async def followed(videos, offset=0, epoch=1, render_id=ID):
    follower = videos.follow(render_id, epoch, offset)
    pieces = [piece async for piece in follower.chunks()]
    assert all(0 < len(piece) <= MIB for piece in pieces)
    return b"".join(pieces), follower.ending


async def failure(awaitable):
    with pytest.raises(GatorError) as caught:
        await awaitable
    return caught.value


# --- tags ------------------------------------------------------------------------------


def test_a_tag_is_read_as_it_was_given():
    tag = ContentTag(ID, 12, VideoForm.FASTSTART)
    assert str(tag) == f"{ID}.12.faststart"
    assert ContentTag.parse(str(tag)) == tag
    live = ContentTag(ID, 12, VideoForm.FRAGMENTED)
    assert ContentTag.parse(str(live)) == live != tag


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a.b",
        "id.1.hls",
        "id.x.faststart",
        "id.01.faststart",
        "id.1.FASTSTART",
        "id. 1.fragmented",
    ],
)
def test_what_is_no_tag_is_not_read(text):
    assert ContentTag.parse(text) is None


# --- the live form, where it is made ---------------------------------------------------


async def test_a_follower_has_bytes_as_they_are_written(videos):
    async with videos.live(ID, 1) as live:
        follower = videos.follow(ID, 1)
        async with aclosing(follower.chunks()) as chunks:
            for n in range(3):
                await live.write(b"%d" % n)
                assert await anext(chunks) == b"%d" % n
            ending = await live.finish()
            assert [rest async for rest in chunks] == []
        assert follower.ending == ending == Ending(3, hashlib.sha256(b"012").digest())


async def test_any_number_of_followers_from_any_offset(videos, replica):
    whole = chunk(0, 9 * MIB + 77)
    offsets = (0, 1, 300 * KIB, 5 * MIB, len(whole) - 1, len(whole))
    async with videos.live(ID, 1) as live:
        early = [asyncio.create_task(followed(v, o)) for o in offsets for v in (videos, replica)]
        for start in range(0, len(whole), 700_001):
            await live.write(whole[start : start + 700_001])
        ending = await live.finish()
        late = [asyncio.create_task(followed(videos, offset)) for offset in offsets]
        followers = await asyncio.gather(*early, *late)
    places = [o for o in offsets for _ in range(2)] + list(offsets)
    for place, (read, end) in zip(places, followers, strict=True):
        assert read == whole[place:]
        assert end == ending
    # Once nobody is left, what is stored is read.
    for reader in (videos, replica):
        assert [await followed(reader, o) for o in offsets] == [
            (whole[o:], ending) for o in offsets
        ]
        assert await reader.live_ending(ID, 1) == ending


async def test_who_was_there_before_the_writer_follows_it_too(videos, monkeypatch):
    monkeypatch.setattr(live_feeds, "POLL_SECONDS", 3600)
    follower = videos.follow(ID, 1)
    async with aclosing(follower.chunks()) as chunks:
        first = asyncio.ensure_future(anext(chunks))
        await settled()
        async with videos.live(ID, 1) as live:
            await live.write(b"at once")
            assert await first == b"at once"
            await live.finish()


async def settled():
    """Lets every task run until it waits for something outside."""
    for _ in range(20):
        await asyncio.sleep(0)


async def test_parts_are_large_but_none_waits_longer_than_its_time(videos, objects, monkeypatch):
    async with videos.live(ID, 1) as live:
        follower = Videos(objects).follow(ID, 1)
        monkeypatch.setattr(live_feeds, "POLL_SECONDS", 0.01)
        async with aclosing(follower.chunks()) as chunks:
            await live.write(b"few bytes")
            assert await anext(chunks) == b"few bytes"  # after a second, as a part of its own
            for start in range(0, MIB, 4 * KIB):
                await live.write(chunk(start, 4 * KIB))
            ending = await live.finish()
            read = b"".join([piece async for piece in chunks])
    assert read == b"".join(chunk(start, 4 * KIB) for start in range(0, MIB, 4 * KIB))
    parts = (await keys(objects))[:-1]
    assert len(parts) <= 2 + MIB // live_feeds.PART
    sizes = [(await objects.head(key)).size for key in parts]
    assert all(size >= live_feeds.PART for size in sizes[1:-1])
    starts = [int(key.rpartition("/")[2]) for key in parts]
    assert starts == [sum(sizes[:n]) for n in range(len(sizes))]
    assert sum(sizes) == ending.size


async def test_an_empty_form_ends(videos, replica):
    async with videos.live(ID, 1) as live:
        await live.write(b"")
        ending = await live.finish()
    assert ending == Ending(0, hashlib.sha256().digest())
    assert await followed(replica) == (b"", ending)


async def test_an_offset_past_the_end_is_out_of_range(videos, replica):
    async with videos.live(ID, 1) as live:
        waiting = asyncio.create_task(followed(videos, 4))
        await live.write(b"abc")
        await live.finish()
        errors = [await failure(waiting)]
    errors += [await failure(followed(reader, 4)) for reader in (videos, replica)]
    for error in errors:
        assert (error.reason, error.code) == (Reason.OFFSET_OUT_OF_RANGE, Code.OUT_OF_RANGE)
        assert error.metadata == {"size_bytes": "3"}


async def test_a_form_that_is_given_up_is_told_to_its_followers(videos, replica):
    with pytest.raises(RuntimeError, match="the encoder died"):
        async with videos.live(ID, 1) as live:
            early = asyncio.create_task(followed(videos))
            await live.write(b"abc")
            await settled()
            raise RuntimeError("the encoder died")
    error = await failure(early)
    assert (error.reason, error.code) == (Reason.CONTENT_CHANGED, Code.FAILED_PRECONDITION)
    assert await videos.live_ending(ID, 1) is None
    # Elsewhere it waits for more, until who knows better closes it.
    waiting = asyncio.create_task(followed(replica))
    await settled()
    waiting.cancel()
    await asyncio.wait([waiting])
    # The next attempt is another content.
    async with videos.live(ID, 2) as live:
        await live.write(b"xyz")
        ending = await live.finish()
    assert await followed(replica, epoch=2) == (b"xyz", ending)


async def test_bytes_that_were_deleted_are_told(videos, replica, objects):
    async with videos.live(ID, 1) as live:
        for _ in range(RECENT // MIB + 3):
            await live.write(bytes(MIB))
        await live.finish()
        slow = videos.follow(ID, 1).chunks()
        await anext(slow)
        await objects.delete_below("outputs")
        error = await failure(anext(slow))
        await slow.aclose()
    assert error.reason is Reason.CONTENT_CHANGED


async def test_who_waits_for_more_of_what_was_deleted_is_told(videos, replica, objects):
    async with videos.live(ID, 1) as live:
        for size in (300 * KIB, 300 * KIB):
            await live.write(bytes(size))
            async with aclosing(replica.follow(ID, 1).chunks()) as chunks:
                assert len(await anext(chunks)) == 300 * KIB
        async with aclosing(replica.follow(ID, 1, 600 * KIB).chunks()) as chunks:
            waiting = asyncio.ensure_future(failure(anext(chunks)))
            # What is deleted before it is known to be there would be waited for.
            async with replica.using(live_folder(ID, 1)) as form:
                assert await form.reaches(600 * KIB - 1)
            await objects.delete_below("outputs")
            error = await waiting
    assert error.reason is Reason.CONTENT_CHANGED


async def test_a_slow_follower_takes_no_memory_and_holds_up_nobody(tmp_path):
    videos = Videos(Objects.open(tmp_path.as_uri()))
    size = 48 * MIB
    piece = chunk(0, MIB)
    async with videos.live(ID, 1) as live:
        slow = [videos.follow(ID, 1).chunks() for _ in range(20)]
        await live.write(piece)
        for follower in slow:
            assert await anext(follower) == piece
        gc.collect()
        tracemalloc.start()
        quick = asyncio.create_task(followed_hash(videos))
        for _ in range(size // MIB - 1):
            await live.write(bytes(bytearray(piece)))
        ending = await live.finish()
        assert await quick == (size, ending.sha256)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        for follower in slow:
            assert await anext(follower) == piece
            await follower.aclose()
    assert peak < 24 * MIB, f"{peak / MIB:.1f} MiB"


async def followed_hash(videos):
    size, digest = 0, hashlib.sha256()
    async for piece in videos.follow(ID, 1).chunks():
        size += len(piece)
        digest.update(piece)
    return size, digest.digest()


async def test_a_slow_store_slows_the_encoder(videos, objects):
    opened = asyncio.Event()
    put = objects.put

    async def slow_put(*arguments, **more):
        await opened.wait()
        await put(*arguments, **more)

    objects.put = slow_put
    written = 0
    async with videos.live(ID, 1) as live:

        async def encode():
            nonlocal written
            for _ in range(40):
                await live.write(bytes(MIB))
                written += 1

        encoding = asyncio.create_task(encode())
        await settled()
        assert written <= 8
        opened.set()
        await encoding
        assert (await live.finish()).size == 40 * MIB


@pytest.mark.parametrize("reason", [Reason.STORAGE_FULL, Reason.STORAGE_UNAVAILABLE])
async def test_a_store_that_fails_is_told_to_the_writer_and_the_followers(videos, objects, reason):
    async def failing(*_, **__):
        raise GatorError(reason, "it is full", retry_after=30)

    objects.put = failing

    async def encode():
        async with videos.live(ID, 1) as live:
            for _ in range(40):
                await live.write(bytes(MIB))
            await live.finish()

    early = asyncio.create_task(followed(videos))
    error = await failure(encode())
    assert (error.reason, error.retry_after) == (reason, 30)
    assert (await failure(early)).reason is Reason.CONTENT_CHANGED


async def test_a_store_that_fails_while_it_is_watched_is_told(replica, objects, videos):
    listing = objects.listing

    async def failing(*_, **__):
        raise GatorError(Reason.STORAGE_UNAVAILABLE, "away", retry_after=5)
        yield

    objects.listing = failing
    assert (await failure(followed(replica))).reason is Reason.STORAGE_UNAVAILABLE
    objects.listing = listing
    async with videos.live(ID, 1) as live:
        await live.write(b"abc")
        ending = await live.finish()
    assert await followed(replica) == (b"abc", ending)


@pytest.mark.parametrize("part", [0, 300 * KIB, 600 * KIB])
@pytest.mark.parametrize("times", [1, 2])
async def test_a_part_that_a_listing_lacks_is_looked_for_again(
    videos, replica, objects, part, times
):
    """A folder is not listed in one moment; what is not there the next time is gone."""
    async with videos.live(ID, 1) as live:
        for start in range(0, 900 * KIB, 300 * KIB):
            await live.write(chunk(start, 300 * KIB))
            part_key = f"outputs/{ID}/1.live/{start:012d}"
            while not await objects.head(part_key):  # noqa: ASYNC110 - the store tells nobody
                await asyncio.sleep(0)
        ending = await live.finish()
    listing, lacking = objects.listing, [f"{part:012d}"] * times

    async def hasty(*asked, **more):
        missed = lacking.pop() if lacking else ""
        async for batch in listing(*asked, **more):
            yield [info for info in batch if info.key.rpartition("/")[2] != missed]

    objects.listing = hasty
    if times == 1:
        assert await followed(replica) == (chunk(0, 900 * KIB), ending)
    else:
        assert (await failure(followed(replica))).reason is Reason.CONTENT_CHANGED


async def test_nothing_is_kept_of_forms_that_nobody_uses(videos):
    async with videos.live(ID, 1) as live:
        form = weakref.ref(live._form)
        await live.write(b"abc")
        assert videos.in_use == {f"outputs/{ID}/1.live"}
        await live.finish()
    del live
    gc.collect()
    assert form() is None
    assert videos.in_use == frozenset()


# --- the stored form -------------------------------------------------------------------


async def stored(videos, *pieces, epoch=1):
    async with videos.upload(ID, epoch) as upload:
        for piece in pieces:
            await upload.write(piece)
        return await upload.finish()


async def read(videos, video, offset=0):
    pieces = [piece async for piece in videos.read(video, offset)]
    assert all(0 < len(piece) <= MIB for piece in pieces)
    return b"".join(pieces)


async def test_a_stored_form_is_there_once_it_is_finished(videos, objects):
    pieces = [chunk(n * MIB, MIB) for n in range(7)] + [b"end"]
    whole = b"".join(pieces)
    async with videos.upload(ID, 3) as upload:
        for piece in pieces:
            await upload.write(piece)
        assert await keys(objects) == []
        video = await upload.finish()
    ending = Ending(len(whole), hashlib.sha256(whole).digest())
    assert video == StoredVideo(f"outputs/{ID}/3.mp4", ending)
    await videos.verify(video)
    for offset in (0, 1, MIB, len(whole) - 1, len(whole)):
        assert await read(videos, video, offset) == whole[offset:]
    error = await failure(read(videos, video, len(whole) + 1))
    assert error.reason is Reason.OFFSET_OUT_OF_RANGE


async def test_an_upload_that_is_not_finished_leaves_nothing(videos, objects):
    with pytest.raises(RuntimeError, match="the encoder died"):
        async with videos.upload(ID, 1) as upload:
            await upload.write(bytes(8 * MIB))
            raise RuntimeError("the encoder died")
    assert await keys(objects) == []


@pytest.mark.parametrize("damage", [b"abd", b"ab", b"abcd", None])
async def test_a_form_that_is_not_what_was_written_is_deleted(videos, objects, damage):
    video = await stored(videos, b"abc")
    if damage is None:
        await objects.delete(video.key)
    else:
        await objects.put(video.key, damage)
    error = await failure(videos.verify(video))
    assert (error.reason, error.code) == (Reason.STORAGE_UNAVAILABLE, Code.UNAVAILABLE)
    assert error.retry_after is None
    assert await keys(objects) == []


async def test_a_video_that_goes_away_while_it_is_read_is_told(videos, objects):
    video = await stored(videos, *[bytes(MIB)] * 5)
    reading = videos.read(video)
    await anext(reading)
    assert videos.in_use == {video.key}
    await objects.delete(video.key)
    with pytest.raises(GatorError) as caught:
        [piece async for piece in reading]
    assert caught.value.reason is Reason.CONTENT_CHANGED
    assert videos.in_use == frozenset()
    await objects.put(video.key, b"short")
    assert (await failure(read(videos, video))).reason is Reason.CONTENT_CHANGED


async def test_reading_can_stop_in_the_middle(videos):
    video = await stored(videos, *[bytes(MIB)] * 5)
    first, second = videos.read(video), videos.read(video, 2 * MIB)
    await anext(first)
    await anext(second)
    await first.aclose()
    assert videos.in_use == {video.key}
    await second.aclose()
    assert videos.in_use == frozenset()


async def test_deleting_a_render_leaves_nothing_of_it_and_all_of_others(videos, objects):
    await stored(videos, b"abc")
    await stored(videos, b"abc", epoch=2)
    async with videos.live(ID, 2) as live:
        await live.write(b"abc")
        await live.finish()
    await objects.put(f"renders/{ID}/scenes/0/1/manifest", b"{}")
    await objects.put(f"outputs/{ID}0/1.mp4", b"another's")
    await videos.delete(ID)
    await videos.delete(ID)
    assert await keys(objects) == [f"outputs/{ID}0/1.mp4"]
    assert [info async for batch in objects.listing("renders") for info in batch] == []
