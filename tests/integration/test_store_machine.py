"""Random lives of renders against a model: one end each, and no write by a lease that is over."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
import tempfile
from contextlib import closing
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import patch

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    invariant,
    multiple,
    precondition,
    rule,
)

from gateway.jobs.records import EventKind, Lease, LeaseLost, Priority, SceneRecord, VideoRecord
from gateway.jobs.states import Phase, RenderState
from gateway.jobs.store import Store, sqlite
from rpckit.errors import GatorError, Reason
from tests.support.renders import new_render

SECOND = 1_000_000
SCENES = 3
ENDS = {RenderState.SUCCEEDED, RenderState.FAILED, RenderState.CANCELLED}


@dataclass
class Model:
    """What a render should be."""

    priority: Priority
    due: int
    state: RenderState = RenderState.QUEUED
    epoch: int = 0
    kinds: list[EventKind] = field(default_factory=list)
    lease_until: int = 0
    attempts: int = 0
    failures: int = 0
    progressed: bool = False
    phase: int = 0
    scenes: set[int] = field(default_factory=set)
    video: VideoRecord | None = None

    def claimable(self, now: int) -> bool:
        if self.state is RenderState.QUEUED:
            return self.due <= now
        return self.state is RenderState.RUNNING and self.lease_until <= now

    def holds(self, lease: Lease) -> bool:
        return self.state is RenderState.RUNNING and self.epoch == lease.epoch

    def becomes(self, state: RenderState) -> None:
        assert self.state not in ENDS
        self.state = state
        self.kinds.append(EventKind.STATE)


class Renders(RuleBasedStateMachine):
    """The store on SQLite, with a clock that stands until a rule moves it."""

    renders = Bundle("renders")
    leases = Bundle("leases")

    runner: asyncio.Runner
    store: Store
    file: Path
    clock = SimpleNamespace(now=0)

    def __init__(self) -> None:
        super().__init__()
        self.clock.now = 1_700_000_000 * SECOND
        self.model: dict[str, Model] = {}
        self.submitted = 0
        # One store for all examples: most of the time would go into compiling its statements.
        with closing(sqlite3.connect(self.file)) as connection, connection:
            connection.execute("PRAGMA foreign_keys = ON")
            connection.execute("DELETE FROM renders")

    def run(self, awaitable):
        return self.runner.run(awaitable)

    # --- clients -----------------------------------------------------------------------------

    @precondition(lambda self: len(self.model) < 4)
    @rule(target=renders, priority=st.sampled_from(Priority), owner=st.sampled_from("ab"))
    def submit(self, priority, owner):
        self.submitted += 1
        new = new_render(
            render_id=f"render-{self.submitted}",
            owner=owner,
            priority=priority,
            scene_count=SCENES,
        )
        assert self.run(self.store.create(new))[1]
        self.model[new.render_id] = Model(priority, due=self.clock.now)
        return owner, new.render_id

    @rule(render=renders)
    def cancel(self, render):
        owner, render_id = render
        model = self.model.get(render_id)
        if model is None:
            with pytest.raises(GatorError):
                self.run(self.store.cancel(owner, render_id))
            return
        answer = self.run(self.store.cancel(owner, render_id))
        if model.state not in ENDS:
            model.becomes(RenderState.CANCELLED)
            model.epoch += 1
        assert answer.state is model.state

    @rule(render=renders)
    def delete(self, render):
        owner, render_id = render
        model = self.model.get(render_id)
        if model is not None and model.state in ENDS:
            self.run(self.store.delete(owner, render_id))
            del self.model[render_id]
            return
        with pytest.raises(GatorError) as raised:
            self.run(self.store.delete(owner, render_id))
        assert raised.value.reason is (
            Reason.RENDER_NOT_FOUND if model is None else Reason.WRONG_STATE
        )

    # --- workers -----------------------------------------------------------------------------

    @rule(target=leases, limit=st.integers(1, 4))
    def claim(self, limit):
        return self.claim_up_to(limit)

    def claim_up_to(self, limit):
        claimable = {i for i, model in self.model.items() if model.claimable(self.clock.now)}
        claims = self.run(self.store.claim("worker", limit))
        taken = {claim.lease.render_id for claim in claims}
        assert len(claims) == len(taken) == min(limit, len(claimable))
        assert taken <= claimable
        left = [self.model[i].priority for i in claimable - taken]
        assert not left or max(self.model[i].priority for i in taken) <= min(left)
        for claim in claims:
            self.was_claimed(claim)
        return multiple(*(claim.lease for claim in claims))

    def was_claimed(self, claim):
        model = self.model[claim.lease.render_id]
        if model.state is RenderState.RUNNING and not model.progressed:
            model.failures += 1
        model.becomes(RenderState.RUNNING)
        model.epoch += 1
        model.attempts += 1
        model.progressed = False
        model.lease_until = self.clock.now + 30 * SECOND
        assert claim.lease.epoch == model.epoch
        assert {scene.index for scene in claim.scenes if scene.finished} == model.scenes
        assert claim.exhausted == (model.failures >= 5)

    @rule(seconds=st.sampled_from([1, 2, 5, 15]))
    def pass_time(self, seconds):
        self.clock.now += seconds * SECOND

    @rule(target=leases, seconds=st.sampled_from([29, 30, 31]))
    def claim_what_died(self, seconds):
        self.clock.now += seconds * SECOND
        return self.claim_up_to(4)

    @rule(asked=st.lists(leases, max_size=5))
    def heartbeat(self, asked):
        held = self.run(self.store.heartbeat(asked))
        assert held == {lease for lease in asked if self.holder(lease)}
        assert self.run(self.store.still_held(asked)) == held
        for lease in held:
            self.model[lease.render_id].lease_until = self.clock.now + 30 * SECOND

    def holder(self, lease) -> Model | None:
        """The render that the lease may write; None if the lease is over."""
        model = self.model.get(lease.render_id)
        return model if model is not None and model.holds(lease) else None

    def write(self, lease, call) -> Model | None:
        """Makes a guarded call; None if it was refused, as it should be."""
        model = self.holder(lease)
        if model is None:
            with pytest.raises(LeaseLost):
                self.run(call)
        return model

    @rule(lease=leases, index=st.integers(0, SCENES - 1), news=st.integers(0, 2))
    def finish_scene(self, lease, index, news):
        scene = SceneRecord(index, b"done", f"frames/{index}")
        call = self.store.finish_scene(lease, scene, [b"e"] * news)
        if model := self.write(lease, call):
            self.run(call)
            model.kinds += [EventKind.PROGRESS] * news
            model.progressed |= index not in model.scenes
            model.scenes.add(index)

    @rule(lease=leases, phase=st.sampled_from(Phase))
    def enter_phase(self, lease, phase):
        call = self.store.enter_phase(lease, phase)
        if model := self.write(lease, call):
            self.run(call)
            model.progressed |= phase > model.phase
            model.phase = max(model.phase, phase)

    @rule(lease=leases, index=st.integers(0, SCENES - 1))
    def report(self, lease, index):
        call = self.store.append_events(lease, [b"e"], scenes=[SceneRecord(index, b"half")])
        if model := self.write(lease, call):
            assert self.run(call) == len(model.kinds) + 2
            model.kinds.append(EventKind.PROGRESS)

    @rule(lease=leases)
    def succeed(self, lease):
        location = f"outputs/{lease.render_id}/{lease.epoch}.mp4"
        video = VideoRecord(location, 1, b"s" * 32, lease.epoch)
        call = self.store.succeed(lease, video=video, result=b"r", keep_for=None)
        known = self.model.get(lease.render_id)
        if known is not None and known.video == video:
            self.run(call)  # repeated: nothing happens
        elif model := self.write(lease, call):
            self.run(call)
            model.becomes(RenderState.SUCCEEDED)
            model.video = video

    @rule(
        lease=leases,
        transient=st.booleans(),
        counts=st.booleans(),
        retry_after=st.sampled_from([None, 0]),
    )
    def fail(self, lease, transient, counts, retry_after):
        wait = None if retry_after is None else timedelta(seconds=retry_after)
        call = self.store.fail(
            lease, b"error", transient=transient, counts=counts, retry_after=wait
        )
        if model := self.write(lease, call):
            state = self.run(call)
            model.failures += counts and not model.progressed
            gone_for_good = not transient or model.failures >= 5
            model.becomes(RenderState.FAILED if gone_for_good else RenderState.QUEUED)
            assert state is model.state
            backoff = 2 * 5 ** max(model.failures - 1, 0) if retry_after is None else retry_after
            model.due = self.clock.now + backoff * SECOND

    @rule(lease=leases)
    def release(self, lease):
        call = self.store.release(lease)
        if model := self.write(lease, call):
            self.run(call)
            model.becomes(RenderState.QUEUED)

    # --- what always holds -------------------------------------------------------------------

    @invariant()
    def is_as_the_model_says(self):
        found = {}
        for owner in "ab":
            page = self.run(self.store.list_renders(owner, page_size=1000))
            found |= {render.render_id: render for render in page.renders}
        assert found.keys() == self.model.keys()
        for render_id, model in self.model.items():
            render = found[render_id]
            assert render.state is model.state
            assert render.epoch == model.epoch
            assert render.sequence == len(model.kinds) + 1
            assert (render.attempts, render.failures) == (model.attempts, model.failures)
            assert render.phase == model.phase
            assert render.progress.scenes_finished == len(model.scenes)
            assert render.video == model.video
            assert (render.end_time is not None) == (model.state in ENDS)
            assert (render.lease_until is not None) == (model.state is RenderState.RUNNING)

    @invariant()
    def events_tell_all_of_it(self):
        for render_id, model in self.model.items():
            events = self.run(self.store.events(render_id, 0, limit=1000))
            assert [event.sequence for event in events] == list(range(2, len(events) + 2))
            assert [event.kind for event in events] == model.kinds


@pytest.fixture
def machine(sqlite_template):
    """The machine, with its store."""
    # In memory where there is such a folder: a commit need not wait for a disk here.
    shared = Path("/dev/shm")
    with (
        tempfile.TemporaryDirectory(dir=shared if shared.is_dir() else None) as folder,
        patch.object(sqlite, "time", SimpleNamespace(time_ns=lambda: Renders.clock.now * 1_000)),
        asyncio.Runner() as runner,
    ):
        Renders.runner = runner
        Renders.file = Path(shutil.copy(sqlite_template, folder))
        opened = Store.open(f"sqlite:///{Renders.file}")
        Renders.store = runner.run(opened.__aenter__())
        yield Renders
        runner.run(opened.__aexit__(None, None, None))


@pytest.mark.timeout(600)  # only a failure takes so long: it is shrunk
def test_random_lives_of_renders(machine):
    case = machine.TestCase
    case.settings = settings(
        max_examples=40,
        stateful_step_count=50,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    case().runTest()
