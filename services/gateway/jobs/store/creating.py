"""Taking renders in: once for each request_id, and not more than there is room for."""

from __future__ import annotations

from functools import cache
from typing import Any

from sqlalchemy import (
    Boolean,
    Insert,
    Row,
    bindparam,
    case,
    null,
    select,
)

from gateway.jobs.records import NewRender, RenderRecord
from gateway.jobs.states import Phase, RenderState
from gateway.jobs.store.admission import Gate
from gateway.jobs.store.clock import NOW
from gateway.jobs.store.rows import RENDER, to_render, with_contents
from gateway.jobs.store.tables import contents, labels, renders
from gateway.jobs.store.upsert import insert
from gateway.jobs.store.work import Work
from rpckit.errors import GatorError, Reason

_BY_REQUEST_ID = select(*RENDER).where(
    renders.c.owner == bindparam("the_owner"), renders.c.request_id == bindparam("the_request_id")
)
_BY_ID = select(*RENDER).where(renders.c.id == bindparam("the_render"))


@cache
def _inserting(dialect: str) -> Insert:
    statement: Insert = (
        insert(dialect, renders)
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


_INSERT_CONTENTS = contents.insert()
_INSERT_LABELS = labels.insert()


def create(work: Work, new: NewRender, gate: Gate) -> tuple[RenderRecord, bool]:
    """As `Store.create`."""
    try:
        gate.admit(work, new.owner)
    except GatorError:
        # What there is already takes no room.
        if (existing := _find(work, new)) is not None:
            return _same(work, existing, new), False
        raise
    row = work.connection.execute(_inserting(work.dialect), _values(new)).one_or_none()
    if row is None:
        if (existing := _find(work, new)) is not None:
            return _same(work, existing, new), False
        # It was there a moment ago, and was deleted since.
        raise GatorError(
            Reason.STORAGE_UNAVAILABLE, "the render was just deleted; try again", retry_after=0.0
        )
    content = {"request": new.request, "warnings": new.warnings, "result": b""}
    work.connection.execute(_INSERT_CONTENTS, {"render_id": new.render_id, **content})
    if new.labels:
        pairs = [
            {"render_id": new.render_id, "name": name, "value": value}
            for name, value in new.labels.items()
        ]
        work.connection.execute(_INSERT_LABELS, pairs)
    gate.admitted(work, new.owner)
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
