"""How attempts end, and what clients do meanwhile: cancel, delete, go away."""

import asyncio
from datetime import timedelta

import pytest

from gateway.events import RenderProgress
from gateway.jobs import states
from gateway.jobs.records import LeaseLost, SceneRecord
from gateway.jobs.states import MAX_FAILURES, Phase, RenderState
from gateway.jobs.store import Store
from rpckit.errors import GatorError, Reason
from tests.support.renders import claimed, new_render, succeeded, video_of

MEANWHILE = timedelta(minutes=1)
"""What a test may take between two looks at the clock."""


def roughly(actual, expected):
    """Whether a wait is what it should be, by a clock that went on meanwhile."""
    return expected - MEANWHILE < actual <= expected


async def test_a_published_video_is_the_result_for_good(database, store):
    claim = await claimed(store)
    await store.append_events(
        claim.lease,
        [],
        progress=RenderProgress(2, 2, frames_encoded=7, frame_count=0, fraction=0.6),
    )
    render = await store.succeed(
        claim.lease,
        video=video_of(claim),
        result=b"result",
        keep_for=timedelta(days=1),
        warnings=b"came up",
    )
    assert render == await store.get("ada", claim.lease.render_id)
    assert render.state is RenderState.SUCCEEDED
    assert (render.result, render.warnings, render.video) == (
        b"result",
        b"came up",
        video_of(claim),
    )
    assert (render.progress.frames_encoded, render.progress.fraction) == (120, 1.0)
    assert render.lease_until is None
    assert abs(render.expire_time - render.end_time - timedelta(days=1)) < MEANWHILE

    assert await store.cancel("ada", render.render_id) == render
    await database.pass_time(23 * 3600)
    assert (await store.get("ada", render.render_id)).video == video_of(claim)
    await database.pass_time(2 * 3600)
    expired = await store.get("ada", render.render_id)
    assert (expired.state, expired.video) == (RenderState.SUCCEEDED, None)


async def test_publishing_can_be_repeated_after_a_lost_answer(store):
    claim = await claimed(store)
    await succeeded(store, claim)
    await succeeded(store, claim)
    render = await store.get("ada", claim.lease.render_id)
    assert (render.state, render.sequence) == (RenderState.SUCCEEDED, 3)
    other = video_of(claim).__class__("outputs/other.mp4", 1, b"s", claim.lease.epoch)
    with pytest.raises(LeaseLost):
        await store.succeed(claim.lease, video=other, result=b"other", keep_for=None)
    assert (await store.get("ada", claim.lease.render_id)).video == video_of(claim)


async def test_an_error_that_may_pass_waits_longer_each_time_and_is_given_up_at_last(
    database, store, monkeypatch
):
    # A hundred times as long as they are, so that a test cannot take so long.
    monkeypatch.setattr(states, "FIRST_BACKOFF", 100 * states.FIRST_BACKOFF)
    monkeypatch.setattr(states, "LONGEST_BACKOFF", 100 * states.LONGEST_BACKOFF)
    await store.create(new_render())
    for failed in range(1, MAX_FAILURES):
        [claim] = await store.claim("worker", 1)
        assert (await store.get("ada", claim.lease.render_id)).failures == failed - 1
        state = await store.fail(claim.lease, b"away", transient=True)
        render = await store.get("ada", claim.lease.render_id)
        assert state is render.state is RenderState.QUEUED
        assert (render.failures, render.error) == (failed, b"away")
        wait = timedelta(seconds=200 * 5 ** (failed - 1))
        assert roughly(render.due_time - await store.now(), wait)
        await database.pass_time(wait.total_seconds() - 100)
        assert await store.claim("worker", 1) == []
        await database.pass_time(100)
    [claim] = await store.claim("worker", 1)
    assert await store.fail(claim.lease, b"still away", transient=True) is RenderState.FAILED
    render = await store.get("ada", claim.lease.render_id)
    assert (render.state, render.error, render.attempts) == (RenderState.FAILED, b"still away", 5)
    assert render.end_time is not None
    assert render.lease_until is None


async def test_an_error_that_cannot_pass_fails_at_once(store):
    claim = await claimed(store)
    assert await store.fail(claim.lease, b"rejected", transient=False) is RenderState.FAILED
    render = await store.get("ada", claim.lease.render_id)
    assert (render.state, render.error, render.failures) == (RenderState.FAILED, b"rejected", 1)


async def test_a_service_that_says_how_long_to_wait_is_followed(database, store):
    claim = await claimed(store)
    await store.fail(claim.lease, b"busy", transient=True, retry_after=timedelta(minutes=3))
    render = await store.get("ada", claim.lease.render_id)
    assert roughly(render.due_time - await store.now(), timedelta(minutes=3))
    await database.pass_time(180)
    [claim] = await store.claim("worker", 1)
    await store.fail(claim.lease, b"busy", transient=True, retry_after=timedelta(0))
    [_] = await store.claim("worker", 1)


async def test_attempts_that_store_a_scene_are_not_counted(store):
    await store.create(new_render(scene_count=20))
    now = timedelta(0)
    for index in range(MAX_FAILURES + 3):
        [claim] = await store.claim("worker", 1)
        scene = SceneRecord(index, b"p", f"frames/{index}")
        await store.finish_scene(claim.lease, scene)
        assert (
            await store.fail(claim.lease, b"e", transient=True, retry_after=now)
            is RenderState.QUEUED
        )
    # The same scenes again are no news.
    [claim] = await store.claim("worker", 1)
    await store.finish_scene(claim.lease, scene)
    await store.fail(claim.lease, b"e", transient=True, retry_after=now)
    render = await store.get("ada", claim.lease.render_id)
    assert (render.failures, render.attempts) == (1, MAX_FAILURES + 4)
    assert render.progress.scenes_finished == MAX_FAILURES + 3


async def test_phases_only_rise(store):
    claim = await claimed(store)
    for phase in (Phase.GENERATING, Phase.STORING, Phase.ENCODING):
        await store.enter_phase(claim.lease, phase)
    assert (await store.get("ada", claim.lease.render_id)).phase is Phase.STORING


async def test_a_render_handed_back_keeps_its_place_and_its_attempts(store):
    first = await claimed(store)
    second, _ = await store.create(new_render())
    for _ in range(MAX_FAILURES + 2):
        await store.release(first.lease)
        [first] = await store.claim("worker", 1)
        assert first.render.failures == 0
    assert first.lease.render_id != second.render_id
    assert first.render.error == b""


async def test_a_cancelled_render_ends_its_lease(store):
    claim = await claimed(store)
    cancelled = await store.cancel("ada", claim.lease.render_id)
    assert cancelled.state is RenderState.CANCELLED
    assert cancelled.epoch == claim.lease.epoch + 1
    assert cancelled.end_time is not None
    assert await store.still_held([claim.lease]) == set()
    assert await store.cancel("ada", claim.lease.render_id) == cancelled
    with pytest.raises(LeaseLost):
        await succeeded(store, claim)
    assert await store.claim("worker", 1) == []


async def test_a_waiting_render_is_cancelled_too(store):
    render, _ = await store.create(new_render())
    assert (await store.cancel("ada", render.render_id)).state is RenderState.CANCELLED
    assert await store.claim("worker", 1) == []


async def test_of_a_cancellation_and_a_success_at_once_one_wins(database, store):
    async with Store.open(database.url) as other:
        for number in range(20):
            claim = await claimed(store)
            render_id = claim.lease.render_id
            calls = [succeeded(store, claim), other.cancel("ada", render_id)]
            published, cancelled = await asyncio.gather(
                *(calls if number % 2 else reversed(calls)), return_exceptions=True
            )
            if not number % 2:
                published, cancelled = cancelled, published
            render = await store.get("ada", render_id)
            if published is None:
                assert render.state is RenderState.SUCCEEDED
                assert cancelled.state is RenderState.SUCCEEDED
                assert render.video is not None
            else:
                assert isinstance(published, LeaseLost)
                assert render.state is RenderState.CANCELLED
                assert render.video is None
            events = await store.events(render_id, 0)
            assert [event.sequence for event in events] == [2, 3]


async def test_only_a_render_that_has_ended_can_be_deleted(database, store):
    claim = await claimed(store, request_id="r", labels={"a": "b"})
    render_id = claim.lease.render_id
    await store.finish_scene(claim.lease, SceneRecord(0, b"p", "frames/x"), [b"e"])
    with pytest.raises(GatorError) as raised:
        await store.delete("ada", render_id)
    assert raised.value.reason is Reason.WRONG_STATE
    assert raised.value.metadata["state"] == "RUNNING"
    await succeeded(store, claim)
    await store.delete("ada", render_id)
    for table in ("renders", "contents", "labels", "scenes", "events"):
        assert await database.sql(f"SELECT count(*) FROM {table}") == [(0,)], table
    with pytest.raises(GatorError) as raised:
        await store.delete("ada", render_id)
    assert raised.value.reason is Reason.RENDER_NOT_FOUND
    assert (await store.create(new_render(request_id="r")))[1]


async def test_an_attached_render_is_cancelled_when_its_client_has_been_away_for_30_s(
    database, store
):
    away = await claimed(store, attached_to="worker")
    waits, _ = await store.create(new_render(attached_to="gone"))
    stays = await claimed(store, attached_to="worker")
    detached = await claimed(store)
    await database.pass_time(15)
    ids = [stays.lease.render_id, detached.lease.render_id]
    await store.touch_attached(ids, "gateway-2")
    assert await store.lapse_attached() == []
    await database.pass_time(16)
    assert set(await store.lapse_attached()) == {away.lease.render_id, waits.render_id}
    assert await store.lapse_attached() == []
    assert await store.still_held([away.lease, stays.lease, detached.lease]) == {
        stays.lease,
        detached.lease,
    }
    cancelled = await store.get("ada", away.lease.render_id)
    assert (cancelled.state, cancelled.epoch) == (RenderState.CANCELLED, 2)
    assert [event.sequence for event in await store.events(waits.render_id, 0)] == [2]
    assert not (await store.get("ada", detached.lease.render_id)).attached


async def test_a_client_that_comes_back_attaches_its_render_to_another_gateway(database, store):
    render, _ = await store.create(new_render(attached_to="first"))
    await store.touch_attached([render.render_id], "second")
    [claim] = await store.claim("second", 1)
    assert claim.lease.render_id == render.render_id
