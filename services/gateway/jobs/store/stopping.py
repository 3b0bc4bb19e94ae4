"""What owners do to their renders: cancel, delete, stay attached or go away."""

from __future__ import annotations

from collections.abc import Collection
from datetime import timedelta

from sqlalchemy import Update, bindparam, delete, null, select, update

from gateway.jobs.records import EventKind, RenderRecord
from gateway.jobs.states import ENDED, Change, RenderState, after, before
from gateway.jobs.store.clock import NOW, microseconds
from gateway.jobs.store.reading import not_found
from gateway.jobs.store.rows import RENDER, with_contents
from gateway.jobs.store.tables import events, in_state, renders
from gateway.jobs.store.work import Work
from rpckit.errors import GatorError, Reason

ATTACHED_GRACE = timedelta(seconds=30)
"""How long a client may be away before its attached render is cancelled."""

_MINE = (renders.c.id == bindparam("the_render")) & (renders.c.owner == bindparam("the_owner"))


def _cancelling() -> Update:
    return (
        update(renders)
        .where(in_state(*before(Change.CANCEL)))
        .values(
            state=after(RenderState.QUEUED, Change.CANCEL).value,
            # Whoever holds the lease holds it no more.
            epoch=renders.c.epoch + 1,
            sequence=renders.c.sequence + 1,
            end_time=NOW,
            lease_until=null(),
        )
        .returning(*RENDER)
    )


_CANCEL = _cancelling().where(_MINE)
_LAPSE = _cancelling().where(
    renders.c.attached_until <= NOW - microseconds(ATTACHED_GRACE), renders.c.end_time.is_(None)
)
_LOOK = select(*RENDER).where(_MINE)
_DELETE = delete(renders).where(_MINE, in_state(*ENDED)).returning(renders.c.id)
_TOUCH = (
    update(renders)
    .where(
        renders.c.id.in_(bindparam("the_renders", expanding=True)),
        renders.c.attached_until.is_not(None),
        renders.c.end_time.is_(None),
    )
    .values(attached_until=NOW, attached_to=bindparam("the_worker"))
)
_INSERT_EVENTS = events.insert()


def cancel(work: Work, owner: str, render_id: str) -> RenderRecord:
    """As `Store.cancel`."""
    mine = {"the_render": render_id, "the_owner": owner}
    row = work.connection.execute(_CANCEL, mine).one_or_none()
    if row is None:
        row = work.connection.execute(_LOOK, mine).one_or_none()
    else:
        _tell_cancelled(work, {row.id: row.sequence})
    found = with_contents(work.connection, [] if row is None else [row])
    if not found:
        raise not_found(render_id)
    return found[0]


def lapse_attached(work: Work) -> list[str]:
    """As `Store.lapse_attached`, whatever the database was lately."""
    cancelled = {row.id: row.sequence for row in work.connection.execute(_LAPSE)}
    if cancelled:
        _tell_cancelled(work, cancelled)
    return list(cancelled)


def _tell_cancelled(work: Work, sequences: dict[str, int]) -> None:
    rows = [
        {"render_id": render_id, "sequence": number, "kind": EventKind.STATE.value, "payload": b""}
        for render_id, number in sequences.items()
    ]
    work.connection.execute(_INSERT_EVENTS, rows)
    work.changed.update(sequences)


def touch_attached(work: Work, render_ids: Collection[str], worker: str) -> None:
    """As `Store.touch_attached`."""
    work.connection.execute(_TOUCH, {"the_renders": sorted(render_ids), "the_worker": worker})


def delete_render(work: Work, owner: str, render_id: str) -> None:
    """As `Store.delete`."""
    mine = {"the_render": render_id, "the_owner": owner}
    if work.connection.execute(_DELETE, mine).one_or_none() is not None:
        work.changed.add(render_id)
        return
    row = work.connection.execute(_LOOK, mine).one_or_none()
    if row is None:
        raise not_found(render_id)
    state = RenderState(row.state)
    raise GatorError(
        Reason.WRONG_STATE,
        f"render {render_id} is {state.name}; cancel it before deleting it",
        metadata={"render_id": render_id, "state": state.name},
    )
