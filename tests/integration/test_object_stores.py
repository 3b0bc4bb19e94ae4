"""One suite for every store of objects: a folder, memory, and a real S3 server."""

import asyncio
import sys
import uuid
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import pytest

from gateway.jobs import objects as module
from gateway.jobs.objects import BATCH, PIECE, MissingObjectError, Objects
from rpckit.errors import Code, GatorError, Reason
from rpckit.testing import other_tasks
from tests.support.object_stores import CuttableLink, RefusingStore
from tests.support.processes import ROOT
from tests.support.small_disk import small_disk

MIB = 1 << 20
ALL = ["folder", "memory", "s3"]
LASTING = ["folder", "s3"]


@pytest.fixture
def url_of(request, tmp_path, monkeypatch):
    """The URL of a new, empty store of a kind."""

    def make(kind):
        if kind == "folder":
            return (tmp_path / "objects").as_uri()
        if kind == "memory":
            return "memory:///"
        server = request.getfixturevalue("s3")
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        return server.url(uuid.uuid4().hex)

    return make


@pytest.fixture(params=ALL)
def objects(request, url_of):
    return Objects.open(url_of(request.param))


async def keys(objects, prefix, **more):
    return sorted([i.key async for batch in objects.listing(prefix, **more) for i in batch])


async def content(objects, key, *where):
    pieces = [piece async for piece in objects.read(key, *where)]
    assert all(len(piece) == PIECE for piece in pieces[:-1])
    return b"".join(pieces)


def pattern(size):
    return bytes(range(256)) * (size // 256) + bytes(size % 256)


async def pieces(*given):
    for piece in given:
        if isinstance(piece, BaseException):
            raise piece
        yield piece


# --- what every store does -------------------------------------------------------------


async def test_what_is_put_is_there(objects):
    before = datetime.now(UTC) - timedelta(seconds=2)
    await objects.put("a/b", b"first")
    await objects.put("a/b", b"second")
    await objects.put("a/empty", b"")
    await objects.put("a/streamed", pieces(b"one ", b"two"))
    await objects.put("a/live", b"live", durable=False)
    assert await objects.get("a/b") == b"second"
    assert await objects.get("a/empty") == b""
    assert await objects.get("a/streamed") == b"one two"
    assert await objects.get("a/live") == b"live"
    info = await objects.head("a/b")
    assert (info.key, info.size) == ("a/b", 6)
    assert before <= info.modified <= datetime.now(UTC) + timedelta(seconds=2)


async def test_what_is_not_there_is_missing(objects):
    await objects.put("a/b/c", b"1")
    for key in ("a", "a/b", "a/x", "b"):
        with pytest.raises(MissingObjectError):
            await objects.get(key)
        with pytest.raises(MissingObjectError):
            await content(objects, key)
        assert await objects.head(key) is None
    assert await keys(objects, "b") == []


async def test_any_range_can_be_read(objects):
    whole = pattern(2 * MIB + 5)
    await objects.put("a", whole)
    size = len(whole)
    for start in (0, 1, MIB - 1, MIB, 2 * MIB, size - 1, size, size + 9):
        for end in (None, 0, 1, MIB, MIB + 1, size - 1, size, size + MIB):
            expected = whole[start : size if end is None else max(end, start)]
            assert await content(objects, "a", start, end) == expected
    await objects.put("empty", b"")
    assert await content(objects, "empty") == b""


async def test_reading_can_stop_in_the_middle(objects):
    await objects.put("a", bytes(5 * MIB))
    reading = objects.read("a")
    assert len(await anext(reading)) == MIB
    await reading.aclose()
    assert not other_tasks()


async def test_an_object_that_goes_away_while_it_is_read_is_missing(objects):
    await objects.put("a", bytes(5 * MIB))
    reading = objects.read("a")
    await anext(reading)
    await objects.delete("a")
    with pytest.raises(MissingObjectError):
        [piece async for piece in reading]


async def test_one_of_many_creates_an_object(objects):
    created = await asyncio.gather(*(objects.create("a/b", b"%d" % n) for n in range(8)))
    assert sorted(created) == [False] * 7 + [True]
    assert await objects.get("a/b") == b"%d" % created.index(True)
    await objects.delete("a/b")
    assert await objects.create("a/b", b"again")


async def test_a_listing_has_whole_parts_of_keys_in_batches(objects):
    await objects.put("out/a1", b"x")
    names = [f"out/a/{n:04d}/part" for n in range(BATCH + 5)]
    for start in range(0, len(names), 200):
        await asyncio.gather(
            *(objects.put(n, b"12", durable=False) for n in names[start : start + 200])
        )
    batches = [batch async for batch in objects.listing("out/a")]
    assert max(len(batch) for batch in batches) <= BATCH
    listed = {info.key: info.size for batch in batches for info in batch}
    assert listed == dict.fromkeys(names, 2)
    assert await keys(objects, "out/a", after=names[-3]) == names[-2:]
    assert await objects.delete_below("out/a") == len(names)
    assert await keys(objects, "out") == ["out/a1"]


async def test_deleting_is_safe_to_repeat(objects):
    for key in ("a/1", "a/2", "a/3"):
        await objects.put(key, b"x")
    await objects.delete("a/1", "a/none", "a/2")
    await objects.delete("a/1")
    await objects.delete()
    assert await keys(objects, "a") == ["a/3"]
    assert await objects.delete_below("none") == 0


@pytest.mark.parametrize("before", [None, b"what was there"])
async def test_a_stream_that_fails_changes_nothing(objects, before):
    if before is not None:
        await objects.put("a", before)
    given = [bytes(MIB)] * 12
    with pytest.raises(RuntimeError, match="the encoder died"):
        await objects.put("a", pieces(*given, RuntimeError("the encoder died")))
    async with objects.writer("a") as out:
        for piece in given:
            await out.write(piece)
    assert (await objects.get("a") if before else await objects.head("a")) == before
    assert not other_tasks()


async def test_a_put_that_is_cancelled_changes_nothing_and_leaves_no_task(objects):
    waits = asyncio.Event()

    async def endless():
        for _ in range(12):
            yield bytes(MIB)
        waits.set()
        await asyncio.Event().wait()

    putting = asyncio.create_task(objects.put("a", endless()))
    await waits.wait()
    putting.cancel()
    await asyncio.wait([putting])
    assert putting.cancelled()
    assert await objects.head("a") is None
    assert not other_tasks()


async def test_writers_of_one_key_do_not_mix(objects):
    async def put(value):
        await objects.put("a", pieces(*[bytes([value]) * MIB] * 7))

    await asyncio.gather(*(put(value) for value in range(5)))
    whole = await content(objects, "a")
    assert whole in {bytes([value]) * (7 * MIB) for value in range(5)}


async def test_a_store_that_is_there_passes_its_check(objects):
    await objects.check()
    await objects.put("frames/00/x", b"")
    await objects.check()


# --- what must survive -----------------------------------------------------------------


@asynccontextmanager
async def writer_process(*arguments):
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.support.object_writer",
        *arguments,
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


@pytest.mark.parametrize("kind", LASTING)
async def test_a_writer_that_is_killed_leaves_nothing_readable(url_of, kind, tmp_path):
    url = url_of(kind)
    objects = Objects.open(url)
    await objects.put("a/before", b"what was there")
    for key in ("a/new", "a/before"):
        async with writer_process("halfway", url, key) as process:
            assert await process.stdout.readline() == b"halfway\n"
            if kind == "folder":
                await objects.clean()
                assert [p.is_file() for p in (tmp_path / "objects/.writing").iterdir()] == [True]
            process.kill()
            await process.wait()
        assert await objects.head("a/new") is None
        assert await objects.get("a/before") == b"what was there"
        assert await keys(objects, "a") == ["a/before"]
        await objects.clean()
        if kind == "folder":
            assert list((tmp_path / "objects/.writing").iterdir()) == []
    await objects.put("a/new", b"works again")
    assert await objects.get("a/new") == b"works again"


@pytest.mark.parametrize("kind", LASTING)
async def test_a_large_object_takes_little_memory(url_of, kind):
    async with writer_process("measure", url_of(kind), "96") as process:
        grown = int(await process.stdout.readline())
    assert grown < 48, f"{grown} MiB"


# --- a full disk -----------------------------------------------------------------------


async def fails_full(writing):
    with pytest.raises(GatorError) as caught:
        await writing
    error = caught.value
    assert (error.reason, error.code) == (Reason.STORAGE_FULL, Code.RESOURCE_EXHAUSTED)
    assert error.retry_after > 0


async def test_a_full_disk_is_told_tears_nothing_and_passes(tmp_path):
    with small_disk(tmp_path / "disk", 4 * MIB) as disk:
        objects = Objects.open((disk / "objects").as_uri())
        await objects.put("a/kept", bytes(MIB))
        await fails_full(objects.put("a/new", pieces(*[bytes(MIB)] * 6)))
        await fails_full(objects.put("a/kept", bytes(6 * MIB)))
        await fails_full(objects.create("a/new", bytes(6 * MIB)))
        async with objects.writer("a/new") as out:
            await fails_full(write_all(out, 6))
        assert await keys(objects, "a") == ["a/kept"]
        assert await objects.get("a/kept") == bytes(MIB)
        assert list((disk / "objects" / ".writing").iterdir()) == []
        await objects.put("a/new", pieces(bytes(MIB), bytes(MIB)))
        assert (await objects.head("a/new")).size == 2 * MIB


async def write_all(out, count):
    for _ in range(count):
        await out.write(bytes(MIB))


async def test_a_file_that_may_not_grow_is_told_as_a_full_disk(tmp_path):
    url = (tmp_path / "objects").as_uri()
    async with writer_process("limited", url, "a/b") as process:
        assert await process.stdout.readline() == b"STORAGE_FULL\n"
        assert await process.wait() == 0
    assert await keys(Objects.open(url), "a") == ["a/b.small"]


async def test_a_full_remote_store_is_told(monkeypatch):
    async with RefusingStore("507 Insufficient Storage") as store:
        at(store.port, monkeypatch)
        await fails_full(Objects.open("s3://gator").put("a", b"1"))
        await fails_full(Objects.open("s3://gator").put("a", pieces(bytes(MIB))))


# --- a store that is away --------------------------------------------------------------


def at(port, monkeypatch):
    """Lets S3 be at a port, and be asked again however long an answer has taken."""
    monkeypatch.setenv("AWS_ENDPOINT", f"http://127.0.0.1:{port}")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    monkeypatch.setattr(module, "_RETRY", timedelta(minutes=10))


async def fails_away(action):
    with pytest.raises(GatorError) as caught:
        await action
    error = caught.value
    assert (error.reason, error.code) == (Reason.STORAGE_UNAVAILABLE, Code.UNAVAILABLE)
    assert error.retry_after > 0
    assert error.metadata == {"storage": "objects"}


async def every_action_fails(objects):
    await fails_away(objects.put("a", b"1"))
    await fails_away(objects.put("a", pieces(*[bytes(MIB)] * 40)))
    await fails_away(objects.create("a", b"1"))
    await fails_away(objects.get("a"))
    await fails_away(content(objects, "a"))
    await fails_away(objects.head("a"))
    await fails_away(keys(objects, "a"))
    await fails_away(objects.delete("a"))
    await fails_away(objects.check())


async def test_a_store_that_is_away_is_told_and_used_again_once_it_is_back(s3, url_of, monkeypatch):
    url = url_of("s3")
    async with CuttableLink(s3.port) as link:
        monkeypatch.setenv("AWS_ENDPOINT", f"http://127.0.0.1:{link.port}")
        monkeypatch.setattr(module, "_RETRY", timedelta(seconds=1))
        objects = Objects.open(url)
        await objects.put("a", b"1")
        async with objects.writer("b") as out:
            await out.write(bytes(6 * MIB))
            await link.cut()
            with pytest.raises(GatorError) as caught:
                await write_all(out, 40)
            assert caught.value.reason is Reason.STORAGE_UNAVAILABLE
        await every_action_fails(objects)
        await link.mend()
        assert await keys(objects, "") == ["a"]
        await objects.put("b", b"2")
        assert await objects.get("b") == b"2"


async def test_a_store_that_refuses_the_key_is_told(s3, url_of, monkeypatch):
    url = url_of("s3")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    await every_action_fails(Objects.open(url))


async def test_a_store_that_answers_with_errors_is_told(monkeypatch):
    async with RefusingStore("503 Slow Down") as store:
        at(store.port, monkeypatch)
        objects = Objects.open("s3://gator")
        await fails_away(objects.get("a"))
        assert store.requests > 1  # it was tried again
        await fails_away(objects.put("a", b"1"))


async def test_a_folder_that_cannot_be_written_is_told(tmp_path):
    objects = Objects.open((tmp_path / "objects").as_uri())
    (tmp_path / "objects" / "a").write_bytes(b"a file in the way")
    await fails_away(objects.put("a/b", b"1"))


@pytest.mark.parametrize("url", ["", "nothing", "ftp://host/x", "file://host-without-path"])
def test_a_url_that_is_no_store_is_refused(url):
    with pytest.raises(ValueError, match="the object store"):
        Objects.open(url)
