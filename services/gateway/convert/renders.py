"""Renders as clients see them: the resource, its pages, and what watchers are told."""

from __future__ import annotations

from datetime import datetime

from google.protobuf.timestamp_pb2 import Timestamp

from gateway.convert.events import preview_message, progress_message
from gateway.convert.parts import warning_messages
from gateway.convert.stored import (
    error_status,
    event_of,
    request_of,
    result_of,
    scene_of,
    warnings_of,
)
from gateway.jobs.records import Page, RenderRecord, RenderSnapshot
from gateway.jobs.states import RenderState
from gateway.jobs.watch import WatchedEvent, WatchedPreview, WatchedSnapshot, WatchEvent
from gator.gateway.v1 import render_service_pb2 as pb
from rpckit.errors import FieldViolation, invalid

_STATES = {
    RenderState.QUEUED: pb.RENDER_STATE_QUEUED,
    RenderState.RUNNING: pb.RENDER_STATE_RUNNING,
    RenderState.SUCCEEDED: pb.RENDER_STATE_SUCCEEDED,
    RenderState.FAILED: pb.RENDER_STATE_FAILED,
    RenderState.CANCELLED: pb.RENDER_STATE_CANCELLED,
}
_BY_NUMBER = {int(number): state for state, number in _STATES.items()}


def states_asked(message: pb.ListRendersRequest) -> tuple[RenderState, ...]:
    """The states of a filter, or INVALID_ARGUMENT."""
    bad = [
        FieldViolation(f"states[{i}]", f"is {number}; must be the state of a render")
        for i, number in enumerate(message.states)
        if number not in _BY_NUMBER
    ]
    if bad:
        raise invalid(*bad)
    return tuple(_BY_NUMBER[number] for number in message.states)


def render_message(snapshot: RenderSnapshot) -> pb.Render:
    """A render as it stands."""
    render = snapshot.render
    message = _without_scenes(render)
    if render.result:
        message.result.CopyFrom(result_of(render.result))
    for scene in snapshot.scenes:
        message.scenes.append(scene_of(scene.progress))
        message.warnings.extend(warning_messages(warnings_of(scene.warnings)))
    return message


def page_message(page: Page) -> pb.ListRendersResponse:
    """A page of renders, without their scenes and results."""
    return pb.ListRendersResponse(
        renders=[_without_scenes(render) for render in page.renders],
        next_page_token=page.next_page_token,
    )


def _without_scenes(render: RenderRecord) -> pb.Render:
    return pb.Render(
        render_id=render.render_id,
        state=_STATES[render.state],
        request=request_of(render.request),
        warnings=warning_messages(warnings_of(render.warnings)),
        create_time=_timestamp(render.create_time),
        start_time=_timestamp(render.start_time),
        end_time=_timestamp(render.end_time),
        expire_time=_timestamp(render.expire_time),
        progress=progress_message(render.progress),
        attempts=render.attempts,
        error=error_status(render.error) if _shows_error(render) else None,
        sequence=render.sequence,
        retry_of=render.retry_of,
        attached=render.attached,
    )


def _shows_error(render: RenderRecord) -> bool:
    waits_after_one = render.state is RenderState.QUEUED
    return bool(render.error) and (waits_after_one or render.state is RenderState.FAILED)


def _timestamp(moment: datetime | None) -> Timestamp | None:
    if moment is None:
        return None
    message = Timestamp()
    message.FromDatetime(moment)
    return message


def watch_response(event: WatchEvent) -> pb.WatchRenderResponse:
    """The message of what a watcher is told."""
    match event:
        case WatchedSnapshot(sequence, snapshot):
            return pb.WatchRenderResponse(sequence=sequence, render=render_message(snapshot))
        case WatchedEvent(sequence, payload):
            message = event_of(payload)
            message.sequence = sequence
            return message
        case WatchedPreview(sequence, preview):
            return pb.WatchRenderResponse(sequence=sequence, preview=preview_message(preview))
