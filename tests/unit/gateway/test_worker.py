"""Workers over a real store: what they claim, keep, lose and hand back."""

import asyncio
from collections import defaultdict
from contextlib import asynccontextmanager, nullcontext
from types import SimpleNamespace

import pytest

from gateway.jobs import heartbeat
from gateway.jobs.attempt import Outcome
from gateway.jobs.heartbeat import LeaseKeeper, Rhythm
from gateway.jobs.records import Lease, LeaseLost
from gateway.jobs.states import RenderState
from gateway.jobs.store import Store
from gateway.jobs.worker import Worker
from rpckit.errors import GatorError, Reason
from tests.support.renders import new_render, succeeded


class Attempts:
    """Attempts that run until a test says so."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.begun: dict[str, asyncio.Event] = defaultdict(asyncio.Event)
        self.broke_off: dict[str, asyncio.Event] = defaultdict(asyncio.Event)
        self.may_end: dict[str, asyncio.Event] = defaultdict(asyncio.Event)
        self.running: set[str] = set()

    async def run(self, claim) -> Outcome:
        name = claim.render.request.decode()
        self.running.add(name)
        self.begun[name].set()
        try:
            await self.may_end[name].wait()
            await succeeded(self.store, claim)
        except asyncio.CancelledError:
            self.broke_off[name].set()
            raise
        finally:
            self.running.discard(name)
        return Outcome.SUCCEEDED


@pytest.fixture
async def store(tmp_path):
    async with Store.open(f"sqlite:///{tmp_path / 'renders.db'}") as opened:
        yield opened


@asynccontextmanager
async def working(attempts: Attempts, capacity: int = 2, rhythm: Rhythm | None = None):
    worker = Worker("worker", attempts.store, attempts.run, capacity, rhythm)
    running = asyncio.create_task(worker.run())
    try:
        yield worker
    finally:
        await worker.drain(0)
        running.cancel()
        await asyncio.wait([running])


async def create(store: Store, name: str) -> str:
    new = new_render(request=name.encode())
    await store.create(new)
    return new.render_id


async def until(store: Store, render_id: str, state: RenderState):
    """The render once it is in `state`, told by the store's hints."""
    changed = asyncio.Event()
    unlisten = store.listen(lambda _: changed.set())
    try:
        while True:
            changed.clear()
            render = await store.get("ada", render_id)
            if render.state is state:
                return render
            await changed.wait()
    finally:
        unlisten()


async def test_as_many_run_as_fit_and_the_next_one_when_one_ends(store):
    attempts = Attempts(store)
    async with working(attempts, capacity=2):
        ids = {name: await create(store, name) for name in "abc"}
        await attempts.begun["a"].wait()
        await attempts.begun["b"].wait()
        assert attempts.running == {"a", "b"}
        assert (await store.get("ada", ids["c"])).state is RenderState.QUEUED
        attempts.may_end["a"].set()
        await attempts.begun["c"].wait()
        assert attempts.running == {"b", "c"}


async def test_a_cancelled_render_is_stopped(store):
    attempts = Attempts(store)
    async with working(attempts):
        render_id = await create(store, "a")
        await attempts.begun["a"].wait()
        await store.cancel("ada", render_id)
        await attempts.broke_off["a"].wait()


async def test_a_cancelled_render_is_stopped_at_once_where_that_is_known(store, monkeypatch):
    monkeypatch.setattr(heartbeat, "LOOK", 3600.0)  # it does not look by itself
    attempts = Attempts(store)
    async with working(attempts) as worker:
        render_id = await create(store, "a")
        await attempts.begun["a"].wait()
        await store.cancel("ada", render_id)
        worker.look_now()
        await attempts.broke_off["a"].wait()


async def test_a_lease_is_kept_as_long_as_the_work_takes(store):
    attempts = Attempts(store)
    # A renewal may take as long as the time between two: one that is in time is enough.
    async with working(attempts, rhythm=Rhythm(renew=0.2, give_up=3600)):
        render_id = await create(store, "a")
        await attempts.begun["a"].wait()
        first = (await store.get("ada", render_id)).lease_until
        while (await store.get("ada", render_id)).lease_until <= first:
            pass
        assert attempts.running == {"a"}


async def test_a_worker_that_cannot_renew_its_leases_stops_by_itself(store, monkeypatch):
    async def away(*_):
        raise GatorError(Reason.STORAGE_UNAVAILABLE, "away", retry_after=1)

    attempts = Attempts(store)
    async with working(attempts, rhythm=Rhythm(renew=0.05, give_up=0.3)):
        render_id = await create(store, "a")
        await attempts.begun["a"].wait()
        with monkeypatch.context() as patch:
            for method in ("heartbeat", "still_held", "claim"):
                patch.setattr(store, method, away)
            await attempts.broke_off["a"].wait()
        # It is left as it is: another takes it once the lease has run out.
        assert (await store.get("ada", render_id)).state is RenderState.RUNNING


@pytest.mark.parametrize(
    ("since", "held"), [(19, True), (21, False)], ids=["renewed lately", "halted for long"]
)
async def test_a_lease_that_was_not_renewed_for_long_is_taken_for_lost(
    store, monkeypatch, since, held
):
    monkeypatch.setattr(heartbeat, "time", SimpleNamespace(monotonic=lambda: 1000.0))
    keeper = LeaseKeeper(store, lambda _: None)
    lease = Lease("render", 1)
    keeper.add(lease, 1000.0 - since)
    with nullcontext() if held else pytest.raises(LeaseLost):
        keeper.check(lease)
    keeper.remove(lease)
    with pytest.raises(LeaseLost):
        keeper.check(lease)


async def test_a_drain_lets_renders_end_within_the_grace_and_takes_no_other(store):
    attempts = Attempts(store)
    async with working(attempts) as worker:
        ending = await create(store, "ending")
        await attempts.begun["ending"].wait()
        draining = asyncio.create_task(worker.drain(30))
        worker.stop_claiming()
        late = await create(store, "late")
        attempts.may_end["ending"].set()
        await draining
        assert (await store.get("ada", ending)).state is RenderState.SUCCEEDED
        assert (await store.get("ada", late)).state is RenderState.QUEUED


async def test_after_the_grace_renders_are_handed_back_and_that_is_no_failure(store):
    attempts = Attempts(store)
    async with working(attempts) as worker:
        render_id = await create(store, "a")
        await attempts.begun["a"].wait()
        await worker.drain(0.01)
        assert attempts.broke_off["a"].is_set()
    render = await store.get("ada", render_id)
    assert (render.state, render.failures, render.lease_until) == (RenderState.QUEUED, 0, None)
    async with working(attempts):
        attempts.may_end["a"].set()
        assert (await until(store, render_id, RenderState.SUCCEEDED)).attempts == 2
