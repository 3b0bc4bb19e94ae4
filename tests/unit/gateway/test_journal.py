"""What an attempt writes of itself: seldom, and nothing of it lost."""

import asyncio

import pytest

from gateway.convert.stored import event_value, provenance_of, scene_value
from gateway.events import RenderProgress, SceneProgress, SceneState
from gateway.jobs import persistence
from gateway.jobs.journal import Journal
from gateway.jobs.records import LeaseLost
from gateway.jobs.states import Phase
from gateway.jobs.store import Store
from gateway.pipeline import MadeScene
from gateway.spool import SpooledFrame
from rpckit.errors import GatorError, Reason
from rpckit.frame import Frame
from rpckit.provenance import Backend, Provenance
from tests.support.renders import claimed

MADE_BY = Provenance(Backend.DIFFUSERS, "plain", 7, 25, 7.5, 2, 2, 0, 0, b"s" * 32)


@pytest.fixture
async def store(tmp_path):
    async with Store.open(f"sqlite:///{tmp_path / 'renders.db'}") as opened:
        yield opened


def progress(encoded: int) -> RenderProgress:
    return RenderProgress(0, 2, encoded, 120, encoded / 128)


async def test_of_many_steps_the_newest_are_written(store):
    claim = await claimed(store)
    journal = Journal(store, claim.lease)
    writing = asyncio.create_task(journal.run())
    written = asyncio.Event()
    store.listen(lambda _: written.set())
    journal.note(progress(1))
    await written.wait()
    for step in range(1, 101):
        journal.note(progress(step))
        journal.note(SceneProgress(0, SceneState.GENERATING, step, 100))
    await journal.flush()
    writing.cancel()
    events = await store.events(claim.lease.render_id, 2)
    assert [event_value(event.payload) for event in events] == [
        progress(1),
        SceneProgress(0, SceneState.GENERATING, 100, 100),
        progress(100),
    ]
    snapshot = await store.snapshot("ada", claim.lease.render_id)
    assert snapshot.render.progress.frames_encoded == 100
    assert [scene_value(scene.progress).step for scene in snapshot.scenes] == [100]


async def test_a_finished_scene_is_written_at_once_and_nothing_older_after_it(store, tmp_path):
    claim = await claimed(store)
    journal = Journal(store, claim.lease)
    frame = SpooledFrame(Frame.of(2, 2, bytes(12)).header, tmp_path)
    journal.note(SceneProgress(1, SceneState.GENERATING, 3, 4))
    await journal.finish_scene(1, MadeScene(frame, MADE_BY), "frames/ab/abc")
    await journal.flush()
    frame.close()
    snapshot = await store.snapshot("ada", claim.lease.render_id)
    [scene] = snapshot.scenes
    assert (scene.index, scene.frame) == (1, "frames/ab/abc")
    assert provenance_of(scene.progress) == MADE_BY
    [event] = await store.events(claim.lease.render_id, 2)
    assert event_value(event.payload).state is SceneState.FINISHED
    assert snapshot.render.progress.scenes_finished == 1


async def test_it_waits_for_a_database_that_is_away(store, monkeypatch):
    monkeypatch.setattr(persistence, "_wait", lambda _: 0)
    claim = await claimed(store)
    tries = []
    real = store.enter_phase

    async def twice_away(*arguments):
        tries.append(arguments)
        if len(tries) < 3:
            raise GatorError(Reason.STORAGE_UNAVAILABLE, "away", retry_after=1)
        await real(*arguments)

    monkeypatch.setattr(store, "enter_phase", twice_away)
    await Journal(store, claim.lease).enter(Phase.ENCODING)
    assert (await store.get("ada", claim.lease.render_id)).phase is Phase.ENCODING


async def test_without_its_lease_nothing_is_written(store):
    claim = await claimed(store)
    await store.cancel("ada", claim.lease.render_id)
    journal = Journal(store, claim.lease)
    journal.note(progress(1))
    with pytest.raises(LeaseLost):
        await journal.run()
    assert (await store.get("ada", claim.lease.render_id)).progress.frames_encoded == 0
