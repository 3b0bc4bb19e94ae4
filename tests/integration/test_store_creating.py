"""Renders are taken in once, found again, and not more than there is room for."""

import asyncio
import hashlib
import uuid

import pytest

from gateway.jobs.records import Admission, Priority
from gateway.jobs.states import Phase, RenderState
from gateway.jobs.store import Store
from rpckit.errors import GatorError, Reason
from tests.support.renders import new_render, succeeded


async def refused(awaitable):
    with pytest.raises(GatorError) as raised:
        await awaitable
    return raised.value


async def test_a_created_render_is_there_for_another_gateway_as_it_was_given(database, store):
    new = new_render(
        request_id="once",
        warnings=b"warnings",
        priority=Priority.INTERACTIVE,
        labels={"film": "one"},
        attached_to="gateway-1",
        retry_of="another",
    )
    created, is_new = await store.create(new)
    assert is_new
    async with Store.open(database.url) as other:
        assert await other.get("ada", new.render_id) == created
        snapshot = await other.snapshot("ada", new.render_id)
    assert (snapshot.render, snapshot.scenes) == (created, ())
    assert (created.state, created.epoch, created.sequence) == (RenderState.QUEUED, 0, 1)
    assert (created.request, created.warnings, created.result) == (b"a request", b"warnings", b"")
    assert created.priority is Priority.INTERACTIVE
    assert created.retry_of == "another"
    assert created.attached
    assert created.phase is Phase.CLAIMED
    assert created.progress.scene_count == 2
    assert created.progress.frame_count == 120
    assert created.due_time.utcoffset() is not None


async def test_a_hundred_calls_at_once_with_one_request_id_make_one_render(database, store):
    async with Store.open(database.url) as other:
        calls = [
            (store, other)[number % 2].create(new_render(request_id="same"))
            for number in range(100)
        ]
        answers = await asyncio.gather(*calls)
    assert len({render.render_id for render, _ in answers}) == 1
    assert sum(is_new for _, is_new in answers) == 1
    assert await database.sql("SELECT count(*) FROM renders") == [(1,)]
    assert await database.sql("SELECT count(*) FROM contents") == [(1,)]


async def test_a_request_id_with_other_content_is_refused_with_the_render_it_made(store):
    first, _ = await store.create(new_render(request_id="r", request=b"one"))
    error = await refused(store.create(new_render(request_id="r", request=b"two")))
    assert error.reason is Reason.REQUEST_ID_REUSED
    assert error.metadata == {"render_id": first.render_id}


async def test_a_request_id_is_its_owners_own(store):
    first, _ = await store.create(new_render(request_id="r", owner="ada"))
    second, is_new = await store.create(new_render(request_id="r", owner="bob"))
    assert is_new
    assert first.render_id != second.render_id


async def test_calls_without_a_request_id_each_make_a_render(store):
    answers = [await store.create(new_render()) for _ in range(3)]
    assert all(is_new for _, is_new in answers)
    assert len((await store.list_renders("ada")).renders) == 3


async def test_a_creation_whose_answer_was_lost_can_be_repeated(store):
    new = new_render()
    created, _ = await store.create(new)
    assert await store.create(new) == (created, False)


async def test_a_request_id_returns_a_render_that_has_ended(store):
    new = new_render(request_id="r")
    await store.create(new)
    [claim] = await store.claim("worker", 1)
    await succeeded(store, claim)
    again, is_new = await store.create(new_render(request_id="r"))
    assert not is_new
    assert (again.render_id, again.state) == (new.render_id, RenderState.SUCCEEDED)
    assert again.result == b"result"


async def test_another_owners_render_is_not_there(store):
    render, _ = await store.create(new_render(owner="ada"))
    for call in (store.get, store.snapshot, store.cancel, store.delete):
        error = await refused(call("bob", render.render_id))
        assert error.reason is Reason.RENDER_NOT_FOUND
    assert (await store.get("ada", render.render_id)).state is RenderState.QUEUED
    error = await refused(store.get("ada", str(uuid.uuid4())))
    assert error.reason is Reason.RENDER_NOT_FOUND


async def test_the_queue_has_a_bound_that_concurrent_callers_do_not_pass(database):
    admission = Admission(max_queued=10, max_per_owner=1000)
    async with (
        Store.open(database.url, admission=admission) as one,
        Store.open(database.url, admission=admission) as two,
    ):
        calls = [(one, two)[n % 2].create(new_render(owner=f"o{n}")) for n in range(40)]
        answers = await asyncio.gather(*calls, return_exceptions=True)
        errors = [answer for answer in answers if isinstance(answer, BaseException)]
        assert len(errors) == 30
        assert {error.reason for error in errors} == {Reason.OVERLOADED}
        assert all(error.retry_after > 0 for error in errors)
        assert await database.sql("SELECT count(*) FROM renders") == [(10,)]

        [_] = await one.claim("worker", 1)
        await one.create(new_render(owner="later"))


async def test_an_owner_has_a_bound_that_running_renders_count_for(database):
    async with Store.open(database.url, admission=Admission(max_per_owner=3)) as store:
        answers = await asyncio.gather(
            *(store.create(new_render(request_id=f"r{n}")) for n in range(20)),
            return_exceptions=True,
        )
        errors = [answer for answer in answers if isinstance(answer, BaseException)]
        assert len(errors) == 17
        assert {error.reason for error in errors} == {Reason.QUOTA_EXCEEDED}
        assert errors[0].metadata["limit"] == "3"
        assert errors[0].retry_after > 0
        await store.create(new_render(owner="bob"))

        claims = await store.claim("worker", 4)
        assert (await refused(store.create(new_render()))).reason is Reason.QUOTA_EXCEEDED
        # What there is already is found, full or not.
        there = claims[0].render.request_id or claims[1].render.request_id
        assert not (await store.create(new_render(request_id=there)))[1]
        await store.cancel(
            "ada", next(c.render.render_id for c in claims if c.render.owner == "ada")
        )
        assert (await store.create(new_render()))[1]


async def test_a_large_request_comes_back_byte_for_byte(store):
    request = hashlib.sha256(b"seed").digest() * 100_000
    new = new_render(request=request, labels={f"label{n}": "v" * 255 for n in range(32)})
    await store.create(new)
    assert (await store.get("ada", new.render_id)).request == request


@pytest.mark.parametrize("scene_count", [2, 2**70], ids=["storable", "unstorable"])
async def test_creations_that_come_together_each_have_their_own_outcome(database, scene_count):
    async with Store.open(database.url, admission=Admission(max_per_owner=3)) as store:
        there, _ = await store.create(new_render(request_id="there"))
        new, again, other, reused, last, too_many = await asyncio.gather(
            store.create(new_render(labels={"a": "1"})),
            store.create(new_render(request_id="there")),
            store.create(new_render(owner="bob", scene_count=scene_count)),
            store.create(new_render(request_id="there", request=b"other")),
            store.create(new_render()),
            store.create(new_render()),
            return_exceptions=True,
        )
        assert new[1]
        assert again == (there, False)
        assert isinstance(other, tuple) == (scene_count == 2)
        assert reused.reason is Reason.REQUEST_ID_REUSED
        assert last[1]
        assert too_many.reason is Reason.QUOTA_EXCEEDED
        labelled = (await store.list_renders("ada", labels={"a": "1"})).renders
        assert [render.render_id for render in labelled] == [new[0].render_id]
        assert len((await store.list_renders("ada")).renders) == 3
        assert len((await store.list_renders("bob")).renders) == (scene_count == 2)


async def test_a_creation_whose_caller_left_is_done_with_the_others(database):
    async with Store.open(database.url) as store:
        calls = [asyncio.ensure_future(store.create(new_render())) for _ in range(3)]
        await asyncio.sleep(0)
        calls[1].cancel()
        await asyncio.wait(calls)
        assert [call.cancelled() for call in calls] == [False, True, False]
    assert await database.sql("SELECT count(*) FROM renders") == [(3,)]
