"""Taking renders in: once for each request_id, and not more than there is room for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from sqlalchemy import (
    Boolean,
    ColumnElement,
    Insert,
    Row,
    bindparam,
    case,
    false,
    literal_column,
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

Outcome = tuple[RenderRecord, bool] | GatorError
"""What became of a creation: as `Store.create`, or why the render was refused."""

_BY_REQUEST_ID = select(*RENDER).where(
    renders.c.owner == bindparam("the_owner"), renders.c.request_id == bindparam("the_request_id")
)
_BY_ID = select(*RENDER).where(renders.c.id == bindparam("the_render"))
_ZERO: ColumnElement[int] = literal_column("0")


@cache
def _inserting(dialect: str) -> Insert:
    statement: Insert = (
        insert(dialect, renders)
        # What is the same for all stands in the text: each value takes time to hand over.
        .values(
            state=literal_column(f"'{RenderState.QUEUED.value}'"),
            epoch=_ZERO,
            sequence=literal_column("1"),
            phase=literal_column(str(Phase.CLAIMED.value)),
            progressed=false(),
            attempts=_ZERO,
            failures=_ZERO,
            scenes_finished=_ZERO,
            frames_encoded=_ZERO,
            fraction=_ZERO,
            create_time=NOW,
            due_time=NOW,
            attached_until=case((bindparam("is_attached", type_=Boolean), NOW), else_=null()),
            worker=literal_column("''"),
            error=b"",
        )
        .on_conflict_do_nothing()
        .returning(*RENDER)
    )
    return statement


_INSERT_CONTENTS = contents.insert()
_INSERT_LABELS = labels.insert()


def create(work: Work, news: Sequence[NewRender], gate: Gate) -> list[Outcome]:
    """As `Store.create`, for some renders at once."""
    if len(news) == 1:
        return [_outcome(work, news[0], gate)]
    admitted = [new for new in news if _is_admitted(work, new, gate)]
    created = _insert(work, admitted)
    for new in admitted:
        if new.render_id not in created:
            gate.admitted(work, new.owner, -1)
    # Those that are there already, and those that found no room, one by one: a place that
    # was kept for one of the former may be free now.
    return [
        (created[new.render_id], True) if new.render_id in created else _outcome(work, new, gate)
        for new in news
    ]


def _is_admitted(work: Work, new: NewRender, gate: Gate) -> bool:
    try:
        gate.admit(work, new.owner)
    except GatorError:
        return False
    gate.admitted(work, new.owner)
    return True


def _outcome(work: Work, new: NewRender, gate: Gate) -> Outcome:
    try:
        return _create(work, new, gate)
    except GatorError as error:
        # Nothing was written for it: what was for others stays.
        return error


def _create(work: Work, new: NewRender, gate: Gate) -> tuple[RenderRecord, bool]:
    try:
        gate.admit(work, new.owner)
    except GatorError:
        # What there is already takes no room.
        if (existing := _find(work, new)) is not None:
            return _same(work, existing, new), False
        raise
    created = _insert(work, [new])
    if not created:
        if (existing := _find(work, new)) is not None:
            return _same(work, existing, new), False
        # It was there a moment ago, and was deleted since.
        raise GatorError(
            Reason.STORAGE_UNAVAILABLE, "the render was just deleted; try again", retry_after=0.0
        )
    gate.admitted(work, new.owner)
    return created[new.render_id], True


def _insert(work: Work, news: Sequence[NewRender]) -> Mapping[str, RenderRecord]:
    """Adds renders; returns, by id, those that were not there before."""
    if not news:
        return {}
    # In one order everywhere: transactions that wait for each other's would wait for ever.
    rows = [_values(new) for new in sorted(news, key=lambda new: (new.owner, new.request_id))]
    found = work.connection.execute(_inserting(work.dialect), rows if len(rows) > 1 else rows[0])
    added = {row.id: row for row in found}
    stored = [(new, added[new.render_id]) for new in news if new.render_id in added]
    if not stored:
        return {}
    content = [
        {
            "render_id": new.render_id,
            "request": new.request,
            "warnings": new.warnings,
            "result": b"",
        }
        for new, _ in stored
    ]
    work.connection.execute(_INSERT_CONTENTS, content)
    pairs = [
        {"render_id": new.render_id, "name": name, "value": value}
        for new, _ in stored
        for name, value in new.labels.items()
    ]
    if pairs:
        work.connection.execute(_INSERT_LABELS, pairs)
    work.queued = True
    return {row.id: to_render(row, new.request, new.warnings, b"") for new, row in stored}


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
