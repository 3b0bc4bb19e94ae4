"""What the holder of a lease writes; every write raises LeaseLost once the lease is over."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import timedelta
from functools import cache
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Double,
    Insert,
    Integer,
    LargeBinary,
    Row,
    Text,
    Update,
    and_,
    bindparam,
    case,
    delete,
    func,
    null,
    or_,
    select,
    update,
)

from gateway.events import RenderProgress
from gateway.jobs.records import (
    EventKind,
    Lease,
    LeaseLost,
    RenderRecord,
    SceneRecord,
    VideoRecord,
)
from gateway.jobs.states import Change, Phase, RenderState, after, before, judge
from gateway.jobs.store.clock import NOW, microseconds
from gateway.jobs.store.rows import RENDER, with_contents
from gateway.jobs.store.tables import contents, events, in_state, renders, scenes
from gateway.jobs.store.upsert import insert
from gateway.jobs.store.work import Work

MAX_EVENTS = 2_000
"""Events of a render that are kept at least; older ones go, now and then."""
_TRIM_EVERY = 500

_HOLDER = and_(renders.c.id == bindparam("the_render"), renders.c.epoch == bindparam("the_epoch"))


def _guarded(*states: RenderState) -> Update:
    return update(renders).where(_HOLDER, in_state(*states))


_RUNNING = RenderState.RUNNING
_ENTER = (
    _guarded(_RUNNING)
    .values(
        progressed=or_(renders.c.progressed, renders.c.phase < bindparam("to", type_=Integer)),
        phase=case(
            (renders.c.phase < bindparam("to", type_=Integer), bindparam("to", type_=Integer)),
            else_=renders.c.phase,
        ),
    )
    .returning(renders.c.id)
)
_fraction = bindparam("at_fraction", type_=Double)
_APPEND = (
    _guarded(_RUNNING)
    .values(
        sequence=renders.c.sequence + bindparam("more", type_=BigInteger),
        frames_encoded=func.coalesce(bindparam("encoded", type_=Integer), renders.c.frames_encoded),
        fraction=case((renders.c.fraction < _fraction, _fraction), else_=renders.c.fraction),
    )
    .returning(renders.c.sequence)
)
_FINISHED_BEFORE = select(scenes.c.position).where(
    scenes.c.render_id == bindparam("the_render"),
    scenes.c.position.in_(bindparam("positions", expanding=True)),
    scenes.c.frame != "",
)
_GOT_FURTHER = (
    update(renders)
    .where(renders.c.id == bindparam("the_render"))
    .values(
        scenes_finished=renders.c.scenes_finished + bindparam("newly", type_=Integer),
        progressed=True,
    )
)
_SUCCEED = (
    _guarded(*before(Change.SUCCEED))
    .values(
        state=after(_RUNNING, Change.SUCCEED).value,
        sequence=renders.c.sequence + 1,
        end_time=NOW,
        expire_time=NOW + bindparam("keep_for", type_=BigInteger),
        lease_until=null(),
        frames_encoded=renders.c.frame_count,
        fraction=1.0,
        error=b"",
        video_location=bindparam("location"),
        video_size=bindparam("size"),
        video_sha256=bindparam("sha256"),
        video_epoch=bindparam("video_of"),
    )
    .returning(*RENDER)
)
_SUCCEEDED_BEFORE = select(*RENDER).where(
    _HOLDER,
    in_state(RenderState.SUCCEEDED),
    renders.c.video_location == bindparam("location"),
)
_STORE_RESULT = (
    update(contents)
    .where(contents.c.render_id == bindparam("the_render"))
    .values(
        result=bindparam("the_result"),
        warnings=func.coalesce(bindparam("the_warnings", type_=LargeBinary), contents.c.warnings),
    )
)
# Locks the row: the verdict is made of what stands in it.
_LOOK = (
    select(renders.c.failures, renders.c.progressed)
    .where(_HOLDER, in_state(_RUNNING))
    .with_for_update()
)
_GIVE_UP = (
    _guarded(*before(Change.FAIL))
    .values(
        state=bindparam("to_state", type_=Text),
        sequence=renders.c.sequence + 1,
        failures=bindparam("failed", type_=Integer),
        error=bindparam("the_error"),
        due_time=NOW + bindparam("wait", type_=BigInteger),
        end_time=case((bindparam("ends", type_=Boolean), NOW), else_=null()),
        lease_until=null(),
    )
    .returning(renders.c.sequence)
)
_RELEASE = (
    _guarded(*before(Change.RELEASE))
    .values(
        state=after(_RUNNING, Change.RELEASE).value,
        sequence=renders.c.sequence + 1,
        lease_until=null(),
    )
    .returning(renders.c.sequence)
)
_INSERT_EVENTS = events.insert()
_TRIM_EVENTS = delete(events).where(
    events.c.render_id == bindparam("the_render"), events.c.sequence <= bindparam("up_to")
)


@cache
def _storing_scene(dialect: str) -> Insert:
    statement = insert(dialect, scenes)
    new = statement.excluded
    stored: Insert = statement.on_conflict_do_update(
        index_elements=[scenes.c.render_id, scenes.c.position],
        set_={"frame": new.frame, "progress": new.progress, "warnings": new.warnings},
        # One that is finished stays so.
        where=or_(scenes.c.frame == "", new.frame != ""),
    )
    return stored


def _one(work: Work, lease: Lease, statement: Any, values: dict[str, Any]) -> Row[Any]:
    """The one row that a guarded statement returns; LeaseLost if there is none."""
    guard = {"the_render": lease.render_id, "the_epoch": lease.epoch}
    row: Row[Any] | None = work.connection.execute(statement, {**guard, **values}).one_or_none()
    if row is None:
        raise LeaseLost(lease)
    return row


def enter_phase(work: Work, lease: Lease, phase: Phase) -> None:
    """As `Store.enter_phase`."""
    _one(work, lease, _ENTER, {"to": phase.value})


def append(
    work: Work,
    lease: Lease,
    payloads: Sequence[bytes],
    stored: Iterable[SceneRecord],
    progress: RenderProgress | None,
) -> int:
    """As `Store.append_events` and `Store.finish_scene`."""
    values = {
        "more": len(payloads),
        "encoded": None if progress is None else progress.frames_encoded,
        "at_fraction": 0.0 if progress is None else progress.fraction,
    }
    last: int = _one(work, lease, _APPEND, values).sequence
    _store_scenes(work, lease, list(stored))
    first = last - len(payloads) + 1
    if payloads:
        rows = [
            _event(lease, sequence, EventKind.PROGRESS, payload)
            for sequence, payload in enumerate(payloads, first)
        ]
        work.connection.execute(_INSERT_EVENTS, rows)
        work.changed.add(lease.render_id)
        if first // _TRIM_EVERY != (last + 1) // _TRIM_EVERY:
            old = {"the_render": lease.render_id, "up_to": last - MAX_EVENTS}
            work.connection.execute(_TRIM_EVENTS, old)
    return first


def _store_scenes(work: Work, lease: Lease, stored: Sequence[SceneRecord]) -> None:
    finished = {scene.index for scene in stored if scene.finished}
    if finished:
        asked = {"the_render": lease.render_id, "positions": sorted(finished)}
        finished.difference_update(work.connection.scalars(_FINISHED_BEFORE, asked))
    if stored:
        rows = [
            {
                "render_id": lease.render_id,
                "position": scene.index,
                "frame": scene.frame,
                "progress": scene.progress,
                "warnings": scene.warnings,
            }
            for scene in stored
        ]
        work.connection.execute(_storing_scene(work.dialect), rows)
    if finished:
        values = {"the_render": lease.render_id, "newly": len(finished)}
        work.connection.execute(_GOT_FURTHER, values)


def succeed(
    work: Work,
    lease: Lease,
    video: VideoRecord,
    result: bytes,
    keep_for: timedelta | None,
    warnings: bytes | None,
) -> RenderRecord:
    """As `Store.succeed`."""
    values = {
        "keep_for": None if keep_for is None else microseconds(keep_for),
        "location": video.location,
        "size": video.size,
        "sha256": video.sha256,
        "video_of": video.epoch,
    }
    try:
        row = _one(work, lease, _SUCCEED, values)
    except LeaseLost:
        # Its answer may have been lost on the way to this very caller.
        row = _one(work, lease, _SUCCEEDED_BEFORE, {"location": video.location})
        return with_contents(work.connection, [row])[0]
    content = {"the_render": lease.render_id, "the_result": result, "the_warnings": warnings}
    work.connection.execute(_STORE_RESULT, content)
    _tell_state(work, lease, row.sequence)
    return with_contents(work.connection, [row])[0]


def fail(
    work: Work,
    lease: Lease,
    error: bytes,
    *,
    transient: bool,
    counts: bool,
    retry_after: timedelta | None,
) -> RenderState:
    """As `Store.fail`."""
    row = _one(work, lease, _LOOK, {})
    verdict = judge(
        row.failures,
        progressed=bool(row.progressed),
        transient=transient,
        counts=counts,
        retry_after=retry_after,
    )
    state = after(_RUNNING, verdict.change)
    values = {
        "to_state": state.value,
        "failed": verdict.failures,
        "the_error": error,
        "wait": microseconds(verdict.wait),
        "ends": state.ended,
    }
    _tell_state(work, lease, _one(work, lease, _GIVE_UP, values).sequence)
    work.queued |= not state.ended
    return state


def release(work: Work, lease: Lease) -> None:
    """As `Store.release`."""
    _tell_state(work, lease, _one(work, lease, _RELEASE, {}).sequence)
    work.queued = True


def _tell_state(work: Work, lease: Lease, sequence: int) -> None:
    work.connection.execute(_INSERT_EVENTS, _event(lease, sequence, EventKind.STATE, b""))
    work.changed.add(lease.render_id)


def _event(lease: Lease, sequence: int, kind: EventKind, payload: bytes) -> dict[str, Any]:
    return {
        "render_id": lease.render_id,
        "sequence": sequence,
        "kind": kind.value,
        "payload": payload,
    }
