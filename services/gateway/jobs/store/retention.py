"""What the sweeper asks, and what is dropped of renders that ended long ago."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from sqlalchemy import BigInteger, bindparam, delete, or_, select

from gateway.jobs.retention import RenderView
from gateway.jobs.states import RenderState
from gateway.jobs.store.clock import NOW, microseconds, to_optional_time, to_time
from gateway.jobs.store.tables import events, in_state, renders, scenes
from gateway.jobs.store.work import Work

AT_A_TIME = 1_000
"""Renders whose events, or which themselves, are dropped at a time."""

_VIEW = select(
    renders.c.id,
    renders.c.epoch,
    renders.c.end_time,
    renders.c.video_location,
    renders.c.expire_time,
).where(renders.c.id.in_(bindparam("the_renders", expanding=True)))
_IN_USE = (
    select(scenes.c.frame)
    .distinct()
    .join(renders, renders.c.id == scenes.c.render_id)
    .where(
        scenes.c.frame.in_(bindparam("frames", expanding=True)),
        in_state(RenderState.QUEUED, RenderState.RUNNING),
    )
)
_ENDED_BEFORE = NOW - bindparam("ago", type_=BigInteger)
_DROP_EVENTS = delete(events).where(
    events.c.render_id.in_(
        select(events.c.render_id)
        .distinct()
        .join(renders, renders.c.id == events.c.render_id)
        .where(renders.c.end_time <= _ENDED_BEFORE)
        .limit(AT_A_TIME)
    )
)
_DROP_RENDERS = delete(renders).where(
    renders.c.id.in_(
        select(renders.c.id)
        .where(
            renders.c.end_time <= _ENDED_BEFORE,
            # A video that is kept needs its row.
            or_(renders.c.video_location.is_(None), renders.c.expire_time <= NOW),
        )
        .order_by(renders.c.end_time)
        .limit(AT_A_TIME)
    )
)


def now(work: Work) -> datetime:
    """The database's time."""
    return to_time(work.connection.execute(select(NOW)).scalar_one())


def views(work: Work, render_ids: Sequence[str]) -> Mapping[str, RenderView]:
    """As `Store.retention`."""
    rows = work.connection.execute(_VIEW, {"the_renders": list(render_ids)})
    return {
        row.id: RenderView(
            epoch=row.epoch,
            end_time=to_optional_time(row.end_time),
            video_key=row.video_location or "",
            expire_time=to_optional_time(row.expire_time),
        )
        for row in rows
    }


def frames_in_use(work: Work, folders: Sequence[str]) -> set[str]:
    """As `Store.frames_in_use`."""
    return set(work.connection.scalars(_IN_USE, {"frames": list(folders)}))


def prune(work: Work, events_after: timedelta, renders_after: timedelta | None) -> None:
    """As `Store.prune`."""
    work.connection.execute(_DROP_EVENTS, {"ago": microseconds(events_after)})
    if renders_after is not None:
        work.connection.execute(_DROP_RENDERS, {"ago": microseconds(renders_after)})
