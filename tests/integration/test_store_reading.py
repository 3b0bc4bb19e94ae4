"""Pages, events, what changed, what may be deleted."""

import asyncio
from datetime import timedelta

import pytest

from gateway.events import RenderProgress
from gateway.jobs.records import EventKind, Hint, Priority, SceneRecord
from gateway.jobs.retention import RenderView
from gateway.jobs.states import RenderState
from gateway.jobs.store import Store, attempts
from rpckit.errors import GatorError, Reason
from tests.support.renders import claimed, new_render, succeeded, video_of


async def pages(store, **asked):
    """The ids of each page."""
    found, token = [], ""
    while True:
        page = await store.list_renders("ada", page_token=token, **asked)
        found.append([render.render_id for render in page.renders])
        token = page.next_page_token
        if not token:
            return found


async def created(store, **fields):
    return (await store.create(new_render(**fields)))[0].render_id


async def test_pages_are_newest_first_and_whole(store):
    ids = [await created(store) for _ in range(7)]
    await created(store, owner="bob")
    newest = ids[::-1]
    assert await pages(store, page_size=3) == [newest[:3], newest[3:6], newest[6:]]
    assert await pages(store, page_size=7) == [newest]
    assert await pages(store, page_size=1) == [[render_id] for render_id in newest]


async def test_renders_of_one_moment_are_each_on_one_page(database, store):
    ids = {await created(store) for _ in range(9)}
    await database.sql("UPDATE renders SET create_time = 1000000")
    found = await pages(store, page_size=2)
    assert [len(page) for page in found] == [2, 2, 2, 2, 1]
    assert {render_id for page in found for render_id in page} == ids


async def test_what_comes_while_paging_moves_nothing(store):
    ids = [await created(store) for _ in range(4)]
    first = await store.list_renders("ada", page_size=2)
    await created(store)
    second = await store.list_renders("ada", page_size=2, page_token=first.next_page_token)
    assert [render.render_id for render in second.renders] == [ids[1], ids[0]]
    assert second.next_page_token == ""


async def test_a_page_ends_where_its_bytes_would_be_too_many(store):
    sizes = [400, 100, 100, 900, 100]
    ids = [await created(store, request=b"r" * size) for size in sizes][::-1]
    assert await pages(store, page_size=50, max_bytes=500) == [
        [ids[0]],
        [ids[1]],  # alone too large: it comes, and alone
        [ids[2], ids[3]],
        [ids[4]],
    ]


async def test_pages_by_state_and_by_labels(store):
    red = await created(store, labels={"colour": "red", "size": "l"})
    blue = await created(store, labels={"colour": "blue", "size": "l"})
    plain = await created(store)
    running = await claimed(store, priority=Priority.INTERACTIVE, labels={"size": "l"})
    assert await pages(store, labels={"size": "l"}) == [[running.lease.render_id, blue, red]]
    assert await pages(store, labels={"size": "l", "colour": "red"}) == [[red]]
    assert await pages(store, labels={"colour": ""}) == [[]]
    assert await pages(store, states=[RenderState.QUEUED]) == [[plain, blue, red]]
    assert await pages(store, states=[RenderState.RUNNING, RenderState.FAILED]) == [
        [running.lease.render_id]
    ]
    assert await pages(store, states=[RenderState.QUEUED], labels={"size": "l"}, page_size=1) == [
        [blue],
        [red],
    ]


@pytest.mark.parametrize("token", ["x", "AAAA", "b25lL3R3bw==", "é"])
async def test_a_token_that_no_page_gave_is_refused(store, token):
    with pytest.raises(GatorError) as raised:
        await store.list_renders("ada", page_token=token)
    assert raised.value.reason is Reason.INVALID_ARGUMENT
    assert raised.value.violations[0].field == "page_token"


async def test_a_token_is_good_for_the_list_that_gave_it_alone(store):
    for _ in range(3):
        await created(store)
    token = (await store.list_renders("ada", page_size=1)).next_page_token
    with pytest.raises(GatorError):
        await store.list_renders("ada", page_token=token, states=[RenderState.QUEUED])
    with pytest.raises(GatorError):
        await store.list_renders("bob", page_token=token)
    with pytest.raises(GatorError):
        await store.list_renders("ada", page_size=0)


async def test_events_come_in_order_from_any_number_on(database, store):
    claim = await claimed(store)
    render_id = claim.lease.render_id
    assert await store.append_events(claim.lease, [b"a", b"b"]) == 3
    assert await store.append_events(claim.lease, [b"c"]) == 5
    await store.release(claim.lease)
    async with Store.open(database.url) as other:
        events = await other.events(render_id, 0)
        assert [(event.sequence, event.kind, event.payload) for event in events] == [
            (2, EventKind.STATE, b""),
            (3, EventKind.PROGRESS, b"a"),
            (4, EventKind.PROGRESS, b"b"),
            (5, EventKind.PROGRESS, b"c"),
            (6, EventKind.STATE, b""),
        ]
        assert await other.events(render_id, 3, limit=2) == events[2:4]
        assert await other.events(render_id, 6) == []
        assert (await other.get("ada", render_id)).sequence == 6


async def test_a_snapshot_shows_what_the_events_told(store):
    claim = await claimed(store)
    await store.append_events(
        claim.lease,
        [b"e"],
        scenes=[SceneRecord(1, b"step 3"), SceneRecord(0, b"step 9")],
        progress=RenderProgress(0, 0, frames_encoded=0, frame_count=0, fraction=0.25),
    )
    sequence = await store.finish_scene(
        claim.lease,
        SceneRecord(0, b"done", "frames/x", b"warned"),
        [b"scene", b"progress"],
        RenderProgress(1, 2, frames_encoded=30, frame_count=120, fraction=0.5),
    )
    await store.append_events(
        claim.lease,
        [],
        # Late news of a finished scene, and an encoding that began anew.
        scenes=[SceneRecord(0, b"step 10"), SceneRecord(1, b"step 4")],
        progress=RenderProgress(1, 2, frames_encoded=2, frame_count=120, fraction=0.3),
    )
    snapshot = await store.snapshot("ada", claim.lease.render_id)
    assert snapshot.scenes == (
        SceneRecord(0, b"done", "frames/x", b"warned"),
        SceneRecord(1, b"step 4"),
    )
    assert snapshot.render.progress == RenderProgress(1, 2, 2, 120, 0.5)
    assert snapshot.render.sequence == sequence + 1


async def test_appends_at_once_leave_no_gap(store):
    claim = await claimed(store)
    firsts = await asyncio.gather(
        *(store.append_events(claim.lease, [b"%d" % n, b"+"]) for n in range(40))
    )
    assert sorted(firsts) == list(range(3, 83, 2))
    events = await store.events(claim.lease.render_id, 2, limit=1000)
    assert [event.sequence for event in events] == list(range(3, 83))
    for number, first in enumerate(firsts):
        assert events[first - 3].payload == b"%d" % number


async def test_old_events_of_a_long_render_are_dropped(store):
    claim = await claimed(store)
    batch = [b"e"] * 500
    for _ in range(7):
        await store.append_events(claim.lease, batch)
    last = (await store.get("ada", claim.lease.render_id)).sequence
    kept = await store.events(claim.lease.render_id, 0, limit=10_000)
    assert kept[-1].sequence == last
    assert attempts.MAX_EVENTS <= len(kept) < attempts.MAX_EVENTS + 1000
    assert [event.sequence for event in kept] == list(range(kept[0].sequence, last + 1))


async def test_one_query_tells_which_of_many_renders_changed(store):
    claim = await claimed(store)
    idle = await created(store)
    gone = await created(store)
    await store.cancel("ada", gone)
    await store.delete("ada", gone)
    changes = await store.changed({claim.lease.render_id: 1, idle: 1, gone: 1, "never": 0})
    assert changes.advanced == {claim.lease.render_id: 2}
    assert changes.gone == {gone, "never"}
    assert await store.changed({}) == type(changes)({}, frozenset())


async def test_what_changed_comes_with_its_events_unless_they_are_many(store):
    claims = [await claimed(store) for _ in range(3)]
    one, other, many = (claim.lease.render_id for claim in claims)
    for claim, count in zip(claims, (3, 1, 40), strict=True):
        await store.append_events(claim.lease, [b"e"] * count)
    changes = await store.changed({one: 3, other: 2, many: 2})
    assert changes.advanced == {one: 5, other: 3, many: 42}
    assert changes.events == {
        one: await store.events(one, 3),
        other: await store.events(other, 2),
    }
    assert [event.sequence for event in changes.events[one]] == [4, 5]


async def test_listeners_hear_of_commits(store):
    heard: asyncio.Queue[Hint] = asyncio.Queue()
    end = store.listen(heard.put_nowait)

    async def about(render_id):
        while render_id not in ((await heard.get()).render_ids or ()):
            pass

    async with asyncio.timeout(200):
        render_id = await created(store)
        while not (await heard.get()).queued:
            pass
        [claim] = await store.claim("worker", 1)
        await about(render_id)
        await store.append_events(claim.lease, [b"e"])
        await about(render_id)
    end()
    await store.cancel("ada", render_id)
    assert heard.empty()


async def test_a_listener_that_fails_keeps_nobody_waiting(store, caplog):
    store.listen(lambda _: 1 / 0)
    async with asyncio.timeout(200):
        ids = await asyncio.gather(*(created(store) for _ in range(5)))
    assert len(set(ids)) == 5
    assert "a listener of the store failed" in caplog.text


async def test_listeners_hear_of_commits_of_other_gateways(postgresql_database):
    async with (
        Store.open(postgresql_database.url) as store,
        Store.open(postgresql_database.url) as other,
        asyncio.timeout(200),
    ):
        heard: asyncio.Queue[Hint] = asyncio.Queue()
        other.listen(heard.put_nowait)
        # It listens from here on; what came before may be anything.
        assert await heard.get() == Hint(None, queued=True)
        ids = {await created(store) for _ in range(3)}
        for render_id in ids:
            await store.cancel("ada", render_id)
        told: set[str] = set()
        while not ids <= told:
            hint = await heard.get()
            told |= hint.render_ids
        assert told == ids


async def test_hints_come_again_after_the_connection_broke(postgresql_database):
    async with (
        Store.open(postgresql_database.url) as store,
        Store.open(postgresql_database.url) as other,
        asyncio.timeout(200),
    ):
        heard: asyncio.Queue[Hint] = asyncio.Queue()
        other.listen(heard.put_nowait)
        assert (await heard.get()).render_ids is None
        await postgresql_database.sql(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()"
            " AND datname = current_database() AND query LIKE '%LISTEN%'"
        )
        assert (await heard.get()).render_ids is None
        render_id = await created(store)
        await store.cancel("ada", render_id)
        while render_id not in ((await heard.get()).render_ids or ()):
            pass


async def test_the_sweeper_learns_what_renders_need(store):
    claim = await claimed(store)
    done = await claimed(store)
    await store.finish_scene(claim.lease, SceneRecord(0, b"p", "frames/used"))
    await store.finish_scene(done.lease, SceneRecord(0, b"p", "frames/done"))
    await succeeded(store, done)
    view = await store.retention([claim.lease.render_id, done.lease.render_id, "unknown"])
    render = await store.get("ada", done.lease.render_id)
    assert view == {
        claim.lease.render_id: RenderView(epoch=1),
        done.lease.render_id: RenderView(
            epoch=1, end_time=render.end_time, video_key=video_of(done).location
        ),
    }
    asked = ["frames/used", "frames/done", "frames/unknown"]
    assert await store.frames_in_use(asked) == {"frames/used"}


async def test_old_renders_and_their_events_are_pruned(database, store):
    old = await claimed(store)
    await succeeded(store, old, keep_for=timedelta(minutes=5))
    await database.pass_time(3600)
    fresh = await claimed(store)
    await succeeded(store, fresh)
    running = await claimed(store)
    await store.prune(events_after=timedelta(minutes=10))
    assert await store.events(old.lease.render_id, 0) == []
    assert len(await store.events(fresh.lease.render_id, 0)) == 2
    assert len(await store.events(running.lease.render_id, 0)) == 1
    assert await pages(store) == [
        [claim.lease.render_id for claim in (running, fresh, old)],
    ]
    await store.prune(renders_after=timedelta(minutes=30))
    assert await pages(store) == [[claim.lease.render_id for claim in (running, fresh)]]


async def test_a_render_is_kept_as_long_as_its_video(database, store):
    kept, for_a_day, without = [await claimed(store) for _ in range(3)]
    await succeeded(store, kept)
    await succeeded(store, for_a_day, keep_for=timedelta(days=1))
    await store.cancel("ada", without.lease.render_id)
    await database.pass_time(3600)
    await store.prune(renders_after=timedelta(minutes=30))
    left = [claim.lease.render_id for claim in (for_a_day, kept)]
    assert await pages(store) == [left]
    await database.pass_time(86_400)
    await store.prune(renders_after=timedelta(minutes=30))
    assert await pages(store) == [[kept.lease.render_id]]


async def test_the_depth_of_the_queue_is_told_by_owner_priority_and_state(database, store):
    await created(store, owner="bob", priority=Priority.INTERACTIVE)
    [_] = await store.claim("worker", 1)
    for _ in range(3):
        await created(store)
    await store.cancel("ada", await created(store))
    await database.pass_time(60)
    depths = {(d.owner, d.priority, d.state): d for d in await store.stats()}
    assert {key: depth.count for key, depth in depths.items()} == {
        ("bob", Priority.INTERACTIVE, RenderState.RUNNING): 1,
        ("ada", Priority.BATCH, RenderState.QUEUED): 3,
    }
    assert all(timedelta(60) > depth.oldest >= timedelta(seconds=60) for depth in depths.values())
