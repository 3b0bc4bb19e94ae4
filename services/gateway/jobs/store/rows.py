"""Rows of the database as records."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from sqlalchemy import Connection, Row, bindparam, select

from gateway.events import RenderProgress
from gateway.jobs.records import Priority, RenderRecord, SceneRecord, VideoRecord
from gateway.jobs.states import Phase, RenderState
from gateway.jobs.store.clock import NOW, to_optional_time, to_time
from gateway.jobs.store.tables import contents, renders, scenes

RENDER = (*renders.c, (renders.c.expire_time <= NOW).label("expired"))
"""The columns of which `to_render` makes a record."""

_CONTENTS = select(contents).where(
    contents.c.render_id.in_(bindparam("render_ids", expanding=True))
)
_SCENES = (
    select(scenes)
    .where(scenes.c.render_id.in_(bindparam("render_ids", expanding=True)))
    .order_by(scenes.c.render_id, scenes.c.position)
)


def to_render(row: Row[Any], request: bytes, warnings: bytes, result: bytes) -> RenderRecord:
    """The record of a row of `RENDER` and of its contents."""
    return RenderRecord(
        render_id=row.id,
        owner=row.owner,
        request_id=row.request_id or "",
        fingerprint=row.fingerprint,
        retry_of=row.retry_of,
        priority=Priority(row.priority),
        state=RenderState(row.state),
        epoch=row.epoch,
        sequence=row.sequence,
        phase=Phase(row.phase),
        progress=RenderProgress(
            row.scenes_finished,
            row.scene_count,
            row.frames_encoded,
            row.frame_count,
            float(row.fraction),
        ),
        attempts=row.attempts,
        failures=row.failures,
        create_time=to_time(row.create_time),
        due_time=to_time(row.due_time),
        start_time=to_optional_time(row.start_time),
        end_time=to_optional_time(row.end_time),
        expire_time=to_optional_time(row.expire_time),
        attached_until=to_optional_time(row.attached_until),
        worker=row.worker,
        lease_until=to_optional_time(row.lease_until),
        error=row.error,
        video=None if row.expired else _to_video(row),
        request=request,
        warnings=warnings,
        result=result,
        origin=row.origin,
    )


def _to_video(row: Row[Any]) -> VideoRecord | None:
    if row.video_location is None:
        return None
    return VideoRecord(row.video_location, row.video_size, row.video_sha256, row.video_epoch)


def with_contents(
    connection: Connection, rows: Collection[Row[Any]], *, results: bool = True
) -> list[RenderRecord]:
    """The records of rows of `RENDER`; without `results` those are empty."""
    if not rows:
        return []
    found = {
        row.render_id: row
        for row in connection.execute(_CONTENTS, {"render_ids": [row.id for row in rows]})
    }
    # A render may be deleted between two statements.
    return [
        to_render(row, content.request, content.warnings, content.result if results else b"")
        for row in rows
        if (content := found.get(row.id)) is not None
    ]


def scenes_of(
    connection: Connection, render_ids: Collection[str]
) -> Mapping[str, tuple[SceneRecord, ...]]:
    """The scenes of renders, in order, as far as they are."""
    found: dict[str, list[SceneRecord]] = {render_id: [] for render_id in render_ids}
    for row in connection.execute(_SCENES, {"render_ids": list(render_ids)}):
        scene = SceneRecord(row.position, row.progress, row.frame, row.warnings)
        found[row.render_id].append(scene)
    return {render_id: tuple(records) for render_id, records in found.items()}
