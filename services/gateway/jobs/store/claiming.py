"""Leases: taking renders, and holding them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from datetime import timedelta
from typing import Any

from sqlalchemy import (
    BigInteger,
    Row,
    Select,
    Text,
    and_,
    bindparam,
    case,
    func,
    literal,
    or_,
    select,
    tuple_,
    union_all,
    update,
)

from gateway.jobs.records import Claim, EventKind, Lease
from gateway.jobs.states import Change, RenderState, after, failures_after
from gateway.jobs.store.clock import NOW, microseconds
from gateway.jobs.store.rows import RENDER, scenes_of, with_contents
from gateway.jobs.store.sharing import Waiting, shares
from gateway.jobs.store.tables import events, in_state, renders
from gateway.jobs.store.work import Work

HEAD_START = timedelta(seconds=2)
"""How long a render is left to the gateway whose client waits for it."""

_IS_WAITING = and_(
    in_state(RenderState.QUEUED),
    renders.c.due_time <= NOW,
    or_(
        renders.c.attached_to == "",
        renders.c.attached_to == bindparam("worker", type_=Text),
        renders.c.due_time <= NOW - microseconds(HEAD_START),
    ),
)
_IS_LOST = and_(in_state(RenderState.RUNNING), renders.c.lease_until <= NOW)


def _grouped(condition: Any, *, lost: bool) -> Select[Any]:
    return (
        select(
            renders.c.priority,
            renders.c.owner,
            literal(lost).label("lost"),
            func.count().label("number"),
            func.min(renders.c.due_time).label("oldest"),
        )
        .where(condition)
        .group_by(renders.c.priority, renders.c.owner)
    )


_WAITING = union_all(_grouped(_IS_WAITING, lost=False), _grouped(_IS_LOST, lost=True))
_RUNNING = (
    select(renders.c.owner, func.count().label("number"))
    .where(in_state(RenderState.RUNNING), renders.c.lease_until > NOW)
    .group_by(renders.c.owner)
)


def _picking(condition: Any) -> Select[Any]:
    return (
        select(renders.c.id)
        .where(
            condition,
            renders.c.priority == bindparam("the_priority"),
            renders.c.owner == bindparam("the_owner"),
        )
        .order_by(renders.c.due_time)
        .limit(bindparam("most"))
        .with_for_update(skip_locked=True)
    )


_PICK = {False: _picking(_IS_WAITING), True: _picking(_IS_LOST)}
# What `states` says, for all rows at once.
_TAKE = (
    update(renders)
    .where(renders.c.id.in_(bindparam("the_renders", expanding=True)))
    .values(
        state=after(RenderState.QUEUED, Change.CLAIM).value,
        epoch=renders.c.epoch + 1,
        sequence=renders.c.sequence + 1,
        worker=bindparam("the_worker"),
        lease_until=NOW + bindparam("lease", type_=BigInteger),
        attempts=renders.c.attempts + 1,
        failures=case(
            (in_state(RenderState.QUEUED), renders.c.failures),
            (renders.c.progressed, renders.c.failures + failures_after(0, progressed=True)),
            else_=renders.c.failures + failures_after(0, progressed=False),
        ),
        progressed=False,
        start_time=func.coalesce(renders.c.start_time, NOW),
    )
    .returning(*RENDER)
)
_INSERT_EVENTS = events.insert()

_ARE_HELD = and_(
    in_state(RenderState.RUNNING),
    tuple_(renders.c.id, renders.c.epoch).in_(bindparam("leases", expanding=True)),
)
_HOLD = (
    update(renders)
    .where(_ARE_HELD)
    .values(lease_until=NOW + bindparam("lease", type_=BigInteger))
    .returning(renders.c.id, renders.c.epoch)
)
_HELD = select(renders.c.id, renders.c.epoch).where(_ARE_HELD)


def claim(work: Work, worker: str, limit: int, lease: timedelta) -> list[Claim]:
    """As `Store.claim`."""
    connection = work.connection
    groups = connection.execute(_WAITING, {"worker": worker}).all()
    if not groups:
        return []
    waiting = [Waiting(g.priority, g.owner, bool(g.lost), g.number, g.oldest) for g in groups]
    running = Counter({row.owner: row.number for row in connection.execute(_RUNNING)})
    order: list[str] = []
    lost: set[str] = set()
    for group, most in shares(waiting, running, limit):
        where = {"the_priority": group.priority, "the_owner": group.owner, "worker": worker}
        picked = connection.scalars(_PICK[group.lost], {**where, "most": most}).all()
        order += picked
        lost.update(picked if group.lost else ())
    if not order:  # others hold them
        return []
    values = {"the_renders": order, "the_worker": worker, "lease": microseconds(lease)}
    taken = {row.id: row for row in connection.execute(_TAKE, values)}
    return _claims(work, [taken[render_id] for render_id in order], lost)


def _claims(work: Work, rows: list[Row[Any]], lost: set[str]) -> list[Claim]:
    ids = [row.id for row in rows]
    work.connection.execute(
        _INSERT_EVENTS,
        [
            {
                "render_id": row.id,
                "sequence": row.sequence,
                "kind": EventKind.STATE.value,
                "payload": b"",
            }
            for row in rows
        ],
    )
    work.changed.update(ids)
    stored = scenes_of(work.connection, ids)
    return [
        Claim(
            Lease(render.render_id, render.epoch),
            render,
            stored[render.render_id],
            taken_over=render.render_id in lost,
        )
        for render in with_contents(work.connection, rows, results=False)
    ]


def heartbeat(work: Work, leases: Collection[Lease], lease: timedelta) -> set[Lease]:
    """As `Store.heartbeat`."""
    values = {"leases": _pairs(leases), "lease": microseconds(lease)}
    return {Lease(row.id, row.epoch) for row in work.connection.execute(_HOLD, values)}


def still_held(work: Work, leases: Collection[Lease]) -> set[Lease]:
    """As `Store.still_held`."""
    rows = work.connection.execute(_HELD, {"leases": _pairs(leases)})
    return {Lease(row.id, row.epoch) for row in rows}


def _pairs(leases: Collection[Lease]) -> list[tuple[str, int]]:
    # In one order everywhere: two heartbeats that lock the same rows do not wait for each other
    # in a circle.
    return sorted((lease.render_id, lease.epoch) for lease in leases)
