"""Looking at renders: one, a page of them, their events, what changed, how many there are."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from sqlalchemy import Row, bindparam, func, select

from gateway.jobs.records import (
    Changes,
    EventKind,
    Priority,
    QueueDepth,
    RenderEventRecord,
    RenderRecord,
    RenderSnapshot,
)
from gateway.jobs.states import RenderState
from gateway.jobs.store.clock import NOW
from gateway.jobs.store.rows import RENDER, scenes_of, with_contents
from gateway.jobs.store.tables import events, in_state, renders
from gateway.jobs.store.work import Work
from rpckit.errors import GatorError, Reason

_GET = select(*RENDER).where(
    renders.c.id == bindparam("the_render"), renders.c.owner == bindparam("the_owner")
)
_EVENTS = (
    select(events.c.sequence, events.c.kind, events.c.payload)
    .where(events.c.render_id == bindparam("the_render"), events.c.sequence > bindparam("after"))
    .order_by(events.c.sequence)
    .limit(bindparam("most"))
)
_SEQUENCES = select(renders.c.id, renders.c.sequence).where(
    renders.c.id.in_(bindparam("the_renders", expanding=True))
)
# By the render's own sequence: a list of places to look at would not be looked up in an index.
_NEWEST = (
    select(events.c.render_id, events.c.sequence, events.c.kind, events.c.payload)
    .select_from(renders.join(events, events.c.render_id == renders.c.id))
    .where(
        renders.c.id.in_(bindparam("the_renders", expanding=True)),
        events.c.sequence > renders.c.sequence - bindparam("newest"),
    )
    .order_by(events.c.render_id, events.c.sequence)
)
_FEW = 16
"""Newer events of a render that are read with those of others."""
_DEPTHS = (
    select(
        renders.c.owner,
        renders.c.priority,
        renders.c.state,
        func.count().label("number"),
        (NOW - func.min(renders.c.create_time)).label("age"),
    )
    .where(in_state(RenderState.QUEUED, RenderState.RUNNING))
    .group_by(renders.c.owner, renders.c.priority, renders.c.state)
)
_PING = select(renders.c.id).limit(1)


def not_found(render_id: str) -> GatorError:
    """The error for a render that is not there, or another owner's."""
    return GatorError(
        Reason.RENDER_NOT_FOUND,
        f"there is no render {render_id}",
        metadata={"render_id": render_id},
    )


def get(work: Work, owner: str, render_id: str) -> RenderRecord:
    """As `Store.get`."""
    rows = work.connection.execute(_GET, {"the_render": render_id, "the_owner": owner}).all()
    found = with_contents(work.connection, rows)
    if not found:
        raise not_found(render_id)
    return found[0]


def snapshot(work: Work, owner: str, render_id: str) -> RenderSnapshot:
    """As `Store.snapshot`."""
    # The scenes last: they may then show more than the render's sequence, never less.
    render = get(work, owner, render_id)
    return RenderSnapshot(render, scenes_of(work.connection, [render_id])[render_id])


def events_after(work: Work, render_id: str, sequence: int, limit: int) -> list[RenderEventRecord]:
    """As `Store.events`."""
    asked = {"the_render": render_id, "after": sequence, "most": limit}
    rows = work.connection.execute(_EVENTS, asked)
    return [_event(row) for row in rows]


def changed(work: Work, known: Mapping[str, int]) -> Changes:
    """As `Store.changed`."""
    rows = work.connection.execute(_SEQUENCES, {"the_renders": list(known)})
    now = {row.id: row.sequence for row in rows}
    advanced = {
        render_id: sequence for render_id, sequence in now.items() if sequence > known[render_id]
    }
    few = {
        render_id: sequence - known[render_id]
        for render_id, sequence in advanced.items()
        if sequence - known[render_id] <= _FEW
    }
    found: defaultdict[str, list[RenderEventRecord]] = defaultdict(list)
    if few:
        asked = {"the_renders": list(few), "newest": max(few.values())}
        for row in work.connection.execute(_NEWEST, asked):
            if row.sequence > known[row.render_id]:
                found[row.render_id].append(_event(row))
    return Changes(advanced, frozenset(known.keys() - now.keys()), found)


def _event(row: Row[*tuple[Any, ...]]) -> RenderEventRecord:
    return RenderEventRecord(row.sequence, EventKind(row.kind), row.payload)


def stats(work: Work) -> list[QueueDepth]:
    """As `Store.stats`."""
    return [
        QueueDepth(
            owner=row.owner,
            priority=Priority(row.priority),
            state=RenderState(row.state),
            count=row.number,
            oldest=timedelta(microseconds=row.age),
        )
        for row in work.connection.execute(_DEPTHS)
    ]


def ping(work: Work) -> None:
    """Asks the database for anything of the tables."""
    work.connection.execute(_PING)
