"""Taking renders in: once for each request_id, and not more than there is room for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Insert,
    Row,
    bindparam,
    case,
    func,
    literal,
    null,
    select,
)
from sqlalchemy.dialects import postgresql, sqlite

from gateway.jobs.records import Admission, NewRender, RenderRecord
from gateway.jobs.states import Phase, RenderState
from gateway.jobs.store.clock import NOW
from gateway.jobs.store.rows import RENDER, to_render, with_contents
from gateway.jobs.store.tables import contents, in_state, labels, renders
from gateway.jobs.store.work import Work
from rpckit.errors import GatorError, Reason

QUEUE_RETRY_AFTER = 5.0
"""Seconds after which a client that was refused may try again."""

_NEAR = 256
"""From so many renders below a bound on, creations wait for each other: the bound is exact as
long as fewer of them are under way in all gateways together."""
_ADMISSION_LOCK = 0x6761746F72
"""Key of the advisory lock for that: "gator"."""

_BY_REQUEST_ID = select(*RENDER).where(
    renders.c.owner == bindparam("the_owner"), renders.c.request_id == bindparam("the_request_id")
)
_BY_ID = select(*RENDER).where(renders.c.id == bindparam("the_render"))
_COUNT_QUEUED = select(func.count()).select_from(renders).where(in_state(RenderState.QUEUED))
# Two searches in two small indexes; `state IN (...)` would find neither.
_COUNT_OWNED = select(
    select(func.count())
    .select_from(renders)
    .where(
        in_state(RenderState.QUEUED),
        renders.c.owner == bindparam("the_owner"),
    )
    .scalar_subquery()
    + select(func.count())
    .select_from(renders)
    .where(
        in_state(RenderState.RUNNING),
        renders.c.owner == bindparam("the_owner"),
    )
    .scalar_subquery()
)
_LOCK = select(func.pg_advisory_xact_lock(literal(_ADMISSION_LOCK, BigInteger)))


def _inserting(insert: Callable[[Any], Any]) -> Insert:
    statement: Insert = (
        insert(renders)
        .values(
            state=RenderState.QUEUED.value,
            epoch=0,
            sequence=1,
            phase=Phase.CLAIMED.value,
            progressed=False,
            attempts=0,
            failures=0,
            scenes_finished=0,
            frames_encoded=0,
            fraction=0.0,
            create_time=NOW,
            due_time=NOW,
            attached_until=case((bindparam("is_attached", type_=Boolean), NOW), else_=null()),
            worker="",
            error=b"",
        )
        .on_conflict_do_nothing()
        .returning(*RENDER)
    )
    return statement


_INSERT = {"sqlite": _inserting(sqlite.insert), "postgresql": _inserting(postgresql.insert)}
_INSERT_CONTENTS = contents.insert()
_INSERT_LABELS = labels.insert()


def create(work: Work, new: NewRender, admission: Admission) -> tuple[RenderRecord, bool]:
    """As `Store.create`."""
    if new.request_id and (row := _find(work, new)) is not None:
        return _same(work, row, new), False
    _admit(work, new.owner, admission)
    row = work.connection.execute(_INSERT[work.dialect], _values(new)).one_or_none()
    if row is None:
        # Another call was quicker, or this one is repeated.
        existing = _find(work, new)
        if existing is None:
            raise GatorError(Reason.STORAGE_UNAVAILABLE, "try again", retry_after=0.0)
        return _same(work, existing, new), False
    content = {"request": new.request, "warnings": new.warnings, "result": b""}
    work.connection.execute(_INSERT_CONTENTS, {"render_id": new.render_id, **content})
    if new.labels:
        pairs = [
            {"render_id": new.render_id, "name": name, "value": value}
            for name, value in new.labels.items()
        ]
        work.connection.execute(_INSERT_LABELS, pairs)
    for key in (None, new.owner):
        if key in work.counts:
            work.counts[key] += 1
    work.queued = True
    return to_render(row, **content), True


def _values(new: NewRender) -> dict[str, Any]:
    return {
        "id": new.render_id,
        "owner": new.owner,
        "request_id": new.request_id or None,
        "fingerprint": new.fingerprint,
        "retry_of": new.retry_of,
        "origin": new.origin,
        "priority": new.priority.value,
        "scene_count": new.scene_count,
        "frame_count": new.frame_count,
        "attached_to": new.attached_to,
        "is_attached": bool(new.attached_to),
        "content_size": len(new.request) + len(new.warnings),
    }


def _find(work: Work, new: NewRender) -> Row[Any] | None:
    if new.request_id:
        asked = {"the_owner": new.owner, "the_request_id": new.request_id}
        row = work.connection.execute(_BY_REQUEST_ID, asked).one_or_none()
        if row is not None:
            return row
    return work.connection.execute(_BY_ID, {"the_render": new.render_id}).one_or_none()


def _same(work: Work, row: Row[Any], new: NewRender) -> RenderRecord:
    if row.owner != new.owner or row.fingerprint != new.fingerprint:
        raise GatorError(
            Reason.REQUEST_ID_REUSED,
            f"request_id {new.request_id} was used for a render with other content; choose "
            "another one",
            metadata={"render_id": row.id if row.owner == new.owner else ""},
        )
    return with_contents(work.connection, [row])[0]


def _admit(work: Work, owner: str, admission: Admission) -> None:
    """Raises OVERLOADED or QUOTA_EXCEEDED unless there is room for one more render of `owner`."""
    queued, owned = _counts(work, owner)
    if work.dialect == "postgresql" and (
        queued + _NEAR >= admission.max_queued or owned + _NEAR >= admission.max_per_owner
    ):
        work.connection.execute(_LOCK)
        work.counts.clear()
        queued, owned = _counts(work, owner)
    if owned >= admission.max_per_owner:
        raise GatorError(
            Reason.QUOTA_EXCEEDED,
            f"{owned} renders of this owner wait or run, as many as may be; wait for some to end",
            retry_after=QUEUE_RETRY_AFTER,
            metadata={"quota": "renders_per_owner", "limit": str(admission.max_per_owner)},
        )
    if queued >= admission.max_queued:
        raise GatorError(
            Reason.OVERLOADED,
            f"{queued} renders wait, as many as may be; try later",
            retry_after=QUEUE_RETRY_AFTER,
        )


def _counts(work: Work, owner: str) -> tuple[int, int]:
    counts = work.counts
    if None not in counts:
        counts[None] = work.connection.scalar(_COUNT_QUEUED) or 0
    if owner not in counts:
        counts[owner] = work.connection.scalar(_COUNT_OWNED, {"the_owner": owner}) or 0
    return counts[None], counts[owner]
