"""The sweeper on real stores of objects: what goes, what stays, and while others write."""

import asyncio
from collections import defaultdict
from datetime import UTC, datetime, timedelta

import pytest

from gateway.jobs import sweeper as module
from gateway.jobs.frames import shared_folder
from gateway.jobs.objects import Objects
from gateway.jobs.retention import Keeping, RenderView
from gateway.jobs.sweeper import Sweeper
from gateway.jobs.videos import Videos
from rpckit.errors import GatorError, Reason
from rpckit.testing import other_tasks

DAY = timedelta(days=1)
LATER = timedelta(days=100)


class Rows:
    """Rows in memory, with a clock that a test moves."""

    def __init__(self):
        self.views = {}
        self.in_use = set()
        self.ahead = timedelta(0)
        self.asked = defaultdict(asyncio.Event)
        self.failing = False

    async def now(self):
        self.asked["now"].set()
        if self.failing:
            raise GatorError(Reason.STORAGE_UNAVAILABLE, "the database is away", retry_after=5)
        return datetime.now(UTC) + self.ahead

    async def retention(self, render_ids):
        assert len(render_ids) <= module.AT_A_TIME
        return {i: self.views[i] for i in render_ids if i in self.views}

    async def frames_in_use(self, folders):
        assert len(folders) <= module.AT_A_TIME
        return self.in_use & set(folders)

    async def prune(self, *, renders_after):
        assert renders_after == 90 * DAY
        self.asked["prune"].set()


@pytest.fixture(params=["folder", "memory"])
def objects(request, tmp_path):
    url = (tmp_path / "objects").as_uri() if request.param == "folder" else "memory:///"
    return Objects.open(url)


@pytest.fixture
def rows():
    return Rows()


@pytest.fixture
def videos(objects):
    return Videos(objects)


@pytest.fixture
def sweeper(objects, videos, rows):
    return Sweeper(objects, videos, rows, Keeping(frame_ttl=30 * DAY))


async def keys(objects):
    found = []
    for prefix in ("outputs", "renders", "frames"):
        found += sorted([i.key async for batch in objects.listing(prefix) for i in batch])
    return found


async def put(objects, *names):
    for name in names:
        await objects.put(name, b"x", durable=False)


async def test_only_what_rows_refer_to_is_left(objects, rows, sweeper):
    now = datetime.now(UTC)
    rows.views = {
        "running": RenderView(epoch=2),
        "done": RenderView(3, now - DAY, "outputs/done/3.mp4", now + DAY),
        "expired": RenderView(1, now - 9 * DAY, "outputs/expired/1.mp4", now - DAY),
    }
    kept = [
        "outputs/done/3.mp4",
        "outputs/running/2.live/000000000000",
        "outputs/running/2.mp4",
        "renders/running/scenes/0/1/manifest",
    ]
    useless = [
        "outputs/deleted/1.mp4",
        "outputs/done/1.live/000000000000",
        "outputs/done/2.mp4",
        "outputs/done/3.live/end",
        "outputs/expired/1.mp4",
        "outputs/running/1.mp4",
        "renders/deleted/scenes/0/1/manifest",
        "renders/done/scenes/0/1/manifest",
    ]
    await put(objects, *kept, *useless)
    assert await sweeper.sweep() == len(useless)
    assert await keys(objects) == kept
    assert await sweeper.sweep() == 0


async def test_what_is_read_or_written_stays_until_it_is_not(objects, rows, videos, sweeper):
    async with videos.upload("deleted", 1) as upload:
        await upload.write(bytes(3 << 20))
        video = await upload.finish()
    reading = videos.read(video)
    await anext(reading)
    async with videos.live("deleted", 2) as live:
        await live.write(b"abc")
        await live.finish()
        assert await sweeper.sweep() == 0
        assert sum([len(piece) async for piece in reading]) == 2 << 20
    assert await sweeper.sweep() == 3
    assert await keys(objects) == []


async def test_many_renders_are_asked_for_in_steps(objects, rows, sweeper, monkeypatch):
    monkeypatch.setattr(module, "AT_A_TIME", 7)
    names = [f"outputs/{n}/1.mp4" for n in range(30)]
    rows.views = {str(n): RenderView(epoch=1) for n in range(0, 30, 2)}
    await put(objects, *names)
    folders = [f"frames/ab/{n:02d}" for n in range(30)]
    await put(objects, *(f"{folder}/manifest" for folder in folders))
    rows.in_use = set(folders[::3])
    assert await sweeper.sweep() == 15
    rows.ahead = LATER
    assert await sweeper.sweep_frames() == 20
    assert await keys(objects) == sorted(names[::2]) + [f"{f}/manifest" for f in folders[::3]]


async def test_a_frame_in_use_stays_and_so_does_one_that_was_just_used(objects, rows, sweeper):
    unused, in_use, used = (shared_folder(letter * 64) for letter in "abc")
    await put(objects, *(f"{f}/{n}" for f in (unused, in_use, used) for n in ("manifest", "1.raw")))
    rows.in_use = {in_use}
    assert await sweeper.sweep() == 0
    rows.ahead = LATER
    head = objects.head

    async def noted(key):
        # It is used between the listing and the deletion.
        info = await head(key)
        young = datetime.now(UTC) + LATER
        return type(info)(key, info.size, young) if key.startswith(used) else info

    objects.head = noted
    assert await sweeper.sweep() == 2
    assert await keys(objects) == [
        f"{in_use}/1.raw",
        f"{in_use}/manifest",
        f"{used}/1.raw",
        f"{used}/manifest",
    ]


async def test_bytes_that_no_manifest_names_go(objects, rows, sweeper):
    folder, unfinished = shared_folder("a" * 64), shared_folder("b" * 64)
    named, unnamed = f"{folder}/{'1' * 64}.raw", f"{folder}/{'2' * 64}.raw"
    await put(objects, named, unnamed, f"{unfinished}/{'3' * 64}.raw")
    await objects.put(f"{folder}/manifest", b'{"sha256": "%s"}' % (b"1" * 64))
    assert await sweeper.sweep() == 0
    rows.ahead = timedelta(hours=2)
    assert await sweeper.sweep() == 2
    assert await keys(objects) == [named, f"{folder}/manifest"]


async def test_a_store_that_is_away_is_told(rows, sweeper):
    rows.failing = True
    with pytest.raises(GatorError) as caught:
        await sweeper.sweep()
    assert caught.value.reason is Reason.STORAGE_UNAVAILABLE


async def test_it_sweeps_in_the_background_and_goes_on_after_a_failure(
    objects, rows, sweeper, monkeypatch
):
    for name in ("ROWS_EVERY", "OUTPUTS_EVERY", "FRAMES_EVERY", "FIRST_WITHIN"):
        monkeypatch.setattr(module, name, 0.01)
    await put(objects, "outputs/deleted/1.mp4")
    rows.failing = True
    running = asyncio.create_task(sweeper.run())
    for _ in range(3):
        await rows.asked["now"].wait()
        rows.asked["now"].clear()
    assert await keys(objects) == ["outputs/deleted/1.mp4"]
    await rows.asked["prune"].wait()
    swept = asyncio.Event()
    delete = objects.delete

    async def noted(*names):
        await delete(*names)
        if names:
            swept.set()

    objects.delete = noted
    rows.failing = False
    await swept.wait()
    assert await keys(objects) == []
    running.cancel()
    await asyncio.wait([running])
    assert not other_tasks()
