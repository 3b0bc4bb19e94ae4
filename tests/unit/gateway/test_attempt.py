"""Attempts over a real store and objects in memory; frames and videos are made in this process."""

import asyncio
import hashlib
from collections import Counter
from collections.abc import AsyncGenerator, Callable
from dataclasses import replace
from datetime import timedelta
from fractions import Fraction

import pytest

from gateway.convert import stored
from gateway.events import (
    ComposePlan,
    ComposeProgress,
    ComposeSummary,
    Content,
    FrameDone,
    FrameProgress,
    Slot,
    StoredBytes,
)
from gateway.jobs.attempt import Attempt, Outcome, Stores
from gateway.jobs.frames import FramePlan, FrameStore
from gateway.jobs.objects import Objects
from gateway.jobs.records import LeaseLost, Priority
from gateway.jobs.states import Phase, RenderState
from gateway.jobs.store import Store
from gateway.jobs.videos import Videos
from gateway.jobs.watch import WatchHub
from gateway.pipeline import PipelineSettings
from gateway.request import Limits, RenderAsked, SceneAsked
from gateway.validation import accepted
from rpckit.errors import GatorError, Reason
from rpckit.frame import Frame
from rpckit.provenance import Backend, Provenance
from tests.support.renders import claimed

PLAN = FramePlan(Backend.DIFFUSERS, "plain", "euler", "1", 4, 2, 25, 7.5, shareable=True)


class Maker:
    """Makes frames of one colour, or fails as it is told."""

    def __init__(self) -> None:
        self.made: Counter[int] = Counter()
        self.errors: dict[int, Exception] = {}
        self.plan_is = PLAN

    async def plan(self, render, index):
        return self.plan_is

    async def generate(self, render, index) -> AsyncGenerator:
        self.made[index] += 1
        yield FrameProgress(1, 25, None)
        if error := self.errors.pop(index, None):
            raise error
        frame = Frame.of(4, 2, bytes([index]) * 24)
        yield frame.header
        yield frame.data
        digest = frame.header.sha256
        made_by = Provenance(Backend.DIFFUSERS, "plain", 7, 25, 7.5, 4, 2, 0, 0, digest)
        yield FrameDone(made_by, ())


class Composer:
    """Makes a "video": each scene's frame, one after the other."""

    def __init__(self) -> None:
        self.after_scene: dict[int, Exception] = {}
        self.says = b""

    async def compose(self, render, frames) -> AsyncGenerator:
        count = len(render.scenes)
        yield ComposePlan(render.frame_count, tuple(Slot(24 * i, 24) for i in range(count)))
        video, index = b"", 0
        async for frame in frames:
            data = b"".join([chunk async for chunk in frame.chunks()])
            frame.close()
            video += data
            yield data
            yield ComposeProgress(24 * (index + 1))
            if error := self.after_scene.pop(index, None):
                raise error
            index += 1
        yield StoredBytes(b"stored " + video)
        yield ComposeSummary(
            render.frame_count, content(video), content(b"stored " + video + self.says), "MP4", "x"
        )


def content(data: bytes) -> Content:
    return Content(len(data), hashlib.sha256(data).digest())


class Bench:
    """A store, objects in memory, and what makes frames and videos."""

    def __init__(self, store: Store, objects: Objects) -> None:
        self.store = store
        self.objects = objects
        self.hub = WatchHub(store)
        self.stores = Stores(store, FrameStore(objects), Videos(objects))
        self.maker, self.composer = Maker(), Composer()
        self.check_lease: Callable[[], None] = lambda: None

    async def claim(self, scenes: int = 2, **fields):
        asked = tuple(SceneAsked(f"scene {i}") for i in range(scenes))
        request = RenderAsked(asked, quality=1, duration_per_frame=Fraction(1))
        render, handling = accepted(request, Limits(), Priority.BATCH)
        return await claimed(
            self.store,
            request=stored.request_bytes(render, handling),
            scene_count=scenes,
            frame_count=render.frame_count,
            **fields,
        )

    def attempt(self, claim) -> Attempt:
        services = (self.maker, self.composer)
        settings = PipelineSettings(max_concurrent_scenes=1, scene_attempts=1)
        return Attempt(
            claim,
            self.stores,
            self.hub,
            services,
            settings,
            timedelta(days=1),
            self.check_lease,
        )

    async def keys(self, folder: str) -> list[str]:
        return sorted([o.key async for batch in self.objects.listing(folder) for o in batch])


@pytest.fixture
async def bench(tmp_path):
    async with Store.open(f"sqlite:///{tmp_path / 'renders.db'}") as store:
        yield Bench(store, Objects.open("memory:///"))


async def test_a_video_is_published_with_all_that_is_known_of_it(bench):
    claim = await bench.claim(2)
    assert await bench.attempt(claim).run() is Outcome.SUCCEEDED
    snapshot = await bench.store.snapshot("ada", claim.lease.render_id)
    render = snapshot.render
    assert (render.state, render.phase) == (RenderState.SUCCEEDED, Phase.PUBLISHING)
    assert render.progress.fraction == 1
    kept = render.expire_time - render.end_time
    assert kept.total_seconds() == pytest.approx(86_400)
    data = b"".join([chunk async for chunk in bench.objects.read(render.video.location)])
    assert data == b"stored " + b"\0" * 24 + b"\1" * 24
    assert (render.video.size, render.video.sha256) == (len(data), hashlib.sha256(data).digest())
    result = stored.result_of(render.result)
    assert (result.sha256, result.frame_count) == (render.video.sha256, 48)
    assert [stored.provenance_of(s.progress).backend for s in snapshot.scenes] == [
        Backend.DIFFUSERS
    ] * 2


async def test_an_error_that_may_pass_leaves_the_finished_scenes_to_the_next_attempt(bench):
    bench.composer.after_scene[0] = GatorError(Reason.DOWNSTREAM_UNAVAILABLE, "gone", retry_after=0)
    claim = await bench.claim(2)
    assert await bench.attempt(claim).run() is Outcome.WAITS
    render = await bench.store.get("ada", claim.lease.render_id)
    assert (render.state, render.failures) == (RenderState.QUEUED, 0)
    assert stored.error_of(render.error).message == "gone"
    [again] = await bench.store.claim("another", 1)
    assert await bench.attempt(again).run() is Outcome.SUCCEEDED
    render = await bench.store.get("ada", claim.lease.render_id)
    assert (render.attempts, render.video.epoch) == (2, 2)
    assert bench.maker.made[0] == 1
    result = stored.result_of(render.result)
    assert (result.frames_generated, result.frames_reused) == (2, 0)


@pytest.mark.parametrize(
    ("error", "failures"),
    [
        (GatorError(Reason.OVERLOADED, "later", retry_after=0), 0),
        (GatorError(Reason.SHUTTING_DOWN, "another will do", retry_after=0), 0),
        (GatorError(Reason.STORAGE_UNAVAILABLE, "away", retry_after=0), 0),
        # No word of when to come back, such as gRPC's own of a message that is too large.
        (GatorError(Reason.OVERLOADED, "too large"), 1),
        # What the render itself may have done.
        (GatorError(Reason.DOWNSTREAM_UNAVAILABLE, "it died", retry_after=0), 1),
        (GatorError(Reason.STORAGE_FULL, "no room", retry_after=0), 1),
    ],
    ids=str,
)
async def test_what_others_say_of_themselves_is_no_failure_of_the_render(bench, error, failures):
    bench.maker.errors[0] = error
    claim = await bench.claim(1)
    # It got as far as this before.
    await bench.store.enter_phase(claim.lease, Phase.GENERATING)
    await bench.store.release(claim.lease)
    [claim] = await bench.store.claim("another", 1)
    assert await bench.attempt(claim).run() is Outcome.WAITS
    render = await bench.store.get("ada", claim.lease.render_id)
    assert (render.state, render.failures) == (RenderState.QUEUED, failures)


@pytest.mark.parametrize(
    "error",
    [
        GatorError(Reason.GENERATION_FAILED, "the model broke"),
        GatorError(Reason.FRAME_CORRUPT, "each time"),
        GatorError(Reason.DEADLINE_EXCEEDED, "too late"),
        ZeroDivisionError("a bug"),
    ],
    ids=str,
)
async def test_an_error_that_cannot_pass_fails_the_render(bench, error):
    bench.maker.errors[1] = error
    claim = await bench.claim(2)
    assert await bench.attempt(claim).run() is Outcome.FAILED
    render = await bench.store.get("ada", claim.lease.render_id)
    assert render.state is RenderState.FAILED
    told = stored.error_of(render.error)
    assert told.reason is getattr(error, "reason", Reason.INTERNAL)
    assert ("error_id" in told.metadata) is not isinstance(error, GatorError)


async def test_a_render_whose_workers_all_died_is_given_up(bench):
    claim = await bench.claim(1)
    claim = replace(claim, render=replace(claim.render, failures=5))
    assert await bench.attempt(claim).run() is Outcome.FAILED
    assert bench.maker.made == {}


async def test_nothing_is_published_of_a_video_that_is_not_what_was_sent(bench):
    bench.composer.says = b"and more"
    claim = await bench.claim(1)
    assert await bench.attempt(claim).run() is Outcome.WAITS
    render = await bench.store.get("ada", claim.lease.render_id)
    assert render.video is None


async def test_without_its_lease_an_attempt_ends_and_changes_nothing(bench):
    claim = await bench.claim(2)
    cancelled = await bench.store.cancel("ada", claim.lease.render_id)
    assert await bench.attempt(claim).run() is Outcome.LOST
    assert await bench.store.get("ada", claim.lease.render_id) == cancelled
    assert [key for key in await bench.keys("outputs") if key.endswith(".mp4")] == []


async def test_a_frame_is_not_begun_once_the_lease_may_be_anothers(bench):
    claim = await bench.claim(2)
    looked = 0

    def check_lease():
        nonlocal looked
        looked += 1
        if looked == 2:  # while the second scene was looked for
            raise LeaseLost(claim.lease)

    bench.check_lease = check_lease
    assert await bench.attempt(claim).run() is Outcome.LOST
    assert bench.maker.made == {0: 1}
    render = await bench.store.get("ada", claim.lease.render_id)
    assert (render.state, render.failures) == (RenderState.RUNNING, 0)


async def test_an_attempt_that_is_cancelled_leaves_no_video_and_no_task(bench):
    claim = await bench.claim(2)
    held = asyncio.Event()
    begun = asyncio.Event()

    async def plan(render, index):
        begun.set()
        await held.wait()

    bench.maker.plan = plan
    before = asyncio.all_tasks()
    running = asyncio.create_task(bench.attempt(claim).run())
    await begun.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert asyncio.all_tasks() == before
    assert [key for key in await bench.keys("outputs") if key.endswith(".mp4")] == []
    assert (await bench.store.get("ada", claim.lease.render_id)).state is RenderState.RUNNING


async def test_frames_are_shared_by_the_renders_of_one_owner_alone(bench):
    for owner, reused in (("ada", 0), ("ada", 2), ("bob", 0)):
        claim = await bench.claim(2, owner=owner)
        await bench.attempt(claim).run()
        render = await bench.store.get(owner, claim.lease.render_id)
        result = stored.result_of(render.result)
        assert (result.frames_generated, result.frames_reused) == (2 - reused, reused)
    assert bench.maker.made == {0: 2, 1: 2}


async def test_a_frame_made_otherwise_than_planned_serves_its_render_alone(bench):
    bench.maker.plan_is = replace(PLAN, backend=Backend.OPENAI)
    for _ in range(2):
        claim = await bench.claim(1)
        await bench.attempt(claim).run()
        [scene] = (await bench.store.snapshot("ada", claim.lease.render_id)).scenes
        assert scene.frame.startswith(f"renders/{claim.lease.render_id}/")
    assert bench.maker.made == {0: 2}


async def test_a_stored_frame_that_is_damaged_is_made_again(bench):
    claim = await bench.claim(1)
    await bench.attempt(claim).run()
    [frame] = [key for key in await bench.keys("frames") if key.endswith(".raw")]
    await bench.objects.put(frame, b"\7" * 24)
    claim = await bench.claim(1)
    await bench.attempt(claim).run()
    render = await bench.store.get("ada", claim.lease.render_id)
    assert stored.result_of(render.result).frames_generated == 1
    assert bench.maker.made == {0: 2}
