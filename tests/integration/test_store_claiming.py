"""Who gets which render, for how long, and what a lease that is over is good for."""

import asyncio
import time
from datetime import timedelta

import pytest

from gateway.jobs.records import EventKind, Lease, LeaseLost, Priority, SceneRecord
from gateway.jobs.states import MAX_FAILURES, Phase, RenderState
from gateway.jobs.store import Store
from gateway.jobs.store.claiming import HEAD_START
from tests.support.renders import claimed, new_render, succeeded, video_of


async def queued(store, **fields):
    render, _ = await store.create(new_render(**fields))
    return render.render_id


async def claim_ids(store, limit, worker="worker"):
    return [claim.lease.render_id for claim in await store.claim(worker, limit)]


async def test_a_claim_is_a_lease_of_thirty_seconds_under_a_new_epoch(store):
    render_id = await queued(store)
    assert await store.claim("worker-a", 0) == []
    [claim] = await store.claim("worker-a", 5)
    render = claim.render
    assert claim.lease == Lease(render_id, 1)
    assert (render.state, render.worker, render.attempts) == (RenderState.RUNNING, "worker-a", 1)
    assert render.request == b"a request"
    left = render.lease_until - await store.now()
    assert timedelta(seconds=20) < left <= timedelta(seconds=30)
    assert render.start_time is not None
    assert await store.get("ada", render_id) == render
    assert await store.claim("worker-b", 5) == []


async def test_interactive_renders_come_first_then_the_oldest(store):
    batch = [await queued(store) for _ in range(2)]
    interactive = [await queued(store, priority=Priority.INTERACTIVE) for _ in range(2)]
    assert await claim_ids(store, 3) == [*interactive, batch[0]]
    assert await claim_ids(store, 3) == [batch[1]]


async def test_owners_with_fewer_running_renders_come_first(store):
    many = [await queued(store, owner="many") for _ in range(6)]
    few = [await queued(store, owner="few") for _ in range(2)]
    assert set(await claim_ids(store, 4)) == {*many[:2], *few}
    latecomer = await queued(store, owner="late")
    assert await claim_ids(store, 1) == [latecomer]
    assert await claim_ids(store, 9) == many[2:]


async def test_two_gateways_that_claim_at_once_never_get_the_same(database, store):
    ids = {await queued(store, owner=f"o{n % 3}") for n in range(60)}
    async with Store.open(database.url) as other:

        async def take(gateway, worker):
            taken = []
            while claims := await gateway.claim(worker, 4):
                taken += [claim.lease for claim in claims]
            return taken

        takers = [take((store, other)[n % 2], f"w{n}") for n in range(6)]
        taken = [lease for leases in await asyncio.gather(*takers) for lease in leases]
        # One that found everything locked gave up early; what is left is claimed here.
        taken += [claim.lease for claim in await store.claim("last", 60)]
    assert len(taken) == 60
    assert {lease.render_id for lease in taken} == ids
    assert {lease.epoch for lease in taken} == {1}


async def test_a_lease_that_ran_out_is_claimed_by_another(database, store):
    dead = await claimed(store, "dead")
    await database.pass_time(15)
    assert await store.claim("next", 1) == []
    await database.pass_time(16)
    [claim] = await store.claim("next", 1)
    assert claim.lease == Lease(dead.lease.render_id, 2)
    assert (claim.render.worker, claim.render.attempts, claim.render.failures) == ("next", 2, 1)
    assert claim.render.start_time < claim.render.lease_until - timedelta(seconds=50)


async def test_a_heartbeat_holds_many_leases_and_tells_which_are_over(database, store):
    leases = [(await claimed(store)).lease for _ in range(4)]
    await store.cancel("ada", leases[1].render_id)
    await database.pass_time(15)
    held = await store.heartbeat([*leases[:3], Lease("nothing", 1), Lease(leases[3].render_id, 7)])
    assert held == {leases[0], leases[2]}
    await database.pass_time(16)
    assert await store.still_held(leases) == {leases[0], leases[2], leases[3]}
    [lost] = await store.claim("next", 5)
    assert lost.lease.render_id == leases[3].render_id
    assert await store.still_held(leases) == {leases[0], leases[2]}
    assert await store.heartbeat([]) == set()


async def test_a_lease_that_ran_out_and_was_not_claimed_can_be_held_again(database, store):
    lease = (await claimed(store)).lease
    await database.pass_time(60)
    assert await store.heartbeat([lease]) == {lease}
    assert await store.claim("next", 1) == []


async def test_a_gateway_whose_clock_is_an_hour_ahead_steals_nothing(
    postgresql_database, monkeypatch
):
    async with (
        Store.open(postgresql_database.url) as right,
        Store.open(postgresql_database.url) as ahead,
    ):
        claim = await claimed(right)
        waits, _ = await right.create(new_render())
        real = time.time
        monkeypatch.setattr(time, "time", lambda: real() + 3600)
        monkeypatch.setattr(time, "time_ns", lambda: int((real() + 3600) * 1e9))
        stolen = await ahead.claim("ahead", 5)
        assert [c.lease.render_id for c in stolen] == [waits.render_id]
        # Nor does a lease of its own last an hour longer.
        assert stolen[0].render.lease_until - claim.render.lease_until < timedelta(seconds=60)
        assert await ahead.heartbeat([stolen[0].lease]) == {stolen[0].lease}
        await postgresql_database.pass_time(31)
        assert len(await right.claim("right", 5)) == 2


async def test_a_stale_lease_changes_nothing(database, store):
    stale = (await claimed(store, "stale")).lease
    await database.pass_time(31)
    [claim] = await store.claim("owner", 1)
    await store.append_events(claim.lease, [b"mine"])
    before = await store.snapshot("ada", stale.render_id)
    video = video_of(claim)
    for write in (
        lambda lease: store.enter_phase(lease, Phase.STORING),
        lambda lease: store.finish_scene(lease, SceneRecord(0, b"p", "frames/x"), [b"e"]),
        lambda lease: store.append_events(lease, [b"e"], scenes=[SceneRecord(0, b"p")]),
        lambda lease: store.append_events(lease, []),
        lambda lease: store.succeed(lease, video=video, result=b"r", keep_for=None),
        lambda lease: store.fail(lease, b"error", transient=True),
        lambda lease: store.fail(lease, b"error", transient=False),
        store.release,
    ):
        for lease in (stale, Lease(stale.render_id, 99), Lease("nothing", 1)):
            with pytest.raises(LeaseLost) as lost:
                await write(lease)
            assert lost.value.lease == lease
    assert await store.heartbeat([stale]) == set()
    assert await store.snapshot("ada", stale.render_id) == before
    assert [event.payload for event in await store.events(stale.render_id, 3)] == [b"mine"]


async def test_a_lease_is_over_once_its_render_is_handed_back_or_has_ended(store):
    released = await claimed(store)
    await store.release(released.lease)
    with pytest.raises(LeaseLost):
        await store.append_events(released.lease, [b"e"])
    [claim] = await store.claim("worker", 1)
    await succeeded(store, claim)
    with pytest.raises(LeaseLost):
        await store.fail(claim.lease, b"error", transient=True)


async def left_alone(store, home, by):
    """A render that another was refused, for it asked within the head start of its gateway."""
    while True:
        began = time.monotonic()
        render_id = await queued(store, attached_to=home)
        if not (taken := await claim_ids(store, 1, by)):
            return render_id
        # It may have taken that long to ask: then it is asked about another.
        assert taken == [render_id]
        assert time.monotonic() - began > HEAD_START.total_seconds() / 2


async def test_a_render_of_an_attached_client_is_left_to_its_gateway_at_first(database, store):
    render_id = await left_alone(store, "home", by="other")
    await database.pass_time(3)
    second = await queued(store, attached_to="home")
    assert await claim_ids(store, 2, "other") == [render_id]
    assert await claim_ids(store, 1, "home") == [second]


async def test_attempts_that_die_are_counted_until_the_render_is_to_be_failed(database, store):
    await store.create(new_render())
    for attempt in range(1, MAX_FAILURES + 1):
        [claim] = await store.claim(f"dies-{attempt}", 1)
        assert not claim.exhausted
        assert claim.lease.epoch == attempt
        await database.pass_time(31)
    [claim] = await store.claim("last", 1)
    assert claim.exhausted
    assert await store.fail(claim.lease, b"died", transient=False) is RenderState.FAILED
    render = await store.get("ada", claim.lease.render_id)
    assert (render.state, render.error) == (RenderState.FAILED, b"died")
    await database.pass_time(3600)
    assert await store.claim("nobody", 1) == []


async def test_a_worker_that_dies_after_it_got_further_is_not_counted(database, store):
    await store.create(new_render())
    for number, phase in enumerate([Phase.GENERATING, Phase.ENCODING, Phase.STORING]):
        [claim] = await store.claim("dies", 1)
        await store.enter_phase(claim.lease, phase)
        await database.pass_time(31)
        assert claim.render.failures == 0, number
    [claim] = await store.claim("dies", 1)
    await store.enter_phase(claim.lease, Phase.STORING)  # reached before: no further
    await database.pass_time(31)
    [claim] = await store.claim("dies", 1)
    assert (claim.render.failures, claim.render.phase) == (1, Phase.STORING)


async def test_a_claim_is_told_and_brings_what_was_stored(database, store):
    first = await claimed(store)
    await store.finish_scene(first.lease, SceneRecord(1, b"done", "frames/b", b"warned"), [b"e"])
    await store.append_events(first.lease, [], scenes=[SceneRecord(0, b"half")])
    await database.pass_time(31)
    [claim] = await store.claim("next", 1)
    assert claim.scenes == (SceneRecord(0, b"half"), SceneRecord(1, b"done", "frames/b", b"warned"))
    events = await store.events(claim.lease.render_id, 0)
    assert [(event.sequence, event.kind) for event in events] == [
        (2, EventKind.STATE),
        (3, EventKind.PROGRESS),
        (4, EventKind.STATE),
    ]
    assert claim.render.sequence == 4
